"""What only MobileNet has: the choices of its authors' release."""

import pytest
import torch
from torch import nn

from striate.models.mobilenet import MobileNet


def test_the_release_begins_with_small_weights_and_averages_over_thousands_of_steps():
    torch.manual_seed(0)
    network = MobileNet(
        7, width_multiplier=0.25, activation="relu6", batch_norm_momentum=0.0003, initialisation="release"
    )
    layers = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    weights = torch.cat([layer.weight.flatten() for layer in layers])
    assert len(layers) == 28
    assert weights.abs().max() <= 0.18
    assert weights.std().item() == pytest.approx(0.0792, rel=0.01)  # of a normal cut at two deviations: 0.88 of 0.09
    assert not any(layer.bias.any() for layer in layers if layer.bias is not None)
    network.train()(torch.randn(4, 3, 32, 32))
    assert network.bn0.running_var.mean().item() == pytest.approx(1.0, abs=1e-3)
    assert {norm.momentum for norm in network.modules() if isinstance(norm, nn.BatchNorm2d)} == {0.0003}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"initialisation": "glorot"}, "initialisation must be one of 'he', 'release'; got 'glorot'"),
        ({"batch_norm_momentum": 0}, "batch_norm_momentum must be above 0 and at most 1; got 0"),
        ({"batch_norm_momentum": 1.5}, "batch_norm_momentum must be above 0 and at most 1; got 1.5"),
    ],
)
def test_bad_choices_are_refused_with_the_valid_ones(arguments, message):
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        MobileNet(**arguments)
