"""Backpropagation by hand: its gradients against autograd and finite differences, its training against the other."""

import csv
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from striate import runs
from striate.callbacks.history import TIMED
from striate.errors import ConfigurationError
from striate.models.mlp import MLP
from striate.models.resnet import CifarResNet
from striate.optim.losses import CrossEntropy, DiscriminativeDistance, SquaredError
from striate.storage import load_checkpoint
from striate.tasks import backpropagation
from striate.tasks.backpropagation import BackpropagationTask, gradients_by_hand, layers_of
from striate.tasks.gradient_check import difference_quotients
from striate.tasks.loading import load_task, network_weights

COUNTS = [3, 1, 4, 1, 5]
LOSSES = {
    "softmax cross entropy": CrossEntropy(class_counts=COUNTS),
    "smoothed and weighted": CrossEntropy(class_counts=COUNTS, label_smoothing=0.1, class_weights="balanced"),
    "sigmoid cross entropy": CrossEntropy(class_counts=COUNTS, activation="sigmoid"),
    "squared error": SquaredError(class_counts=COUNTS),
    "squared error of sigmoid": SquaredError(class_counts=COUNTS, activation="sigmoid"),
    "squared error of tanh": SquaredError(class_counts=COUNTS, activation="tanh"),
    "squared error of relu": SquaredError(class_counts=COUNTS, activation="relu"),
    "squared error of softmax": SquaredError(class_counts=COUNTS, activation="softmax", class_weights="balanced"),
    "map": DiscriminativeDistance(class_counts=COUNTS, class_weights="balanced"),
}
HIDDEN = [(), (7,), (9, 6, 8)]
ACTIVATIONS = ["sigmoid", "tanh", "relu"]


def make(hidden=(7,), activation="sigmoid", samples=6, seed=0, **options):
    torch.manual_seed(seed)
    network = MLP(5, 2, (3, 4), hidden=hidden, activation=activation, initialisation="scaled", **options).double()
    inputs = torch.randn(samples, 2, 3, 4, dtype=torch.float64)
    return network, inputs, torch.randint(0, 5, (samples,))


def worst_error(network, loss, inputs, targets):
    """The largest difference between both gradients over the parameter's largest gradient, and of the two losses."""
    value, by_hand = gradients_by_hand(network, loss, inputs, targets)
    expected = loss.reduce(loss(network(inputs), targets), targets)
    assert value.item() == pytest.approx(expected.item(), rel=1e-13)
    by_autograd = torch.autograd.grad(expected, list(network.parameters()))
    assert len(by_hand) == len(by_autograd)
    errors = []
    for parameter, gradient in zip(network.parameters(), by_autograd, strict=True):
        assert by_hand[parameter].shape == parameter.shape
        scale = gradient.abs().max().item() or 1.0
        errors.append((by_hand[parameter] - gradient).abs().max().item() / scale)
    return max(errors)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", HIDDEN, ids=len)
def test_every_gradient_is_that_of_autograd(hidden, activation, loss):
    for samples in (1, 6):
        network, inputs, targets = make(hidden, activation, samples)
        assert worst_error(network, LOSSES[loss], inputs, targets) <= 1e-12


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_batch_norm_by_hand_is_that_of_autograd(activation, training):
    network, inputs, targets = make((9, 6), activation, 16, batch_norm=True)
    for name, parameter in network.named_parameters():
        if name.startswith("bn"):
            nn.init.uniform_(parameter, 0.5, 2.0)
    for _ in range(3):  # running statistics that are not those of the batch
        network(inputs * 2 + 1)
    network.train(training)
    assert worst_error(network, LOSSES["squared error of sigmoid"], inputs, targets) <= 1e-12


def test_batch_norm_by_hand_leaves_the_statistics_that_a_forward_pass_leaves():
    for samples in (1, 8):
        network, inputs, targets = make((9,), samples=samples, batch_norm=True)
        other = make((9,), samples=samples, batch_norm=True)[0]
        gradients_by_hand(network, LOSSES["squared error"], inputs, targets)
        other(inputs)
        for name, buffer in other.named_buffers():
            torch.testing.assert_close(dict(network.named_buffers())[name], buffer, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_every_gradient_is_that_of_finite_differences(activation, loss):
    network, inputs, targets = make((6, 5), activation)
    criterion = LOSSES[loss]
    _, by_hand = gradients_by_hand(network, criterion, inputs, targets)
    for parameter in network.parameters():
        places = torch.arange(min(parameter.numel(), 12))
        quotients = difference_quotients(network, criterion, inputs, targets, parameter.data, places, 1e-5)
        expected = by_hand[parameter].flatten()[places]
        torch.testing.assert_close(quotients, expected, rtol=1e-6, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 12), max_size=4).map(tuple),
    st.sampled_from(ACTIVATIONS),
    st.sampled_from(sorted(LOSSES)),
    st.integers(1, 9),
    st.integers(0, 2**31),
)
def test_any_perceptron_has_the_gradients_of_autograd(hidden, activation, loss, samples, seed):
    network, inputs, targets = make(hidden, activation, samples, seed)
    assert worst_error(network, LOSSES[loss], inputs, targets) <= 1e-12


def test_the_four_equations_on_two_layers_in_numpy():
    # Index by index, as printed: sums over patterns x, neurons j of the layer and k of the layer before.
    network, inputs, targets = make((3,), "sigmoid", 4)
    w1, b1, w2, b2 = (value.detach().numpy() for value in network.parameters())
    a0, t = inputs.flatten(1).numpy(), np.eye(5)[targets.numpy()]
    a1 = 1 / (1 + np.exp(-(a0 @ w1.T + b1)))
    a2 = 1 / (1 + np.exp(-(a1 @ w2.T + b2)))
    delta2 = (a2 - t) * a2 * (1 - a2) / 4  # BP1, of the mean over four patterns
    delta1 = np.zeros_like(a1)
    for x in range(4):
        for k in range(3):  # BP2
            delta1[x, k] = sum(w2[j, k] * delta2[x, j] for j in range(5)) * a1[x, k] * (1 - a1[x, k])
    gradient_b1 = [sum(delta1[x, j] for x in range(4)) for j in range(3)]  # BP3
    gradient_w2 = [[sum(a1[x, k] * delta2[x, j] for x in range(4)) for k in range(3)] for j in range(5)]  # BP4
    _, found = gradients_by_hand(network, LOSSES["squared error of sigmoid"], inputs, targets)
    np.testing.assert_allclose(found[network.fc1.bias], gradient_b1, rtol=1e-12)
    np.testing.assert_allclose(found[network.fc2.weight], gradient_w2, rtol=1e-12)


def test_other_networks_have_no_equations():
    with torch.device("meta"), pytest.raises(ConfigurationError, match="writes out the equations of dense layers"):
        layers_of(CifarResNet(10, 3))
    network = make()[0]
    network.stack = lambda: [nn.Linear(2, 2), nn.GELU(), nn.Linear(2, 2)]
    with pytest.raises(ConfigurationError, match="no equation for GELU"):
        layers_of(network)


# ---- through the pipeline --------------------------------------------------------------------------------------------

MLP_WORDS = ["model=mlp", "trainer.max_epochs=1", "test=false", "trainer.accelerator=cpu"]


def final_weights(folder):
    return network_weights(load_checkpoint(runs.newest_checkpoint(folder / "checkpoints")))


@pytest.mark.parametrize(
    "words",
    [
        ["optimizer=alexnet", "scheduler=poly", "augmentation=light"],
        ["data.batch_size=all", "trainer.max_epochs=3", "loss=squared_error", "loss.activation=sigmoid"],
        [
            "data.batch_size=1",
            "data.samples_per_class=20",
            "scheduler=plateau",
            "optimizer.lr=0.002",
            "loss.class_weights=balanced",
        ],
        ["model.batch_norm=true", "model.activation=relu", "optimizer=adamw", "callbacks=[default,ema]"],
    ],
    ids=["mini-batches", "whole batch", "one pattern", "batch norm"],
)
def test_it_trains_to_the_weights_of_autograd(train, tmp_path, words):
    rows = {}
    for task in ("classification", "backpropagation"):
        folder = tmp_path / task
        train(*MLP_WORDS, "trainer.precision=64-true", *words, f"task={task}", f"run_dir={folder}")
        rows[task] = [
            {name: float(value) for name, value in row.items() if name not in TIMED}
            for row in csv.DictReader((folder / "history.csv").open())
        ]
    expected, found = (final_weights(tmp_path / task) for task in ("classification", "backpropagation"))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-7, atol=1e-9)
    for ours, others in zip(rows["backpropagation"], rows["classification"], strict=True):
        assert ours == pytest.approx(others, rel=1e-6, abs=1e-9)
    if words[0] == "data.batch_size=all":
        assert [row["step"] for row in rows["backpropagation"]] == [1, 2, 3]


def test_autograd_is_not_asked(train, monkeypatch, tmp_path):
    def refuse(*arguments, **options):
        raise AssertionError("autograd was asked for a gradient")

    for place in (torch.Tensor, torch.autograd):
        monkeypatch.setattr(place, "backward", refuse)
    monkeypatch.setattr(torch.autograd, "grad", refuse)
    with pytest.raises(AssertionError, match="autograd was asked"):
        train(*MLP_WORDS, "data.samples_per_class=8", f"run_dir={tmp_path / 'autograd'}")
    train(*MLP_WORDS, "task=backpropagation", "data.samples_per_class=8", f"run_dir={tmp_path / 'by_hand'}")


def test_it_learns_the_digits_and_its_checkpoint_says_how(train, tmp_path):
    figures = train(
        "model=mlp", "task=backpropagation", "model.initialisation=scaled", "model.activation=tanh",
        "trainer.max_epochs=6", f"run_dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert figures["test/top1_micro"] > 0.9
    task, record = load_task(runs.resolve_checkpoint(str(tmp_path / "run"), tmp_path))
    assert isinstance(task, BackpropagationTask)
    assert record["config"]["task"]["kind"] == "backpropagation"
    assert task.network.image_size == (32, 32)


def test_errors_go_back_to_the_first_layer_that_learns_and_no_further():
    network, criterion = MLP(3, 1, (2, 2), hidden=(5, 4)), CrossEntropy(class_counts=[1] * 3)
    inputs, targets = torch.randn(6, 1, 2, 2), torch.arange(6) % 3
    whole = gradients_by_hand(network, criterion, inputs, targets)[1]
    network.fc1.requires_grad_(False)
    network.fc3.requires_grad_(False)
    part = gradients_by_hand(network, criterion, inputs, targets)[1]
    assert part.keys() == whole.keys() - set(network.fc1.parameters())
    assert all(torch.equal(gradient, whole[parameter]) for parameter, gradient in part.items())


def test_a_frozen_layer_stays(train, tmp_path):
    train(*MLP_WORDS, "task=backpropagation", f"run_dir={tmp_path / 'first'}")
    train(
        *MLP_WORDS, "task=backpropagation", "init=checkpoint", f"init.path={tmp_path / 'first'}", "init.freeze=[fc1]",
        f"run_dir={tmp_path / 'second'}",
    )  # fmt: skip
    source = network_weights(load_checkpoint(runs.resolve_checkpoint(str(tmp_path / "first"), tmp_path)))
    after = final_weights(tmp_path / "second")
    assert torch.equal(source["fc1.weight"], after["fc1.weight"])
    assert not torch.equal(source["fc2.weight"], after["fc2.weight"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["model=lenet5"], "task=backpropagation writes out the equations of dense layers; LeNet5 has others"),
        (["trainer.gradient_clip_val=1"], "trainer.gradient_clip_val=1 does not go with task=backpropagation"),
        (["trainer.accumulate_grad_batches=2"], "trainer.accumulate_grad_batches=2 does not go"),
        (["trainer.precision=16-mixed"], "trainer.precision=16-mixed does not go"),
        (["trainer.strategy=fsdp"], "trainer.strategy=fsdp does not go"),
        (["find_lr=true"], "find_lr moves the rate"),
        (["data.batch_size=most"], "data.batch_size must be int, at least 1, or all"),
    ],
)
def test_what_does_not_go_with_it_is_refused_in_a_line(train, tmp_path, words, says):
    with pytest.raises(ConfigurationError) as caught:
        train("model=mlp", "task=backpropagation", *words)
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3
    assert caught.value.exit_code == 2
    assert not (tmp_path / "runs").exists()


def test_a_loss_that_leaves_the_finite_numbers_stops_before_the_update(train, monkeypatch):
    from striate.errors import DivergedError

    original = backpropagation.forward_pass

    def diverging(layers, inputs):
        passes = original(layers, inputs)
        return [*passes[:-1], passes[-1]._replace(after=passes[-1].after * math.inf)]

    monkeypatch.setattr(backpropagation, "forward_pass", diverging)
    with pytest.raises(DivergedError, match="the loss is nan at step 0"):
        train(*MLP_WORDS, "task=backpropagation")


@pytest.mark.slow
def test_two_processes_reach_the_weights_of_one(places, digits, tmp_path):
    words = [*MLP_WORDS, "task=backpropagation", "loss.class_weights=balanced", "trainer.precision=64-true"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("STRIATE_RUN", None)
    command = [sys.executable, str(Path(__file__).parents[2] / "src" / "train.py"), *places, *words]
    for devices in (1, 2):
        own = [f"run_dir={tmp_path / str(devices)}", f"trainer.devices={devices}", "trainer.enable_progress_bar=false"]
        subprocess.run([*command, *own], check=True, timeout=300, env=environment)
    one, two = (final_weights(tmp_path / devices) for devices in ("1", "2"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-9, atol=1e-12, msg=name)
    first, second = (json.loads((tmp_path / devices / "metrics.json").read_text()) for devices in ("1", "2"))
    assert first["train/loss"] == pytest.approx(second["train/loss"], rel=1e-9)
