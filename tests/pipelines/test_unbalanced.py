"""Training on classes that differ in number: balanced draws through the whole pipeline, weights, what selects."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from processes import train as in_process
from striate import runs
from striate.configuration import REPOSITORY
from striate.errors import ConfigurationError
from striate.storage import load_checkpoint

COUNTS = {"1": 90, "4": 21, "7": 6}
SMALL = [
    *("model=lenet5_modern", "data=folder", "data.prepare.image_size=28", "data.prepare.channels=1"),
    *("data.prepare.val_fraction=0.2", "data.batch_size=16", "augmentation=digits", "trainer.max_epochs=3"),
    *("trainer.enable_progress_bar=false", "trainer.accelerator=cpu", "data.sampling=balanced", "test=false"),
    "callbacks.checkpointing.every_n_steps=2",
]


@pytest.fixture(scope="module")
def unbalanced(places, digits, tmp_path_factory):
    """Words for a folder of three digits of which there are many, some and few."""
    source = places[0].partition("=")[2] + "/digits"
    root = tmp_path_factory.mktemp("unbalanced")
    for name, count in COUNTS.items():
        (root / "raw" / name).mkdir(parents=True)
        for path in sorted(Path(source).glob(f"**/{name}/*"))[:count]:
            shutil.copy(path, root / "raw" / name / path.name)
    words = [*places, f"data.root={root / 'raw'}", f"paths.prepared_dir={root / 'prepared'}", *SMALL]
    assert in_process([*words, f"run_dir={root / 'whole'}", "data.num_workers=0"]).code == 0
    return words, root / "whole"


def drawn(run_dir):
    with open(run_dir / "drawn.csv", newline="") as stream:
        return [[int(value) for value in row.values()] for row in csv.DictReader(stream)]


def weights(run_dir):
    return load_checkpoint(runs.newest_checkpoint(run_dir / "checkpoints"))["state_dict"]


def test_every_class_is_drawn_equally_often_and_the_run_says_so(unbalanced):
    _, run_dir = unbalanced
    counts = load_checkpoint(runs.newest_checkpoint(run_dir / "checkpoints"))["striate"]["class_counts"]
    assert max(counts) > 10 * min(counts)
    samples, rows = sum(counts), drawn(run_dir)
    assert [row[0] for row in rows] == [1, 2, 3]
    for _, *row in rows:
        assert sum(row) == samples // 16 * 16
        assert max(row) - min(row) <= samples % 16 + 1
    with open(run_dir / "history.csv", newline="") as stream:
        history = list(csv.DictReader(stream))
    assert [float(row["train/drawn_least"]) for row in history] == [min(row[1:]) for row in rows]
    assert [float(row["train/drawn_most"]) for row in history] == [max(row[1:]) for row in rows]


def test_killed_in_mid_epoch_and_resumed_with_other_workers_it_has_the_same_bits(unbalanced, tmp_path):
    words, whole = unbalanced
    again = [*words, f"run_dir={tmp_path / 'run'}"]
    assert in_process([*again, "data.num_workers=1"], kill=("step", 9)).code == -9
    assert in_process([*again, "data.num_workers=2"]).code == 0
    assert drawn(tmp_path / "run") == drawn(whole)
    one, other = weights(whole), weights(tmp_path / "run")
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_two_processes_draw_the_same_samples(unbalanced, tmp_path):
    words, whole = unbalanced
    script = [sys.executable, str(REPOSITORY / "src" / "train.py")]
    words = [*words, f"run_dir={tmp_path / 'run'}", "trainer.devices=2"]
    subprocess.run([*script, *words], check=True, capture_output=True)
    assert drawn(tmp_path / "run") == drawn(whole)
    one, other = weights(whole), weights(tmp_path / "run")
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-3, atol=1e-5)


def test_a_macro_figure_selects_and_is_found_under_its_other_names(train, unbalanced, tmp_path):
    words, _ = unbalanced
    without = ("trainer.enable", "paths.runs", "trainer.max", "data.sampling")
    own = [word for word in words if not word.startswith(without)]
    own += ["loss.class_weights=balanced", "trainer.max_epochs=2"]
    figures = train(*own, "monitor.metric=val/recall_macro", f"run_dir={tmp_path / 'run'}")
    assert 0 <= figures["val/recall_macro"] <= 1
    meant = {"balanced_accuracy": "recall_macro", "val/top1_macro": "recall_macro", "val/f1": "f1_macro"}
    for name, meaning in meant.items():
        with pytest.raises(ConfigurationError, match="is not measured") as refusal:
            train(*own, f"monitor.metric={name}")
        assert refusal.value.nearest == f"val/{meaning}"


def test_rare_classes_do_not_count_twice(train, unbalanced):
    words, _ = unbalanced
    own = [word for word in words if not word.startswith(("trainer.enable", "paths.runs"))]
    for weights in ("balanced", "[1,1,9]"):
        with pytest.raises(ConfigurationError, match="count twice"):
            train(*own, f"loss.class_weights={weights}")
