"""Which pictures go into which split: given splits are kept, leaks between them found, missing ones cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from striate.data.duplicates import group_equal, leaked
from striate.data.meta import SPLITS
from striate.data.reporting import Note
from striate.data.sources.base import Entry, legible
from striate.data.splitting import TEST, TRAIN, VAL, cut_splits
from striate.errors import DataError


class Rules(Protocol):
    """The options of `Preparation` that count here."""

    @property
    def val_fraction(self) -> float: ...
    @property
    def test_fraction(self) -> float: ...
    @property
    def split_seed(self) -> int: ...
    @property
    def leaks(self) -> str: ...


@dataclass
class Candidates:
    """The pictures that can be read.

    Args:
        entries: what they are.
        classes: names of the classes in the order of their labels.
        digests: (N, 16) uint8 of their pixels.
    """

    entries: Sequence[Entry]
    classes: Sequence[str]
    digests: np.ndarray

    def __post_init__(self) -> None:
        label_of = {name: label for label, name in enumerate(self.classes)}
        self.names = [entry.name for entry in self.entries]
        self.labels = np.array([label_of[entry.class_name] for entry in self.entries], np.int64)
        self.groups = group_equal(self.digests, self.names)

    def of(self, rows: np.ndarray) -> "Candidates":
        """Some of them."""
        return Candidates([self.entries[row] for row in rows], self.classes, self.digests[rows])


def select(candidates: Candidates, rules: Rules, notes: list[Note]) -> tuple[np.ndarray, np.ndarray]:
    """Decides for each picture whether it stays and in which split it is.

    Args:
        candidates: the pictures.
        rules: what to do about leaks, and what to cut.
        notes: equal pictures are added to it.

    Returns:
        Places of the pictures that stay, (n,) int64, sorted by name; their splits, (n,) int8: 0 train, 1 val, 2 test.

    Raises:
        DataError: the same picture in two given splits, a class without training pictures, too few pictures to cut.
    """
    entries = candidates.entries
    splits = np.array([SPLITS.index(entry.split or "train") for entry in entries], np.int8)
    twins = leaked(candidates.groups, splits)
    drop = (twins >= 0) & (rules.leaks == "drop")
    _note_equals(candidates, splits, twins, drop, notes)
    if (twins >= 0).any() and rules.leaks == "fail":
        _refuse_leaks(candidates, twins)
    rows = np.array(sorted(np.flatnonzero(~drop).tolist(), key=lambda row: candidates.names[row]), np.int64)
    splits = splits[rows]
    _check_training(candidates, rows[splits == TRAIN])
    wanted = {VAL: rules.val_fraction, TEST: rules.test_fraction}
    fractions = {split: share for split, share in wanted.items() if share > 0 and not (splits == split).any()}
    if fractions:
        pool = np.flatnonzero(splits == TRAIN)
        part = candidates.of(rows[pool])
        splits[pool] = cut_splits(part.labels, part.groups, part.names, part.classes, fractions, rules.split_seed)
    return rows, splits


def _note_equals(
    candidates: Candidates, splits: np.ndarray, twins: np.ndarray, drop: np.ndarray, notes: list[Note]
) -> None:
    given = any(entry.split for entry in candidates.entries)
    for place in np.flatnonzero((candidates.groups != np.arange(len(splits))) | (twins >= 0)).tolist():
        entry = candidates.entries[place]
        other = int(twins[place]) if twins[place] >= 0 else int(candidates.groups[place])
        twin = candidates.entries[other]
        kind = "the same pixels as another picture"
        if given and splits[other] != splits[place]:
            kind += f" in {SPLITS[splits[other]]}"
        if twin.class_name != entry.class_name:
            kind += " of another class"
        reason = f"the same pixels as {twin.name}" + (
            f", which is {twin.class_name!r}" if twin.class_name != entry.class_name else ""
        )
        notes.append(Note(entry.name, entry.split or "", entry.class_name, not drop[place], reason, kind))


def _refuse_leaks(candidates: Candidates, twins: np.ndarray) -> None:
    found = np.flatnonzero(twins >= 0)
    pairs = [f"{legible(candidates.names[row])} = {legible(candidates.names[twins[row]])}" for row in found[:2]]
    raise DataError(
        f"{len(found)} picture(s) are in two splits at once: {', '.join(pairs)}{' …' if len(found) > 2 else ''}",
        do="data.prepare.leaks=drop takes them out of the split nearer to training; keep leaves them",
    )


def _check_training(candidates: Candidates, rows: np.ndarray) -> None:
    counts = np.bincount(candidates.labels[rows], minlength=len(candidates.classes))
    if not counts.all():
        name = candidates.classes[int(np.argmin(counts))]
        raise DataError(
            f"the class {name!r} has no training picture left: what cannot be read, or is in two splits, is left out",
            do="mend or add pictures of it, or remove it",
        )
