"""How a picture becomes the numbers that a network sees: kept in each checkpoint, repeated by evaluate and predict."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from striate.data.meta import Meta
from striate.data.pictures import apply_geometry, decode
from striate.data.views import centre_view


@dataclass(frozen=True)
class Preprocessing:
    """The way from a picture file to a network's input.

    Args:
        channels: 1 or 3.
        geometry: how `prepare` brought the raw picture to the pack's form (see `data/pictures.py`).
        input_size: side of the square that the network sees; None when the pack's pictures are seen whole.
        crop_fraction: share of the short side that the centre crop keeps at evaluation.
        mean: per channel, of the training pixels on a scale of 0 to 1.
        std: likewise.
    """

    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    geometry: Mapping[str, Any] = field(default_factory=dict)
    input_size: int | None = None
    crop_fraction: float = 0.875

    @classmethod
    def of(cls, meta: Meta, input_size: int | None, crop_fraction: float) -> "Preprocessing":
        """The preprocessing of a prepared set; an array pack's pictures are seen whole."""
        size = None if meta.pack == "array" else input_size
        return cls(meta.channels, meta.mean, meta.std, dict(meta.geometry), size, crop_fraction)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Preprocessing":
        """From the plain data of `to_dict`."""
        return cls(**{**record, "mean": tuple(record["mean"]), "std": tuple(record["std"])})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std), "geometry": dict(self.geometry)}

    @property
    def shape(self) -> tuple[int, int] | None:
        """(height, width) of what the network sees; None where pictures of any size are seen whole."""
        if self.input_size is not None:
            return (self.input_size, self.input_size)
        size = self.geometry.get("image_size")
        return None if size is None else (int(size[0]), int(size[1]))

    def view(self, image: np.ndarray) -> np.ndarray:
        """What the network sees of a pack's picture at evaluation: (H, W, C) uint8."""
        return image if self.input_size is None else centre_view(image, self.input_size, self.crop_fraction)

    def packed(self, file: bytes) -> np.ndarray:
        """A raw picture file in the pack's form: decoded, resized as `prepare` does; (H, W, C) uint8."""
        return apply_geometry(decode(file, self.channels), dict(self.geometry))

    def normalise(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(N, H, W, C) uint8 to (N, C, H, W) with mean 0 and deviation 1 over the training set, laid out channels last.

        It runs on the device that holds `images`: a batch travels as bytes, a quarter of its size in floats.
        """
        _, _, width, channels = images.shape
        # Row by row: a loop over the three values of a pixel would cost ten times as much.
        mean, scale = _levels(self.mean, self.std, width if channels > 1 else 1, dtype, images.device)
        rows = images.to(dtype).flatten(2)
        return rows.sub_(mean).mul_(scale).view(images.shape).permute(0, 3, 1, 2)


@lru_cache(maxsize=16)
def _levels(
    mean: tuple[float, ...], std: tuple[float, ...], pixels: int, dtype: torch.dtype, device: torch.device
) -> Any:
    """Mean and one over the deviation of so many pixels in grey levels, (pixels * channels,) each; kept on the device,
    since a copy there would wait for it."""
    levels = torch.tensor([mean, std], dtype=torch.float64).mul_(255).repeat(1, pixels)
    return levels[0].to(device, dtype), levels[1].reciprocal().to(device, dtype)
