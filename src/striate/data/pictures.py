"""From the bytes of a picture file to one form of pixels: (H, W, C) uint8.

The form that every picture is decoded to, whatever its file was:

| in the file | in memory |
| --- | --- |
| EXIF orientation | applied: the picture stands as a viewer shows it |
| alpha, also of a palette or a transparent colour | laid over white |
| palette, bilevel, CMYK, YCCK | RGB or grey |
| 16 bits per value | the high byte (v >> 8) |
| several frames | the first one |
| grey where 3 channels are asked for | the value in all three |
| colour where 1 channel is asked for | luma of ITU-R BT.601, 0.299 R + 0.587 G + 0.114 B |

Colour profiles and gamma are not applied. A file is judged by its content, never by its name, and is decoded to its
last row, since neither its header nor Pillow's `verify` shows that it is cut off.
"""

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image

from striate.data.jpeg import plain_frame
from striate.errors import DataError

EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""The formats that are read. Few on purpose: each decoder is a way in for a hostile file."""

FORMAT_OF = {extension: name for name, extensions in EXTENSIONS.items() for extension in extensions}
PICTURE_EXTENSIONS = {
    *FORMAT_OF, ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".j2k", ".jxl", ".svg", ".ico", ".tga",
    ".pcx", ".psd", ".exr", ".hdr", ".dng", ".raw", ".cr2", ".nef", ".arw",
}  # fmt: skip
"""What claims to be a picture. Such a file of a format that is not read is reported, not passed over."""

MAX_PIXELS = 89_478_485  # a quarter of a gigabyte as RGB; Pillow warns from here on
MAX_FILE_BYTES = 256 << 20
FITS = ("crop", "pad", "stretch")
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
JPEG_QUALITY = 95

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_OTHER_FORMATS = {
    b"GIF8": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"%PDF": "PDF",
    b"8BPS": "PSD",
    b"<svg": "SVG",
}


@dataclass(frozen=True)
class Picture:
    """A decoded file.

    Args:
        pixels: (H, W, C) uint8.
        format: of the content: "JPEG", "PNG", "WEBP", "BMP" or "PPM".
        plain: decoding the file's bytes by any sound decoder, and no more than that, gives `pixels`.
        lossy: the file is compressed with loss.
    """

    pixels: np.ndarray
    format: str
    plain: bool
    lossy: bool


def decode(data: bytes, channels: int, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The pixels of a picture file in the form that this module documents.

    Args:
        data: the whole file.
        channels: 1 for grey, 3 for RGB.
        max_pixels: what declares more is refused before it is decoded.

    Returns:
        (H, W, channels) uint8.

    Raises:
        DataError: not a picture of a format that is read, cut off, damaged or too large; `what` is the reason.
    """
    return read_picture(data, channels, max_pixels=max_pixels).pixels


def read_picture(data: bytes, channels: int, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Like `decode`, with what the file was."""
    if channels not in (1, 3):
        raise ValueError(f"expected 1 or 3 channels, got {channels}")
    if not data:
        raise DataError("empty file")
    picture = _read_plain_jpeg(data, channels, max_pixels)
    if picture is not None:
        return picture
    try:
        with warnings.catch_warnings():
            # Pillow warns of a size that is refused below, and of metadata that are not used.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=list(EXTENSIONS))
            width, height = image.size
            if width * height > max_pixels:
                raise DataError(f"too large: {width} × {height} pixels, at most {max_pixels:,} are decoded")
            image.load()
            return _standard(image, data, channels)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"too large: at most {max_pixels:,} pixels are decoded") from error
    except Image.UnidentifiedImageError as error:
        raise DataError(_unidentified(data)) from error
    except Exception as error:  # whatever a decoder throws at foreign bytes is a fact about these bytes
        raise DataError(f"cannot be decoded: {_one_line(error)}") from error


def _read_plain_jpeg(data: bytes, channels: int, max_pixels: int) -> Picture | None:
    """Most JPEGs, by OpenCV: the same pixels to the bit, in a quarter of the time where pictures are small."""
    frame = plain_frame(data)
    if frame is None or frame.height * frame.width > min(max_pixels, MAX_PIXELS):
        return None
    pixels = decode_packed(np.frombuffer(data, np.uint8), frame.channels)
    if pixels is None:
        return None  # Pillow knows the reason
    if frame.channels > channels:  # not OpenCV's grey, which is the Y of the file
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
    elif frame.channels < channels:
        pixels = np.repeat(pixels, channels, axis=2)
    return Picture(pixels, "JPEG", plain=frame.channels <= channels, lossy=True)


def _standard(image: Image.Image, data: bytes, channels: int) -> Picture:
    format_name = "JPEG" if image.format == "MPO" else str(image.format)
    mode, target = image.mode, "L" if channels == 1 else "RGB"
    plain = (
        format_name in ("JPEG", "PNG")
        and mode in ("L", target)
        and "transparency" not in image.info
        and (format_name == "JPEG" or (data[24] == 8 and not getattr(image, "is_animated", False)))
    )
    turn = _turn(image)
    if turn is not None:
        image, plain = image.transpose(turn), False
    if mode.startswith("I"):
        image = Image.fromarray((np.clip(np.asarray(image, np.int64), 0, 65535) >> 8).astype(np.uint8))
    elif mode == "F":
        raise DataError("floating-point pixels have no 8-bit form")
    elif "A" in mode or "a" in mode or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    pixels = np.asarray(image if image.mode == target else image.convert(target))
    lossy = format_name == "JPEG" or (format_name == "WEBP" and b"VP8L" not in data)
    return Picture(pixels.reshape(*pixels.shape[:2], channels), format_name, plain, lossy)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What brings a picture upright that the camera held as EXIF's orientation says."""
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # broken metadata, such as some photographs of ImageNet have, are none
        return None
    return _TURNS.get(orientation)


def _unidentified(data: bytes) -> str:
    kind = next((name for magic, name in _OTHER_FORMATS.items() if data.startswith(magic)), None)
    if kind is None and data[4:8] == b"ftyp":
        kind = "HEIC or AVIF"
    read = ", ".join(EXTENSIONS)
    return f"{kind} is not read (only {read})" if kind else f"not a picture of a format that is read ({read})"


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return text if text and " at 0x" not in text else type(error).__name__


def apply_geometry(image: np.ndarray, geometry: Mapping[str, Any], fill: int = 0) -> np.ndarray:
    """Brings a picture to the size that a pack gave to it; `prepare` and `predict` both call this.

    First what is larger than `max_short_side` is shrunk to it, the aspect kept; then, where `image_size` is given, the
    picture is fitted to it. Resampling is Pillow's, which takes all pixels into account when it shrinks.

    Args:
        image: (H, W, C) uint8, C is 1 or 3.
        geometry: "image_size" ([height, width] or None), "fit" ("crop": the largest middle part of the aspect;
            "pad": the whole picture on black; "stretch"), "max_short_side" (pixels or None), "interpolation".
        fill: grey value of what is padded.

    Returns:
        (H', W', C) uint8; `image` itself where nothing is to be done.
    """
    interpolation = str(geometry.get("interpolation", "bicubic"))
    limit, size = geometry.get("max_short_side"), geometry.get("image_size")
    short = min(image.shape[:2])
    if limit is not None and short > limit:
        height, width = (max(1, round(side * limit / short)) for side in image.shape[:2])
        image = _resize(image, height, width, interpolation)
    if size is None or image.shape[:2] == (size[0], size[1]):
        return image
    height, width = int(size[0]), int(size[1])
    fit = geometry.get("fit", "crop")
    if fit == "stretch":
        return _resize(image, height, width, interpolation)
    if fit == "pad":
        return _pad(image, height, width, interpolation, fill)
    return _crop(image, height, width, interpolation)


def _crop(image: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    # Cut first, resize then: the other way round a picture of 1 × 5,000 pixels would become a giant in between.
    rows, columns = image.shape[:2]
    scale = min(rows / height, columns / width)
    cut_rows, cut_columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (rows - cut_rows) // 2, (columns - cut_columns) // 2
    return _resize(image[top : top + cut_rows, left : left + cut_columns], height, width, interpolation)


def _pad(image: np.ndarray, height: int, width: int, interpolation: str, fill: int) -> np.ndarray:
    rows, columns = image.shape[:2]
    scale = min(height / rows, width / columns)
    new_rows, new_columns = (max(1, min(limit, round(side * scale)))
                             for side, limit in ((rows, height), (columns, width)))  # fmt: skip
    top, left = (height - new_rows) // 2, (width - new_columns) // 2
    padded = np.full((height, width, image.shape[2]), fill, np.uint8)
    padded[top : top + new_rows, left : left + new_columns] = _resize(image, new_rows, new_columns, interpolation)
    return padded


def _resize(image: np.ndarray, height: int, width: int, interpolation: str) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    grey = image.shape[2] == 1
    picture = Image.fromarray(np.ascontiguousarray(image[:, :, 0] if grey else image))
    pixels = np.asarray(picture.resize((width, height), INTERPOLATIONS[interpolation]))
    return pixels.reshape(height, width, image.shape[2])


def encode(image: np.ndarray, *, lossy: bool) -> bytes:
    """A picture file of these pixels: PNG, or JPEG of quality 95 without colour subsampling.

    Args:
        image: (H, W, C) uint8, C is 1 or 3.
        lossy: JPEG.
    """
    content = image if image.shape[2] == 1 else cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if lossy:
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY,
                   cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]  # fmt: skip
        done, buffer = cv2.imencode(".jpg", content, options)
    else:
        done, buffer = cv2.imencode(".png", content)
    assert done
    return buffer.tobytes()


def encode_mask(mask: np.ndarray) -> bytes:
    """A PNG of a mask (H, W) uint8."""
    # Runs of equal bytes are what masks consist of: quicker to write and smaller than by zlib's own search.
    done, buffer = cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE])
    assert done
    return buffer.tobytes()


def decode_packed(buffer: np.ndarray, channels: int) -> np.ndarray | None:
    """Decodes a picture out of an encoded pack, where all are plain grey or RGB files; twice as fast as Pillow.

    Args:
        buffer: (bytes,) uint8.
        channels: 1 or 3.

    Returns:
        (H, W, channels) uint8, or None where the bytes are damaged.
    """
    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR_RGB
    try:
        image = cv2.imdecode(buffer, flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    return image[:, :, None] if image is not None and channels == 1 else image
