"""The view of evaluation equals the one under which public weights were measured."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from striate.data.views import centre_view, resize


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 40),
    st.sampled_from([1.0, 0.875, 0.5]),
    st.sampled_from([1, 3]),
)
def test_equals_torchvision(height, width, input_size, crop_fraction, channels):
    image = np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, channels), np.uint8)
    view = centre_view(image, input_size, crop_fraction)
    chain = v2.Compose([v2.Resize(round(input_size / crop_fraction), antialias=True), v2.CenterCrop(input_size)])
    reference = chain(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).numpy()
    assert view.shape == (input_size, input_size, channels)
    assert view.dtype == np.uint8
    assert np.abs(view.astype(int) - reference.astype(int)).max() <= 1


def test_shrinking_averages_where_plain_interpolation_would_alias():
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 200
    small = resize(stripes, 16, 16)
    assert np.abs(small.astype(int) - 100).max() <= 13  # plain bilinear sampling at a factor of 8 gives 0 or 200


def test_a_picture_that_fits_comes_back_itself():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert (centre_view(image, 32, 1.0) == image).all()


def test_same_input_same_pixels_and_read_only_memory_will_do():
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    first = centre_view(image, 24)
    image.flags.writeable = False
    assert (centre_view(image, 24) == first).all()


@pytest.mark.parametrize(("input_size", "crop_fraction"), [(0, 0.875), (8, 0.0), (8, 1.1)])
def test_values_without_meaning_are_refused(input_size, crop_fraction):
    with pytest.raises(ValueError, match=r"expected input_size >= 1 and crop_fraction in \(0, 1\]"):
        centre_view(np.zeros((10, 10, 3), np.uint8), input_size, crop_fraction)
