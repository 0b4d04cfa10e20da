"""Classifiers as convolutions: the same scores on their own pictures, maps of scores on larger ones."""

import pytest
import torch
from torch import nn

from striate.models.alexnet import AlexNet
from striate.models.convolutional import fully_convolutional
from striate.models.googlenet import GoogLeNet
from striate.models.lenet5 import LeNet5
from striate.models.mobilenet import MobileNet
from striate.models.network import Network
from striate.models.resnet import CifarResNet, ResNet
from striate.models.vgg import VGG
from striate.models.zfnet import ZFNet

NARROW = {"widths": (4, 6, 8, 8, 6), "hidden": 10, "pooled_size": 2}


def build(network: type[Network], **options) -> Network:
    torch.manual_seed(0)
    built = network(7, 1, **options).double().eval()
    with torch.no_grad():
        for module in built.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return built


@pytest.mark.parametrize(
    ("network", "own", "larger", "shape"),
    [
        (build(LeNet5, form="modern"), (32, 32), (37, 60), (2, 8)),
        (build(AlexNet, initialisation="he", **NARROW), (99, 99), (99 + 32, 99 + 64), (2, 3)),
        (build(AlexNet, batch_norm=True, towers=1, lrn=True, **NARROW), (95, 95), (95 + 32, 95), (2, 1)),
        (build(ZFNet, initialisation="he", **NARROW), (95, 95), (95 + 32, 95), (2, 1)),
        (build(VGG, configuration="A", initialisation="he", **NARROW), (64, 64), (65, 97), (1, 2)),
    ],
)
def test_dense_layers_become_convolutions(network: Network, own: tuple, larger: tuple, shape: tuple):
    dense = fully_convolutional(network)
    x = torch.randn(2, 1, *own, dtype=torch.float64)
    scores = dense(x)
    assert scores.shape == (2, 7, 1, 1)
    torch.testing.assert_close(scores.flatten(1), network(x), rtol=1e-12, atol=1e-14)
    assert dense(torch.randn(2, 1, *larger, dtype=torch.float64)).shape == (2, 7, *shape)
    assert not any(isinstance(module, (nn.Linear, nn.BatchNorm1d)) for module in dense.modules())
    assert sum(p.numel() for p in dense.parameters()) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    "network",
    [
        build(ResNet, depth=18, widths=(4, 6, 8, 10)),
        build(CifarResNet, depth=8, widths=(4, 6, 8)),
        build(MobileNet, width_multiplier=0.25),
        build(GoogLeNet, auxiliary=True),
    ],
    ids=lambda network: type(network).__name__,
)
def test_the_mean_of_the_map_is_the_score_behind_a_global_average(network: Network):
    dense = fully_convolutional(network)
    x = torch.randn(2, 1, 65, 97, dtype=torch.float64)
    *_, last = network.forward_features(x).values()
    scores = dense(x)
    assert scores.shape == (2, 7, *last.shape[2:])
    torch.testing.assert_close(scores.mean((2, 3)), network(x), rtol=1e-10, atol=1e-12)
    assert not any(name.startswith("body.aux") for name, _ in dense.named_parameters())


def test_each_place_of_the_map_is_the_score_of_the_cut_out_below_it():
    network = build(LeNet5, form="modern", activation="tanh")
    x = torch.randn(1, 1, 36, 44, dtype=torch.float64)
    scores = fully_convolutional(network)(x)
    assert scores.shape == (1, 7, 2, 4)
    for row in range(2):
        for column in range(4):
            cut_out = x[:, :, 4 * row : 4 * row + 32, 4 * column : 4 * column + 32]
            torch.testing.assert_close(scores[:, :, row, column], network(cut_out), rtol=1e-12, atol=1e-14)


def test_the_network_stays_as_it_is():
    network = build(GoogLeNet, auxiliary=True).train()
    network.conv1.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    dense = fully_convolutional(network)
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.auxiliary_weights == (0.3, 0.3)
    assert network.head
    assert dense.head.training
    assert not dense.body.conv1.conv.weight.requires_grad


def test_a_network_without_such_a_form_is_refused():
    with pytest.raises(ValueError, match="LeNet5 has no convolutional form"):
        fully_convolutional(LeNet5())
