"""Cutting a validation and a test split where a set has none, and folds: stratified, equal pictures together, seeded.

A cut is a pure function of (seed, class, names, which pictures are equal): the order in which the pictures of a class
are dealt out is that of SHA-256(seed, class, name). So it does not depend on the order of the files, nor on a random
number generator's version, and a picture that is added to a set moves few of the others.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from striate.errors import DataError

TRAIN, VAL, TEST = 0, 1, 2


def cut_splits(
    labels: np.ndarray,
    groups: np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
    fractions: dict[int, float],
    seed: int,
) -> np.ndarray:
    """Cuts splits out of pictures that are all for training so far.

    Of a class with n pictures a split with fraction f gets round(n f), at least one. Groups of equal pictures are
    never divided: they are dealt out as a whole (with the class of their first picture by name), which moves a count by
    at most half of a group's size.

    Args:
        labels: (N,) of 0 … len(classes) − 1.
        groups: (N,) for each picture the place of the first of its equals (`duplicates.group_equal`).
        names: N different names.
        classes: their names, for messages.
        fractions: split (VAL or TEST) → share in (0, 1); at most 1 in total.
        seed: any integer.

    Returns:
        (N,) int8: TRAIN, VAL or TEST.

    Raises:
        DataError: a class has fewer different pictures than there are splits.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for place, leader in enumerate(groups.tolist()):
        members[leader].append(place)
    of_class: dict[int, list[int]] = defaultdict(list)
    for leader in members:
        of_class[int(labels[leader])].append(leader)
    splits = np.full(len(labels), TRAIN, np.int8)
    for label, class_name in enumerate(classes):
        leaders = sorted(of_class[label], key=lambda leader: _draw(seed, class_name, names[leader]))
        if len(leaders) < 1 + len(fractions):
            _refuse(class_name, int((labels == label).sum()), len(leaders), fractions)
        sizes = np.array([len(members[leader]) for leader in leaders])
        start = 0
        for position, split in enumerate(sorted(fractions, reverse=True)):
            still_needed = len(fractions) - position  # one for each further split and one for training
            stop = _boundary(sizes, start, len(leaders) - still_needed, sizes.sum() * fractions[split])
            for leader in leaders[start:stop]:
                splits[members[leader]] = split
            start = stop
    return splits


def deal_folds(
    labels: np.ndarray, groups: np.ndarray, names: Sequence[str], classes: Sequence[str], folds: int, seed: int
) -> np.ndarray:
    """Deals pictures out to folds of about the same size and with about the same share of each class.

    Groups of equal pictures go as a whole (with the class of their first picture by name), the largest first, each to
    the fold that has fewest of its class, then fewest in all. Where no two pictures are equal, folds differ by one at
    most, in each class and in all; else in a class by its largest group at most, if equal pictures have equal labels.

    Args:
        labels: (N,) of 0 … len(classes) − 1.
        groups: (N,) the same number for equal pictures.
        names: N different names.
        classes: their names.
        folds: how many, 2 or more.
        seed: any integer.

    Returns:
        (N,) int64: the fold of each picture, 0 … folds − 1.

    Raises:
        DataError: a class has fewer different pictures than there are folds.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for place in sorted(range(len(names)), key=names.__getitem__):
        members[int(groups[place])].append(place)
    of_class: dict[int, list[list[int]]] = defaultdict(list)
    for group in members.values():
        of_class[int(labels[group[0]])].append(group)
    dealt = np.empty(len(labels), np.int64)
    held, sizes = [[0] * len(classes) for _ in range(folds)], [0] * folds
    fewest, class_name = min((len(of_class[label]), name) for label, name in enumerate(classes))
    if fewest < folds:
        several = f"data.folds={fewest}, or add pictures of it"
        raise DataError(
            f"the class {class_name!r} has {fewest} different picture(s) for {folds} folds",
            do=several if fewest > 1 else "add pictures of it, or leave it out with data.classes",
        )
    for label, class_name in enumerate(classes):
        order = sorted(of_class[label], key=lambda group: (-len(group), _draw(seed, class_name, names[group[0]])))
        for group in order:
            fold = min(range(folds), key=lambda fold: (held[fold][label], sizes[fold], fold))
            dealt[group] = fold
            sizes[fold] += len(group)
            for place in group:
                held[fold][int(labels[place])] += 1
    return dealt


def _boundary(sizes: np.ndarray, start: int, last: int, wanted: float) -> int:
    """Where a split that begins at `start` ends, so that its size comes nearest to `wanted`; start < end ≤ last."""
    totals = np.cumsum(sizes[start:last])
    return start + 1 + int(np.argmin(np.abs(totals - np.floor(wanted + 0.5))))


def _draw(seed: int, class_name: str, name: str) -> bytes:
    return hashlib.sha256("\0".join((str(seed), class_name, name)).encode("utf-8", "surrogatepass")).digest()


def _refuse(class_name: str, count: int, different: int, fractions: dict[int, float]) -> None:
    cut = [name for split, name in ((VAL, "val_fraction"), (TEST, "test_fraction")) if split in fractions]
    equal = "" if different == count else f", {different} of them different"
    raise DataError(
        f"the class {class_name!r} has {count} picture(s){equal}: too few to cut {len(cut)} split(s) off training, "
        f"which needs {len(cut) + 1}",
        do=f"add pictures, bring your own splits, or data.prepare.{cut[0]}=0",
    )
