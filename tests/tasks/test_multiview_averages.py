"""Averages over views: whatever the sizes, the parts and the order, each view counts once."""

import numpy as np
import pytest
import torch
from torch import nn

from striate.data.multiview import Crops, SingleView, WholePictures, grouped
from striate.data.preprocessing import Preprocessing
from striate.tasks.multiview import Multiview

PREPROCESSING = Preprocessing(3, (0.3, 0.5, 0.6), (0.2, 0.3, 0.25), input_size=16, crop_fraction=0.8)


@pytest.fixture
def classify():
    """A small network that takes pictures of any size and sees where things are."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 3), nn.Flatten(2)).double()
    ramp = torch.linspace(-0.2, 0.3, 2000, dtype=torch.float64)

    def logits(images):
        maps = network(PREPROCESSING.normalise(images, torch.float64))
        return (maps * ramp[: maps.shape[2]]).sum(2)

    return logits


@pytest.fixture
def pictures():
    """Five of two sizes, none symmetric."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (24 + 3 * (number % 2), 30, 3), np.uint8) for number in range(5)]


def said(views, classify, pictures, pixels=10_000):
    images, owners = grouped([views(image, PREPROCESSING) for image in pictures])
    return Multiview(views, pixels)(classify, images, owners, len(pictures))


def each(views, classify, image) -> torch.Tensor:
    """Logits of each view of one picture, one after another."""
    seen = [torch.from_numpy(np.ascontiguousarray(view))[None] for view in views(image, PREPROCESSING)]
    seen += [view.flip(2) for view in seen] if views.mirrored else []
    return torch.cat([classify(view) for view in seen])


@pytest.mark.parametrize("mirrored", [False, True])
def test_it_is_the_mean_of_the_softmax_over_all_views(classify, pictures, mirrored):
    views = Crops("c", crop_fractions=[0.9, 0.6], mirrored=mirrored)
    expected = torch.stack([each(views, classify, image).softmax(1).mean(0) for image in pictures])
    found = said(views, classify, pictures)
    torch.testing.assert_close(found.exp(), expected)
    torch.testing.assert_close(found.softmax(1), expected)


def test_or_the_mean_of_the_logits(classify, pictures):
    views = Crops("c", average="logit")
    expected = torch.stack([each(views, classify, image).mean(0) for image in pictures])
    torch.testing.assert_close(said(views, classify, pictures), expected)


@pytest.mark.parametrize("pixels", [1, 16 * 16, 7 * 16 * 16, 10**6])
def test_the_parts_do_not_matter_and_are_bounded(classify, pictures, pixels):
    sizes = []

    def watched(images):
        sizes.append(len(images) * images.shape[1] * images.shape[2])
        return classify(images)

    views = Crops("c", crop_fractions=[0.9, 0.6])
    torch.testing.assert_close(said(views, watched, pictures, pixels), said(views, classify, pictures))
    assert max(sizes) <= max(pixels, 16 * 16)


def test_the_company_of_a_picture_does_not_matter(classify, pictures):
    views = WholePictures("d", crop_fractions=[0.9, 0.6])
    together = said(views, classify, pictures)
    torch.testing.assert_close(torch.cat([said(views, classify, [image]) for image in pictures]), together)
    torch.testing.assert_close(said(views, classify, pictures[::-1]), together.flip(0))


def test_a_mirrored_picture_has_the_same_probabilities(classify, pictures):
    views = SingleView("flip", mirrored=True)
    pictures = [image[:, :24] for image in pictures]  # the window is exactly in the middle
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in pictures]
    torch.testing.assert_close(said(views, classify, mirrored), said(views, classify, pictures))
    alone = SingleView("single")
    assert not torch.allclose(said(alone, classify, mirrored), said(alone, classify, pictures), atol=1e-3)


def test_maps_of_scores_are_averaged_before_the_softmax(pictures):
    torch.manual_seed(0)
    network = nn.Conv2d(3, 4, 5).double()
    views = WholePictures("d", mirrored=False)
    image = views(pictures[0], PREPROCESSING)[0]
    numbers = PREPROCESSING.normalise(torch.from_numpy(image)[None], torch.float64)
    expected = network(numbers).mean((2, 3)).softmax(1)
    found = said(views, lambda images: network(PREPROCESSING.normalise(images, torch.float64)), pictures[:1])
    torch.testing.assert_close(found.exp(), expected)


def test_certainty_stays_finite_and_what_is_not_finite_shows(pictures):
    views = SingleView("flip", mirrored=True)
    sure = said(views, lambda images: torch.tensor([[0.0, 5000.0]]).expand(len(images), 2), pictures)
    assert sure.isfinite().all()
    assert sure.argmax(1).tolist() == [1] * 5
    lost = said(views, lambda images: torch.full((len(images), 2), torch.nan), pictures)
    assert lost.isnan().all()
