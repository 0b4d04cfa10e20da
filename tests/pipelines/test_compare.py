"""`compare` on real runs: what it reads, what it computes itself, what it refuses."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from striate.configuration import compose
from striate.errors import ConfigurationError, DataError
from striate.evaluation.comparison_report import FILES
from striate.pipelines import compare as pipeline
from striate.pipelines import train as training
from striate.storage import load_checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parents[2]
TINY = ["model=lenet5_modern", "data.samples_per_class=6", "data.batch_size=20", "trainer.max_epochs=2",
        "trainer.enable_progress_bar=false", "trainer.accelerator=cpu"]  # fmt: skip


@pytest.fixture(scope="module")
def two_ways(places, digits, tmp_path_factory):
    """A folder with runs of two ways, two seeds each: slow/0, slow/1, fast/0, fast/1."""
    root = tmp_path_factory.mktemp("ways")
    for way, rate in (("slow", 0.001), ("fast", 0.02)):
        for seed in (0, 1):
            os.environ.pop("STRIATE_RUN", None)
            words = [f"seed={seed}", f"optimizer.lr={rate}", f"run_dir={root / way / str(seed)}"]
            training.run(compose("train", [*places, *TINY, *words]))
    return root


@pytest.fixture
def compare(places, tmp_path):
    """`compare(runs, *overrides)` runs the pipeline; gives the content of metrics.json."""

    def run(words, *overrides):
        listed = ",".join(f"'{word}'" for word in words)
        own = [f"runs=[{listed}]", f"output_dir={tmp_path / 'out'}", f"paths.runs_dir={tmp_path / 'runs'}"]
        kept = [word for word in places if not word.startswith("paths.runs_dir")]
        return pipeline.run(compose("compare", [*kept, *own, *overrides]))

    return run


def rows(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_run_keeps_the_answers_of_its_test(two_ways, digits):
    folder = two_ways / "fast" / "0"
    said = rows(folder / "predictions.csv")
    assert [row["name"] for row in said] == digits.dataset("test").names
    metrics = json.loads((folder / "metrics.json").read_text())
    assert np.mean([row["true"] == row["predicted"] for row in said]) == pytest.approx(metrics["test/top1_micro"])
    about = json.loads((folder / "evaluation.json").read_text())
    assert about["data"] == {"name": "digits", "hash": digits.meta.hash, "split": "test"}
    assert about["temperature"] == metrics["temperature"]


def test_folders_of_runs_are_groups_of_their_names(compare, two_ways, tmp_path):
    figures = compare([two_ways / "slow", two_ways / "fast"])
    assert list(figures) == ["slow", "fast", "fast − slow"]
    accuracy = {
        way: [
            json.loads((two_ways / way / str(seed) / "metrics.json").read_text())["test/top1_micro"] for seed in (0, 1)
        ]
        for way in ("slow", "fast")
    }
    for way, values in accuracy.items():
        assert figures[way]["mean"] == pytest.approx(np.mean(values))
        assert figures[way]["runs"] == 2
    gains = np.subtract(accuracy["fast"], accuracy["slow"])
    assert figures["fast − slow"]["mean"] == pytest.approx(gains.mean())
    assert figures["fast − slow"]["pairs"] == 2
    assert figures["fast − slow"]["low_over_samples"] < gains.mean() < figures["fast − slow"]["high_over_samples"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(FILES)
    assert len(rows(tmp_path / "out" / "pairs.csv")) == 2


def test_single_runs_and_patterns_are_named_by_what_they_differ_in(compare, two_ways):
    figures = compare([two_ways / "slow" / "0", two_ways / "fast" / "0"])
    assert list(figures)[:2] == ["optimizer.lr=0.001", "optimizer.lr=0.02"]
    assert "mean" in figures["optimizer.lr=0.02 − optimizer.lr=0.001"]
    assert "low" not in figures["optimizer.lr=0.02 − optimizer.lr=0.001"], "one seed says nothing of seeds"
    figures = compare([f"{two_ways}/*/1", two_ways / "slow" / "0"], "names=[a,b]")
    assert [figures[name]["runs"] for name in "ab"] == [1, 2]
    assert list(compare([two_ways / "slow"])) == ["LeNet5"]


def test_answers_that_are_missing_are_computed_and_are_the_same(compare, two_ways, tmp_path, capsys):
    expected = compare([two_ways / "fast"])
    shutil.copytree(two_ways / "fast", tmp_path / "fast")
    (tmp_path / "fast" / "0" / "predictions.csv").unlink()
    capsys.readouterr()
    figures = compare([tmp_path / "fast"])
    assert "0 keeps no answers of its checkpoint to the test split: computing them" in capsys.readouterr().out
    assert figures["LeNet5"]["mean"] == pytest.approx(expected["LeNet5"]["mean"], rel=1e-6)
    figures = compare([tmp_path / "fast" / "0"], "split=val", "figure=nll")
    fitted = json.loads((two_ways / "fast" / "0" / "metrics.json").read_text())["val/nll"]
    assert figures["LeNet5"]["mean"] == pytest.approx(fitted, rel=1e-5)


def test_answers_of_another_checkpoint_are_not_taken_for_the_runs(compare, two_ways, places, tmp_path, capsys):
    from striate import runs
    from striate.pipelines import evaluate

    folder = tmp_path / "run"
    shutil.copytree(two_ways / "slow" / "0", folder)
    last = runs.newest_checkpoint(folder / "checkpoints")
    evaluate.run(compose("evaluate", [*places, f"ckpt_path={last}", "split=val", "trainer.enable_progress_bar=false"]))
    for computed in (True, False):
        capsys.readouterr()
        compare([folder], "split=val")
        assert ("keeps no answers of its checkpoint to the val split" in capsys.readouterr().out) == computed
    about = json.loads((folder / "evaluation_val" / "evaluation.json").read_text())
    assert about["checkpoint"]["name"].startswith("best-")
    compare([folder])
    assert "keeps no answers" not in capsys.readouterr().out, "its own test was of the best"


def test_what_is_not_comparable_is_refused_by_name(compare, two_ways, places, tmp_path):
    shutil.copytree(two_ways / "slow" / "0", tmp_path / "other")
    about = json.loads((tmp_path / "other" / "evaluation.json").read_text())
    for change, kind, says in (
        ({"data": {**about["data"], "hash": "1" * 64}}, DataError, "has another data hash: digits 111111111111"),
        ({"measure": "0" * 64}, ConfigurationError, "was measured by other code: 000000000000"),
    ):
        (tmp_path / "other" / "evaluation.json").write_text(json.dumps({**about, **change}))
        with pytest.raises(kind, match=says) as refusal:
            compare([two_ways / "slow" / "0", tmp_path / "other"])
        assert f"{tmp_path / 'other'} " in str(refusal.value)
        assert not (tmp_path / "out").exists()
    assert compare([tmp_path / "other"], "again=true")["LeNet5"]["runs"] == 1
    mended = json.loads((tmp_path / "other" / "evaluation_test" / "evaluation.json").read_text())
    assert mended["measure"] == about["measure"]
    assert compare([two_ways / "slow" / "0", tmp_path / "other"])["LeNet5"]["runs"] == 1, "a repetition, not refused"


def test_mistakes_in_the_words(compare, two_ways, tmp_path):
    for words, says in (
        ([two_ways / "slwo"], "nearest valid choice: .*slow"),
        ([f"{two_ways}/nothing*"], "no such pattern of runs"),
        ([two_ways / "slow" / "0" / "checkpoints" / "x.ckpt"], "no such run"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            compare(words)
    with pytest.raises(ConfigurationError, match="figure=top1_micro"):
        compare([two_ways / "slow"], "figure=top1")
    shutil.copytree(two_ways / "slow" / "0", tmp_path / "half")
    facts = json.loads((tmp_path / "half" / "run.json").read_text())
    (tmp_path / "half" / "run.json").write_text(json.dumps({**facts, "status": "interrupted"}))
    with pytest.raises(ConfigurationError, match="has not finished: it is interrupted"):
        compare([two_ways / "slow" / "0", tmp_path / "half"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="is no run directory, and holds none"):
        compare([tmp_path / "empty"])


def test_the_command_takes_runs_without_a_key(two_ways, places, tmp_path):
    words = [str(two_ways / "slow"), str(two_ways / "fast"), f"output_dir={tmp_path / 'out'}", "against=all"]
    command = [sys.executable, ROOT / "src" / "compare.py", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "fast against slow: " in done.stdout
    assert (
        f"python src/compare.py {two_ways / 'slow'} {two_ways / 'fast'}" in (tmp_path / "out" / "report.md").read_text()
    )


def test_an_older_checkpoint_has_no_temperature_and_works_as_before(two_ways, places, tmp_path):
    from striate import runs
    from striate.pipelines import evaluate

    source = runs.resolve_checkpoint(str(two_ways / "fast" / "0"), two_ways)
    content = load_checkpoint(source)
    assert content["striate"].pop("temperature") > 0
    save_checkpoint(content, tmp_path / "old.ckpt")
    words = [*places, f"ckpt_path={tmp_path / 'old.ckpt'}", "trainer.enable_progress_bar=false"]
    old = evaluate.run(compose("evaluate", [*words, f"output_dir={tmp_path / 'old'}"]))
    assert not [name for name in old if "calibrated" in name]
    assert not (tmp_path / "old" / "reliability_calibrated.csv").exists()
    words[-2] = f"ckpt_path={source}"
    off = evaluate.run(compose("evaluate", [*words, "calibrated=false", f"output_dir={tmp_path / 'off'}"]))
    assert off == old
    on = evaluate.run(compose("evaluate", [*words, f"output_dir={tmp_path / 'on'}"]))
    assert {name: on[name] for name in old} == old
    assert on["nll_calibrated"] != on["nll"]
    assert [row["predicted"] for row in rows(tmp_path / "on" / "predictions.csv")] == [
        row["predicted"] for row in rows(tmp_path / "off" / "predictions.csv")
    ]
