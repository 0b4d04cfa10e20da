"""Several views of one picture at test time, whose predictions are averaged: the protocols of the papers.

Sizes are shares, as in `data.crop_fraction`: a view of 224 pixels and a share of 0.875 come from a picture that was
rescaled to a short side of 224/0.875 = 256.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from striate.data.preprocessing import Preprocessing
from striate.data.views import rescale, resize

Share = Annotated[float, Gt(0), Le(1)]
LONGEST = 4  # times the short side: of a longer picture the middle is seen, or a strip would fill the memory


class Views(ABC):
    """How a picture is looked at.

    Args:
        name: for reports and folders.
        mirrored: each view also as its mirror image, which the network's device makes.
        average: of the softmax ("probability"), or of what comes before it ("logit").

    Attributes:
        dense: the network is applied to whole pictures as a convolution (`models.convolutional`).
    """

    dense = False

    def __init__(self, name: str, mirrored: bool, average: Literal["probability", "logit"]):
        self.name, self.mirrored, self.average = name, mirrored, average

    @property
    def count(self) -> int:
        """Views of a picture, mirror images included."""
        return self.looks * (2 if self.mirrored else 1)

    @property
    @abstractmethod
    def looks(self) -> int:
        """Views of a picture without mirror images."""

    @property
    def area(self) -> float:
        """Pixels of them, in units of the network's usual input: what a picture costs."""
        return self.looks

    @abstractmethod
    def __call__(self, image: np.ndarray, preprocessing: Preprocessing) -> list[np.ndarray]:
        """The views of a pack's picture (H, W, C) uint8, in a fixed order, without mirror images; each uint8."""


class SingleView(Views):
    """The single view of evaluation, or that and its mirror image."""

    def __init__(
        self,
        name: str = "single",
        mirrored: bool = False,
        average: Literal["probability", "logit"] = "probability",
    ):
        super().__init__(name, mirrored, average)

    @property
    def looks(self) -> int:
        return 1

    def __call__(self, image: np.ndarray, preprocessing: Preprocessing) -> list[np.ndarray]:
        return [preprocessing.view(image)]


class Crops(Views):
    """Windows of the network's input size out of rescaled pictures.

    Args:
        name: for reports and folders.
        crop_fractions: a window's shares of the short side, one a scale; None: the one that the checkpoint records.
        squares: at each scale, windows are cut out of 1 square in the middle, or of so many spread along the long side;
            0: out of the whole picture.
        windows: "centre", "five" (four corners and the centre), or n for a grid of n × n.
        resized: each square also as a whole, resized to the input size; needs squares.
        mirrored: each view also as its mirror image.
        average: of the softmax, or of what comes before it.

    Raises:
        ValueError: a share that is none, or squares that are asked for and not there.
    """

    def __init__(
        self,
        name: str,
        crop_fractions: Sequence[Share] | None = None,
        squares: Annotated[int, Ge(0)] = 1,
        windows: Annotated[int, Ge(1)] | Literal["centre", "five"] = "five",
        resized: bool = False,
        mirrored: bool = True,
        average: Literal["probability", "logit"] = "probability",
    ):
        super().__init__(name, mirrored, average)
        if not isinstance(windows, int) and windows not in ("centre", "five"):
            raise ValueError(f"expected windows to be centre, five or a number, got {windows}")
        if resized and not squares:
            raise ValueError("expected squares >= 1 with resized=true: a whole picture has another aspect")
        self.crop_fractions = checked_shares(crop_fractions)
        self.squares, self.windows, self.resized = squares, windows, resized

    @property
    def looks(self) -> int:
        named = {"centre": 1, "five": 5}
        windows = self.windows**2 if isinstance(self.windows, int) else named[self.windows]
        return len(self.crop_fractions or "1") * max(self.squares, 1) * (windows + self.resized)

    def __call__(self, image: np.ndarray, preprocessing: Preprocessing) -> list[np.ndarray]:
        height, width = input_size(image, preprocessing)
        views = []
        for share in self.crop_fractions or (preprocessing.crop_fraction,):
            scaled = rescale(image, round(min(height, width) / share))
            for frame in self._frames(scaled, height, width):
                for top, left in self._corners(frame.shape[0] - height, frame.shape[1] - width):
                    views.append(frame[top : top + height, left : left + width])
                if self.resized:
                    views.append(resize(np.ascontiguousarray(frame), height, width))
        return views

    def _frames(self, image: np.ndarray, height: int, width: int) -> list[np.ndarray]:
        """What windows are cut out of."""
        if not self.squares:
            return [image]
        rows, columns = image.shape[:2]
        high, wide = max(min(rows, columns), height), max(min(rows, columns), width)
        last = self.squares - 1
        shares = [place / last for place in range(self.squares)] if last else [0.5]
        places = [(round((rows - high) * share), round((columns - wide) * share)) for share in shares]
        return [image[top : top + high, left : left + wide] for top, left in places]

    def _corners(self, high: int, wide: int) -> list[tuple[int, int]]:
        """Top and left of the windows, `high` and `wide` being the room that they have."""
        centre = (round(high / 2), round(wide / 2))  # as torchvision rounds
        if self.windows == "centre":
            return [centre]
        if self.windows == "five":
            return [(0, 0), (0, wide), (high, 0), (high, wide), centre]
        steps = np.linspace(0, 1, int(self.windows)) if self.windows != 1 else np.array([0.5])
        return [(round(high * down), round(wide * right)) for down in steps.tolist() for right in steps.tolist()]


class WholePictures(Views):
    """Whole rescaled pictures, over which the network is swept as a convolution; its scores are averaged over places.

    Args:
        name: for reports and folders.
        crop_fractions: the input size's shares of the short side, one a scale; None: the one that the checkpoint
            records, or 1 where it sees pictures whole.
        mirrored: each view also as its mirror image.
        average: over views; over the places of a view it is always of what comes before the softmax.
    """

    dense = True

    def __init__(
        self,
        name: str,
        crop_fractions: Sequence[Share] | None = None,
        mirrored: bool = True,
        average: Literal["probability", "logit"] = "probability",
    ):
        super().__init__(name, mirrored, average)
        self.crop_fractions = checked_shares(crop_fractions)

    @property
    def looks(self) -> int:
        return len(self.crop_fractions or "1")

    @property
    def area(self) -> float:
        return sum(1.5 / share**2 for share in self.crop_fractions or (0.875,))  # photographs have 3:2

    def __call__(self, image: np.ndarray, preprocessing: Preprocessing) -> list[np.ndarray]:
        own = 1.0 if preprocessing.input_size is None else preprocessing.crop_fraction
        side = min(input_size(image, preprocessing))
        longest = LONGEST * min(image.shape[:2])
        top, left = (max(0, (length - longest) // 2) for length in image.shape[:2])
        image = np.ascontiguousarray(image[top : top + longest, left : left + longest])
        return [rescale(image, round(side / share)) for share in self.crop_fractions or (own,)]


def input_size(image: np.ndarray, preprocessing: Preprocessing) -> tuple[int, int]:
    """(height, width) of what the network usually sees of a picture."""
    side = preprocessing.input_size
    return image.shape[:2] if side is None else (side, side)


def checked_shares(shares: Sequence[float] | None) -> tuple[float, ...] | None:
    """As a tuple.

    Raises:
        ValueError: none at all, or one out of its range.
    """
    if shares is not None and (not len(shares) or not all(0 < share <= 1 for share in shares)):
        raise ValueError(f"expected crop_fractions above 0 and at most 1, got {list(shares)}")
    return None if shares is None else tuple(shares)


def grouped(views: Sequence[Sequence[np.ndarray]]) -> tuple[list[Tensor], list[Tensor]]:
    """The views of several pictures, brought together by their size.

    Returns:
        For each size the views (n, H, W, C) uint8, and of which picture each is, (n,) int64.
    """
    groups: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
    for owner, several in enumerate(views):
        for view in several:
            groups.setdefault(view.shape, []).append((owner, view))
    images = [torch.from_numpy(np.stack([view for _, view in group])) for group in groups.values()]
    return images, [torch.tensor([owner for owner, _ in group]) for group in groups.values()]


def pictures_at_once(views: Views, batch_size: int) -> int:
    """How many pictures have together as many pixels to be seen as a batch of single views."""
    return max(1, math.floor(batch_size / views.area))
