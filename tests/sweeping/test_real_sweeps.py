"""Real sweeps of the embedded digits, each way of starting them once; slow, and skipped where a package is missing."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from offline_wandb import read
from striate import runs
from striate.configuration import REPOSITORY
from striate.sweeping.ledger import Ledger

pytestmark = pytest.mark.slow
TINY = ["model=lenet5_modern", "trainer.max_epochs=2", "trainer.enable_progress_bar=false"]


@pytest.fixture
def sweep(places, digits, tmp_path):
    """`sweep(*words)` starts one; gives the process, and the ledger it will have."""

    def start(*words: str) -> tuple[subprocess.Popen[str], Ledger]:
        own = [*places[:2], f"paths.runs_dir={tmp_path / 'runs'}", "hydra.sweeper.name=tried"]
        environment = {key: value for key, value in os.environ.items() if key not in ("STRIATE_RUN", "LOCAL_RANK")}
        process = subprocess.Popen(
            [sys.executable, str(REPOSITORY / "src/train.py"), "-m", *TINY, *own, *words],
            cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return process, Ledger(tmp_path / "runs" / "sweeps" / "tried")

    return start


def finished(process: subprocess.Popen[str], code: int = 0) -> str:
    said, _ = process.communicate(timeout=550)
    assert process.returncode == code, said
    return said


NEEDS = {"joblib": "joblib", "submitit_local": "submitit", "ray": "ray"}


@pytest.mark.parametrize("launcher", NEEDS)
def test_launchers(sweep, launcher: str) -> None:
    pytest.importorskip(NEEDS[launcher])
    process, ledger = sweep(f"hydra/launcher={launcher}", "hydra.sweeper.jobs=2", "optimizer.lr=0.01,0.05")
    said = finished(process)
    assert [trial.status for trial in ledger.trials()] == ["finished"] * 2
    assert "Train it again: python " in said
    for trial in ledger.trials():
        config = yaml.safe_load((Path(trial.run_dir or "") / "config.yaml").read_text())
        assert str(config["optimizer"]["lr"]) == trial.varied["optimizer.lr"]
        assert "Best epoch" in (ledger.place(trial.key) / "log.txt").read_text()
    assert (ledger.folder / "parallel_coordinates.png").is_file()


def test_two_commands_share_a_study_that_prunes(sweep) -> None:
    pytest.importorskip("optuna")
    words = [
        "hydra/sweeper=optuna", "optimizer.lr=tag(log,interval(0.0001,0.1))", "hydra.sweeper.trials=5",
        "hydra.sweeper.startup=1", "hydra.sweeper.min_epochs=1",
    ]  # fmt: skip
    (first, ledger), (second, _) = sweep(*words), sweep(*words)
    finished(first)
    finished(second)
    trials = ledger.trials()
    assert [trial.number for trial in trials] == list(range(5))
    assert {trial.status for trial in trials} <= {"finished", "pruned"}
    for trial in trials:
        facts = runs.read(Path(trial.run_dir or "")) or {}
        assert facts["status"] == trial.status, "the run's own record says the same"
    again = finished(sweep(*words)[0])
    assert "5 trials, 5 of them done before" in again


def test_trials_with_several_processes_see_one_configuration(sweep) -> None:
    process, ledger = sweep(
        "trainer.devices=2", "trainer.accelerator=cpu", "optimizer.lr=0.01,0.05", "data.batch_size=64"
    )
    finished(process)
    assert [trial.status for trial in ledger.trials()] == ["finished"] * 2
    assert len(runs.all_runs(ledger.folder.parents[1])) == 2, "no process began a run or a sweep of its own"
    for trial in ledger.trials():
        config = yaml.safe_load((Path(trial.run_dir or "") / "config.yaml").read_text())
        assert (str(config["optimizer"]["lr"]), config["trainer"]["devices"]) == (trial.varied["optimizer.lr"], 2)
        rows = list(csv.DictReader((Path(trial.run_dir or "") / "history.csv").open()))
        assert len(rows) == 2


def test_ctrl_c_lets_a_trial_save_itself_and_the_command_goes_on(sweep) -> None:
    words = ["optimizer.lr=0.01,0.05", "trainer.max_epochs=6"]
    process, ledger = sweep(*words)
    while not (found := list(ledger.folder.parents[1].glob("*/checkpoints/step-*.ckpt"))):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    finished(process, 130)
    assert [trial.status for trial in ledger.trials()] == ["interrupted"]
    again = finished(sweep(*words)[0])
    assert "Going on with" in again
    assert [trial.status for trial in ledger.trials()] == ["finished"] * 2
    assert found[0].parents[1] == Path(ledger.trials()[0].run_dir or "")


def test_each_trial_is_a_run_of_its_own_on_a_dashboard(sweep, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    process, ledger = sweep("logger=wandb", "optimizer.lr=0.05,1e6")
    finished(process, 4)
    mirrors = []
    for trial in ledger.trials():
        (place,) = (Path(trial.run_dir or "") / "wandb").glob("offline-run-*")
        mirrors.append(read(place))
    assert [mirror.summary["status"] for mirror in mirrors] == ["finished", "diverged"]
    assert [mirror.exit_code for mirror in mirrors] == [0, 4]
    assert [mirror.config["optimizer.lr"] for mirror in mirrors] == [0.05, 1e6]
    assert {mirror.run.run_group for mirror in mirrors} == {"tried"}, "that of the sweep"
    assert len({mirror.run.run_id for mirror in mirrors}) == 2


def test_a_diverged_trial_stops_nothing(sweep) -> None:
    process, ledger = sweep("optimizer.lr=0.05,1e6")
    finished(process, 4)
    assert [trial.status for trial in ledger.trials()] == ["finished", "diverged"]
    assert ledger.trials()[1].reason
