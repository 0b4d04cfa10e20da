"""TensorBoard, MLflow and DVCLive by one word each, together and in the run directory."""

import csv
import json
import os
import socket
import time

import pytest

from striate.callbacks.history import History
from striate.configuration import REPOSITORY, compose
from striate.errors import Ending, InterruptedRun
from striate.tracking.base import Session
from striate.tracking.dvclive import dvclive_logger
from striate.tracking.mlflow import mlflow_logger

TINY = ["model=lenet5_modern", "data.samples_per_class=20", "data.batch_size=50", "trainer.log_every_n_steps=2"]


@pytest.fixture(scope="module")
def folder(places, digits, tmp_path_factory):
    """A run of two epochs, stopped after the first and resumed, with three dashboards."""
    from striate.pipelines import train as pipeline

    root = tmp_path_factory.mktemp("dashboards")
    words = [*TINY, "trainer.max_epochs=2", "trainer.enable_progress_bar=false", f"run_dir={root / 'run'}"]
    original = History.on_train_epoch_start

    def stop(self, trainer, module):
        original(self, trainer, module)
        if trainer.current_epoch == 1:
            raise InterruptedRun("stopped", exit_code=143)

    with pytest.MonkeyPatch.context() as patch:
        for hook in (stop, original):
            patch.setattr(History, "on_train_epoch_start", hook)
            os.environ.pop("STRIATE_RUN", None)
            try:
                pipeline.run(compose("train", [*places, *words, "logger=[tensorboard,mlflow,dvclive]"]))
            except InterruptedRun:
                assert hook is stop
    return root / "run"


@pytest.fixture(scope="module")
def expected(folder):
    """Validation loss by step."""
    with open(folder / "history.csv", newline="") as stream:
        return {int(row["step"]): float(row["val/loss"]) for row in csv.DictReader(stream)}


def test_tensorboard_has_curves_and_pictures(folder, expected):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert {entry.step: entry.value for entry in events.Scalars("val/loss")} == pytest.approx(expected)
    assert len(events.Scalars("val/loss")) == 2
    for name in ("batch/loss", "rate/decay", "gradient/decay", "waiting", "samples_per_second", "test/top1_micro"):
        assert events.Scalars(name), name
    for name in ("train/samples", "test/confusion_matrix", "test/mistakes"):
        (picture,) = {entry.encoded_image_string for entry in events.Images(name)}
        assert picture[1:4] == b"PNG"


def test_mlflow_has_one_finished_run(folder, expected):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("striate").experiment_id])
    assert run.info.run_id == (folder / "mlflow" / "run_id").read_text()
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.runName"] == "run"
    assert (run.data.tags["status"], run.data.tags["reason"]) == ("finished", ""), "no more why it was stopped"
    assert {entry.step: entry.value for entry in client.get_metric_history(run.info.run_id, "val/loss")} == expected
    metrics = json.loads((folder / "metrics.json").read_text())
    assert run.data.metrics["test/top1_micro"] == metrics["test/top1_micro"]
    assert run.data.params["model._target_"] == "striate.models.lenet5.LeNet5"
    assert (
        run.data.tags["used.dataset.digits.sha256"] == json.loads((folder / "run.json").read_text())["hashes"]["data"]
    )
    names = {entry.path for entry in client.list_artifacts(run.info.run_id, "test")}
    assert names == {"test/confusion_matrix.png", "test/mistakes.png"}


def test_why_a_run_failed_is_said_to_all(tmp_path):
    from mlflow.tracking import MlflowClient

    session, ending = Session(tmp_path, "run", "00000000"), Ending("failed", 1, "no such thing")
    trackers = [dvclive_logger(session), mlflow_logger(session)]
    for tracker in trackers:
        tracker.patience = 120  # on a slow machine
        tracker.close(ending)
    metrics = json.loads((tmp_path / "dvclive" / "metrics.json").read_text())
    assert (metrics["status"], metrics["reason"]) == ("failed", "no such thing")
    run = MlflowClient(f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}").get_run(
        (tmp_path / "mlflow" / "run_id").read_text()
    )
    assert (run.info.status, run.data.tags["reason"]) == ("FAILED", "no such thing")


def test_a_server_of_mlflow_that_hangs_holds_no_training_up(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        tracker = mlflow_logger(Session(tmp_path, "run", "0"), f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        tracker.log_hyperparams({"seed": 0})
        tracker.experiment.log_param("run", "key", 1)
        assert time.monotonic() - began < 1
        tracker.close(Ending("finished", 0))
        assert time.monotonic() - began < 4
    assert "MLflow: does not answer; history.csv has all figures" in capsys.readouterr().out


def test_dvclive_has_tables_and_pictures(folder, expected):
    live = folder / "dvclive"
    assert "dvclive" not in (REPOSITORY / "dvc.yaml").read_text(), "not told of runs that are no experiments of DVC"
    with open(live / "plots" / "metrics" / "val" / "loss.tsv", newline="") as stream:
        assert {int(row["step"]): float(row["loss"]) for row in csv.DictReader(stream, delimiter="\t")} == expected
    metrics = json.loads((live / "metrics.json").read_text())
    assert (metrics["status"], metrics["reason"]) == ("finished", "")
    assert metrics["test"]["top1_micro"] == json.loads((folder / "metrics.json").read_text())["test/top1_micro"]
    for name in ("train/samples", "test/confusion_matrix", "test/mistakes"):
        assert (live / "plots" / "images" / f"{name}.png").read_bytes()[1:4] == b"PNG"
