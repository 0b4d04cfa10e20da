"""Real digits pasted on canvases, every pixel labelled: a small set for segmentation that needs no download.

The digits are the embedded ones (`data/digits.py`). Each canvas holds several of them at random places, enlarged, one
over the other where they meet. A canvas is a function of the seed, its split and its number; a digit serves one split
only, so that no handwriting of the test split was seen in training.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from PIL import Image

from striate.data.masks import IGNORE, Labelling, palette
from striate.data.pictures import decode
from striate.data.sampling import bits, hashed, integers, keys, uniform
from striate.data.sources.base import Entry, Inventory, Pair, RawFile, Source, raw_files
from striate.data.sources.folder import FolderSource
from striate.errors import ConfigurationError, DataError

SPLITS = ("train", "val", "test")
INK = 96  # from this grey value on a pixel belongs to the digit; what is fainter is its blurred edge


class DigitCanvases(Source):
    """Canvases with several digits: class 0 is the background, class d + 1 the digit d.

    Where digits overlap, the brighter ink is seen and labelled.

    Args:
        root: class folders of digit pictures: data/digits.
        canvases: split → how many.
        size: side of a canvas in pixels.
        digits: least and most digits on a canvas.
        scale: least and greatest enlargement of a digit of 8 × 8 pixels.
        seed: of all chance.
        hint: how to get the digits, for the message when they are missing.

    Raises:
        ConfigurationError: numbers out of their range.
    """

    def __init__(
        self,
        root: str,
        canvases: Mapping[str, int],
        size: Annotated[int, Ge(8)] = 64,
        digits: Sequence[int] = (2, 5),
        scale: Sequence[float] = (1.5, 3.0),
        seed: Annotated[int, Ge(0)] = 0,
        hint: str | None = None,
    ):
        super().__init__(root, hint)
        self.canvases = {str(split): int(count) for split, count in canvases.items()}
        if set(self.canvases) - set(SPLITS) or self.canvases.get("train", 0) < 1 or min(self.canvases.values()) < 0:
            raise ConfigurationError(
                f"data.source.canvases={self.canvases} is not valid: it needs train, and may have val, test"
            )
        self.size, self.seed = size, seed
        self.digits, self.scale = (int(digits[0]), int(digits[1])), (float(scale[0]), float(scale[1]))
        if not 1 <= self.digits[0] <= self.digits[1]:
            raise ConfigurationError(
                f"data.source.digits={list(digits)} is not valid: expected [least, most], from 1 on"
            )
        if not 0.5 <= self.scale[0] <= self.scale[1] or 8 * self.scale[1] > size:
            raise ConfigurationError(
                f"data.source.scale={list(scale)} is not valid: expected [least, greatest] from 0.5 to {size / 8:g}, "
                "where a digit fills the canvas"
            )

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(), "canvases": self.canvases, "size": self.size, "digits": self.digits,
            "scale": self.scale, "seed": self.seed,
        }  # fmt: skip

    def listing(self) -> list[RawFile]:
        return raw_files(self.root)

    def scan(self) -> Inventory:
        classes = ("background", *FolderSource(str(self.root)).scan().classes)
        colours = tuple((red, green, blue) for red, green, blue in palette(len(classes)))
        codes = tuple((label, label) for label in (*range(len(classes)), IGNORE))
        entries = [
            Entry(f"{split}/{number:05d}", "", split)
            for split in SPLITS
            for number in range(self.canvases.get(split, 0))
        ]
        masks = [f"{entry.name}.mask" for entry in entries]
        return Inventory(classes, entries, labelling=Labelling(classes, codes, colours), masks=masks)

    def read(self, inventory: Inventory) -> Iterator[Pair]:
        pictures, labels, names = self._digits()
        pools = _pools(names, [self.canvases.get(split, 0) for split in SPLITS], self.seed)
        for split, pool in zip(SPLITS, pools, strict=True):
            count = self.canvases.get(split, 0)
            chance = keys(hashed(self.seed, SPLITS.index(split)), 0, np.arange(count))
            for key in chance:
                yield self._canvas(key, pictures[pool], labels[pool])

    def _digits(self) -> tuple[list[np.ndarray] | np.ndarray, np.ndarray, list[str]]:
        """The pictures (N, H, W), their labels (N,) from 1 on, and their names."""
        source = FolderSource(str(self.root))
        inventory = source.scan()
        label_of = {name: label + 1 for label, name in enumerate(inventory.classes)}
        pictures = [decode(content.read(), 1)[:, :, 0] for content in source.read(inventory)]  # type: ignore[union-attr,arg-type]
        if {picture.shape for picture in pictures} != {(8, 8)}:
            raise DataError(f"{self.root} holds pictures that are not 8 × 8", do="data.source.root=data/digits")
        labels = np.array([label_of[entry.class_name] for entry in inventory.entries], np.uint8)
        return np.stack(pictures), labels, [entry.name for entry in inventory.entries]

    def _canvas(self, key: np.uint64, pictures: np.ndarray, labels: np.ndarray) -> Pair:
        own = np.array([key])
        count = int(integers(own, 0, self.digits[0], self.digits[1] + 1)[0])
        each = bits(own, 1)[0] ^ np.arange(1, count + 1, dtype=np.uint64)
        which = integers(each, 0, 0, len(pictures))
        sides = np.rint(8 * uniform(each, 1, *self.scale)).astype(np.int64)
        tops, lefts = (integers(each, stream, 0, self.size - sides + 1) for stream in (2, 3))
        canvas, mask = np.zeros((2, self.size, self.size), np.uint8)
        for digit, side, top, left in zip(which.tolist(), sides.tolist(), tops.tolist(), lefts.tolist(), strict=True):
            ink = np.asarray(Image.fromarray(pictures[digit]).resize((side, side), Image.Resampling.BICUBIC))
            seen = (slice(top, top + side), slice(left, left + side))
            above = ink > canvas[seen]
            mask[seen][above] = np.where(ink[above] >= INK, labels[digit], 0)
            canvas[seen][above] = ink[above]
        return Pair(canvas, mask)


def _pools(names: Sequence[str], counts: Sequence[int], seed: int) -> list[np.ndarray]:
    """Which digits serve which split, in proportion to its canvases; of each class about the same share."""
    shares = np.cumsum(np.array([0, *counts], float)) / max(1, sum(counts))
    chance = uniform(keys(hashed(seed, len(counts)), 0, np.arange(len(names))), 0)
    order = np.argsort(chance, kind="stable")
    bounds = np.rint(shares * len(names)).astype(np.int64)
    return [order[start:stop] for start, stop in pairwise(bounds.tolist())]
