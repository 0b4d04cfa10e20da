"""What a training step leaves behind it, and what it costs: nothing that grows."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from striate.callbacks.progress import ProgressBar
from striate.data.loading import Batch
from striate.data.preprocessing import Preprocessing
from striate.data.sampling import hashed
from striate.optim.losses import CrossEntropy
from striate.tasks.base import _seed
from striate.tasks.classification import ClassificationTask

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)


def test_seeding_a_step_leaves_nothing_behind():
    before = len(getattr(torch.cuda, "_queued_calls", []))
    for value in range(3):
        _seed(torch.device("cpu"), value)
    assert len(getattr(torch.cuda, "_queued_calls", [])) == before


def test_a_seeded_step_draws_what_manual_seed_would():
    torch.manual_seed(7)
    expected = torch.rand(5)
    _seed(torch.device("cpu"), 7)
    assert torch.equal(torch.rand(5), expected)


def test_a_seed_is_a_function_of_the_whole_place():
    places = [(a, b, c) for a in range(4) for b in range(4) for c in range(4)]
    seeds = {hashed(*place) for place in places}
    assert len(seeds) == len(places)
    assert all(0 <= seed < 1 << 64 for seed in seeds)
    assert hashed(1, 2) != hashed(2, 1)


def test_the_bar_is_drawn_by_the_clock_and_at_the_end(monkeypatch):
    now = 100.0
    monkeypatch.setattr("striate.callbacks.progress.time.monotonic", lambda: now)
    bar = ProgressBar()
    bar.enable()
    assert [bar._should_update(step, 1000) for step in (1, 2, 3)] == [True, False, False]
    now += 0.3
    assert [bar._should_update(step, 1000) for step in (4, 5, 1000)] == [True, False, True]
    bar.disable()
    assert not bar._should_update(1000, 1000)


@pytest.mark.parametrize("cuts", [(), (5,), (1, 16, 17, 30)])
def test_an_epochs_figures_have_the_same_bits_wherever_a_checkpoint_cuts_it(cuts):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 10))
    task = ClassificationTask(network, Preprocessing(3, MEAN, STD), 10, CrossEntropy(class_counts=[1] * 10))
    expected = torch.zeros(4, dtype=torch.float64)
    for step in range(35):
        images = torch.randint(0, 256, (7, 4, 4, 3), dtype=torch.uint8)
        batch = Batch(images, torch.randint(0, 10, (7,)), torch.arange(7))
        loss = task.training_step(batch, step)
        logits = task.classify(images)
        each = functional.cross_entropy(logits, batch.targets, reduction="none").detach()
        torch.testing.assert_close(loss, each.mean())
        wrong = (logits.argmax(1) != batch.targets).sum()
        expected += torch.tensor([7, 7, each.sum(dtype=torch.float64), wrong], dtype=torch.float64)
        if step in cuts:
            task.on_save_checkpoint({})
    assert torch.equal(task._epoch_sums(), expected)
