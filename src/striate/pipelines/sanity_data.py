"""The checks of `check_sanity` that look at pictures alone: the same ones, or nearly the same, in two splits."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from striate.data.contact_sheet import draw_pairs
from striate.data.near_duplicates import alike, digest, thumbnail
from striate.data.sources.base import legible
from striate.pipelines.sanity_checks import Case, Finding

_AT_ONCE = 256  # pictures that are read at a time
_NAMED = 2
_SHOWN = 24  # pairs of the picture

Looks = tuple[np.ndarray, list[bytes], np.ndarray]


class Splits:
    """The pictures of each split as they are compared, each read once.

    Args:
        case: what is checked.
    """

    def __init__(self, case: Case):
        self.data, self.names = case.data, case.data.meta.splits
        self.looks: dict[str, Looks] = {split: self._read(split, case.pictures) for split in self.names}

    @property
    def is_whole(self) -> bool:
        """Whether no picture was left out."""
        return all(len(self.looks[split][0]) == len(self.data.dataset(split)) for split in self.names)

    @property
    def count(self) -> int:
        return sum(len(places) for places, _, _ in self.looks.values())

    def _read(self, split: str, most: int) -> Looks:
        dataset = self.data.dataset(split)
        places = np.unique(np.linspace(0, len(dataset) - 1, min(most, len(dataset))).round().astype(np.int64))
        digests, small = [], []
        for start in range(0, len(places), _AT_ONCE):
            for picture in dataset.pack.read(dataset.rows[places[start : start + _AT_ONCE]]):
                digests.append(digest(picture))
                small.append(thumbnail(picture))
        return places, digests, np.stack(small)

    def name(self, split: str, place: int) -> str:
        """Of the picture at a place among those that are compared."""
        dataset = self.data.dataset(split)
        return legible(dataset.pack.names[dataset.rows[self.looks[split][0][place]]])

    def picture(self, split: str, place: int) -> np.ndarray:
        """(H, W, C) uint8."""
        dataset = self.data.dataset(split)
        return dataset.pack.read(dataset.rows[self.looks[split][0][[place]]])[0]

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Two splits at a time."""
        yield from combinations(self.names, 2)


def no_common_pictures(splits: Splits) -> Finding:
    """No picture is in two splits, pixel by pixel."""
    found: list[str] = []
    for one, other in splits.pairs():
        places = {content: place for place, content in enumerate(splits.looks[other][1])}
        found += [
            f"{one} {splits.name(one, place)} = {other} {splits.name(other, places[content])}"
            for place, content in enumerate(splits.looks[one][1])
            if content in places
        ]
    more = f": {'; '.join(found[:_NAMED])}{' …' if len(found) > _NAMED else ''}" if found else ""
    some = "" if splits.is_whole else " (a part of the set; pictures=NUMBER looks at more)"
    return Finding(not found, f"{len(found)} of {splits.count:,} pictures{some}{more}", "0", len(found))


def few_near_duplicates(splits: Splits, folder: Path) -> Finding:
    """Pictures in two splits that look the same; a person must judge, so it only warns."""
    found: list[tuple[str, str, Any]] = []
    for one, other in splits.pairs():
        pairs = alike(splits.looks[one][2], splits.looks[other][2])
        same = splits.looks[one][1], splits.looks[other][1]
        found += [(one, other, pair) for pair in pairs if same[0][pair.first] != same[1][pair.second]]
    if not found:
        return Finding(True, f"0 of {splits.count:,} pictures", "0", 0)
    found.sort(key=lambda entry: -entry[2].correlation)
    sheet = folder / "near_duplicates.png"
    shown: Sequence[Any] = found[:_SHOWN]
    draw_pairs(
        [
            tuple((splits.picture(split, place), f"{split} {splits.name(split, place)}")
                  for split, place in ((one, pair.first), (other, pair.second)))
            for one, other, pair in shown
        ],
        [f"correlation {pair.correlation:.3f}" for _, _, pair in shown],
        f"{len(found)} pairs of pictures in two splits that look the same", sheet,
    )  # fmt: skip
    return Finding(None, f"{len(found)} pairs look the same; judge by {sheet}", "0", len(found))
