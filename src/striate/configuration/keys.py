"""Dotted keys of a configuration tree, and the one that a person meant."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from striate.errors import ConfigurationError, nearest

Path = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """`("data", "transforms", 2, "p")` as `data.transforms[2].p`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def path_of(key: str) -> Path:
    """The inverse of `dotted`."""
    return tuple(int(part) if part.isdecimal() else part for part in re.findall(r"[^.\[\]]+", key))


class InvalidEntry(ConfigurationError):
    """One entry of a configuration that is not valid.

    Args:
        path: where the entry stands, so that its file and line can be found.
    """

    def __init__(self, path: Path, what: str, *, nearest: str | None = None, do: str | None = None):
        super().__init__(what, nearest=nearest, do=do)
        self.path = path


def walk(node: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every entry below a node of plain data, inner ones before their content."""
    entries: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, Mapping):
        entries = node.items()
    elif isinstance(node, list | tuple):
        entries = enumerate(node)
    for key, value in entries:
        yield (*path, key), value
        yield from walk(value, (*path, key))


def dotted_keys(tree: Mapping) -> list[str]:
    """The dotted keys of a tree of plain data that can be overridden, outermost first."""
    found = [dotted(path) for path, _ in walk(tree) if all(isinstance(part, str) for part in path)]
    return sorted((key for key in found if not key.split(".")[-1].startswith("_")), key=lambda key: key.count("."))


def similarity(first: str, second: str) -> float:
    """1 for equal words, 0 for words without a common letter; the letters' case does not count."""
    return SequenceMatcher(None, first.lower(), second.lower()).ratio()


def is_near(typed: str, key: str) -> bool:
    """Whether a key is near enough to what was typed to be offered: one slip of the finger, or most letters equal."""
    return similarity(typed, key) >= 0.65 or one_slip(typed, key)


def closest(typed: str, choices: Iterable[str]) -> str | None:
    """The choice that was probably meant: the most similar one, or the only one that is one slip away."""
    choices = list(choices)
    found = nearest(typed, choices)
    if found is not None and is_near(typed, found):
        return found
    slips = [choice for choice in choices if one_slip(typed, choice)]
    return slips[0] if len(slips) == 1 else None


def one_slip(first: str, second: str) -> bool:
    """Whether one letter was added, left out, replaced, or swapped with its neighbour."""
    while first and second and first[0] == second[0]:
        first, second = first[1:], second[1:]
    while first and second and first[-1] == second[-1]:
        first, second = first[:-1], second[:-1]
    return (len(first) <= 1 and len(second) <= 1) or (len(first) == 2 and first == second[::-1])


def siblings(key: str, keys: Iterable[str]) -> list[str]:
    """The keys that have the same parent."""
    parent = key.rpartition(".")[0]
    return [other for other in keys if other.rpartition(".")[0] == parent]


def nearest_key(typed: str, keys: Sequence[str]) -> str | None:
    """The dotted key that a person meant, who may have left out where it stands: `lr` means `optimizer.lr`."""
    if typed in keys:
        return typed
    for key in keys:
        if key.endswith(f".{typed}"):
            return key
    leaf = typed.rpartition(".")[2]
    beside = {key.rpartition(".")[2]: key for key in siblings(typed, keys)}
    found = closest(leaf, beside)
    best = beside[found] if found else None
    # A whole path, or the end of one with as many parts, that is nearer than what stands beside it.
    parts = typed.count(".") + 1
    by_tail = {".".join(key.split(".")[-parts:]): key for key in reversed(keys)}
    for candidates in ({key: key for key in keys}, by_tail):
        found = closest(typed, candidates)
        if not found or not is_near(leaf, found.rpartition(".")[2]):
            continue
        if best is None or _nearness(typed, found) > _nearness(typed, best):
            best = candidates[found]
    return best


def _nearness(typed: str, key: str) -> float:
    # Letters that changed places are one slip, though they cost two in similarity: `modle` is `model`, not `mode`.
    return max(similarity(typed, key), 0.9 if one_slip(typed, key) else 0)


def listed(names: Iterable[str], most: int = 24) -> str:
    """Names in one line, cut when there are many."""
    shown = [name for name in names if not name.startswith("_")]
    return (", ".join(shown[:most]) + (" …" if len(shown) > most else "")) or "none"
