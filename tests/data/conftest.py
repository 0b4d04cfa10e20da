"""Small real pictures and picture sets, made on the spot by Pillow."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def smooth_picture(seed: int, height: int = 24, width: int = 32, channels: int = 3) -> np.ndarray:
    """A smooth colourful picture, (H, W, C) uint8: what photographs look like to a compressor."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, channels), dtype=np.uint8)
    image = Image.fromarray(coarse[:, :, 0] if channels == 1 else coarse).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return np.asarray(image).reshape(height, width, channels).copy()


def encoded_picture(pixels: np.ndarray | Image.Image, format: str = "PNG", **options) -> bytes:
    """The bytes of a picture file."""
    if isinstance(pixels, np.ndarray):
        pixels = Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    stream = io.BytesIO()
    pixels.save(stream, format, **options)
    return stream.getvalue()


def write_files(root: Path, files: dict[str, bytes]) -> Path:
    """Writes files below a folder; a name that ends with "/" makes an empty folder."""
    for name, content in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


@pytest.fixture(scope="session")
def picture() -> Callable[..., np.ndarray]:
    return smooth_picture


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    return encoded_picture


@pytest.fixture(scope="session")
def written() -> Callable[..., Path]:
    return write_files


@pytest.fixture(scope="session")
def class_files() -> Callable[..., dict[str, bytes]]:
    """Makes {"PREFIX/CLASS/N.png": content} with pictures that all differ."""

    def make(classes="cat dog", count=6, prefix="", seed=0, format="PNG", **options) -> dict[str, bytes]:
        files = {}
        for label, name in enumerate(classes.split()):
            for number in range(count):
                pixels = smooth_picture(seed * 100_000 + label * 1_000 + number, **options)
                extension = {"PNG": "png", "JPEG": "jpg"}[format]
                files[f"{prefix}{name}/{number:03d}.{extension}"] = encoded_picture(pixels, format)
        return files

    return make
