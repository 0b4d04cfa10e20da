"""Every file of conf/augmentation composes, builds and augments; each data set has one."""

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from striate.configuration import FOLDER, build
from striate.data.augmentation import PrincipalColours, warps
from striate.data.sampling import keys

PRESETS = sorted(path.stem for path in (FOLDER / "augmentation").glob("*.yaml"))
NEED_A_SIZE = {"imagenet", "imagenette", "torchvision_imagenet"}  # their libraries cannot keep the pictures' own


def composed(name: str, input_size: int | None):
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        size = "null" if input_size is None else input_size
        config = compose(overrides=[f"+augmentation={name}", f"+data.input_size={size}", "+data.crop_fraction=0.875"])
    return config.augmentation


def preset(name: str, input_size: int | None, channels: int = 1):
    unit = tuple(tuple(row) for row in np.eye(channels).tolist())
    return build(composed(name, input_size)).with_colours(lambda: PrincipalColours((0.2, 0.1, 0.05)[:channels], unit))


def leads_to_one_size(name: str) -> bool:
    return OmegaConf.to_yaml(composed(name, 40), resolve=True) != OmegaConf.to_yaml(composed(name, 41), resolve=True)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", sorted(set(PRESETS) - NEED_A_SIZE))
def test_a_preset_serves_an_array_pack(name, channels):
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, channels), np.uint8)
    output = preset(name, None, channels)(images, keys(0, 0, np.arange(8)))
    assert output.shape == images.shape
    assert output.dtype == np.uint8
    assert (output != images).any() == (name != "none")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [name for name in PRESETS if leads_to_one_size(name)])
def test_a_preset_serves_an_encoded_pack(name, channels):
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (50 + number, 60, channels), np.uint8) for number in range(4)]
    output = preset(name, 40, channels)(images, keys(0, 0, np.arange(4)))
    assert output.shape == (4, 40, 40, channels)
    assert output.dtype == np.uint8


def test_each_data_set_has_an_augmentation_of_its_name():
    # train.yaml says `augmentation: ${data}`.
    data_sets = {path.stem for path in (FOLDER / "data").glob("*.yaml")} - {"base"}
    assert data_sets <= set(PRESETS)
    assert {"cifar10", "digits", "folder", "imagenet"} <= set(PRESETS)


@pytest.mark.parametrize("name", ["digits", "mnist", "lenet"])
def test_digits_are_never_mirrored(name):
    # A bar at the left edge stays in the left half; slight turns and shifts do not carry it over.
    images = np.zeros((64, 32, 32, 1), np.uint8)
    images[:, :, 4:8] = 255
    output = preset(name, None)(images, keys(0, 0, np.arange(64))).astype(float)
    assert (output[:, :, :16].sum(axis=(1, 2, 3)) > 10 * output[:, :, 16:].sum(axis=(1, 2, 3))).all()


@pytest.mark.parametrize(
    ("name", "short_sides"), [("alexnet", (256, 256)), ("vgg", (256, 512)), ("resnet", (256, 480))]
)
def test_windows_of_224_come_from_the_short_sides_of_the_paper(name, short_sides, monkeypatch):
    asked = []
    own = warps.integers
    monkeypatch.setattr(
        warps, "integers", lambda keys, stream, low, high: asked.append((low, high)) or own(keys, stream, low, high)
    )
    picture = np.zeros((300, 260, 3), np.uint8)
    assert preset(name, 224, 3)([picture], keys(0, 0, [0])).shape == (1, 224, 224, 3)
    assert (int(asked[0][0][0]), int(asked[0][1][0]) - 1) == short_sides
