"""VGG beyond what all networks share: its configurations and its switches."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from striate.models.vgg import CONFIGURATIONS, VGG

NARROW = {"widths": (4, 6, 8, 8, 6), "hidden": 12, "pooled_size": 1}


@pytest.mark.parametrize(("configuration", "layers"), list(zip(CONFIGURATIONS, (11, 11, 13, 16, 16, 19), strict=True)))
def test_configurations_have_the_layers_of_table_1(configuration: str, layers: int):
    network = VGG(configuration=configuration, **NARROW)
    weighted = [name for name, module in network.named_children() if isinstance(module, (nn.Conv2d, nn.Linear))]
    assert len(weighted) == layers
    assert weighted[0] == "conv1_1"
    assert weighted[-3:] == ["fc6", "fc7", "fc8"]
    small = [name for name in weighted if name.startswith("conv") and getattr(network, name).kernel_size == (1, 1)]
    assert small == (["conv3_3", "conv4_3", "conv5_3"] if configuration == "C" else [])
    norms = [name for name, module in network.named_children() if isinstance(module, nn.LocalResponseNorm)]
    assert norms == (["norm1"] if configuration == "A-LRN" else [])


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("configuration", ["A-LRN", "D"])
def test_switches_bring_every_maximum_back_to_its_place(configuration: str, ceil_mode: bool):
    torch.manual_seed(0)
    network = VGG(7, configuration=configuration, ceil_mode=ceil_mode, initialisation="he", **NARROW).eval()
    picture = torch.randn(2, 3, 45, 67)
    features, switches = network.forward_with_indices(picture)
    expected = network.forward_features(picture)
    assert list(features) == list(expected)
    assert all(torch.equal(features[stage], expected[stage]) for stage in expected)
    assert list(switches) == ["pool1", "pool2", "pool3", "pool4", "pool5"]
    for number, (stage, (indices, size)) in enumerate(switches.items(), start=1):
        before, pooled = features[f"conv{number}"], features[stage]
        assert size == before.shape[2:]
        assert indices.dtype == torch.int64
        assert torch.equal(before.flatten(2).gather(2, indices.flatten(2)), pooled.flatten(2))
        unpooled = F.max_unpool2d(pooled, indices, 2, output_size=size)
        assert unpooled.shape == before.shape
        assert torch.equal(F.max_pool2d(unpooled, 2, ceil_mode=ceil_mode), pooled)
        assert torch.equal(unpooled[unpooled != 0], before[unpooled != 0])


def test_gradients_flow_through_the_maps_with_switches():
    network = VGG(7, configuration="A", initialisation="he", **NARROW)
    features, _ = network.forward_with_indices(torch.randn(1, 3, 32, 32))
    features["pool5"].sum().backward()
    assert network.conv1_1.weight.grad.abs().max() > 0


def test_ceil_mode_gives_the_maps_of_segnet():
    network = VGG(ceil_mode=True, **NARROW)
    features = network.to("meta").forward_features(torch.empty(1, 3, 360, 480, device="meta"))
    heights = [features[f"pool{number}"].shape[2] for number in range(1, 6)]
    assert heights == [180, 90, 45, 23, 12]


def test_initialisations():
    torch.manual_seed(0)
    glorot, he = VGG(hidden=32, pooled_size=1), VGG(hidden=32, pooled_size=1, initialisation="he")
    bound = (6 / (9 * 512 + 9 * 512)) ** 0.5  # Glorot and Bengio 2010, eq. 16
    assert glorot.conv5_1.weight.abs().max().item() == pytest.approx(bound, rel=0.001)
    assert he.conv5_1.weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)
    for network in (glorot, he):
        assert not any(parameter.any() for name, parameter in network.named_parameters() if name.endswith("bias"))
