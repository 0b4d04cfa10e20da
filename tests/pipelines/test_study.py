"""Studies: their files, their cells, and the runner on real trainings of seconds."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from striate import runs
from striate.configuration import REPOSITORY, compose
from striate.errors import ConfigurationError, StriateError
from striate.pipelines import study, study_workers
from striate.pipelines.study_cells import cells_of
from striate.pipelines.study_file import FOLDER, load
from striate.pipelines.study_ledger import epochs_until, status
from striate.pipelines.study_sizes import at_size
from striate.pipelines.study_words import merged, quoted
from striate.storage import load_checkpoint

TINY = {
    "title": "Tiny",
    "claim": "More epochs are better.",
    "source": "nobody",
    "overrides": [
        "model=lenet5_modern",
        "data=digits",
        "data.samples_per_class=8",
        "data.batch_size=16",
        "trainer.accelerator=cpu",
        "callbacks.checkpointing.every_n_steps=1",
    ],
    "arms": {"short": ["trainer.max_epochs=1"], "long": ["trainer.max_epochs=3"]},
    "figures": ["test_accuracy", "train_error"],
    "comparisons": {
        "better": {
            "says": "Long is better.",
            "figure": "test_accuracy",
            "of": {"arm": "long"},
            "against": {"arm": "short"},
            "low": 0,
        }
    },
    "panels": {
        "curves": {"kind": "curves", "y": "train/error_micro"},
        "arms": {"kind": "points", "y": "test_accuracy"},
    },
    "sizes": {"small": {"seeds": 2}},
}
STUDIES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def written(folder: Path, **changes) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, **changes}), encoding="utf-8")
    return path


@pytest.fixture
def words(places, digits, tmp_path):
    return [*places, f"paths.runs_dir={tmp_path / 'runs'}"]


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_valid_and_says_what_it_is(name):
    found, content = load(name)
    assert found == name
    assert {"digits", "small", "paper"} <= content["sizes"].keys()
    assert all(size.get("takes") for size in content["sizes"].values())
    head = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert head.startswith(f"# python src/study.py study={name}")
    arm, points = next(iter(content["arms"])), content["sizes"]["digits"].get("points", [])[:1]
    first = {
        **content,
        "arms": {arm: content["arms"][arm]},
        "sizes": {"digits": {**content["sizes"]["digits"], "points": points}},
    }
    (cell,) = cells_of(first, "digits", 1, [])
    assert cell.config["data"]["name"].startswith(("digits", "mobilenet_digits"))


@pytest.mark.slow
@pytest.mark.parametrize("size", ["digits", "small", "paper"])
@pytest.mark.parametrize("name", STUDIES)
def test_every_size_of_every_study_composes(name, size):
    _, content = load(name)
    once = [fields["x"] is not None for fields in at_size(content, size)["arms"].values()]
    points = len(content["sizes"][size].get("points") or [1])
    a_seed = len(at_size(content, size)["bases"]) + sum(1 if single else points for single in once)
    cells = cells_of(content, size, None, [])
    assert len(cells) == len({cell.name for cell in cells}) == a_seed * content["sizes"][size]["seeds"]


def test_a_study_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(ConfigurationError, match="there is no study relu_tan") as refusal:
        load("relu_tan")
    assert refusal.value.nearest == "study=relu_tanh"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clam": "x"}, "unknown key clam"),
        ({"figures": ["accuracy"]}, "figures"),
        ({"arms": {"a": []}}, "name no arm"),
        ({"panels": {"a": {"kind": "bars", "y": "x"}}}, "panels.a.kind"),
        ({"axis": {"label": "rate", "overrides": ["optimizer.lr={x}"]}}, "gives the axis no points"),
    ],
)
def test_a_mistake_in_a_study_is_refused_before_anything_runs(tmp_path, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        load(str(written(tmp_path, **changes)))


def test_a_misspelt_word_of_a_training_is_refused_before_anything_runs(tmp_path):
    _, content = load(str(written(tmp_path)))
    with pytest.raises(ConfigurationError, match=r"optimizer\.rl"):
        cells_of(content, "small", None, ["optimizer.rl=1"])
    with pytest.raises(ConfigurationError, match="no size smal") as refusal:
        cells_of(content, "smal", None, [])
    assert refusal.value.nearest == "size=small"


def test_a_changed_study_has_other_cells_and_places_change_nothing(tmp_path):
    _, content = load(str(written(tmp_path)))
    names = [cell.name for cell in cells_of(content, "small", None, [])]
    moved = cells_of(content, "small", None, [f"paths.data_dir={tmp_path}", "data.num_workers=0"])
    assert [cell.name for cell in moved] == names
    changed = {cell.name for cell in cells_of(content, "small", None, ["optimizer.lr=0.02"])}
    assert not changed & set(names)
    more = [cell.name for cell in cells_of(content, "small", 3, [])]
    assert more[: len(names)] == names  # more seeds keep those that are there
    assert len(more) == 6


def test_cells_are_spread_over_the_gpus_that_the_study_may_use(tmp_path, monkeypatch):
    given = []

    class Recorder:
        def start(self, words, log, environment):
            given.append(environment["CUDA_VISIBLE_DEVICES"])

    _, content = load(str(written(tmp_path)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr(study_workers, "gpu_count", lambda: 2)
    workers = study_workers.Workers(tmp_path, 2, lambda *_: None, _nursery=Recorder())
    for slot, cell in enumerate(cells_of(content, "small", 1, [])):
        workers._start(cell, slot)
    assert given == ["4", "7"]


def test_a_stage_that_a_network_does_not_have_is_refused_before_anything_runs(tmp_path, words):
    asked = [f"study={written(tmp_path)}", *words]
    for more in (["plan=true"], []):
        with pytest.raises(ConfigurationError, match="LeNet5 has no stage 'conv9'"):
            study.run(compose("study", [*asked, "overrides=['init.freeze=[conv9]']", *more]))
    assert not list((tmp_path / "runs").rglob("run.json"))
    assert study.run(compose("study", [*asked, "overrides=['init.freeze=[1]']", "plan=true"])) == {"cells": 4}


def test_the_last_word_for_a_key_wins():
    assert merged(["data=cifar10", "a.b=1", "data=folder", "+a.b=2"]) == ("data=folder", "+a.b=2")


def test_quoted_values_come_back(tmp_path):
    odd = tmp_path / "it's a, [strange] place"
    assert compose("train", [f"run_dir={quoted(odd)}"]).run_dir == str(odd)


def test_epochs_until_a_target_are_read_off_the_curve():
    assert epochs_until([0.5, 0.3, 0.2], 0.25) == pytest.approx(2.5)
    assert epochs_until([0.5, 0.25], 0.25) == pytest.approx(2)
    assert epochs_until([0.2], 0.25) == pytest.approx(0.75 / 0.8)
    assert epochs_until([0.5, float("nan"), 0.2], 0.25) == pytest.approx(1 + 2 * 0.25 / 0.3)
    assert epochs_until([0.5, 0.3], 0.25) is None


def test_a_cell_that_fails_or_diverges_loses_only_itself(tmp_path, words, capsys):
    arms = {"good": ["trainer.max_epochs=1"], "wild": ["optimizer.lr=1e30"], "lost": ["ckpt_path=nowhere.ckpt"]}
    comparisons = {"better": {**TINY["comparisons"]["better"], "of": {"arm": "good"}, "against": {"arm": "wild"}}}
    path = written(tmp_path, arms=arms, comparisons=comparisons, sizes={"small": {"seeds": 1}})
    with pytest.raises(StriateError, match="1 of 3 cells failed") as failure:
        study.run(compose("study", [f"study={path}", *words]))
    assert "there is no such file" in str(failure.value)
    folder = tmp_path / "runs" / "studies" / "tiny_small"
    table = (folder / "results.csv").read_text().splitlines()
    columns = table[0].split(",")
    rows = {line["arm"]: line for line in (dict(zip(columns, row.split(","), strict=False)) for row in table[1:])}
    assert [rows[arm]["status"] for arm in arms] == ["finished", "diverged", "failed"]
    assert float(rows["good"]["test_accuracy"]) > 0
    assert int(rows["good"]["mult_adds"]) == 416_520
    assert rows["wild"]["test_accuracy"] == ""
    assert (folder / "figure.png").stat().st_size > 1000
    assert "not decided" in (folder / "report.md").read_text()


@pytest.mark.slow
def test_a_finished_study_is_not_computed_again_and_more_seeds_are_added(tmp_path, words, capsys):
    asked = [f"study={written(tmp_path)}", *words]
    first = study.run(compose("study", asked))
    cells = tmp_path / "runs" / "studies" / "tiny_small" / "cells"
    times = {folder.name: (folder / "run.json").stat().st_mtime_ns for folder in cells.iterdir()}
    assert len(times) == 4
    assert study.run(compose("study", asked)) == first
    assert "4 of them computed before" in capsys.readouterr().out
    study.run(compose("study", [*asked, "seeds=3"]))
    after = {folder.name: (folder / "run.json").stat().st_mtime_ns for folder in cells.iterdir()}
    assert len(after) == 6
    assert {name: after[name] for name in times} == times


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_an_interrupted_study_goes_on_to_the_bit(tmp_path, words, how):
    """The study is stopped in the middle of a cell; the same command ends with the weights of an undisturbed run."""
    arms = {"only": ["trainer.max_epochs=60"]}
    comparisons = {"x": {**TINY["comparisons"]["better"], "of": {"arm": "only"}, "against": {"arm": "only"}}}
    path = written(tmp_path, arms=arms, comparisons=comparisons, sizes={"small": {"seeds": 1}})
    command = [sys.executable, str(REPOSITORY / "src" / "study.py"), f"study={path}", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    cells = tmp_path / "runs" / "studies" / "tiny_small" / "cells"
    deadline = time.monotonic() + 240
    while not (found := sorted(cells.glob("*/checkpoints/step-*.ckpt"))) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    os.kill(process.pid, how)
    process.communicate(timeout=120)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    cell = found[0].parents[1]
    while status(cell) == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert status(cell) == "interrupted"
    study.run(compose("study", [f"study={path}", *words]))
    assert status(cell) == "finished"
    assert "Going on with" in (cell.parents[1] / "logs" / f"{cell.name}.txt").read_text()
    whole = tmp_path / "whole"
    training = [*cells_of(load(str(path))[1], "small", None, words)[0].words, f"run_dir={whole}"]
    subprocess.run([sys.executable, str(REPOSITORY / "src" / "train.py"), *training], check=True, capture_output=True,
                   env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    one, other = (load_checkpoint(runs.newest_checkpoint(run / "checkpoints"))["state_dict"] for run in (cell, whole))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
