"""From the bytes of a mask file to one form of masks: (H, W) uint8 of class numbers, 255 where nothing is to be said.

A mask is read as what it says, never as a picture: the indices of a palette and not its colours (unless colours are
what names the classes), grey values as they are, and no resampling but the nearest neighbour.
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageFile

from striate.data.pictures import EXTENSIONS, MAX_PIXELS, apply_geometry
from striate.errors import DataError

IGNORE = 255
"""In a mask: this pixel counts neither for training nor for evaluation."""

_UNKNOWN = 254
MOST_CLASSES = 254
FORMATS = [name for name in EXTENSIONS if name != "JPEG"]
_MATLAB = b"MATLAB 5.0 MAT-file"


@dataclass(frozen=True)
class Labelling:
    """What the values of mask files mean.

    Args:
        classes: names; the place is the number in the prepared mask.
        codes: (what stands in the file, class or `IGNORE`): a value, or a colour as red · 65,536 + green · 256 + blue.
        colours: (red, green, blue) in which each class is drawn.
        by: whether files are read as values or as colours.
        unknown: what no code names: "fail" refuses the mask, "ignore" takes it as `IGNORE`.
    """

    classes: tuple[str, ...]
    codes: tuple[tuple[int, int], ...]
    colours: tuple[tuple[int, int, int], ...]
    by: Literal["value", "colour"] = "value"
    unknown: Literal["fail", "ignore"] = "fail"


def read_mask(data: bytes, labelling: Labelling, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The mask of a file.

    Args:
        data: the whole file: PNG, BMP, WEBP or PPM, or MATLAB's (SBD's masks; needs SciPy).
        labelling: what its values mean.
        max_pixels: what declares more is refused before it is decoded.

    Returns:
        (H, W) uint8 of 0 … K − 1 and `IGNORE`.

    Raises:
        DataError: not such a file, damaged, too large, of colours where values are expected, or a value that is none
            of a class; `what` is the reason.
    """
    if not data:
        raise DataError("empty file")
    codes = _matlab(data) if data.startswith(_MATLAB) else _codes(data, labelling.by, max_pixels)
    return to_classes(codes, labelling)


def to_classes(codes: np.ndarray, labelling: Labelling) -> np.ndarray:
    """What stands in a mask, (H, W) whole numbers, as (H, W) uint8 of class numbers.

    Raises:
        DataError: a value that is none of a class.
    """
    if labelling.by == "value":
        mask = np.take(_values(labelling), codes, mode="clip")
    else:
        known, classes = _colours(labelling)
        place = np.searchsorted(known, codes).clip(0, len(known) - 1)
        other = IGNORE if labelling.unknown == "ignore" else _UNKNOWN
        mask = np.where(known[place] == codes, classes[place], np.uint8(other))
    if labelling.unknown == "fail" and (unknown := mask == _UNKNOWN).any():
        row, column = np.argwhere(unknown)[0].tolist()
        code = int(codes[row, column])
        said = code if labelling.by == "value" else [code >> 16, code >> 8 & 255, code & 255]
        kind = "value" if labelling.by == "value" else "colour"
        raise DataError(f"the {kind} {said} (first at row {row}, column {column}; {unknown.sum():,} pixels have one) "
                        "belongs to no class")  # fmt: skip
    return mask


def _codes(data: bytes, by: str, max_pixels: int) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=list(EXTENSIONS))
            if image.format not in FORMATS:
                raise DataError(f"{image.format} is no format for masks: it changes their values")
            if image.width * image.height > max_pixels:
                raise DataError(f"too large: {image.width} × {image.height} pixels, at most {max_pixels:,}")
            highest = _highest(image)
            image.load()
            return _colour_codes(image) if by == "colour" else _value_codes(image, highest)
    except DataError:
        raise
    except Image.UnidentifiedImageError as error:
        raise DataError(f"not a mask of a format that is read ({', '.join(FORMATS)})") from error
    except Exception as error:  # whatever a decoder throws at foreign bytes is a fact about these bytes
        raise DataError(f"cannot be decoded: {type(error).__name__}") from error


def _highest(image: ImageFile.ImageFile) -> int | None:
    """The greatest number that a sample of a file can be, where Pillow stretches it to 255 or 65,535 as it decodes."""
    arguments = image.tile[0].args if image.tile else None
    if image.format == "PPM" and isinstance(arguments, tuple) and len(arguments) == 2:
        return int(arguments[1])
    return {"L;2": 3, "L;4": 15}.get(str(arguments))


def _value_codes(image: Image.Image, highest: int | None) -> np.ndarray:
    if image.mode in ("L", "P", "1") or image.mode.startswith("I"):
        values = np.asarray(image)
        values = values.astype(np.uint8) if values.dtype == bool else values
    else:
        planes = np.asarray(image.convert("RGB"))
        if (planes[..., :1] != planes).any():
            raise DataError(
                "it has colours where class numbers are expected (data.source.read_as=colour, with a table)"
            )
        values = planes[..., 0]
    if highest is None:
        return values
    full = 65_535 if image.mode.startswith("I") else 255
    return (values.astype(np.int64) * highest + full // 2) // full


def _colour_codes(image: Image.Image) -> np.ndarray:
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB"), np.int32), 2, 0)
    return red << 16 | green << 8 | blue


def _matlab(data: bytes) -> np.ndarray:
    """The classes of SBD's masks: GTcls.Segmentation."""
    from scipy.io import loadmat

    try:
        return np.asarray(loadmat(io.BytesIO(data))["GTcls"][0, 0]["Segmentation"], np.int64)
    except Exception as error:
        raise DataError(f"a MATLAB file without GTcls.Segmentation ({type(error).__name__})") from error


@lru_cache(4)
def _values(labelling: Labelling) -> np.ndarray:
    table = np.full(1 << 16 | 1, IGNORE if labelling.unknown == "ignore" else _UNKNOWN, np.uint8)
    for code, label in labelling.codes:
        table[code] = label
    return table


@lru_cache(4)
def _colours(labelling: Labelling) -> tuple[np.ndarray, np.ndarray]:
    known = np.array(sorted(labelling.codes), np.int64)
    return known[:, 0].astype(np.int32), known[:, 1].astype(np.uint8)


def shape_mask(mask: np.ndarray, geometry: Mapping[str, Any]) -> np.ndarray:
    """A mask (H, W) brought to the size of its picture by the same cuts: nearest neighbour, `IGNORE` where padded."""
    return apply_geometry(mask[:, :, None], {**geometry, "interpolation": "nearest"}, fill=IGNORE)[:, :, 0]


def class_pixels(mask: np.ndarray, classes: int) -> list[int]:
    """How many pixels each class has in a mask."""
    return np.bincount(mask.ravel(), minlength=256)[:classes].tolist()


def palette(count: int) -> list[list[int]]:
    """Colours that are easily told apart, one a class: those of Pascal VOC's palette."""
    colours = []
    for label in range(count):
        red = green = blue = 0
        for bit in range(8):
            red |= (label >> (3 * bit) & 1) << (7 - bit)
            green |= (label >> (3 * bit + 1) & 1) << (7 - bit)
            blue |= (label >> (3 * bit + 2) & 1) << (7 - bit)
        colours.append([red, green, blue])
    return colours


def coloured(mask: np.ndarray, colours: Sequence[Sequence[int]]) -> np.ndarray:
    """A mask (H, W) in its classes' colours, (H, W, 3) uint8; black where nothing is said."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = colours
    return table[mask]


def overlaid(
    image: np.ndarray, mask: np.ndarray, colours: Sequence[Sequence[int]], strength: float = 0.6
) -> np.ndarray:
    """A picture (H, W, C) under its mask (H, W), (H, W, 3) uint8; as it is where nothing is said."""
    picture = np.broadcast_to(image, (*image.shape[:2], 3))
    mixed = np.rint((1 - strength) * picture + strength * coloured(mask, colours)).astype(np.uint8)
    return np.where((mask == IGNORE)[..., None], picture, mixed)
