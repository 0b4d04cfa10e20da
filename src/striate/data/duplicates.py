"""Pictures whose pixels are exactly equal: found by the digest of their decoded pixels."""

from collections.abc import Sequence

import numpy as np


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
