"""Geometric augmentations that resample each picture (OpenCV), with parameters drawn for the whole batch at once."""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from striate.data.augmentation.arrays import checked_probability, checked_range
from striate.data.augmentation.base import Augmentation, Images, as_batch
from striate.data.sampling import Keys, integers, uniform

BORDERS = {"constant": cv2.BORDER_CONSTANT, "reflect": cv2.BORDER_REFLECT_101, "replicate": cv2.BORDER_REPLICATE}


class RandomAffine(Augmentation):
    """Rotate, scale, shear and shift about the centre; every amount uniform in its range, bilinear resampling.

    Args:
        degrees: largest rotation, either way.
        translate: largest shift, as a part of the side.
        scale: range of the magnification.
        shear: largest horizontal shear in degrees, either way.
        p: probability for a picture.
        border: what lies outside: "constant" (`fill`), "reflect" or "replicate".
        fill: grey value, or one value a channel.
    """

    def __init__(
        self,
        degrees: float = 0.0,
        translate: float = 0.0,
        scale: tuple[float, float] = (1.0, 1.0),
        shear: float = 0.0,
        p: float = 1.0,
        border: Literal["constant", "reflect", "replicate"] = "constant",
        fill: int | Sequence[int] = 0,
    ):
        if border not in BORDERS:
            raise ValueError(f"expected border to be one of {', '.join(BORDERS)}, got {border}")
        self.degrees, self.shear, self.translate = degrees, shear, translate
        self.scale = checked_range("scale", scale, 1e-3, 1e3)
        self.p, self.border, self.fill = checked_probability(p), border, fill

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        images = as_batch(images)
        _, height, width, channels = images.shape
        matrices = self.matrices(keys, height, width)
        fill = self.fill if isinstance(self.fill, int) else tuple(self.fill)
        fill = (fill,) * channels if isinstance(fill, int) else fill
        warped = images.copy()
        for position in np.flatnonzero(uniform(keys, 0) < self.p):
            warped[position] = cv2.warpAffine(
                images[position], matrices[position], (width, height), borderMode=BORDERS[self.border], borderValue=fill
            ).reshape(height, width, channels)
        return warped

    def matrices(self, keys: Keys, height: int, width: int) -> np.ndarray:
        """(B, 2, 3), from old pixel (x, y, 1) to new pixel (x, y); y points down."""
        angle = np.deg2rad(uniform(keys, 1, -self.degrees, self.degrees))
        shear = np.tan(np.deg2rad(uniform(keys, 2, -self.shear, self.shear)))
        scale = uniform(keys, 3, *self.scale)
        cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
        linear = np.stack([cosine, cosine * shear + sine, -sine, cosine - sine * shear], 1).reshape(-1, 2, 2)
        centre = np.array([(width - 1) / 2, (height - 1) / 2])
        shift = np.stack([uniform(keys, 4, -width, width), uniform(keys, 5, -height, height)], 1) * self.translate
        return np.concatenate([linear, (centre - linear @ centre + shift)[:, :, None]], 2)


class RandomResizedCrop(Augmentation):
    """Cut a window of random area and aspect and resize it to a square (Szegedy et al. 2014, section 6).

    A window that does not fit is drawn again, ten times at most; after that the largest window in the middle with an
    aspect within the range is taken, as in torchvision.

    Args:
        size: side of the result in pixels; None keeps the size of pictures that share one.
        scale: range of the window's part of the picture's area.
        ratio: range of its width over its height, drawn uniformly in the logarithm.
    """

    attempts = 10

    def __init__(
        self,
        size: int | None,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ):
        if size is not None and size < 1:
            raise ValueError(f"expected size >= 1 pixel, got {size}")
        self.size = size
        self.scale, self.ratio = checked_range("scale", scale, 0.0, 1.0), checked_range("ratio", ratio, 1e-3, 1e3)

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        sides = np.array([image.shape[:2] for image in images], np.int64).reshape(-1, 2)
        views = []
        for image, (top, left, rows, columns) in zip(images, self.windows(keys, *sides.T), strict=True):
            height, width = (self.size, self.size) if self.size is not None else image.shape[:2]
            views.append(resample(image[top : top + rows, left : left + columns], height, width))
        return as_batch(views)

    def windows(self, keys: Keys, height: np.ndarray, width: np.ndarray) -> np.ndarray:
        """(B, 4): top, left, rows and columns of the windows in pictures of heights and widths (B,)."""
        aspect = np.clip(width / height, *self.ratio)
        rows = np.minimum(height, np.rint(width / aspect)).astype(np.int64)
        columns = np.minimum(width, np.rint(height * aspect)).astype(np.int64)
        top, left = (height - rows) // 2, (width - columns) // 2
        open_ = np.ones(len(keys), bool)
        for attempt in range(self.attempts):
            stream = 4 * attempt
            area = uniform(keys, stream, *self.scale) * height * width
            ratio = np.exp(uniform(keys, stream + 1, *np.log(self.ratio)))
            try_rows = np.maximum(np.rint(np.sqrt(area / ratio)), 1).astype(np.int64)
            try_columns = np.maximum(np.rint(np.sqrt(area * ratio)), 1).astype(np.int64)
            fits = open_ & (try_rows <= height) & (try_columns <= width)
            rows, columns = np.where(fits, try_rows, rows), np.where(fits, try_columns, columns)
            top = np.where(fits, integers(keys, stream + 2, 0, np.maximum(height - rows, 0) + 1), top)
            left = np.where(fits, integers(keys, stream + 3, 0, np.maximum(width - columns, 0) + 1), left)
            open_ &= ~fits
            if not open_.any():
                break
        return np.stack([top, left, rows, columns], 1)


def resample(window: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (H, W, C) to (height, width, C), fast: whole factors by area average, the rest (below 2) bilinear.

    Less anti-aliased than `striate.data.views.resize` and faster; drops up to factor − 1 pixels at two edges.
    """
    rows, columns, channels = window.shape
    factor = min(rows // height, columns // width)
    if factor >= 2:
        reduced = (columns // factor, rows // factor)  # OpenCV is quick where the factor is whole
        window = cv2.resize(window[: reduced[1] * factor, : reduced[0] * factor], reduced, interpolation=cv2.INTER_AREA)
    return cv2.resize(window, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, channels)
