"""The temperature that a training leaves in its checkpoints: whose weights it belongs to, and by which samples."""

import numpy as np
import pytest
import torch

from striate import runs
from striate.evaluation.calibration import fit_temperature
from striate.storage import load_checkpoint
from striate.tasks import classification
from striate.tasks.loading import load_task


def best(folder):
    return runs.resolve_checkpoint(str(folder), folder)


@torch.no_grad()
def expected(path, digits, every=1):
    """Fitted to the answers of a checkpoint's network to every so many validation pictures."""
    task, _ = load_task(path)
    batch = digits.dataset("val")[(0, np.arange(0, len(digits.dataset("val")), every))]
    return fit_temperature(task.classify(batch.images), batch.targets)


def test_it_is_that_of_the_best_weights_on_the_validation_split(trained, digits):
    task, record = load_task(best(trained))
    assert task.temperature == record["temperature"] == pytest.approx(expected(best(trained), digits), rel=1e-3)


def test_weights_that_moved_since_the_validation_have_none(train, tmp_path, digits):
    train("model=lenet5_modern", "trainer.max_epochs=2", "callbacks.checkpointing.every_n_steps=5",
          "callbacks.checkpointing.keep=9", f"run_dir={tmp_path / 'run'}")  # fmt: skip
    kept = {path.name: load_checkpoint(path)["striate"].get("temperature")
            for path in sorted((tmp_path / "run" / "checkpoints").glob("step-*.ckpt"))}  # fmt: skip
    ends = {f"step-{step:08d}.ckpt" for step in (18, 36)}
    assert ends < kept.keys()
    assert {name for name, value in kept.items() if value is not None} == ends


def test_of_a_split_that_is_too_large_evenly_spread_samples_are_kept(train, tmp_path, digits, monkeypatch):
    val = len(digits.dataset("val"))
    monkeypatch.setattr(classification, "_KEPT", 10 * val // 3 + 1)
    train("model=lenet5_modern", "trainer.max_epochs=1", "test=false", f"run_dir={tmp_path / 'run'}")
    found = load_checkpoint(best(tmp_path / "run"))["striate"]["temperature"]
    assert found == pytest.approx(expected(best(tmp_path / "run"), digits, every=3), rel=1e-3)
    assert found != pytest.approx(expected(best(tmp_path / "run"), digits), rel=1e-3)
