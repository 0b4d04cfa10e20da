"""Mappings of names as data: `{"layer{s}.{b}.*": "conv{s+1}_x.conv{s+1}_{b+1}.*"}`.

In a pattern `{s}` stands for a whole number, of the same value wherever it stands again, and `*` for any text, dots
included. In the replacement `{s}`, `{s+1}`, `{s-2}` … stand for that number and its neighbours, `*` for the texts in
their order. A pattern without either is a name, and counts before all others; of these the first that fits counts. A
name that none fits stays as it is.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from striate.errors import ConfigurationError, nearest

_TOKEN = re.compile(r"\{([A-Za-z_]+)([+-]\d+)?\}|\*")
_LARGEST_FILE = 4 << 20
ORDER = "order"  # in the place of a mapping: pair the names by order and shape


class Rule:
    """One pattern and its replacement.

    Raises:
        ConfigurationError: the replacement has a number or a text that the pattern has not, or braces do not close.
    """

    def __init__(self, pattern: str, replacement: str):
        self.pattern, self.replacement = pattern, replacement
        names, texts, parts, end = set(), 0, [], 0
        for token in _TOKEN.finditer(pattern):
            parts.append(self._literal(pattern, pattern[end : token.start()]))
            end = token.end()
            if token[0] == "*":
                texts += 1
                parts.append("(.*)")
                continue
            if token[2]:
                raise self._mistake(pattern, f"{token[0]} computes, which only the replacement may")
            parts.append(f"(?P={token[1]})" if token[1] in names else rf"(?P<{token[1]}>\d+)")
            names.add(token[1])
        parts.append(self._literal(pattern, pattern[end:]))
        self._matcher = re.compile("".join(parts))
        self._literal(replacement, _TOKEN.sub("", replacement))
        found = list(_TOKEN.finditer(replacement))
        unknown = [token[0] for token in found if token[0] != "*" and token[1] not in names]
        if unknown or sum(token[0] == "*" for token in found) > texts:
            raise self._mistake(replacement, f"{(unknown or ['*'])[0]} stands for nothing in {pattern!r}")

    def __call__(self, name: str) -> str | None:
        """The new name, or None where the pattern does not fit."""
        match = self._matcher.fullmatch(name)
        if match is None:
            return None
        named = match.re.groupindex
        texts = iter(match[index] for index in range(1, match.re.groups + 1) if index not in named.values())

        def put(token: re.Match[str]) -> str:
            return next(texts) if token[0] == "*" else str(int(match[token[1]]) + int(token[2] or 0))

        return _TOKEN.sub(put, self.replacement)

    def _literal(self, whole: str, text: str) -> str:
        if "{" in text or "}" in text:
            raise self._mistake(whole, "between braces stands a word, in a replacement with +NUMBER or -NUMBER")
        return re.escape(text)

    def _mistake(self, where: str, what: str) -> ConfigurationError:
        return ConfigurationError(
            f"mapping: {where!r}: {what}", do='such as "layer{s}.{b}.*": "conv{s+1}_x.conv{s+1}_{b+1}.*"'
        )


def rename(names: Iterable[str], mapping: Mapping[str, str], *, strict: bool = False) -> dict[str, str]:
    """The new name of each name.

    Args:
        names: of the tensors of a file.
        mapping: patterns and their replacements.
        strict: every pattern must fit some name (it was written for this file).

    Raises:
        ConfigurationError: two names get the same new one, or a strict mapping has a pattern that fits none.
    """
    exact, rules = _divided(mapping)
    used: set[str] = set()
    renamed: dict[str, str] = {}
    origin: dict[str, str] = {}
    for name in names:
        hits = ((rule.pattern, new) for rule in rules if (new := rule(name)) is not None)
        pattern, new = (name, exact[name]) if name in exact else next(hits, ("", name))
        used.add(pattern)
        if new in origin:
            raise ConfigurationError(
                f"mapping: {origin[new]} and {name} both become {new}", do="make the patterns narrower"
            )
        renamed[name], origin[new] = new, name
    idle = [pattern for pattern in mapping if pattern not in used]
    if strict and idle:
        raise ConfigurationError(f"mapping: no tensor of the file fits {idle[0]!r}", nearest=nearest(idle[0], renamed))
    return renamed


def fitting(mapping: Mapping[str, str]) -> Callable[[str], bool]:
    """Whether a mapping has a pattern for a name."""
    exact, rules = _divided(mapping)
    return lambda name: name in exact or any(rule(name) is not None for rule in rules)


def _divided(mapping: Mapping[str, str]) -> tuple[dict[str, str], list[Rule]]:
    """The names of a mapping, which count first, and its patterns."""
    exact = {pattern: new for pattern, new in mapping.items() if not _TOKEN.search(pattern)}
    return exact, [Rule(pattern, new) for pattern, new in mapping.items() if pattern not in exact]


def read_mapping(mapping: Mapping[str, Any] | str | None, key: str) -> dict[str, str] | str | None:
    """A mapping as the configuration has it, or out of the YAML or JSON file that it names; `ORDER` stays as it is.

    Raises:
        ConfigurationError: no such file, or one that holds something else than names and names.
    """
    if mapping is None or mapping == ORDER:
        return mapping
    content: Any = mapping
    if isinstance(mapping, str):
        path = Path(mapping).expanduser()
        if not path.is_file() or path.stat().st_size > _LARGEST_FILE:
            raise ConfigurationError(
                f"{key}={mapping}: there is no such file of patterns", do="a YAML or JSON file of PATTERN: REPLACEMENT"
            )
        try:
            text = path.read_text(encoding="utf-8")
            content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        except (ValueError, yaml.YAMLError, RecursionError) as error:
            raise ConfigurationError(
                f"{key}={mapping} cannot be read: {' '.join(str(error).split())[:200]}",
                do="a YAML or JSON file of PATTERN: REPLACEMENT",
            ) from error
    if not isinstance(content, Mapping) or not all(
        isinstance(one, str) and isinstance(other, str) for one, other in content.items()
    ):
        raise ConfigurationError(f"{key} is no list of names and their replacements", do="lines PATTERN: REPLACEMENT")
    return dict(content)
