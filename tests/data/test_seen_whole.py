"""Pictures of an array pack are seen whole, in training as in evaluation, whatever `data.input_size` says."""

import numpy as np
import pytest

from striate.configuration import compose
from striate.errors import ConfigurationError
from striate.pipelines.requiring import require_size_of_effect
from striate.pipelines.train import build_datamodule


@pytest.fixture
def module(places, digits):
    """`module(*words)` gives the data module of the digits, 32 × 32 pixels, with a size for pictures that have many."""

    def make(*words):
        return build_datamodule(compose("train", [*places, "data.input_size=224", *words]))

    return make


@pytest.mark.parametrize("augmentation", ["none", "light", "strong", "resized_crop", "vgg", "trivialaugment"])
def test_training_sees_the_size_that_evaluation_sees(module, augmentation):
    data = module(f"augmentation={augmentation}")
    request = (0, np.arange(4))
    assert data.dataset("train")[request].images.shape == data.dataset("val")[request].images.shape == (4, 32, 32, 1)


def test_without_augmentation_training_sees_the_pack(module, digits):
    request = (3, np.arange(8))
    plain = module("augmentation=none", "data.input_size=null").dataset("train")[request].images
    assert (module("augmentation=none").dataset("train")[request].images == plain).all()


def test_a_size_that_was_given_to_the_augmentation_itself_stays(module):
    data = module("augmentation=resized_crop", "augmentation.transforms.0.size=24", "data.input_size=null")
    assert data.dataset("train")[(0, np.arange(4))].images.shape == (4, 24, 24, 1)


def test_a_librarys_augmentation_that_would_enlarge_training_alone_is_refused(module):
    with pytest.raises(ConfigurationError, match="training see 224×224 pixels, evaluation sees these pictures whole"):
        module("augmentation=torchvision_imagenet").dataset("train")


def test_a_size_that_a_person_gives_without_effect_is_refused(module):
    data = module()
    with pytest.raises(
        ConfigurationError, match=r"data.input_size=224 has no effect: all pictures of digits have 32×32 pixels"
    ) as caught:
        require_size_of_effect(data, {"data.input_size"})
    assert caught.value.do == "data.prepare.image_size=224 data.name=digits_224 prepares them at that size"
    require_size_of_effect(data, {"data.batch_size"})  # a recipe's size is for pictures of other sets
    require_size_of_effect(module("data.input_size=32"), {"data.input_size"})
