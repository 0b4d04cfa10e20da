"""Cells that start from other cells: the order, what a failure takes along, what a change makes new."""

import csv
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml

from striate import runs
from striate.configuration import compose
from striate.errors import ConfigurationError, StriateError
from striate.pipelines import study, study_forks
from striate.pipelines.study_bases import outstanding, words_in
from striate.pipelines.study_cells import cells_of
from striate.pipelines.study_file import load
from striate.pipelines.study_nursery import Nursery

TINY = {
    "title": "Tiny",
    "claim": "Pretraining helps.",
    "source": "nobody",
    "overrides": [
        "model=lenet5_modern",
        "data=digits",
        "data.samples_per_class=8",
        "data.batch_size=16",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=1",
        "data.class_split={seed}",
    ],
    "bases": {"other half": ["data.class_half=A"]},
    "arms": {
        "scratch": {"words": ["data.class_half=B"], "x": 0},
        "tuned": {"base": "other half", "words": ["data.class_half=B"], "against": "scratch"},
        "again": {"base": "scratch", "words": ["data.class_half=B"], "against": "scratch", "like": "tuned"},
    },
    "axis": {"label": "rate", "overrides": ["optimizer.lr={x}"]},
    "figures": ["test_accuracy", "gain"],
    "comparisons": {"better": {"says": "It helps.", "figure": "gain", "of": {"arm": "tuned", "x": "mean"}, "low": 0}},
    "panels": {
        "accuracy": {"kind": "points", "y": "test_accuracy"},
        "gain": {"kind": "points", "y": "gain", "arms": ["tuned", "again"]},
    },
    "sizes": {"small": {"seeds": 2, "points": [0.01, 0.02]}, "less": {"seeds": 1, "points": [0.01], "arms": ["tuned"]}},
}


def written(folder, **changes):
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, **changes}), encoding="utf-8")
    return path


@pytest.fixture
def words(places, digits, tmp_path):
    return [*places, f"paths.runs_dir={tmp_path / 'runs'}"]


def cells(folder, *more, size="small", **changes):
    return cells_of(load(str(written(folder, **changes)))[1], size, None, list(more))


def rows_of(folder):
    with open(folder / "results.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_bases_are_trained_once_a_seed_and_before_what_starts_from_them(tmp_path):
    found = cells(tmp_path)
    assert [(cell.arm, cell.seed) for cell in found].count(("other half", 0)) == 1
    assert len(found) == 2 * (1 + 1 + 2 * 2)
    for place, cell in enumerate(found):
        if cell.base is not None:
            assert found.index(cell.base) < place
            assert cell.base.seed == cell.seed
            assert cell.base.config["data"]["class_split"] == cell.config["data"]["class_split"] == cell.seed
    tuned = next(cell for cell in found if cell.arm == "tuned")
    assert tuned.base.arm == "other half"
    assert f"init.path='{tmp_path}/{tuned.base.name}'" in words_in(tuned, tmp_path)
    assert tuned.config["init"]["kind"] == "checkpoint"
    scratch = next(cell for cell in found if cell.arm == "scratch")
    assert scratch.point == {"x": 0}
    assert scratch.config["optimizer"]["lr"] == compose("train", ["model=lenet5_modern"]).optimizer.lr


def test_a_changed_base_has_new_dependents_and_leaves_the_others(tmp_path):
    before = {(cell.arm, cell.seed, cell.point.get("x")): cell.name for cell in cells(tmp_path)}
    changed = {**TINY["bases"], "other half": ["data.class_half=A", "optimizer.momentum=0.5"]}
    after = {(cell.arm, cell.seed, cell.point.get("x")): cell.name for cell in cells(tmp_path, bases=changed)}
    new = {key for key in before if before[key] != after[key]}
    assert {arm for arm, *_ in new} == {"other half", "tuned"}
    assert len(new) == 2 * 3


def test_a_size_may_compute_some_arms_with_what_they_start_from(tmp_path):
    assert [cell.arm for cell in cells(tmp_path, size="less")] == ["other half", "tuned"]


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"tuned": {"base": "other haf"}}, "starts from no base other haf"),
        ({"tuned": {"base": "again", "x": 1}, "again": {"base": "tuned", "x": 1}}, "starts, in the end, from itself"),
        ({"tuned": {"base": "again"}, "again": []}, "trained at every point of the axis"),
        ({"tuned": {"against": "again"}, "again": []}, "has no x of its own"),
        ({"tuned": [], "other half": []}, "is an arm and a base"),
        ({"tuned": {"bas": "x"}}, "unknown key arms.tuned.bas"),
        ({"tuned": {"like": "agin"}, "again": []}, "name no arm agin"),
    ],
)
def test_bases_that_cannot_be_are_refused(tmp_path, arms, message):
    panels = {"accuracy": TINY["panels"]["accuracy"]}
    with pytest.raises(ConfigurationError, match=message):
        load(str(written(tmp_path, arms=arms, panels=panels)))


def test_a_broken_base_takes_along_what_starts_from_it_and_nothing_else(tmp_path, words, capsys):
    bases = {"other half": [*TINY["bases"]["other half"], "ckpt_path=nowhere.ckpt"]}
    asked = [f"study={written(tmp_path, bases=bases, sizes={'small': {'seeds': 1, 'points': [0.01]}})}", *words]
    with pytest.raises(StriateError, match="2 of 4 cells failed"):
        study.run(compose("study", asked))
    folder = tmp_path / "runs" / "studies" / "tiny_small"
    rows = {row["arm"]: row for row in rows_of(folder)}
    assert {arm: row["status"] for arm, row in rows.items()} == {
        "other half": "failed", "scratch": "finished", "tuned": "failed", "again": "finished",
    }  # fmt: skip
    assert rows["tuned"]["reason"].startswith(f"its base {rows['other half']['cell']} failed: ")
    assert float(rows["again"]["gain"]) == pytest.approx(
        float(rows["again"]["test_accuracy"]) - float(rows["scratch"]["test_accuracy"])
    )
    transfer = json.loads((folder / "cells" / rows["again"]["cell"] / "transfer.json").read_text())
    assert rows["scratch"]["cell"] in transfer["source"]
    assert (folder / "figure.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_base_that_is_computed_again_decides_what_is_kept(tmp_path, words, capsys):
    sizes = {"small": {"seeds": 1, "points": [0.01]}}
    asked = [f"study={written(tmp_path, sizes=sizes)}", *words]
    first = study.run(compose("study", asked))
    folder = tmp_path / "runs" / "studies" / "tiny_small"
    names = {row["arm"]: row["cell"] for row in rows_of(folder)}
    places = {arm: folder / "cells" / name for arm, name in names.items()}
    content = load(str(tmp_path / "tiny.yaml"))[1]
    known = study.prepared(cells_of(content, "small", None, words))
    assert outstanding(known, folder / "cells") == []
    # The same base again: the same bits, so that its dependents stay.
    times = {arm: (place / "run.json").stat().st_mtime_ns for arm, place in places.items()}
    shutil.rmtree(places["other half"])
    assert [cell.arm for cell in outstanding(known, folder / "cells")] == ["other half", "tuned"]
    assert study.run(compose("study", asked)) == first
    after = {arm: (place / "run.json").stat().st_mtime_ns for arm, place in places.items()}
    assert {arm for arm in after if after[arm] != times[arm]} == {"other half"}
    # A base with other weights: its dependents are computed again.
    facts = runs.read(places["tuned"])
    facts["hashes"]["weights"] = "0" * 64
    (places["tuned"] / "run.json").write_text(json.dumps(facts))
    assert [cell.arm for cell in outstanding(known, folder / "cells")] == ["tuned"]
    assert study.run(compose("study", asked)) == first
    # A base whose checkpoints are gone is trained again; one that is cut short counts as gone.
    for checkpoint in (places["other half"] / "checkpoints").glob("*.ckpt"):
        checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    assert [cell.arm for cell in outstanding(known, folder / "cells")] == ["other half", "tuned"]
    assert study.run(compose("study", asked)) == first


def test_a_nursery_gives_exit_codes_and_leaves_with_what_it_started(tmp_path):
    nursery = Nursery()
    training = nursery.start(["optimizer.rl=1"], tmp_path / "log.txt", {"PATH": "/usr/bin", "OMP_NUM_THREADS": "1"})
    training.wait(60)
    assert training.returncode == 2
    assert "optimizer.rl" in (tmp_path / "log.txt").read_text()
    still = nursery.start(["model=lenet5_modern"], tmp_path / "two.txt", {})
    assert still.poll() is None
    nursery._process.kill()
    nursery._process.wait()
    assert still.poll() == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while Path(f"/proc/{still.pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{still.pid}").exists()
    nursery.close()


def test_where_frameworks_do_not_bear_forks_trainings_are_fresh_processes(tmp_path):
    pid = study_forks._spawn(["optimizer.rl=1"], str(tmp_path / "log.txt"), dict(os.environ))
    deadline = time.monotonic() + 60
    while (code := study_forks._state(pid)) == "running" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert code == 2
    assert "optimizer.rl" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("word", ["optimizer.lr=0.{seed}", "seed=1{seed}"])
def test_a_seed_is_a_whole_value(tmp_path, word):
    with pytest.raises(ConfigurationError, match="must be the whole value"):
        cells(tmp_path, overrides=[*TINY["overrides"], word])
