"""The stages of every network: all parameters in exactly one, in order, the classifier last."""

from functools import partial

import pytest
import torch
from torch import nn

from striate.configuration import build
from striate.models.deeplab import DeepLabV2
from striate.models.fcn import FCN
from striate.models.googlenet import GoogLeNet
from striate.models.lenet5 import LeNet5
from striate.models.mlp import MLP
from striate.models.resnet import CifarResNet
from striate.models.segnet import SegNet
from striate.models.stages import stages_of
from striate.models.unet import UNet
from striate.models.vgg import VGG
from striate.pipelines.counting import options


@pytest.mark.parametrize("name", sorted(options()))
def test_every_parameter_lies_in_exactly_one_stage(name):
    with torch.device("meta"):
        network = build(options()[name], "model", num_classes=5, in_channels=3)
    stages = stages_of(network)
    modules = [module for own in stages.values() for module in own]
    assert len(modules) == len(set(modules))
    owned = [
        parameter
        for module in modules
        for parameter, _ in network.get_submodule(module).named_parameters(prefix=module)
    ]
    assert sorted(owned) == sorted(name for name, _ in network.named_parameters())
    *before, last = stages.values()
    for own in before:
        assert any(True for module in own for _ in network.get_submodule(module).parameters())
    assert set(network.class_layers) <= set(last)


VGG_BODY = partial(VGG, configuration="A", widths=(4, 4, 4, 4, 4), hidden=8, ceil_mode=True)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (LeNet5(form="original"), ["C1", "S2", "C3", "S4", "C5", "F6", "output"]),
        (LeNet5(form="modern"), ["C1", "C3", "C5", "F6", "output"]),
        (MLP(hidden=(20, 10)), ["fc1", "fc2", "fc3"]),
        (MLP(hidden=()), ["fc1"]),
        (CifarResNet(depth=8), ["conv1", "conv2_x", "conv3_x", "conv4_x", "fc"]),
        (
            VGG(configuration="A", widths=(4, 4, 4, 4, 4), hidden=8, pooled_size=1),
            ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"],
        ),
        (
            FCN(4, backbone=partial(VGG_BODY, pooled_size=3)),
            ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "score_fr"],
        ),
        (
            SegNet(4, backbone=partial(VGG_BODY, batch_norm=True, pooled_size=1)),
            [*(f"conv{n}" for n in (1, 2, 3, 4, 5)), *(f"conv{n}_D" for n in (5, 4, 3, 2)), "conv1_1_D"],
        ),
        (UNet(widths=(4, 8, 16)), ["down1", "down2", "down3", "up2", "up1", "score"]),
        (
            DeepLabV2(4, backbone=VGG_BODY, hidden=8, rates=(2, 4)),
            ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"],
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_names_and_order(network, expected):
    assert list(stages_of(network)) == expected


def test_stages_come_one_after_the_other_as_the_forward_pass_meets_them():
    # The order in which the first layer of each stage runs.
    network = GoogLeNet(num_classes=4, auxiliary=True).eval()
    stages, met = stages_of(network), []
    first = {module: stage for stage, own in stages.items() for module in own}
    for name, stage in first.items():
        network.get_submodule(name).register_forward_hook(lambda *_, stage=stage: met.append(stage))
    network(torch.zeros(1, 3, 64, 64))
    assert list(dict.fromkeys(met)) == list(stages)
    assert set(stages["fc"]) == {"dropout", "fc", "aux1", "aux2"}


def test_dropout_belongs_to_the_layer_whose_input_it_thins_out():
    stages = stages_of(VGG(configuration="A", widths=(4, 4, 4, 4, 4), hidden=8, pooled_size=1))
    assert stages["fc7"] == ("drop6", "fc7", "act7")
    assert stages["fc8"] == ("drop7", "fc8")


def test_a_module_of_no_family_has_its_children():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    assert stages_of(network) == {"0": ("0", "1", "2"), "3": ("3",)}
    with pytest.raises(ValueError, match="no parameters"):
        stages_of(nn.ReLU())
