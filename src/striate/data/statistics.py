"""Mean and deviation of pixels from whole sums, hence the same whatever the order of the pictures."""

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np


def mean_and_std(
    pixels: int, sums: Sequence[int], squares: Sequence[int]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel on a scale of 0 to 1.

    Args:
        pixels: number of pixels, 1 or more.
        sums: per channel, of the values 0 … 255.
        squares: per channel, of their squares.

    Returns:
        Means and deviations (of the population). Python divides whole numbers of any size with one rounding.
    """
    mean = tuple(total / (255 * pixels) for total in map(int, sums))
    spread = (pixels * square - total * total for total, square in zip(map(int, sums), map(int, squares), strict=True))
    return mean, tuple(math.sqrt(value / (255 * pixels) ** 2) for value in spread)


def pixel_sums(image: np.ndarray) -> list[int]:
    """Per channel the sum of the pixels, then per channel the sum of their squares; exact.

    Args:
        image: (H, W, C) uint8, C is 1 or 3.
    """
    planes = cv2.split(image, _planes(*image.shape))
    # OpenCV sums in whole numbers; the root that it may take of squares in between is undone by rounding.
    return [
        *(int(cv2.sumElems(plane)[0]) for plane in planes),
        *(round(cv2.norm(plane, cv2.NORM_L2SQR)) for plane in planes),
    ]


@lru_cache(1)
def _planes(height: int, width: int, channels: int) -> list[np.ndarray]:
    # New memory for each picture would take longer than the sums.
    return [np.empty((height, width), np.uint8) for _ in range(channels)]
