"""Geometric augmentations that resample each picture (OpenCV), with parameters drawn for the whole batch at once."""

import copy
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from annotated_types import Ge

from striate.data.augmentation.arrays import checked_probability, checked_range
from striate.data.augmentation.base import Augmentation, Images, Masks, as_batch, as_masks
from striate.data.masks import IGNORE
from striate.data.sampling import Keys, integers, uniform

BORDERS = {"constant": cv2.BORDER_CONSTANT, "reflect": cv2.BORDER_REFLECT_101, "replicate": cv2.BORDER_REPLICATE}
METHODS = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA)


class RandomAffine(Augmentation):
    """Rotate, scale, squeeze, shear and shift about the centre; all amounts uniform in their ranges, bilinear.

    Args:
        degrees: largest rotation, either way.
        translate: largest shift, as a part of the side.
        scale: range of the magnification.
        shear: largest horizontal shear in degrees, either way.
        p: probability for a picture.
        border: what lies outside: "constant" (`fill`), "reflect" or "replicate".
        fill: grey value, or one value a channel.
        squeeze: largest factor s ≥ 1 by which width shrinks while height grows, or the reverse; uniform in its
            logarithm (LeCun et al. 1998, section III.A.4).
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
        squeeze: Annotated[float, Ge(1)] = 1.0,
    ):
        if border not in BORDERS:
            raise ValueError(f"expected border to be one of {', '.join(BORDERS)}, got {border}")
        if squeeze < 1:
            raise ValueError(f"expected squeeze >= 1, got {squeeze}")
        self.degrees, self.shear, self.translate = degrees, shear, translate
        self.scale = checked_range("scale", scale, 1e-3, 1e3)
        self.p, self.border, self.fill = checked_probability(p), border, fill
        self.squeeze = squeeze

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

    def pair(self, images: Images, masks: Masks, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        masks = as_masks(masks)
        _, height, width = masks.shape
        matrices, warped = self.matrices(keys, height, width), masks.copy()
        for position in np.flatnonzero(uniform(keys, 0) < self.p):
            warped[position] = cv2.warpAffine(
                masks[position], matrices[position], (width, height), flags=cv2.INTER_NEAREST,
                borderMode=BORDERS[self.border], borderValue=IGNORE,
            )  # fmt: skip
        return self(images, keys), warped

    def matrices(self, keys: Keys, height: int, width: int) -> np.ndarray:
        """(B, 2, 3), from old pixel (x, y, 1) to new pixel (x, y); y points down."""
        angle = np.deg2rad(uniform(keys, 1, -self.degrees, self.degrees))
        shear = np.tan(np.deg2rad(uniform(keys, 2, -self.shear, self.shear)))
        scale = uniform(keys, 3, *self.scale)
        cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
        linear = np.stack([cosine, cosine * shear + sine, -sine, cosine - sine * shear], 1).reshape(-1, 2, 2)
        wider = np.exp(uniform(keys, 6, -np.log(self.squeeze), np.log(self.squeeze)))
        linear = linear * np.stack([wider, 1.0 / wider], 1)[:, None]  # before all else: the columns are x and y
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
        interpolation: "bilinear", with whole factors by area first; or "random": nearest, bilinear, bicubic or area,
            each as likely ("with equal probability", section 6).
    """

    attempts = 10

    def __init__(
        self,
        size: int | None,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: Literal["bilinear", "random"] = "bilinear",
    ):
        if (size is not None and size < 1) or interpolation not in ("bilinear", "random"):
            raise ValueError(f"expected size >= 1 pixel and interpolation bilinear or random, got {size} and "
                             f"{interpolation}")  # fmt: skip
        self.size, self.interpolation = size, interpolation
        self.scale, self.ratio = checked_range("scale", scale, 0.0, 1.0), checked_range("ratio", ratio, 1e-3, 1e3)

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        sides = np.array([image.shape[:2] for image in images], np.int64).reshape(-1, 2)
        methods = integers(keys, 4 * self.attempts, 0, len(METHODS)).tolist()
        views = []
        for image, window, method in zip(images, self.windows(keys, *sides.T).tolist(), methods, strict=True):
            top, left, rows, columns = window
            height, width = (self.size, self.size) if self.size is not None else image.shape[:2]
            content = image[top : top + rows, left : left + columns]
            if self.interpolation == "random":
                resized = cv2.resize(content, (width, height), interpolation=METHODS[method])
                views.append(resized.reshape(height, width, image.shape[2]))
            else:
                views.append(resample(content, height, width))
        return as_batch(views)

    def pair(self, images: Images, masks: Masks, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        sides = np.array([mask.shape for mask in masks], np.int64).reshape(-1, 2)
        views = []
        for mask, (top, left, rows, columns) in zip(masks, self.windows(keys, *sides.T).tolist(), strict=True):
            height, width = (self.size, self.size) if self.size is not None else mask.shape
            whole_factors = self.interpolation == "bilinear"
            content = mask[top : top + rows, left : left + columns]
            views.append(resample_mask(content, height, width, whole_factors))
        return self(images, keys), as_masks(views)

    def keeping_size(self, side: int) -> "RandomResizedCrop":
        return _without_size(self) if self.size == side else self

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


class RescaledCrop(Augmentation):
    """Rescale the picture, keeping its aspect, and cut a square of `size` pixels out at a random place.

    The short side S is uniform among the whole numbers of its range: fixed at 256 for a window of 224 in AlexNet
    (Krizhevsky et al. 2012, section 4.1), between 256 and 512 in VGG (Simonyan & Zisserman 2014, section 3.1), between
    256 and 480 in ResNet (He et al. 2015, section 3.4). All places are equally likely.

    Args:
        size: side of the window in pixels; None keeps the size of pictures that share one.
        crop_fraction: range of the window's share of the short side: S lies between size / high and size / low.
        square: only the square in the middle of the rescaled picture counts, as AlexNet has it.
        places: "any", or "five": the four corners and the centre, each as likely (Zeiler & Fergus 2013, section 3.1).
    """

    def __init__(
        self,
        size: int | None,
        crop_fraction: tuple[float, float] = (0.875, 0.875),
        square: bool = False,
        places: Literal["any", "five"] = "any",
    ):
        if (size is not None and size < 1) or places not in ("any", "five"):
            raise ValueError(f"expected size >= 1 pixel and places any or five, got {size} and {places}")
        self.size, self.square, self.places = size, square, places
        self.crop_fraction = checked_range("crop_fraction", crop_fraction, 1e-3, 1.0)

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        views = []
        for image, (rows, columns, height, width, top, left) in zip(images, self.windows(keys, images), strict=True):
            whole = resample(image, rows, columns) if image.shape[:2] != (rows, columns) else image
            views.append(whole[top : top + height, left : left + width])
        return as_batch(views)

    def pair(self, images: Images, masks: Masks, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        views = []
        for mask, (rows, columns, height, width, top, left) in zip(masks, self.windows(keys, masks), strict=True):
            whole = resample_mask(mask, rows, columns) if mask.shape != (rows, columns) else mask
            views.append(whole[top : top + height, left : left + width])
        return self(images, keys), as_masks(views)

    def keeping_size(self, side: int) -> "RescaledCrop":
        return _without_size(self) if self.size == side else self

    def windows(self, keys: Keys, images: Images) -> list[list[int]]:
        """For each picture or mask height and width after rescaling, height and width of the window, top and left."""
        sides = np.array([image.shape[:2] for image in images], np.int64).reshape(-1, 2)
        wanted = np.full_like(sides, self.size) if self.size is not None else sides
        low, high = (np.rint(wanted.min(1) / share).astype(np.int64) for share in self.crop_fraction[::-1])
        scaled = rescaled(sides, integers(keys, 0, low, high + 1), wanted)
        return np.concatenate([scaled, wanted, self.corners(keys, scaled, wanted)], 1).tolist()

    def corners(self, keys: Keys, sides: np.ndarray, window: np.ndarray) -> np.ndarray:
        """(B, 2): top and left of windows (B, 2) in pictures of heights and widths (B, 2)."""
        frame = np.maximum(sides.min(1, keepdims=True), window) if self.square else sides
        room = frame - window
        place = np.stack([integers(keys, 1, 0, room[:, 0] + 1), integers(keys, 2, 0, room[:, 1] + 1)], 1)
        if self.places == "five":
            shares = np.array([(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)])[integers(keys, 1, 0, 5)]
            place = (room * shares) // 2
        return (sides - frame) // 2 + place


def _without_size(crop: Any) -> Any:
    other = copy.copy(crop)
    other.size = None
    return other


def rescaled(sides: np.ndarray, short_side: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Heights and widths (B, 2) brought to short sides (B,), the aspect kept, none below `least` (B, 2)."""
    long = np.floor(short_side * sides.max(1) / sides.min(1)).astype(np.int64)
    upright = (sides[:, 0] > sides[:, 1])[:, None]
    scaled = np.where(upright, np.stack([long, short_side], 1), np.stack([short_side, long], 1))
    return np.maximum(scaled, least)


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


def resample_mask(window: np.ndarray, height: int, width: int, whole_factors: bool = True) -> np.ndarray:
    """Resize (H, W) to (height, width) by the nearest neighbour, moving everything as `resample` does."""
    rows, columns = window.shape
    factor = min(rows // height, columns // width)
    if factor >= 2 and whole_factors:
        window = window[: rows // factor * factor, : columns // factor * factor]
    # Not INTER_NEAREST, which takes the pixel at the corner and not that in the middle.
    return cv2.resize(window, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
