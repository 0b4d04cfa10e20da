"""Cross-validation as one command: every fold trained once, in processes of their own."""

import csv
import json

import pytest

from striate.configuration import compose
from striate.errors import ConfigurationError, StriateError
from striate.pipelines import cross_validate

SMALL = [
    "model=lenet5_modern",
    "data.samples_per_class=6",
    "data.batch_size=20",
    "trainer.accelerator=cpu",
    "test=false",
]


def ran(words):
    return cross_validate.run(compose("cross_validate", words), words)


@pytest.fixture
def words(places, digits, tmp_path):
    return [*places, f"paths.runs_dir={tmp_path / 'runs'}", f"output_dir={tmp_path / 'folds'}", *SMALL]


def test_every_fold_is_trained_once_and_the_same_command_goes_on(words, tmp_path, capsys):
    asked = [*words, "data.folds=3", "trainer.max_epochs=2", "test=false"]
    figures = ran(asked)
    with open(tmp_path / "folds" / "folds.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["fold"] for row in rows] == ["0", "1", "2"]
    assert {row["status"] for row in rows} == {"finished"}
    assert {row["test/top1_micro"] for row in rows} == {""}
    values = [float(row["val/top1_micro_last"]) for row in rows]
    assert figures["val/top1_micro_last"] == pytest.approx(sum(values) / 3)
    assert figures["val/top1_micro_last_low"] < figures["val/top1_micro_last"]
    assert sum(int(row["samples"]) for row in rows) == figures["samples"] == 1797 - 359
    assert figures["folds"] == 3
    assert json.loads((tmp_path / "folds" / "metrics.json").read_text()) == figures
    assert (tmp_path / "folds" / "folds.png").stat().st_size > 5000
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "folds" / "cells").glob("*/run.json")}
    assert len(times) == 3
    assert ran(asked) == figures
    assert "3 of them computed before" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.slow
def test_a_fold_that_fails_loses_only_itself(words, tmp_path, monkeypatch):
    folds = cross_validate.cells_of

    def one_broken(config, given):
        cells = folds(config, given)
        object.__setattr__(cells[1], "words", (*cells[1].words, "init=checkpoint", "init.path=nowhere.ckpt"))
        return cells

    monkeypatch.setattr(cross_validate, "cells_of", one_broken)
    with pytest.raises(StriateError, match="1 of 2 folds have no figures, the first is 1: failed"):
        ran([*words, "data.folds=2", "trainer.max_epochs=1"])
    assert json.loads((tmp_path / "folds" / "metrics.json").read_text())["folds"] == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["data.fold=1"], "every fold is trained"),
        (["data.folds=null"], "every fold is trained"),
        (["run_dir=somewhere"], "each fold has its own"),
    ],
)
def test_what_is_for_one_run_is_refused(words, more, message):
    with pytest.raises(ConfigurationError, match=message):
        ran([*words, *more])


def test_a_plan_names_the_commands(words, capsys):
    assert ran([*words, "data.folds=4", "plan=true"]) == {"cells": 4}
    said = capsys.readouterr().out
    assert "data.folds=4 data.fold=3" in said
    assert "output_dir" not in said
