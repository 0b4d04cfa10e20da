"""`evaluate` against the training that made the checkpoint, against other data, and against people's mistakes."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from striate import runs
from striate.configuration import compose
from striate.data.meta import Meta
from striate.errors import ConfigurationError, DataError, StorageError
from striate.evaluation.report import CALIBRATED_FILES, FILES
from striate.pipelines import evaluate as pipeline
from striate.storage import load_checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def evaluate(places, trained):
    """`evaluate(*overrides)` runs the pipeline on the trained network; gives its figures."""

    def run(*overrides):
        own = [f"ckpt_path={trained}", "trainer.enable_progress_bar=false", "trainer.accelerator=cpu"]
        return pipeline.run(compose("evaluate", [*places, *own, *overrides]))

    return run


@pytest.fixture(scope="module")
def evaluated(places, trained):
    """The folder of an evaluation on the test split, from the checkpoint and nothing else."""
    pipeline.run(compose("evaluate", [*places, f"ckpt_path={trained}", "trainer.enable_progress_bar=false"]))
    return trained / "evaluation_test"


def rows(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def best(run_dir):
    return runs.resolve_checkpoint(str(run_dir), run_dir)


def altered(trained, tmp_path, change):
    """A checkpoint whose record was changed by `change(record)`."""
    content = load_checkpoint(best(trained))
    change(content["striate"])
    save_checkpoint(content, tmp_path / "altered.ckpt")
    return tmp_path / "altered.ckpt"


def test_figures_are_those_of_the_training(evaluated, trained):
    stored = json.loads((evaluated / "metrics.json").read_text())
    fitted = json.loads((trained / "metrics.json").read_text())
    own = {name.removeprefix("test/"): value for name, value in fitted.items() if name.startswith("test/")}
    assert len(own) == 13
    # The trainer hands its figures on in single precision.
    assert {name: np.float32(stored[name]) for name in own} == {name: np.float32(value) for name, value in own.items()}
    assert set(stored) - set(own) == {
        "samples", "top1_micro_low", "top1_micro_high", "top5_micro_low", "top5_micro_high", "recall_macro_low",
        "recall_macro_high",
    }  # fmt: skip


def test_every_sample_once_under_its_name(evaluated, digits):
    said = rows(evaluated / "predictions.csv")
    dataset = digits.dataset("test")
    assert [row["name"] for row in said] == dataset.names
    assert [int(row["true"]) for row in said] == dataset.targets.tolist()
    assert {path.name for path in evaluated.iterdir()} == {*FILES, *CALIBRATED_FILES}


def test_the_validation_split_gives_the_figures_of_the_best_epoch(evaluate, trained, tmp_path):
    figures = evaluate("split=val", f"output_dir={tmp_path}")
    fitted = json.loads((trained / "metrics.json").read_text())
    assert np.float32(figures["top1_micro"]) == np.float32(fitted["val/top1_micro"])
    assert np.float32(figures["loss"]) == np.float32(fitted["val/loss"])


def test_the_training_split_is_evaluated_whole_and_without_augmentation(evaluate, digits, tmp_path):
    first = evaluate("split=train", f"output_dir={tmp_path / 'a'}")
    assert first["samples"] == len(digits.dataset("train"))
    assert evaluate("split=train", f"output_dir={tmp_path / 'b'}") == first


@pytest.mark.parametrize("batch_size", [1, 50, 1000])
def test_figures_do_not_depend_on_the_batch(evaluate, evaluated, tmp_path, batch_size):
    figures = evaluate(f"batch_size={batch_size}", f"output_dir={tmp_path}")
    # The network computes in single precision, and not in the same order for each size of batch.
    assert figures == pytest.approx(json.loads((evaluated / "metrics.json").read_text()), rel=1e-5)


def test_two_processes_count_every_sample_once(places, trained, evaluated, tmp_path):
    # 359 samples in global batches of 179: of the last one, of one sample, the second process gets nothing.
    words = [*places, f"ckpt_path={trained}", f"output_dir={tmp_path}", "batch_size=179", "trainer.devices=2",
             "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, ROOT / "src" / "evaluate.py", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Worth opening") == 1, "one process speaks"
    two, one = (json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path, evaluated))
    assert two["samples"] == one["samples"] == 359
    assert two == pytest.approx(one, rel=1e-5)
    said, expected = rows(tmp_path / "predictions.csv"), rows(evaluated / "predictions.csv")
    assert [row["name"] for row in said] == [row["name"] for row in expected]
    assert [row["predicted"] for row in said] == [row["predicted"] for row in expected]


def test_a_moved_checkpoint_finds_its_data_where_they_are_now(places, trained, evaluated, tmp_path):
    old = dict(word.split("=", 1) for word in places)
    shutil.copytree(old["paths.prepared_dir"], tmp_path / "elsewhere")
    now = [f"paths.data_dir={tmp_path / 'none'}", f"paths.prepared_dir={tmp_path / 'elsewhere'}"]
    words = [f"ckpt_path={best(trained)}", f"output_dir={tmp_path / 'out'}", "trainer.enable_progress_bar=false"]
    figures = pipeline.run(compose("evaluate", [*now, f"paths.runs_dir={tmp_path}", *words]))
    assert figures == json.loads((evaluated / "metrics.json").read_text())


def test_best_and_last_are_those_of_the_newest_run(places, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "runs" / "newest")
    words = ["ckpt_path=last", f"paths.runs_dir={tmp_path / 'runs'}", "trainer.enable_progress_bar=false"]
    pipeline.run(compose("evaluate", [*places, *words]))
    record = json.loads((tmp_path / "runs" / "newest" / "evaluation_test" / "evaluation.json").read_text())
    assert record["checkpoint"]["name"].startswith("step-")


def test_classes_in_another_order_are_matched_by_name(evaluate, evaluated, tmp_path):
    # Named explicitly, the classes lose their order; the figures must not notice.
    figures = evaluate("data=digits", "data.classes=[9,8,7,6,5,4,3,2,1,0]", f"output_dir={tmp_path}")
    assert figures == json.loads((evaluated / "metrics.json").read_text())


def test_other_classes_are_refused(evaluate, tmp_path):
    with pytest.raises(ConfigurationError, match=r"knows 10 classes .* has 3"):
        evaluate("data=digits", "data.classes=[0,1,2]", f"output_dir={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def test_another_picture_size_is_refused(evaluate, tmp_path):
    with pytest.raises(ConfigurationError, match="32×32 pixels, small has 16×16 pixels"):
        evaluate(
            "data=digits", "data.name=small", "data.prepare.image_size=16", f"output_dir={tmp_path / 'out'}",
            f"paths.prepared_dir={tmp_path}",
        )  # fmt: skip


def test_data_that_changed_since_are_refused_unless_allowed(evaluate, trained, digits, tmp_path):
    def change(record):
        fields = {**vars(Meta.from_dict(record["meta"])), "mean": (0.25,)}
        del fields["hash"]
        record["meta"] = Meta.create(**fields).to_dict()

    checkpoint = altered(trained, tmp_path, change)
    with pytest.raises(DataError, match="data hash differs") as refusal:
        evaluate(f"ckpt_path={checkpoint}")
    assert digits.meta.hash[:12] in str(refusal.value)
    assert "allow_other_data=true" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) <= 3
    assert evaluate(f"ckpt_path={checkpoint}", "allow_other_data=true")["samples"] == 359


def test_missing_data_are_named_with_the_command_that_gets_them(evaluate, tmp_path):
    with pytest.raises(DataError, match="none") as refusal:
        evaluate(f"paths.prepared_dir={tmp_path / 'no'}", f"paths.data_dir={tmp_path / 'none'}")
    assert len(str(refusal.value).splitlines()) <= 3


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "..", "/absolute"])
def test_a_strangers_checkpoint_names_no_folder_outside(evaluate, trained, tmp_path, name):
    checkpoint = altered(trained, tmp_path, lambda record: record["config"]["data"].update(name=name))
    with pytest.raises(StorageError, match="does not say which data"):
        evaluate(f"ckpt_path={checkpoint}")


def test_a_strangers_checkpoint_builds_no_other_class(evaluate, trained, tmp_path):
    for target in ("os.system", "striate.data.augmentation.Augmentation", None):
        checkpoint = altered(
            trained, tmp_path, lambda record, target=target: record["config"]["data"].update(_target_=target)
        )
        with pytest.raises(StorageError, match="does not say which data"):
            evaluate(f"ckpt_path={checkpoint}")


def test_a_damaged_checkpoint_is_refused(evaluate, trained, tmp_path):
    path = tmp_path / "best.ckpt"
    shutil.copy(best(trained), path)
    shutil.copy(f"{best(trained)}.sha256", f"{path}.sha256")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match="do not match"):
        evaluate(f"ckpt_path={path}")


def test_a_part_of_a_split_is_not_evaluated(evaluate):
    with pytest.raises(ConfigurationError, match="limit_test_batches"):
        evaluate("trainer.limit_test_batches=2")


def test_more_devices_than_there_are_is_a_mistake_in_one_line(evaluate, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has GPUs")
    with pytest.raises(ConfigurationError):
        evaluate("trainer.accelerator=gpu", "trainer.devices=4", f"output_dir={tmp_path}")


def test_an_unwritable_place_is_said_before_the_network_runs(evaluate, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "test", lambda *_: pytest.fail("the network ran"))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        evaluate(f"output_dir={tmp_path / 'file' / 'out'}")
