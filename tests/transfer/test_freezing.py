"""What learns: stages by number and by name, and what a person may not ask for."""

import pytest
from torch import nn

from striate.configuration.schema import Init
from striate.errors import ConfigurationError
from striate.models.lenet5 import LeNet5
from striate.models.mobilenet import MobileNet
from striate.models.resnet import CifarResNet
from striate.transfer.freezing import freeze, learning_of
from striate.transfer.stages import first_stages, modules_of, stage_named


def network() -> nn.Module:
    return CifarResNet(depth=8, widths=(4, 8, 16))  # conv1 conv2_x conv3_x conv4_x fc


def frozen(**options: object) -> set[str]:
    return set(learning_of(network(), Init("none", **options)).frozen)  # type: ignore[arg-type]


FIRST, BLOCKS = {"conv1", "bn1", "relu1"}, {"conv3_x", "conv4_x"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, set()),
        ({"freeze": [1]}, FIRST),
        ({"freeze": ["1"]}, FIRST),
        ({"freeze": ["conv1"]}, FIRST),
        ({"freeze": [-5]}, FIRST),
        ({"freeze": ["bn1", "conv3_x.conv3_1"]}, {"bn1", "conv3_x.conv3_1"}),
        ({"freeze": [3, "conv4_x"]}, {*BLOCKS, "avgpool"}),
        ({"train": "head"}, {*FIRST, "pool1", "conv2_x", *BLOCKS, "avgpool"}),
        ({"train": 0}, {*FIRST, "pool1", "conv2_x", *BLOCKS, "avgpool"}),
        ({"train": 2}, {*FIRST, "pool1", "conv2_x"}),
        ({"train": 4}, set()),
        ({"train": ["fc", 3]}, {*FIRST, "pool1", "conv2_x", "conv4_x", "avgpool"}),
        ({"train": 2, "freeze": ["conv4_x"]}, {*FIRST, "pool1", "conv2_x", "conv4_x", "avgpool"}),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_what_is_frozen(options, expected):
    assert frozen(**options) == expected


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ({}, ["conv4_x", "conv3_x", "conv2_x", "conv1"]),
        ({"train": 2}, ["conv4_x", "conv3_x"]),
        ({"freeze": ["conv1", 3]}, ["conv4_x", "conv2_x"]),
        ({"freeze": ["conv2_x.conv2_1"]}, ["conv4_x", "conv3_x", "conv2_x", "conv1"]),
    ],
    ids=str,
)
def test_the_order_in_which_stages_begin_to_learn(options, order):
    learning = learning_of(network(), Init("none", unfreeze_every=3, **options))
    assert list(learning.waiting) == order
    assert learning.every == 3


def test_what_is_new_learns_from_the_start():
    init = Init("checkpoint", unfreeze_every=2)
    learning = learning_of(network(), init, ["fc.weight", "fc.bias", "conv3_x.conv3_1.conv1.weight"])
    assert list(learning.waiting) == ["conv4_x", "conv2_x", "conv1"]
    with pytest.raises(ConfigurationError, match="nothing to unfreeze"):
        learning_of(network(), init, list(network().state_dict()))


@pytest.mark.parametrize(
    ("options", "what", "nearest"),
    [
        ({"freeze": ["conv2x"]}, "has no stage 'conv2x'", "conv2_x"),
        ({"freeze": ["bn_1"]}, "has no stage 'bn_1'", "bn1"),
        ({"freeze": [0]}, "none of number 0", "1"),
        ({"freeze": [6]}, "none of number 6", "5"),
        ({"freeze": [-9]}, "none of number -9", "-5"),
        ({"train": ["con4_x"]}, "init.train: CifarResNet has no stage 'con4_x'", "conv4_x"),
        ({"train": 5}, "has 4 stages before its classifier", "init.train=all"),
        ({"train": ["fc"], "freeze": [-1]}, "both name fc", None),
        ({"train": "head", "unfreeze_every": 1}, "nothing to unfreeze", "init.unfreeze_every=null"),
    ],
    ids=str,
)
def test_wrong_words(options, what, nearest):
    with pytest.raises(ConfigurationError) as caught:
        frozen(**options)
    assert what in caught.value.what
    assert caught.value.nearest == nearest
    assert len(str(caught.value).splitlines()) <= 3


def test_nothing_left_to_learn_is_refused():
    original = LeNet5(form="original")  # its output codes are fixed
    with pytest.raises(ConfigurationError, match="nothing of LeNet5 is left to learn"):
        freeze(original, learning_of(original, Init("none", train="head")).frozen)


def test_words_for_stages_and_modules():
    mobile = MobileNet(width_multiplier=0.25)
    assert stage_named(mobile, -1, "key") == "fc"
    assert stage_named(mobile, 2, "key") == "block3"
    assert modules_of(mobile, ["block2", "block3"], "key") == ("block2", "block3")
    assert first_stages(mobile, 2, "key") == ("conv0", "bn0", "act0", "block1", "block2", "block3")
    with pytest.raises(ConfigurationError) as caught:
        first_stages(mobile, 7, "init.first")
    assert caught.value.nearest == "init.first=6"
