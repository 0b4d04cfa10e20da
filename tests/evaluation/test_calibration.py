"""The temperature against a search over a grid, and what it may and may not change."""

import threading

import numpy as np
import pytest
import torch

from striate.errors import StorageError
from striate.evaluation.calibration import LEAST, MOST, fit_temperature
from striate.evaluation.tally import ClassificationTally


def samples(sharpness, count=400, classes=7, seed=0):
    """Logits whose softmax is the truth at sharpness 1: labels are drawn from it, then the logits are multiplied."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, generator=generator)
    targets = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    return sharpness * logits, targets


def nll(logits, targets, temperature):
    scaled = logits.double().numpy() / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    return np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(targets)), targets])


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_it_is_the_best_of_a_fine_grid(sharpness):
    logits, targets = samples(sharpness)
    found = fit_temperature(logits, targets)
    grid = np.geomspace(LEAST, MOST, 20_001)
    best = grid[np.argmin([nll(logits, targets, value) for value in grid])]
    assert found == pytest.approx(best, rel=4e-4)
    assert found == pytest.approx(sharpness, rel=0.15), "labels were drawn from the softmax at temperature `sharpness`"


@pytest.mark.parametrize("first", [150, 0, 400])
def test_processes_with_parts_of_a_split_find_the_temperature_of_the_whole(first):
    logits, targets = samples(3.0)
    barrier, given, found = threading.Barrier(2), [torch.empty(0)] * 2, [0.0] * 2

    def work(rank, rows):
        def summed(own):
            given[rank] = own
            barrier.wait(timeout=60)
            total = given[0] + given[1]
            barrier.wait(timeout=60)
            return total

        found[rank] = fit_temperature(logits[rows], targets[rows], summed)

    threads = [threading.Thread(target=work, args=part) for part in enumerate((slice(first), slice(first, None)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [fit_temperature(logits, targets)] * 2


def test_a_split_without_mistakes_says_nothing():
    logits, targets = torch.eye(5), torch.arange(5)
    assert fit_temperature(logits, targets) == 1.0
    assert fit_temperature(logits[:0], targets[:0]) == 1.0
    tie = torch.tensor([[1.0, 1.0]])  # no answer: the least is at the upper end
    assert fit_temperature(tie, torch.tensor([0])) != 1.0


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected logits \(N, K\)"):
        fit_temperature(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64))


def test_no_answer_changes_and_the_figures_are_those_of_divided_logits():
    logits, targets = samples(3.0)
    both, divided = ClassificationTally(7), ClassificationTally(7)
    both.update(logits, targets, temperature=2.5)
    divided.update(logits / 2.5, targets)
    figures, expected = both.compute(), divided.compute()
    for name in ("nll", "brier", "ece_15bins"):
        assert figures[f"{name}_calibrated"] == pytest.approx(expected[name], rel=1e-6)
        assert figures[f"{name}_calibrated"] != pytest.approx(figures[name], rel=1e-2)
    for name in ("top1_micro", "top5_micro", "error_micro", "f1_macro"):
        assert figures[name] == expected[name]
    plain = ClassificationTally(7)
    plain.update(logits, targets)
    assert plain.compute() == {name: value for name, value in figures.items() if "calibrated" not in name}


@pytest.mark.parametrize("value", ["hot", 0, -1.0, float("nan"), float("inf")])
def test_a_record_with_another_temperature_is_refused(value, tmp_path):
    from striate.tasks.loading import read_temperature

    with pytest.raises(StorageError, match="no positive number"):
        read_temperature({"temperature": value}, tmp_path / "x.ckpt")
    assert read_temperature({}, tmp_path / "old.ckpt") is None
