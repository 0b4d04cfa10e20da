"""ZFNet's radius of the filters."""

import pytest
import torch
from torch import nn

from striate import runs
from striate.callbacks.filter_renormalisation import renormalise
from striate.errors import ConfigurationError
from striate.storage import load_checkpoint
from striate.tasks.loading import network_weights

QUICK = ["model=lenet5_modern", "trainer.max_epochs=1", "test=false", "callbacks=[default,filter_renormalisation]"]


def rms(weight):
    return weight.double().square().mean(dim=(1, 2, 3)).sqrt()


@pytest.mark.parametrize("shape", [(6, 1, 5, 5), (16, 6, 3, 3)])
def test_only_filters_beyond_the_radius_are_scaled_and_onto_it(shape):
    torch.manual_seed(0)
    weight = nn.Parameter(
        torch.randn(shape, dtype=torch.float64) * torch.linspace(0.01, 0.3, shape[0]).view(-1, 1, 1, 1)
    )
    before = weight.detach().clone()
    renormalise(weight, 0.1)
    beyond = rms(before) > 0.1
    assert 0 < beyond.sum() < len(beyond)
    torch.testing.assert_close(rms(weight.detach())[beyond], torch.full((int(beyond.sum()),), 0.1, dtype=torch.float64))
    assert torch.equal(weight[~beyond], before[~beyond])
    directions = (weight / before).flatten(1)
    torch.testing.assert_close(directions, directions[:, :1].expand_as(directions))
    renormalise(weight, 0.1)  # once there, they stay up to rounding
    torch.testing.assert_close(rms(weight.detach())[beyond], torch.full((int(beyond.sum()),), 0.1, dtype=torch.float64))


def test_a_filter_of_zeros_stays():
    weight = nn.Parameter(torch.zeros(2, 1, 3, 3))
    renormalise(weight, 0.1)
    assert torch.equal(weight, torch.zeros_like(weight))


@pytest.mark.parametrize(("layers", "held"), [(None, ["C1", "C3"]), (["C1"], ["C1"])])
def test_after_training_no_filter_is_beyond_the_radius(train, tmp_path, layers, held):
    words = [] if layers is None else [f"callbacks.filter_renormalisation.layers=[{','.join(layers)}]"]
    train(*QUICK, "callbacks.filter_renormalisation.max_rms=0.05", *words, f"run_dir={tmp_path / 'run'}")
    weights = network_weights(load_checkpoint(runs.newest_checkpoint(tmp_path / "run" / "checkpoints")))
    for name in ("C1", "C3"):
        assert bool((rms(weights[f"{name}.weight"]) <= 0.05 * (1 + 1e-6)).all()) == (name in held), name


@pytest.mark.parametrize(
    ("words", "says", "nearest"),
    [
        (["callbacks.filter_renormalisation.layers=[c1]"], "LeNet5 has no convolution 'c1'", "C1"),
        (["callbacks.filter_renormalisation.layers=[F6]"], "LeNet5 has no convolution 'F6'", None),
        (["model=mlp"], "MLP has no convolution", None),
        (["callbacks.filter_renormalisation.max_rms=0"], "must be float, above 0, not 0", None),
    ],
)
def test_what_has_no_filters_is_refused(train, words, says, nearest):
    with pytest.raises(ConfigurationError) as caught:
        train(*QUICK, *words)
    assert says in str(caught.value)
    assert caught.value.nearest == nearest or nearest is None
