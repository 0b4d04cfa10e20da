"""The columns of `history.csv` beside losses and errors: the gradient's norm, and time spent waiting for data."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from striate.callbacks.gradient_norm import GradientNorm
from striate.callbacks.history import History


def optimizer_of(*gradients):
    """An optimizer with a group for each list of gradients."""
    groups = []
    for place, group in enumerate(gradients):
        parameters = [nn.Parameter(torch.zeros(len(values))) for values in group]
        for parameter, values in zip(parameters, group, strict=True):
            parameter.grad = torch.tensor(values)
        groups.append({"params": parameters, "name": f"group{place}"})
    return torch.optim.SGD(groups, lr=0.1)


def test_the_norm_is_the_root_mean_square_of_those_of_the_steps():
    norm = GradientNorm(every=1)
    norm.step(optimizer_of([[3.0], [0.0, 4.0]], [[12.0]]))
    norm.step(optimizer_of([[0.0], [0.0, 1.0]], [[1.0]]))
    assert norm.figures() == pytest.approx({"group0": np.sqrt((25 + 1) / 2), "group1": np.sqrt((144 + 1) / 2)})
    norm.reset()
    assert norm.figures() == {}


def test_every_so_many_steps_beginning_with_the_first():
    norm = GradientNorm(every=3)
    for value in (1.0, 100.0, 100.0, 7.0, 100.0):
        norm.step(optimizer_of([[value]]))
    assert norm.figures() == pytest.approx({"group0": 5.0})


def test_a_checkpoint_may_cut_the_epoch_anywhere():
    values = np.random.default_rng(0).normal(size=(10, 1, 1, 4)).astype(np.float32).tolist()
    whole = GradientNorm(every=2)
    for gradients in values:
        whole.step(optimizer_of(*gradients))
    for cut in range(10):
        first, second = GradientNorm(every=2), GradientNorm(every=2)
        for gradients in values[:cut]:
            first.step(optimizer_of(*gradients))
        second.load_state_dict(first.state_dict())
        for gradients in values[cut:]:
            second.step(optimizer_of(*gradients))
        assert second.figures() == whole.figures()


def test_a_group_whose_parameters_are_frozen_has_no_norm():
    optimizer = optimizer_of([[3.0]], [[4.0]])
    optimizer.param_groups[1]["params"][0].grad = None
    norm = GradientNorm(every=1)
    norm.step(optimizer)
    assert norm.figures() == {"group0": 3.0}


def test_the_loader_knows_how_long_it_was_waited_for(digits):
    loader = digits.train_dataloader()
    for _ in loader:
        time.sleep(0.002)  # the step, which is not waiting
    assert loader.waited > 0
    original, requests = type(loader.dataset).__getitem__, []

    def slow(self, request):
        requests.append(request)
        time.sleep(0.05)
        return original(self, request)

    quick = loader.waited
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(loader.dataset), "__getitem__", slow)
        began = time.perf_counter()
        batches = sum(1 for _ in loader)
        spent = time.perf_counter() - began
    assert batches == len(loader)
    assert 0.05 * len(requests) <= loader.waited <= spent
    assert loader.waited - 0.05 * len(requests) < quick + 1


def test_measuring_the_gradient_can_be_left_out(train, tmp_path):
    words = ["model=lenet5_modern", "data.samples_per_class=20", "data.batch_size=50", "trainer.max_epochs=1"]
    train(*words, "test=false", "callbacks.history.gradient_every=null", f"run_dir={tmp_path / 'run'}")
    header = (tmp_path / "run" / "history.csv").read_text().splitlines()[0].split(",")
    assert "gradient_norm" not in header
    assert {"learning_rate", "waiting", "samples_per_second"} <= set(header)
    assert History().gradient is not None
