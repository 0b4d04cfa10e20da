"""What the network sees of a batch: the numbers, their layout, and that nothing else has a part in them."""

import numpy as np
import pytest
import torch

from striate.data.preprocessing import Preprocessing

MEAN, STD = (0.3, 0.5, 0.6), (0.2, 0.3, 0.25)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(5, 7, 9), (1, 1, 1), (2, 224, 224), (0, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalise_gives_mean_0_and_deviation_1(channels, shape, dtype):
    preprocessing = Preprocessing(channels, MEAN[:channels], STD[:channels])
    images = torch.randint(0, 256, (*shape, channels), dtype=torch.uint8)
    before = images.clone()
    numbers = preprocessing.normalise(images, dtype)
    expected = (images.numpy() / 255 - np.array(MEAN[:channels])) / np.array(STD[:channels])
    np.testing.assert_allclose(numbers.numpy(), expected.transpose(0, 3, 1, 2), rtol=0, atol=2e-6)
    assert numbers.dtype == dtype
    assert numbers.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


def test_a_picture_is_normalised_alike_in_any_batch_and_layout():
    preprocessing = Preprocessing(3, MEAN, STD)
    images = torch.randint(0, 256, (6, 5, 8, 3), dtype=torch.uint8)
    together = preprocessing.normalise(images)
    assert torch.equal(together, torch.cat([preprocessing.normalise(image[None]) for image in images]))
    turned = images.transpose(1, 2)  # not contiguous
    assert torch.equal(preprocessing.normalise(turned), together.transpose(2, 3))


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"input_size": 224}, (224, 224)),
        ({"geometry": {"image_size": [28, 32]}}, (28, 32)),
        ({"geometry": {"image_size": None, "max_short_side": 256}}, None),
    ],
)
def test_it_knows_the_size_of_what_the_network_sees(options, shape):
    preprocessing = Preprocessing(3, MEAN, STD, **options)
    assert preprocessing.shape == shape
    assert Preprocessing.from_dict(preprocessing.to_dict()).shape == shape
