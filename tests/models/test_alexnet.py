"""AlexNet and ZFNet beyond what all networks share."""

import pytest
import torch
from torch import nn

from striate.models.alexnet import AlexNet
from striate.models.dense_head import local_response_norm
from striate.models.network import BatchNorm1d
from striate.models.zfnet import ZFNet

NARROW = {"widths": (6, 8, 10, 10, 8), "hidden": 12, "pooled_size": 1}


def test_response_normalisation_is_the_papers_formula():
    torch.manual_seed(0)
    a = torch.randn(2, 7, 3, 4, dtype=torch.float64) * 50
    expected = torch.empty_like(a)
    for i in range(7):
        window = a[:, max(0, i - 2) : min(6, i + 2) + 1]  # cut at the first and last map
        expected[:, i] = a[:, i] / (2 + 1e-4 * window.square().sum(1)) ** 0.75
    torch.testing.assert_close(local_response_norm()(a), expected, rtol=1e-13, atol=0)


def test_units_of_the_paper():
    """650,000 neurons (abstract): 659,272 with the input's successors, 290,400 of them in conv1."""
    with torch.device("meta"):
        network = AlexNet()
        features = network.forward_features(torch.empty(1, 3, 227, 227))
    units = {name: features[name].numel() for name in ("conv1", "conv2", "conv3", "conv4", "conv5")}
    assert units["conv1"] == 290_400
    assert sum(units.values()) + 4096 + 4096 + 1000 == 659_272


def test_initialisation_of_the_paper():
    torch.manual_seed(0)
    network = AlexNet(hidden=64)
    for name, layer in network.named_children():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            assert layer.weight.mean().abs() < 0.001
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05), name
            one = name in ("conv2", "conv4", "conv5", "fc6", "fc7")
            assert torch.equal(layer.bias, torch.full_like(layer.bias, float(one))), name
    zfnet = ZFNet(**NARROW)
    assert all(not layer.bias.any() for layer in zfnet.children() if isinstance(layer, (nn.Conv2d, nn.Linear)))


def test_two_towers_meet_in_conv3_and_in_the_dense_layers():
    """The second half of conv1 reaches the first half of conv2 nowhere, and all of conv3."""
    torch.manual_seed(0)
    network = AlexNet(7, initialisation="he", lrn=False, **NARROW).eval()
    picture = torch.randn(1, 3, 67, 67)
    with torch.no_grad():
        before = network.forward_features(picture)
        network.conv1.weight[3:] *= -1
        after = network.forward_features(picture)
    assert torch.equal(before["conv2"][:, :4], after["conv2"][:, :4])
    assert not torch.equal(before["conv2"][:, 4:], after["conv2"][:, 4:])
    assert not torch.equal(before["conv3"][:, :5], after["conv3"][:, :5])


def test_order_of_the_layers():
    order = [name for info in AlexNet(**NARROW).feature_info.values() for name in info.modules]
    assert order[:8] == ["conv1", "act1", "norm1", "pool1", "conv2", "act2", "norm2", "pool2"]
    order = [name for info in ZFNet(**NARROW).feature_info.values() for name in info.modules]
    assert order[:8] == ["conv1", "act1", "pool1", "norm1", "conv2", "act2", "pool2", "norm2"]
    network = AlexNet(batch_norm=True, **NARROW)
    assert network.feature_info["conv1"].modules == ("conv1", "bn1", "act1")
    assert network.head == ("avgpool", "fc6", "bn6", "act6", "drop6", "fc7", "bn7", "act7", "drop7", "fc8")
    assert isinstance(network.bn6, BatchNorm1d)
    assert [name for name, parameter in network.named_parameters() if "conv" in name and "bias" in name] == []


def test_dropout_stands_behind_fc6_and_fc7_and_only_in_training():
    torch.manual_seed(0)
    network = AlexNet(7, **NARROW)
    picture = torch.randn(1, 3, 67, 67)
    assert not torch.equal(network(picture), network(picture))
    assert torch.equal(network.eval()(picture), network(picture))
    assert torch.equal(AlexNet(7, dropout=0.0, **NARROW).train().drop6(picture), picture)
