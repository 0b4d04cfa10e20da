"""Tensors in other sizes: what they keep, and that nothing is resized unasked."""

import pytest
import torch
import torch.nn.functional as F

from striate.errors import ConfigurationError
from striate.models.lenet5 import LeNet5
from striate.models.mlp import MLP
from striate.transfer.resizing import resized


@pytest.mark.parametrize("grey", ["sum", "mean"])
@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 3)])
def test_first_filters_for_other_colours(grey, before, after):
    torch.manual_seed(0)
    old, new = (LeNet5(10, channels, form="modern").eval() for channels in (before, after))
    weights, said = resized(new, old.state_dict(), grey, "refuse")
    assert list(said) == ["C1.weight"]
    new.load_state_dict(weights)
    picture = torch.rand(2, 1, 32, 32)
    if grey == "sum":  # a grey picture in all channels gives what it gave
        scores = (network(picture.expand(-1, network.in_channels, -1, -1)) for network in (old, new))
        torch.testing.assert_close(*scores)
    else:  # each channel weighs what the average one did
        torch.testing.assert_close(new.C1.weight.mean(1), old.C1.weight.mean(1))


def test_a_dense_layer_for_pictures_of_another_size():
    torch.manual_seed(0)
    old = MLP(10, 2, (14, 14), hidden=(5,))
    for side in (28, 7, 20):
        new = MLP(10, 2, (side, side), hidden=(5,))
        weights, said = resized(new, old.state_dict(), "refuse", "bilinear")
        assert list(said) == ["fc1.weight"]
        assert f"14×14 to {side}×{side}" in said["fc1.weight"]
        new.load_state_dict(weights)
        picture = torch.rand(3, 2, side, side)
        brought = F.interpolate(picture, (14, 14), mode="bilinear", antialias=True)
        torch.testing.assert_close(new(picture), old(brought), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "nearest"),
    [
        (LeNet5(10, 3, form="modern"), LeNet5(10, 1, form="modern"), "init.grey=sum"),
        (MLP(10, 1, (28, 28)), MLP(10, 1, (14, 14)), "init.resize=bilinear"),
    ],
    ids=["colours", "size"],
)
def test_nothing_is_resized_unasked(old, new, nearest):
    with pytest.raises(ConfigurationError) as caught:
        resized(new, old.state_dict(), "refuse", "refuse")
    assert caught.value.nearest == nearest


def test_what_has_another_meaning_is_left_alone():
    old, new = LeNet5(10, 3, form="modern"), LeNet5(4, 3, form="modern")
    weights, said = resized(new, old.state_dict(), "sum", "bilinear")
    assert not said
    assert weights["output.weight"].shape == (10, 84)
