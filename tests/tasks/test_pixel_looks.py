"""Scales, windows and mirror images against what they must be equal to."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional

from striate.data.pixel_views import PixelViews, places, seen_size
from striate.tasks.pixel_looks import PixelLooks


@pytest.fixture
def x():
    return torch.randn(2, 3, 23, 37, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def pointwise():
    """A network that sees each pixel alone, so that windows change nothing."""
    torch.manual_seed(0)
    return nn.Conv2d(3, 5, 1).eval().requires_grad_(False)


@pytest.mark.parametrize("average", ["probability", "logit"])
@pytest.mark.parametrize(("window", "overlap"), [(8, 0.0), (8, 0.5), (16, 0.25), (30, 0.9), (99, 0.5), (1, 0.0)])
def test_windows_of_a_network_that_sees_pixels_alone_change_nothing(x, pointwise, window, overlap, average):
    looks = PixelLooks(PixelViews(window=window, overlap=overlap, average=average), {}, 400)
    torch.testing.assert_close(looks(pointwise, x).softmax(1), pointwise(x).softmax(1))


def test_views_are_averaged_by_hand(x):
    torch.manual_seed(1)
    network = nn.Conv2d(3, 4, 3, padding=1).requires_grad_(False)
    looks = PixelLooks(PixelViews(scales=[0.5, 1.0], mirrored=True), {}, 1000)
    total = 0
    for size in ((12, 18), (23, 37)):
        seen = functional.interpolate(x, size, mode="bilinear", antialias=True) if size[0] < 23 else x
        for mirrored in (False, True):
            said = network(seen.flip(3) if mirrored else seen).softmax(1)
            said = said.flip(3) if mirrored else said
            total = total + functional.interpolate(said, (23, 37), mode="bilinear")
    torch.testing.assert_close(looks(network, x).exp(), total / 4)


@pytest.mark.parametrize(("length", "window", "overlap"), [(37, 8, 0.5), (8, 8, 0.5), (9, 8, 0.0), (100, 33, 0.75)])
def test_windows_cover_a_side_with_at_least_the_overlap(length, window, overlap):
    starts = places(length, window, overlap)
    assert starts[0] == 0
    assert starts[-1] == length - window
    assert all(after - before <= max(1, int(window * (1 - overlap))) for before, after in itertools.pairwise(starts))


def test_a_picture_is_shown_at_the_scale_of_the_training():
    assert seen_size(360, 480, {}) == (360, 480)
    assert seen_size(360, 480, {"max_short_side": 180}) == (180, 240)
    assert seen_size(90, 120, {"max_short_side": 180}) == (90, 120)
    assert seen_size(360, 480, {"image_size": [180, 240], "fit": "crop"}) == (180, 240)
    assert seen_size(400, 480, {"image_size": [180, 240], "fit": "crop"}) == (200, 240)
    assert seen_size(400, 480, {"image_size": [180, 240], "fit": "pad"}) == (180, 216)
    assert seen_size(400, 480, {"image_size": [180, 240], "fit": "stretch"}) == (180, 240)


def test_scales_without_meaning_are_refused():
    with pytest.raises(ValueError, match="expected scales above 0"):
        PixelViews(scales=[])
