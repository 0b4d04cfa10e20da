"""Augmentations of a whole batch (B, H, W, C) by array operations, for packs of small pictures of one size.

What costs a microsecond a picture in Python is felt here: a LeNet-5 takes 60 µs for one.
"""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.lib.stride_tricks import as_strided

from striate.data.augmentation.base import Augmentation, Images, Masks, Photometric, as_batch, as_masks
from striate.data.masks import IGNORE
from striate.data.sampling import GOLDEN, Keys, bits, integers, mix, uniform

cv2.setNumThreads(0)  # the worker processes are the parallelism; threads of a forked parent can hang in a child

LARGE = 1 << 14  # pixels of a picture, from which on passes over the memory cost more than calls


class PadAndCrop(Augmentation):
    """Pad all sides and cut the old size out at a random place: a shift by up to `padding` pixels in each axis.

    "4 pixels are padded on each side, and a 32×32 crop is randomly sampled" (He et al. 2015, section 4.2).

    Args:
        padding: pixels on each side; all (2 padding + 1)² offsets are equally likely.
        mode: "constant" pads with `fill`, "reflect" mirrors the picture without repeating its edge.
        fill: grey value, or one value a channel. The paper pads after subtracting the mean: its fill is the mean.
    """

    def __init__(self, padding: int, mode: Literal["constant", "reflect"] = "constant", fill: int | Sequence[int] = 0):
        if padding < 1 or mode not in ("constant", "reflect"):
            raise ValueError(f"expected padding >= 1 and mode constant or reflect, got {padding} and {mode}")
        self.padding, self.mode, self.fill = padding, mode, fill

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        images = as_batch(images)
        padded = self.pad(images)
        top = integers(keys, 0, 0, 2 * self.padding + 1)
        left = integers(keys, 1, 0, 2 * self.padding + 1)
        return cut(padded, top, left, images.shape[1], images.shape[2])

    def pair(self, images: Images, masks: Masks, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        moved = PadAndCrop(self.padding, self.mode, IGNORE)(as_masks(masks)[..., None], keys)
        return self(images, keys), moved[..., 0]

    def pad(self, images: np.ndarray) -> np.ndarray:
        """(B, H, W, C) to (B, H + 2 padding, W + 2 padding, C)."""
        count, height, width, channels = images.shape
        if self.mode == "reflect":
            sides = (self.padding, self.padding)
            return np.pad(images, ((0, 0), sides, sides, (0, 0)), mode="reflect")
        padded = np.empty((count, height + 2 * self.padding, width + 2 * self.padding, channels), np.uint8)
        padded[...] = self.fill
        padded[:, self.padding : -self.padding, self.padding : -self.padding] = images
        return padded


def cut(images: np.ndarray, top: np.ndarray, left: np.ndarray, height: int, width: int) -> np.ndarray:
    """One window (height, width) out of each picture, the corner at (top, left), each (B,).

    A view of all windows costs nothing; picking one of each picture then copies whole rows of bytes.
    """
    count, full_height, full_width, channels = images.shape
    images = np.ascontiguousarray(images)
    by_picture, by_row, by_column, _ = images.strides
    windows = as_strided(
        images,
        (count, full_height - height + 1, full_width - width + 1, height, width * channels),
        (by_picture, by_row, by_column, by_row, 1),
        writeable=False,
    )
    return windows[np.arange(count), top, left].reshape(count, height, width, channels)


class HorizontalFlip(Augmentation):
    """Mirror left and right with probability `p`. Not for digits and letters, which it makes into others."""

    def __init__(self, p: float = 0.5):
        self.p = checked_probability(p)

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        images = as_batch(images)
        chosen = uniform(keys, 0) < self.p
        _, height, width, channels = images.shape
        if height * width > LARGE:
            flipped = np.empty_like(images)
            for image, one, mirrored in zip(images, flipped, chosen.tolist(), strict=True):
                one[...] = cv2.flip(image, 1).reshape(image.shape) if mirrored else image
            return flipped
        flipped = images.copy()
        if chosen.any():
            # All chosen pictures under one another are one tall picture, flipped by one vectorised call.
            tall = images[chosen].reshape(-1, width, channels)
            flipped[chosen] = cv2.flip(tall, 1).reshape(-1, *images.shape[1:])
        return flipped

    def pair(self, images: Images, masks: Masks, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        return self(images, keys), self(as_masks(masks)[..., None], keys)[..., 0]


class RandomErasing(Augmentation):
    """Overwrite a random rectangle (Zhong et al. 2017, "Random erasing data augmentation", algorithm 1).

    A rectangle higher or wider than the picture is cut to it, where the paper draws again.

    Args:
        p: probability for a picture.
        area: range of the rectangle's part of the picture's area.
        ratio: range of its height over its width, drawn uniformly in the logarithm.
        fill: "random" gives each byte a value of its own (the paper's best); or a grey value, or one a channel.
    """

    def __init__(
        self,
        p: float = 0.5,
        area: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        fill: int | Sequence[int] | Literal["random"] = "random",
    ):
        self.p = checked_probability(p)
        self.area, self.ratio = checked_range("area", area, 0.0, 1.0), checked_range("ratio", ratio, 1e-3, 1e3)
        if isinstance(fill, str) and fill != "random":
            raise ValueError(f'expected fill to be "random", a grey value or one value a channel, got {fill!r}')
        self.fill = fill

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        images = as_batch(images)
        fill = noise(bits(keys, 5), images.shape) if self.fill == "random" else self.fill
        return overwrite(images, *self.bounds(keys, *images.shape[1:3]), fill)

    def pair(self, images: Images, masks: Masks, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        """What is erased does not count: there is nothing to tell it by."""
        masks = as_masks(masks)[..., None]
        return self(images, keys), overwrite(masks, *self.bounds(keys, *masks.shape[1:3]), IGNORE)[..., 0]

    def bounds(self, keys: Keys, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Top, bottom, left and right (B,) of the rectangles; bottom is top where a picture stays as it is."""
        area = uniform(keys, 1, *self.area) * height * width
        ratio = np.exp(uniform(keys, 2, *np.log(self.ratio)))
        rows = np.clip(np.rint(np.sqrt(area * ratio)), 1, height).astype(np.int64)
        columns = np.clip(np.rint(np.sqrt(area / ratio)), 1, width).astype(np.int64)
        top = integers(keys, 3, 0, height - rows + 1)
        left = integers(keys, 4, 0, width - columns + 1)
        chosen = uniform(keys, 0) < self.p
        return top, top + rows * chosen, left, left + columns


class Cutout(Augmentation):
    """Overwrite a square whose centre lies anywhere in the picture, so that it may stick out (DeVries & Taylor 2017).

    Args:
        size: side in pixels; the paper takes 16 for CIFAR-10, 8 for CIFAR-100.
        p: probability for a picture.
        fill: grey value, or one value a channel.
    """

    def __init__(self, size: int, p: float = 1.0, fill: int | Sequence[int] = 0):
        if size < 1:
            raise ValueError(f"expected size >= 1 pixel, got {size}")
        self.size, self.p, self.fill = size, checked_probability(p), fill

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        images = as_batch(images)
        return overwrite(images, *self.bounds(keys, *images.shape[1:3]), self.fill)

    def pair(self, images: Images, masks: Masks, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        """What is overwritten does not count: there is nothing to tell it by."""
        masks = as_masks(masks)[..., None]
        return self(images, keys), overwrite(masks, *self.bounds(keys, *masks.shape[1:3]), IGNORE)[..., 0]

    def bounds(self, keys: Keys, height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Top, bottom, left and right (B,) of the squares; bottom is top where a picture stays as it is."""
        top = integers(keys, 1, 0, height) - self.size // 2
        left = integers(keys, 2, 0, width) - self.size // 2
        chosen = uniform(keys, 0) < self.p
        return top, top + self.size * chosen, left, left + self.size


class BrightnessContrast(Photometric):
    """Scale brightness, then contrast about the picture's mean, each by a factor uniform in [1 − x, 1 + x].

    Args:
        brightness: largest relative change, 0 to 1.
        contrast: largest relative change, 0 to 1.
        p: probability for a picture.
    """

    def __init__(self, brightness: float = 0.2, contrast: float = 0.2, p: float = 1.0):
        if not (0.0 <= brightness <= 1.0 and 0.0 <= contrast <= 1.0):
            raise ValueError(f"expected brightness and contrast in 0 … 1, got {brightness} and {contrast}")
        self.brightness, self.contrast, self.p = brightness, contrast, checked_probability(p)

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        images = as_batch(images)
        brightness = uniform(keys, 1, 1.0 - self.brightness, 1.0 + self.brightness)[:, None]
        contrast = uniform(keys, 2, 1.0 - self.contrast, 1.0 + self.contrast)[:, None]
        mean = brightness * images.mean(axis=(1, 2, 3))[:, None]
        values = contrast * (brightness * np.arange(256.0) - mean) + mean
        tables = np.clip(np.rint(values), 0, 255).astype(np.uint8)  # both changes at once, one table a picture
        changed = images.copy()
        for position in np.flatnonzero(uniform(keys, 0) < self.p):
            changed[position] = cv2.LUT(images[position], tables[position]).reshape(changed.shape[1:])
        return changed


def overwrite(
    images: np.ndarray, top: np.ndarray, bottom: np.ndarray, left: np.ndarray, right: np.ndarray, fill: object
) -> np.ndarray:
    """A copy in which rows top … bottom − 1 of the columns left … right − 1 are `fill`.

    The bounds are (B,) and may lie outside; `fill` is one value, one a channel, or an array like `images`.
    """
    changed = images.copy()
    fills = np.broadcast_to(np.asarray(fill, np.uint8), images.shape)
    corners = np.stack([top, bottom, left, right], 1).clip(0).tolist()
    for one, values, (first, last, start, stop) in zip(changed, fills, corners, strict=True):
        one[first:last, start:stop] = values[first:last, start:stop]
    return changed


def noise(keys: Keys, shape: tuple[int, ...]) -> np.ndarray:
    """Random bytes of the given shape (B, ...), eight of each counter of each key."""
    size = int(np.prod(shape[1:]))
    counters = np.arange(1, -(-size // 8) + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    words = mix(keys[:, None] + counters).astype("<u8", copy=False)  # the same bytes on every machine
    return words.view(np.uint8)[:, :size].reshape(shape)


def checked_probability(p: float) -> float:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"expected a probability p in 0 … 1, got {p}")
    return p


def checked_range(name: str, values: Sequence[float], lowest: float, highest: float) -> tuple[float, float]:
    low, high = values
    if not lowest <= low <= high <= highest:
        raise ValueError(f"expected {name} to be a range within {lowest} … {highest}, got {low} … {high}")
    return low, high
