"""Pictures whose pixels are exactly equal: found by the digest of their decoded pixels."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xxhash

from striate.data.meta import Meta
from striate.data.pack import Pack
from striate.storage import write_json

_AT_ONCE = 256  # pictures that are read for their digests


def group_equal(digests: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Groups equal pictures.

    Args:
        digests: (N, B) uint8, a strong hash of each picture's pixels.
        names: N different names.

    Returns:
        (N,) int64: for each picture the place of the first of its equals by name; its own place where it has none.
    """
    count = len(digests)
    if not count:
        return np.zeros(0, np.int64)
    keys = np.ascontiguousarray(digests).view(f"V{digests.shape[1]}").ravel()
    _, group, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    first = np.arange(count, dtype=np.int64)
    members = np.flatnonzero(sizes[group] > 1)
    leader: dict[int, int] = {}
    for place in sorted(members.tolist(), key=lambda place: names[place]):
        first[place] = leader.setdefault(int(group[place]), place)
    return first


def equal_in_pack(folder: Path, meta: Meta, pack: Pack, names: Sequence[str], *, keep: bool = False) -> np.ndarray:
    """Groups the equal pictures of a pack, all of which are read for it once.

    Args:
        folder: of the prepared set.
        meta: its passport.
        pack: splits of it.
        names: of the pictures.
        keep: write what is found to `.NAME.equal.json` beside the folder, where the next call finds it.

    Returns:
        As `group_equal`.

    Raises:
        StorageError: a damaged picture, or a file that cannot be written.
    """
    path, key = folder.with_name(f".{folder.name}.equal.json"), {"data": meta.hash, "split": pack.split}
    groups = np.arange(len(pack), dtype=np.int64)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if {name: record[name] for name in key} == key:
            for first, *others in record["equal"]:
                groups[others] = first
            return groups
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        pass  # not there, or not a whole one: found anew
    digests = bytearray()
    for start in range(0, len(pack), _AT_ONCE):
        for picture in pack.read(np.arange(start, min(start + _AT_ONCE, len(pack)))):
            height, width, _ = picture.shape
            digests += xxhash.xxh3_128_digest(np.ascontiguousarray(picture).data, seed=height << 32 | width)
    groups = group_equal(np.frombuffer(bytes(digests), np.uint8).reshape(-1, 16), names)
    if keep:
        equal = [[int(first), *others] for first, others in _members(groups).items()]
        write_json(path, {**key, "equal": equal})
    return groups


def _members(groups: np.ndarray) -> dict[int, list[int]]:
    """By its first picture each group of several: the places of the others."""
    found: dict[int, list[int]] = {}
    for place in np.flatnonzero(groups != np.arange(len(groups))).tolist():
        found.setdefault(int(groups[place]), []).append(place)
    return found


def leaked(groups: np.ndarray, splits: np.ndarray) -> np.ndarray:
    """The pictures that must go so that no picture is in two splits: the one for evaluation stays.

    Args:
        groups: (N,) from `group_equal`.
        splits: (N,) 0 for train, 1 for val, 2 for test.

    Returns:
        (N,) int64: the place of an equal picture in a split further towards test, or -1 where there is none.
    """
    best = np.full(len(groups), -1, np.int64)
    for place in np.flatnonzero(groups != np.arange(len(groups))).tolist():
        leader = int(groups[place])
        for other in (leader, place):
            if best[leader] < 0 or splits[other] > splits[best[leader]]:
                best[leader] = other
    champion = best[groups]
    return np.where((champion >= 0) & (splits[champion] > splits), champion, -1)
