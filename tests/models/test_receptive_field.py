"""Receptive fields: published and independently computed figures, and what the gradient says."""

import pytest
import torch
from torch import nn

from striate.models.alexnet import AlexNet
from striate.models.arithmetic import Layer, count
from striate.models.googlenet import GoogLeNet
from striate.models.lenet5 import LeNet5
from striate.models.mlp import MLP
from striate.models.mobilenet import MobileNet
from striate.models.network import Network
from striate.models.resnet import CifarResNet, ResNet
from striate.models.vgg import VGG
from striate.models.zfnet import ZFNet

NARROW = (4, 4, 4, 4)


def layers_of(network: nn.Module, shape: tuple[int, ...]) -> dict[str, Layer]:
    return {layer.name: layer for layer in count(network, shape).layers}


def meta(network: type[Network], **options) -> Network:
    with torch.device("meta"):
        return network(**options)


# By network: layer -> (receptive field, pixels between units), computed by others or printed in papers.
KNOWN = [
    (LeNet5, {}, (1, 32, 32), {"C1": (5, 1), "S2": (6, 2), "C3": (14, 2), "S4": (16, 4), "C5": (32, 4)}),
    (LeNet5, {"form": "modern"}, (1, 28, 28), {"C1": (5, 1), "S2": (6, 2), "C3": (14, 2), "S4": (16, 4)}),
    (
        AlexNet,
        {},
        (3, 227, 227),
        {"pool1": (19, 8), "pool2": (67, 16), "conv5": (163, 16), "pool5": (195, 32), "fc6": (355,), "fc8": (355,)},
    ),
    (ZFNet, {}, (3, 224, 224), {"pool1": (11, 4), "pool2": (43, 16), "conv5": (139, 16), "pool5": (171, 32)}),
    (
        VGG,
        {"configuration": "D"},
        (3, 224, 224),
        {
            **{"pool1": (6, 2), "pool2": (16, 4), "pool3": (44, 8), "pool4": (100, 16), "conv5_1": (132, 16)},
            **{"conv5_2": (164, 16), "conv5_3": (196, 16), "pool5": (212, 32), "fc6": (404,)},
        },
    ),
    (
        GoogLeNet,
        {},
        (3, 224, 224),
        {
            **{"pool1": (11, 4), "pool2": (27, 8), "pool3": (107, 16), "pool4": (459, 32)},
            **{"inception5b.conv5x5.conv": (715, 32), "avgpool": (907,)},
        },
    ),
    (MobileNet, {}, (3, 224, 224), {"block13.pw": (315, 32)}),
    (MLP, {}, (1, 28, 28), {"fc1": (28,), "fc2": (28,)}),
    (
        ResNet,
        {"depth": 18},
        (3, 224, 224),
        {
            "pool1": (11, 4),
            "conv5_x.conv5_1.conv1": (243, 32),
            "conv5_x.conv5_1.conv2": (307, 32),
            "conv5_x.conv5_2.conv1": (371, 32),
            "conv5_x.conv5_2.conv2": (435, 32),
        },
    ),
    (ResNet, {"depth": 34}, (3, 224, 224), {"conv5_x.conv5_1.conv1": (579, 32), "conv5_x.conv5_3.conv2": (899, 32)}),
    (
        ResNet,
        {"depth": 50},
        (3, 224, 224),
        {
            "pool1": (11, 4),
            "conv5_x.conv5_1.conv1": (291, 32),
            "conv5_x.conv5_1.conv2": (355, 32),
            "conv5_x.conv5_2.conv1": (355, 32),
            "conv5_x.conv5_3.conv2": (483, 32),
        },
    ),
    (
        ResNet,
        {"depth": 50, "stride_in": "3x3"},
        (3, 224, 224),
        {"conv5_x.conv5_1.conv1": (267, 16), "conv5_x.conv5_1.conv2": (299, 32), "conv5_x.conv5_3.conv2": (427, 32)},
    ),
    (ResNet, {"depth": 101, "stride_in": "3x3"}, (3, 224, 224), {"conv5_x.conv5_3.conv2": (971, 32)}),
    (ResNet, {"depth": 152, "stride_in": "3x3"}, (3, 224, 224), {"conv5_x.conv5_3.conv2": (1451, 32)}),
]


@pytest.mark.parametrize(("network", "options", "shape", "known"), KNOWN)
def test_known_figures(network, options, shape, known):
    layers = layers_of(meta(network, **options), shape)
    for name, (field, *jump) in known.items():
        assert (layers[name].receptive_field, layers[name].jump) == ((field,) * 2, tuple(jump * 2) or None), name


def positive(network: nn.Module) -> nn.Module:
    """A copy of its structure in which every path carries gradient: weights and scales 1, maxima as means."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode))
    for name, parameter in network.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 0.05)
    return network.double().eval()


def seen_by_the_centre(network: nn.Module, layer: str, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Extent of the pixels with a gradient, along both axes, for the unit in the middle of a layer's map."""
    kept = {}
    network.get_submodule(layer).register_forward_hook(lambda _, __, output: kept.update(map=output))
    picture = torch.ones(1, *shape, dtype=torch.float64, requires_grad=True)
    network(picture)
    height, width = kept["map"].shape[2:]
    kept["map"][0, :, height // 2, width // 2].sum().backward()
    seen = picture.grad[0].abs().sum(0) > 0
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    return int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


@pytest.mark.parametrize(
    ("network", "layer", "shape"),
    [
        (CifarResNet(depth=14, widths=(2, 2, 2)), "conv4_x.conv4_2.conv2", (3, 96, 80)),
        (CifarResNet(depth=14, widths=(2, 2, 2), shortcut="none"), "conv4_x.conv4_1", (3, 96, 80)),
        (ResNet(depth=18, widths=NARROW), "conv4_x", (3, 320, 288)),
        (ResNet(depth=50, widths=NARROW, shortcut="A"), "conv3_x", (3, 144, 160)),
        (ResNet(depth=50, widths=NARROW, stride_in="3x3"), "conv3_x.conv3_2", (3, 144, 160)),
        (MobileNet(width_multiplier=0.05), "block10", (3, 256, 288)),
        (LeNet5(form="modern", pooling="average"), "C3", (1, 32, 32)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_the_gradient_sees_what_the_rule_says(network, layer, shape):
    last = [name for name in layers_of(network, shape) if name == layer or name.startswith(f"{layer}.")]
    field = max(layers_of(network, shape)[name].receptive_field for name in last)
    assert field < shape[1:], "the picture must be larger than the field"
    assert seen_by_the_centre(positive(network), layer, shape) == field


class Branching(nn.Module):
    """Branches of different sizes and places, slices, paddings and concatenation."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.ZeroPad2d((2, 0)),
            nn.ReplicationPad2d((0, 1, 1, 3)),
            nn.Conv2d(1, 2, (3, 5), stride=(2, 1), dilation=(1, 2)),
        )
        self.small, self.large = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 5, padding=4, dilation=2)
        self.pool = nn.AvgPool2d(3, 2, padding=1, ceil_mode=True)
        self.norm = nn.LocalResponseNorm(3)
        self.last = nn.Conv2d(6, 1, (1, 3), padding="same")

    def forward(self, x):
        x = self.norm(self.stem(x).relu())
        x = torch.cat([self.small(x), self.large(x), nn.functional.avg_pool2d(x, 7, 1, 3)], 1)
        return self.last(self.pool(x)[:, :, ::2, -9:])


def test_branches_slices_paddings_and_axes():
    network = Branching()
    layer = layers_of(network, (1, 128, 128))["last"]
    assert layer.jump == (2 * 2 * 2, 2)
    # stem 3 (5, dilated: 9); 5 dilated: + 2·8 (+ 8); pool: + 2·2 (+ 2); last: + 0 (+ 2·2)
    assert layer.receptive_field == (3 + 16 + 4, 9 + 8 + 2 + 4)
    assert seen_by_the_centre(positive(network), "last", (1, 128, 128)) == layer.receptive_field


def test_layers_that_join_all_positions_see_from_the_first_to_the_last_unit():
    network = nn.Sequential(nn.Conv2d(1, 1, 3, stride=2), nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 2))
    first, *dense = count(network, (1, 9, 9)).layers
    assert (first.receptive_field, first.jump) == ((3, 3), (2, 2))
    assert [(layer.receptive_field, layer.jump) for layer in dense] == [((9, 9), None)] * 2


def test_adaptive_pooling_regular_irregular_and_none():
    def fields(before: int, after: int) -> list[tuple]:
        network = nn.Sequential(
            nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d(after), nn.Flatten(), nn.Linear(after * after, 1)
        )
        return [layer.receptive_field for layer in count(network, (1, before + 2, before + 2)).layers]

    assert fields(6, 6) == [(3, 3), (8, 8)]  # nothing to do: no row
    assert fields(6, 3) == [(3, 3), (4, 4), (8, 8)]
    assert fields(5, 3) == [(3, 3), (5, 5), (7, 7)]  # windows of 2, 3 and 2 units
    assert fields(2, 3) == [(3, 3), (4, 4), (4, 4)]
    assert fields(4, 1) == [(3, 3), (6, 6), (6, 6)]


class Reordered(nn.Module):
    """Channels shuffled or, on request, axes exchanged between two convolutions."""

    def __init__(self, exchanged: bool):
        super().__init__()
        self.first, self.last, self.exchanged = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 1, 3), exchanged

    def forward(self, x):
        x = self.first(x)
        if self.exchanged:
            return self.last(x.transpose(2, 3))
        shuffled = x.unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2)
        return self.last(shuffled.permute(0, 1, 2, 3))


def test_axes_that_change_places():
    fields = [count(Reordered(exchanged), (1, 9, 9)).layers[-1].receptive_field for exchanged in (False, True)]
    assert fields == [(5, 5), None]


def test_what_the_rule_does_not_cover_is_unknown_from_there_on():
    network = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ConvTranspose2d(1, 1, 2, 2), nn.Conv2d(1, 1, 3), nn.Flatten())
    first, *rest = count(network, (1, 9, 9)).layers
    assert first.receptive_field == (3, 3)
    assert [(layer.receptive_field, layer.jump) for layer in rest] == [(None, None)] * 2
    vectors = count(nn.Linear(5, 5), (5,)).layers
    assert vectors[0].receptive_field is None
