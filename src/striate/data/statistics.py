"""Mean and deviation of pixels from whole sums, hence the same whatever the order of the pictures."""

import math
from collections.abc import Sequence


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
