"""Weight decay goes by type and dimension, each parameter lies in exactly one group."""

import pytest
import torch
import torchvision
from torch import nn

from striate.models.lenet5 import LeNet5
from striate.models.mobilenet import MobileNet
from striate.models.resnet import CifarResNet
from striate.optim.groups import parameter_groups

NETWORKS = {
    "torchvision_resnet18": lambda: torchvision.models.resnet18(),
    "torchvision_mobilenet_v2": lambda: torchvision.models.mobilenet_v2(),
    "torchvision_vgg11_bn": lambda: torchvision.models.vgg11_bn(),
    "torchvision_fcn": lambda: torchvision.models.segmentation.fcn_resnet50(weights_backbone=None),
    "lenet5": lambda: LeNet5(10, 1),
    "lenet5_modern": lambda: LeNet5(10, 1, form="modern"),
    "resnet20": lambda: CifarResNet(10, 3, depth=20),
    "resnet20_projections": lambda: CifarResNet(10, 3, depth=20, shortcut="B"),
    "mobilenet": lambda: MobileNet(10, 3),
}


def named(module: nn.Module, **options) -> dict[str, set[str]]:
    """Names of the parameters of each group."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = parameter_groups(module, **options)
    return {group["name"]: {names[id(parameter)] for parameter in group["params"]} for group in groups}


def depthwise(module: nn.Module) -> set[str]:
    return {
        f"{name}.weight" for name, part in module.named_modules() if isinstance(part, nn.Conv2d) and part.groups > 1
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_lies_in_exactly_one_group_by_its_dimension(name):
    with torch.device("meta"):
        network = NETWORKS[name]()
    groups = named(network)
    everything = dict(network.named_parameters())
    assert groups["decay"] | groups["no_decay"] == set(everything)
    assert not groups["decay"] & groups["no_decay"]
    # In these networks a parameter of several dimensions is the weight of a convolution or a dense layer.
    assert groups["decay"] == {name for name, parameter in everything.items() if parameter.ndim >= 2}


def test_the_normalisations_of_shortcuts_do_not_decay_either():
    with torch.device("meta"):
        groups = named(torchvision.models.resnet18())
    assert (len(groups["decay"]), len(groups["no_decay"])) == (21, 41)
    assert {"layer2.0.downsample.1.weight", "layer2.0.downsample.1.bias", "fc.bias"} <= groups["no_decay"]


@pytest.mark.parametrize(("network", "count"), [("torchvision_mobilenet_v2", 17), ("mobilenet", 13)])
def test_depthwise_filters_can_be_left_undecayed(network, count):
    with torch.device("meta"):
        network = NETWORKS[network]()
    filters = depthwise(network)
    assert len(filters) == count
    decayed, undecayed = named(network)["decay"], named(network, decay_depthwise=False)["decay"]
    assert decayed - undecayed == filters
    assert undecayed < decayed


def test_a_convolution_of_a_grey_picture_is_not_depthwise():
    network = nn.Sequential(nn.Conv2d(1, 6, 5), nn.Conv2d(6, 12, 3, groups=6), nn.Conv2d(12, 12, 3, groups=2))
    assert named(network, decay_depthwise=False)["decay"] == {"0.weight", "2.weight"}  # two groups are not depthwise


class Odd(nn.Module):
    """Parameters of its own beside modules of many types."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4, 1, 1))
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.filters = nn.Parameter(torch.ones(4, 3, 5, 5))
        self.layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(4, 4, 4),
                nn.Conv1d(4, 4, 1),
                nn.LayerNorm((4, 8, 8)),
                nn.GroupNorm(2, 4),
                nn.InstanceNorm2d(4, affine=True),
                nn.PReLU(4),
                nn.Embedding(3, 4),
                nn.Linear(1, 1),
                nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)),
            ]
        )


def test_types_that_the_family_does_not_use_are_told_apart_too():
    assert named(Odd())["decay"] == {
        "filters",
        "layers.0.weight",  # transposed convolution
        "layers.1.weight",
        "layers.7.weight",  # a dense layer, though its weight holds one number
        "layers.8.parametrizations.weight.original1",  # the direction; the length (4, 1, 1, 1) is original0
    }


def test_frozen_parameters_are_left_out():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    network[0].requires_grad_(False)
    assert named(network) == {"decay": {"2.weight"}, "no_decay": {"1.weight", "1.bias", "2.bias"}}
    network[1].requires_grad_(False)
    network[2].bias.requires_grad_(False)
    assert named(network) == {"decay": {"2.weight"}}  # no empty group


def test_a_shared_parameter_comes_once():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    network = nn.Sequential(first, second)
    assert named(network) == {"decay": {"0.weight"}, "no_decay": {"0.bias", "1.bias"}}
    embedding = nn.Embedding(3, 3)
    embedding.weight = first.weight
    assert named(nn.Sequential(first, embedding)) == {"no_decay": {"0.weight", "0.bias"}}
    assert named(nn.Sequential(embedding, first)) == {"no_decay": {"0.weight", "1.bias"}}


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_only_the_decayed_group_shrinks(optimizer):
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer(parameter_groups(network), lr=0.1, weight_decay=0.5).step()
    changed = {name for name, parameter in network.named_parameters() if (parameter != before[name]).any()}
    assert changed == {"0.weight"}
    if optimizer is torch.optim.SGD:
        torch.testing.assert_close(network[0].weight, before["0.weight"] * (1 - 0.1 * 0.5))


def test_nothing_to_train_and_parameters_without_a_shape_are_refused():
    with pytest.raises(ValueError, match="at least one trainable parameter"):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False))
    with pytest.raises(ValueError, match="pass a batch through LazyLinear first"):
        parameter_groups(nn.Sequential(nn.LazyLinear(3)))
