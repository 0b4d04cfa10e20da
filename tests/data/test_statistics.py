"""Mean and deviation against exact fractions, and the sums that they come from."""

import math
from fractions import Fraction

import numpy as np
import pytest

from striate.data.statistics import mean_and_std, pixel_sums


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (96, 110), (200, 300)])
@pytest.mark.parametrize("channels", [1, 3])
def test_sums_are_exact(size, channels):
    for pixels in (
        np.random.default_rng(0).integers(0, 256, (*size, channels), dtype=np.uint8),
        np.full((*size, channels), 255, np.uint8),
    ):
        wide = pixels.reshape(-1, channels).astype(np.int64)
        assert pixel_sums(pixels) == [*wide.sum(0).tolist(), *(wide**2).sum(0).tolist()]


def test_sums_of_a_picture_beyond_float_counts():
    pixels = np.full((4100, 4100, 1), 200, np.uint8)
    assert pixel_sums(pixels) == [200 * 4100**2, 200**2 * 4100**2]


def test_mean_and_deviation_are_correctly_rounded():
    values = np.random.default_rng(1).integers(0, 256, (5000, 3))
    mean, std = mean_and_std(5000, values.sum(0).tolist(), (values**2).sum(0).tolist())
    for channel in range(3):
        exact = [Fraction(int(value), 255) for value in values[:, channel]]
        centre = sum(exact) / 5000
        assert mean[channel] == float(centre)
        assert std[channel] == pytest.approx(math.sqrt(sum((value - centre) ** 2 for value in exact) / 5000), rel=1e-15)
    assert np.allclose(std, (values / 255).std(0), rtol=1e-12)


def test_a_constant_channel_has_no_deviation():
    mean, std = mean_and_std(10**12, [77 * 10**12], [77**2 * 10**12])
    assert mean == (77 / 255,)
    assert std == (0.0,)
