"""A run that was killed anywhere ends with the bits of one that was not."""

import csv
import json

import pytest
import torch

from processes import train
from striate import runs
from striate.callbacks.history import TIMED
from striate.storage import load_checkpoint

SMALL = [
    "trainer.enable_progress_bar=false",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=3",
    "data.samples_per_class=12",
    "test=false",
]

VARIANTS = {
    # 120 samples: 5 steps an epoch, 15 in all; checkpoints in the middle of epochs
    "array": [
        "model=lenet5_modern",
        "data.batch_size=24",
        "augmentation=digits",
        "callbacks.checkpointing.every_n_steps=2",
    ],
    "encoded": [
        "model=lenet5_modern",
        "data.batch_size=24",
        "data.name=digits_encoded",
        "data.prepare.pack=encoded",
        "data.prepare.image_size=null",
        "data.input_size=32",
        "augmentation=light",
        "callbacks.checkpointing.every_n_steps=2",
    ],
    # batch norm, moving average, accumulation, a schedule that follows validation
    "everything": [
        "model=resnet20",
        "data.batch_size=24",
        "trainer.accumulate_grad_batches=2",
        "callbacks=[default,ema]",
        "callbacks.ema.decay=0.9",
        "scheduler=plateau",
        "callbacks.checkpointing.every_n_steps=2",
    ],
    # gradients by hand, with the curvatures and the rates of LeNet-5's rule
    "by hand": [
        "model=mlp",
        "task=backpropagation",
        "optimizer=sdlm",
        "optimizer.samples=30",
        "scheduler=table",
        "scheduler.lengths=[1,0.5,0.5,0.5]",
        "data.batch_size=24",
        "augmentation=digits",
        "callbacks.checkpointing.every_n_steps=2",
    ],
    "old rules": [
        "model=lenet5_modern",
        "optimizer=alexnet",
        "loss=map",
        "callbacks=[default,filter_renormalisation]",
        "data.batch_size=24",
        "augmentation=digits",
        "callbacks.checkpointing.every_n_steps=2",
    ],
}


def weights(run_dir):
    path = runs.newest_checkpoint(run_dir / "checkpoints")
    content = load_checkpoint(path)
    return content.get("current_model_state", content["state_dict"]), content


def history(run_dir):
    with open(run_dir / "history.csv", newline="") as stream:
        return [{key: value for key, value in row.items() if key not in TIMED} for row in csv.DictReader(stream)]


SLOW = {"old rules"}


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in VARIANTS]
)
def reference(request, places, digits, tmp_path_factory):
    """The overrides of a variant and the directory of its uninterrupted run."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    overrides = [*places, *SMALL, *VARIANTS[request.param]]
    assert train([*overrides, f"run_dir={folder}", "data.num_workers=0"]).code == 0
    return request.param, overrides, folder


@pytest.mark.parametrize(
    "kills",
    [
        [("step", 3), ("step", 8), ("step", 13)],
        [("validation", 2)],
        [("checkpoint", 4)],
    ],
    ids=["in the middle of epochs", "in validation", "in a checkpoint"],
)
def test_killed_and_resumed_equals_uninterrupted(reference, kills, tmp_path):
    variant, overrides, uninterrupted = reference
    if variant != "array" and kills[0][0] != "step":
        pytest.skip("tried with the array pack")
    run = [*overrides, f"run_dir={tmp_path / 'run'}"]
    for workers, kill in enumerate(kills):
        assert train([*run, f"data.num_workers={workers % 3}"], kill=kill).code == -9
    assert train([*run, "data.num_workers=2"]).code == 0
    expected, whole = weights(uninterrupted)
    found, resumed = weights(tmp_path / "run")
    assert expected.keys() == found.keys()
    for name in expected:
        assert torch.equal(expected[name], found[name]), name
    assert history(uninterrupted) == history(tmp_path / "run")
    assert len(history(uninterrupted)) == 3
    if variant == "everything":
        for name in whole["state_dict"]:  # the moving average
            assert torch.equal(whole["state_dict"][name], resumed["state_dict"][name]), name
    best = [path.name for path in (tmp_path / "run" / "checkpoints").glob("best-*.ckpt")]
    assert best == [path.name for path in (uninterrupted / "checkpoints").glob("best-*.ckpt")]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(("place", "code"), [("sigterm", 143), ("sigint", 130)])
def test_a_signal_saves_at_the_next_step_and_the_same_command_goes_on(places, digits, tmp_path, place, code):
    run = [
        *places,
        *SMALL,
        *VARIANTS["array"],
        "callbacks.checkpointing.every_n_steps=null",
        f"paths.runs_dir={tmp_path}",
    ]
    outcome = train(run, kill=(place, 7))
    assert outcome.code == code
    assert "repeat the same command" in outcome.text
    ((folder, facts),) = runs.all_runs(tmp_path)
    assert facts["status"] == "interrupted"
    assert runs.newest_checkpoint(folder / "checkpoints").name == "step-00000007.ckpt"
    assert train(run).code == 0
    assert [entry for entry, _ in runs.all_runs(tmp_path)] == [folder], "no second directory"
    assert len(history(folder)) == 3


def test_a_finished_run_is_not_repeated_in_its_directory(reference):
    variant, overrides, folder = reference
    if variant != "array":
        pytest.skip("tried with the array pack")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert train([*overrides, f"run_dir={folder}"]).code == 5
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_resume_must_says_what_differs(places, digits, tmp_path):
    run = [*places, *SMALL, *VARIANTS["array"], f"paths.runs_dir={tmp_path}"]
    outcome = train([*run, "resume=must"])
    assert outcome.code == 2
    assert "no unfinished run" in outcome.text
    assert train(run, kill=("step", 6)).code == -9
    outcome = train([*run, "resume=must", "optimizer.lr=0.5"])
    assert outcome.code == 2
    assert "optimizer.lr: " in outcome.text
    assert train([*run, "resume=never", "trainer.max_epochs=1"]).code == 0
    assert len(runs.all_runs(tmp_path)) == 2


def test_an_allowed_change_goes_on_from_a_checkpoint(places, digits, tmp_path):
    run = [*places, *SMALL, *VARIANTS["array"], f"paths.runs_dir={tmp_path}"]
    assert train(run).code == 0
    longer = [*run, "ckpt_path=last", "trainer.max_epochs=4"]
    assert train(longer).code == 2
    assert train([*longer, "resume_allow=[trainer.max_epochs]"]).code == 0
    newest, _ = runs.all_runs(tmp_path)[0]
    assert [row["epoch"] for row in history(newest)] == ["1", "2", "3", "4"]


def test_a_shorter_epoch_is_resumed_at_its_beginning(places, digits, tmp_path):
    run = [*places, *SMALL, "model=lenet5_modern", "data.batch_size=24", "trainer.limit_train_batches=3"]
    assert train([*run, f"run_dir={tmp_path / 'whole'}"]).code == 0
    assert train([*run, f"run_dir={tmp_path / 'killed'}"], kill=("step", 4)).code == -9
    assert train([*run, f"run_dir={tmp_path / 'killed'}"]).code == 0
    assert history(tmp_path / "whole") == history(tmp_path / "killed")
    assert [row["step"] for row in history(tmp_path / "killed")] == ["3", "6", "9"]


def test_a_checkpoint_that_cannot_be_written_is_counted_and_said(places, digits, tmp_path):
    run = [*places, *SMALL, *VARIANTS["array"], f"run_dir={tmp_path / 'run'}"]
    outcome = train(run, kill=("full disk", 3))
    assert outcome.code == 5
    assert "no space left" in outcome.text
    assert "1 of 3 failures" in outcome.text
    assert runs.newest_checkpoint(tmp_path / "run" / "checkpoints").name == "step-00000004.ckpt"
    assert train(run).code == 0
    assert len(history(tmp_path / "run")) == 3
