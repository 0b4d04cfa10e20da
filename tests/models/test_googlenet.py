"""GoogLeNet against the table of its paper, and its auxiliary heads."""

import pytest
import torch
import torch.nn.functional as F

from striate.models.arithmetic import count
from striate.models.googlenet import MODULES, AuxiliaryHead, GoogLeNet

# Table 1 as printed: parameters in units of 1024, operations in millions. Those in brackets disagree with the widths
# that the paper prints in the same line: parameters of 4a, 4c, 4d, 4e, 5a and 5b, operations of 5a, both of conv1.
PRINTED = {
    "conv1": ((2.7,), (34,)),
    "conv2": (112, 360),
    "inception3a": (159, 128),
    "inception3b": (380, 304),
    "inception4a": ((364,), 73),
    "inception4b": (437, 88),
    "inception4c": ((463,), 100),
    "inception4d": ((580,), 119),
    "inception4e": ((840,), 170),
    "inception5a": ((1072,), (54,)),
    "inception5b": ((1388,), 71),
    "fc": (1000, 1),
}
EXACT = {  # weights without biases, multiply-adds
    "conv1": (9_408, 118_013_952),
    "conv2": (114_688, 359_661_568),
    "inception3a": (163_328, 128_049_152),
    "inception3b": (388_096, 304_267_264),
    "inception4a": (375_552, 73_608_192),
    "inception4b": (448_512, 87_908_352),
    "inception4c": (509_440, 99_850_240),
    "inception4d": (604_672, 118_515_712),
    "inception4e": (867_328, 169_996_288),
    "inception5a": (1_042_432, 51_079_168),
    "inception5b": (1_442_816, 70_697_984),
    "fc": (1_024_000, 1_024_000),
}


@pytest.fixture(scope="module")
def figures() -> dict[str, tuple[int, int]]:
    with torch.device("meta"):
        layers = count(GoogLeNet(), (3, 224, 224)).layers
    table = dict.fromkeys(PRINTED, (0, 0))
    for layer in layers:
        row = layer.name.partition(".")[0].removesuffix("_reduce")
        if row in table:
            weights, mult_adds = table[row]
            table[row] = weights + layer.weights, mult_adds + layer.mult_adds
    return table


@pytest.mark.parametrize("row", PRINTED)
def test_table_1(figures: dict[str, tuple[int, int]], row: str):
    assert figures[row] == EXACT[row]
    for figure, printed, unit in zip(figures[row], PRINTED[row], (1024, 10**6), strict=True):
        if isinstance(printed, tuple):
            assert abs(figure / unit - printed[0]) > 1
        else:
            assert abs(figure / unit - printed) <= 1


def test_channels_of_table_1():
    with torch.device("meta"):
        info = GoogLeNet().feature_info
    assert [info[name].channels for name in MODULES] == [256, 480, 512, 512, 512, 528, 832, 832, 1024]


def test_heads_pool_as_in_the_paper_at_its_size_and_adapt_elsewhere():
    torch.manual_seed(0)
    head = AuxiliaryHead(8, 5, 0.0, eps=None, adaptive=False)
    seen = []
    head.conv.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    for side in (14, 2, 20):
        x = torch.randn(1, 8, side, side)
        head(x)
        assert torch.equal(seen[-1], F.avg_pool2d(x, 5, 3) if side == 14 else F.adaptive_avg_pool2d(x, 4))
    AuxiliaryHead(8, 5, 0.0, eps=None, adaptive=True).eval()


def test_forward_computes_no_head_and_the_main_gradient_leaves_them_alone():
    torch.manual_seed(0)
    network = GoogLeNet(7, auxiliary=True)
    network(torch.randn(1, 3, 32, 32)).sum().backward()
    touched = {name.partition(".")[0] for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert not touched & {"aux1", "aux2"}
    assert "inception3a" in touched


def test_heads_reach_down_to_the_picture_but_not_above_themselves():
    torch.manual_seed(0)
    network = GoogLeNet(7, auxiliary=True)
    _, first, _ = network.forward_aux(torch.randn(1, 3, 32, 32))
    first.sum().backward()
    touched = {name.partition(".")[0] for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert touched == {"conv1", "conv2_reduce", "conv2", "inception3a", "inception3b", "inception4a", "aux1"}


def test_network_without_heads_has_none():
    with torch.device("meta"):
        network = GoogLeNet()
    assert network.auxiliary_weights == ()
    assert len(network.forward_aux(torch.empty(1, 3, 224, 224, device="meta"))) == 1
