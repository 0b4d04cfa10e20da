"""Printed figures: how they are read, and what an exact count says of them."""

import pytest
import torch
from torch import nn

from striate.evaluation.papers import Figure
from striate.evaluation.printed import KINDS, compare, connections, measure, parse
from striate.models.arithmetic import count
from striate.models.lenet5 import LeNet5


@pytest.mark.parametrize(
    ("printed", "digits", "value", "step"),
    [
        ("15.3 G", None, 15.3e9, 0.1e9),
        ("0.27 M", None, 0.27e6, 0.01e6),
        ("60,000", None, 60_000, 1),
        ("720 M", 2, 720e6, 10e6),
        ("15300 M", 3, 15_300e6, 100e6),
        ("159 Ki", None, 159 * 1024, 1024),
        ("94.86 %", None, 0.9486, 0.0001),
        ("404", None, 404, 1),
    ],
)
def test_the_last_digit_says_how_far_a_figure_is_rounded(printed, digits, value, step):
    assert parse(printed, digits) == pytest.approx((value, step))


@pytest.mark.parametrize("printed", ["", "about 60 M", "1.5 T", "-3", "1.2.3"])
def test_what_is_no_figure_is_refused(printed):
    with pytest.raises(ValueError, match="expected a number and a unit among K, Ki, M, G, %"):
        parse(printed)


@pytest.fixture(scope="module")
def small():
    return count(
        nn.Sequential(
            nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.Conv2d(8, 6, 1),
            nn.BatchNorm2d(6), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6 * 4 * 4, 10),
        ),
        (4, 8, 8),
    )  # fmt: skip


def test_kinds_of_layers(small):
    found = {kind: [layer.name for layer in small.layers if rule(layer)] for kind, rule in KINDS.items()}
    assert found == {
        "convolutions": ["0", "1", "2"],
        "1×1 convolutions": ["2"],
        "depthwise convolutions": ["1"],
        "3×3 convolutions": ["0"],
        "linear layers": ["6"],
    }


def test_quantities_of_parts_and_shares(small):
    dense, full, depthwise, pointwise = 96 * 10, 4 * 8 * 9, 8 * 9, 8 * 6

    def of(quantity: str, part: str = "") -> float:
        return measure(small, Figure(quantity, "1", "", part))

    assert of("parameters") == dense + 10 + full + 8 + depthwise + pointwise + 6 + 12
    assert of("parameters", "!6") == full + 8 + depthwise + pointwise + 6 + 12
    assert of("weights") == dense + full + depthwise + pointwise
    assert of("mult_adds", "convolutions") == 64 * (full + depthwise + pointwise)
    assert of("weights_share", "linear layers") == dense / (dense + full + depthwise + pointwise)
    assert (of("side", "4"), of("receptive_field", "4"), of("activations", "2")) == (4, 6, 6 * 64)
    with pytest.raises(ValueError, match="no part 'conv9'"):
        of("parameters", "conv9")


@pytest.mark.parametrize(
    ("printed", "verdict"),
    [("990", "equal"), ("0.99 K", "equal"), ("1.0 K", "rounded"), ("0.9 K", "truncated"), ("989", "differs")],
)
def test_verdicts(printed, verdict):
    comparison = compare(count(nn.Linear(98, 10), (98,)), Figure("parameters", printed, ""))
    assert comparison.verdict == verdict
    assert comparison.agrees == (verdict != "differs")


def test_how_a_comparison_is_shown():
    comparison = compare(count(nn.Linear(98, 10), (98,)), Figure("parameters", "0.5 K", ""))
    assert comparison.shown == "0.990 K"
    assert comparison.difference == pytest.approx(500 / 990 - 1)


def test_connections_as_the_paper_of_1998_counts_them():
    with torch.device("meta"):
        layers = count(LeNet5(), (1, 32, 32)).layers
    assert [connections(layer) for layer in layers] == [122_304, 5_880, 151_600, 2_000, 48_120, 10_164, 840]
