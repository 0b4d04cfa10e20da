"""The view of a picture that evaluation and prediction give to a network."""

import numpy as np
import torch
from torch.nn import functional


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize (H, W, C) uint8 to (height, width, C), bilinear and anti-aliased: equal to torchvision's `Resize`.

    The same pixels as under which the public pretrained weights were measured (Pillow's differ by 1 at most), at a
    third of the price of OpenCV's area average. Deterministic.
    """
    if image.shape[:2] == (height, width):
        return image
    picture = torch.from_numpy(np.require(image, requirements="W"))[None].permute(0, 3, 1, 2)  # seen as channels_last
    resized = functional.interpolate(picture, (height, width), mode="bilinear", antialias=True)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())


def rescale(image: np.ndarray, short_side: int) -> np.ndarray:
    """Resize (H, W, C) uint8 to a short side of so many pixels, keeping the aspect; rounded as torchvision does."""
    height, width = image.shape[:2]
    if height <= width:
        return resize(image, short_side, max(short_side, int(short_side * width / height)))
    return resize(image, max(short_side, int(short_side * height / width)), short_side)


def centre_view(image: np.ndarray, input_size: int, crop_fraction: float = 0.875) -> np.ndarray:
    """Resize the short side to `input_size / crop_fraction`, keeping the aspect, and cut the square in the middle.

    0.875 = 224/256 is the single-crop test view of Krizhevsky et al. (2012) and all that followed. Sizes and offsets
    are rounded as torchvision's `Resize` and `CenterCrop` do.

    Args:
        image: (H, W, C) uint8.
        input_size: side of the square in pixels.
        crop_fraction: part of the short side that is kept, in (0, 1].

    Returns:
        (input_size, input_size, C) uint8.

    Raises:
        ValueError: a size or fraction out of its range.
    """
    if input_size < 1 or not 0.0 < crop_fraction <= 1.0:
        raise ValueError(f"expected input_size >= 1 and crop_fraction in (0, 1], got {input_size} and {crop_fraction}")
    view = rescale(image, round(input_size / crop_fraction))
    top = round((view.shape[0] - input_size) / 2)
    left = round((view.shape[1] - input_size) / 2)
    return np.ascontiguousarray(view[top : top + input_size, left : left + input_size])
