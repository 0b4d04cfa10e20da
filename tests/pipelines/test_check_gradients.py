"""The table of gradients, and what it says of a wrong one."""

import pytest
import torch

from striate.configuration import compose
from striate.errors import ConfigurationError, StriateError
from striate.optim.losses import CrossEntropy
from striate.pipelines import check_gradients
from striate.tasks import backpropagation, gradient_check


def check(places, *words):
    return check_gradients.run(compose("check_gradients", [*places[:2], "entries=3", "samples=4", *words]))


@pytest.mark.parametrize(
    "words",
    [
        ["model=mlp", "loss=squared_error", "loss.activation=sigmoid"],
        ["model=mlp", "model.hidden=[12,7]", "model.activation=relu", "model.batch_norm=true"],
    ],
)
def test_a_perceptron_has_three_gradients_that_agree(places, digits, capsys, words):
    figures = check(places, *words)
    assert figures["by_hand"] <= 1e-12
    assert figures["differences"] <= 1e-6
    said = capsys.readouterr().out
    assert "fc1.weight" in said
    assert "by hand" in said
    assert "Every gradient agrees." in said


@pytest.mark.parametrize("words", [["model=lenet5", "loss=map"], ["model=lenet5_modern"]])
def test_other_networks_have_two(places, digits, capsys, words):
    figures = check(places, *words)
    assert figures.keys() == {"differences"}
    assert figures["differences"] <= 1e-5
    assert "by hand" not in capsys.readouterr().out


def test_a_wrong_equation_is_found_and_named(places, digits, monkeypatch, capsys):
    monkeypatch.setattr(backpropagation, "bias_gradient", lambda error: error.sum(0) * (1 + 1e-9))
    with pytest.raises(StriateError) as caught:
        check(places, "model=mlp")
    assert caught.value.exit_code == 1
    assert "bias: the gradients differ by 1e-09 of the largest, more than 1e-12" in str(caught.value)
    assert "fc2.bias" in capsys.readouterr().out, "the table is printed all the same"


def test_a_wrong_derivative_of_autograd_would_be_found(places, digits, monkeypatch):
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            return x.clone()

        @staticmethod
        def backward(context, gradient):
            return gradient * 1.001

    original = CrossEntropy.forward
    monkeypatch.setattr(CrossEntropy, "forward", lambda self, z, t: original(self, Wrong.apply(z), t))
    with pytest.raises(StriateError, match=r"differ by 0\.000999 of the largest"):
        check(places, "model=lenet5_modern")


def test_the_network_is_left_as_it_was(digits):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).double()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    inputs, targets = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
    rows = gradient_check.compare_gradients(
        network, CrossEntropy(class_counts=[2, 3]), inputs, targets, entries=4, step=1e-6, enough=1e-5, seed=0
    )
    assert [row.name for row in rows] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert all(row.by_hand is None and row.differences < 1e-6 for row in rows)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_mistakes_are_named(places, digits):
    with pytest.raises(ConfigurationError, match="samples=5000: digits has 1169 training pictures"):
        check(places, "samples=5000")
    with pytest.raises(ConfigurationError, match="above 0"):
        check(places, "step=0")
