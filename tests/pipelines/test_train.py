"""The training pipeline on real digits: what it reaches, what it leaves behind, what it refuses."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from striate import runs
from striate.callbacks.history import TIMED
from striate.configuration import compose, resolved
from striate.errors import ConfigurationError, DataError, DivergedError
from striate.storage import load_checkpoint
from striate.tasks.loading import load_task, network_weights

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["model=lenet5_modern", "trainer.max_epochs=2"]


def rows(folder):
    with open(folder / "history.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def only_run(tmp_path):
    ((folder, facts),) = runs.all_runs(tmp_path / "runs")
    return folder, facts


def script(places, *words, limit=300):
    """The real command in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("STRIATE_RUN", None)
    command = [sys.executable, str(ROOT / "src" / "train.py"), *places, "trainer.enable_progress_bar=false", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=limit, env=environment)


@pytest.mark.parametrize("model", ["lenet5", "lenet5_modern"])
def test_lenet5_learns_the_digits(train, model):
    figures = train(f"model={model}", "trainer.max_epochs=8")
    assert figures["test/top1_micro"] > 0.93
    assert figures["test/error_micro"] == pytest.approx(1 - figures["test/top1_micro"])


def test_what_a_run_leaves_behind(train, tmp_path):
    figures = train(*QUICK)
    folder, facts = only_run(tmp_path)
    assert facts["status"] == "finished"
    expected = {"config.yaml", "history.csv", "learning_curves.png", "metrics.json", "environment.json", "run.json"}
    assert expected <= {entry.name for entry in folder.iterdir()}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert {name: metrics[name] for name in figures} == figures
    assert [row["epoch"] for row in rows(folder)] == ["1", "2"]
    best = float(rows(folder)[metrics["best_epoch"] - 1]["val/top1_micro"])
    assert best == max(float(row["val/top1_micro"]) for row in rows(folder)) == metrics["val/top1_micro"]


def test_a_checkpoint_describes_itself(trained, digits):
    path = runs.resolve_checkpoint(str(trained), trained)
    task, record = load_task(path)
    assert record["meta"]["hash"] == digits.meta.hash
    assert record["config"]["model"]["_target_"] == "striate.models.lenet5.LeNet5"
    assert record["code"]["hash"] == runs.code_version()["hash"]
    batch = digits.dataset("test")[(0, torch.arange(8).numpy())]
    assert task.classify(batch.images).shape == (8, 10)
    assert (task.classify(batch.images).argmax(1) == batch.targets).float().mean() > 0.7


@pytest.mark.parametrize("target", ["os.system", "torch.load", "builtins.eval", "striate.storage.os.system"])
def test_a_strangers_checkpoint_builds_nothing_that_is_not_allowed(trained, tmp_path, target):
    path = runs.resolve_checkpoint(str(trained), trained)
    content = load_checkpoint(path)
    content["striate"]["config"]["model"] = {"_target_": target, "command": f"touch {tmp_path / 'canary'}"}
    torch.save(content, tmp_path / "evil.ckpt")
    with pytest.raises(ConfigurationError):
        load_task(tmp_path / "evil.ckpt")
    assert not (tmp_path / "canary").exists()


def test_a_checkpoint_that_asks_for_more_than_it_brings_is_refused_before_it_gets_it(trained, tmp_path):
    content = load_checkpoint(runs.resolve_checkpoint(str(trained), trained))
    content["striate"]["config"]["model"] = {"_target_": "striate.models.resnet.ResNet", "depth": 152}
    torch.save(content, tmp_path / "large.ckpt")
    with pytest.raises(Exception, match="does not fit its own configuration"):
        load_task(tmp_path / "large.ckpt")


def test_the_global_batch_in_parts_gives_the_same_losses(train, tmp_path):
    # Sums in another order differ in the last bits, and training makes more of it: hence few and small steps.
    common = ["model=lenet5_modern", "trainer.max_epochs=2", "test=false", "optimizer.lr=0.005", "scheduler=constant"]
    train(*common, f"run_dir={tmp_path / 'whole'}")
    train(*common, "trainer.accumulate_grad_batches=4", f"run_dir={tmp_path / 'parts'}")
    for whole, parts in zip(rows(tmp_path / "whole"), rows(tmp_path / "parts"), strict=True):
        for name in ("step", "train/loss", "val/loss"):
            assert float(whole[name]) == pytest.approx(float(parts[name]), rel=1e-4)


def test_two_processes_with_the_same_global_batch_reach_the_losses_of_one(places, digits, tmp_path):
    words = ["model=lenet5_modern", "trainer.max_epochs=2", "trainer.accelerator=cpu", "data.batch_size=63"]
    outcome = script(places, *words, f"run_dir={tmp_path / 'odd'}", "trainer.devices=2")
    assert outcome.returncode == 2, outcome.stderr
    assert "a multiple of devices" in outcome.stderr
    words[-1] = "loss.class_weights=balanced"
    for devices in (1, 2):
        outcome = script(places, *words, f"run_dir={tmp_path / str(devices)}", f"trainer.devices={devices}")
        assert outcome.returncode == 0, outcome.stderr
    one, two = rows(tmp_path / "1"), rows(tmp_path / "2")
    assert len(one) == len(two) == 2
    for first, second in zip(one, two, strict=True):
        for name in first:
            if name not in TIMED:
                assert float(first[name]) == pytest.approx(float(second[name]), rel=2e-4, abs=1e-9), name
    tests = [json.loads((tmp_path / devices / "metrics.json").read_text()) for devices in ("1", "2")]
    assert tests[0]["test/top1_micro"] == pytest.approx(tests[1]["test/top1_micro"], abs=1e-9)


def test_a_rate_that_is_too_high_stops_before_the_update(train, tmp_path):
    with pytest.raises(DivergedError) as caught:
        train(
            "model=lenet5_modern", "optimizer.lr=1e18", "scheduler=constant", "callbacks.checkpointing.every_n_steps=1"
        )
    message = str(caught.value)
    assert "step" in message
    assert "learning rate 1e+18" in message
    assert ".png" in message
    assert len(message.splitlines()) <= 3
    folder, facts = only_run(tmp_path)
    assert facts["status"] == "diverged"
    weights = network_weights(load_checkpoint(runs.newest_checkpoint(folder / "checkpoints")))
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_transfer_replaces_the_head_and_reports_it(train, trained, tmp_path):
    before = network_weights(load_checkpoint(runs.resolve_checkpoint(str(trained), trained)))
    train(
        *QUICK, "data.classes=['3','8','5']", "data.samples_per_class=30", "data.batch_size=30",
        "init=checkpoint", f"init.path={trained}", "init.freeze=[C1,C3]",
    )  # fmt: skip
    folder, _ = only_run(tmp_path)
    after = network_weights(load_checkpoint(runs.newest_checkpoint(folder / "checkpoints")))
    assert after["output.weight"].shape[0] == 3
    assert torch.equal(before["C1.weight"], after["C1.weight"])
    assert not torch.equal(before["F6.weight"], after["F6.weight"])
    report = json.loads((folder / "transfer.json").read_text())
    assert sorted(report["new"]) == ["output.bias", "output.weight"]
    assert sorted(report["frozen"]) == ["C1.bias", "C1.weight", "C3.bias", "C3.weight"]


def test_a_frozen_stage_keeps_its_statistics_to_the_bit(train, tmp_path):
    small = ["model=resnet20", "trainer.max_epochs=1", "data.samples_per_class=8", "data.batch_size=16", "test=false"]
    train(*small, f"run_dir={tmp_path / 'first'}")
    train(
        *small,
        "init=checkpoint",
        f"init.path={tmp_path / 'first'}",
        "init.freeze=[conv1,bn1,conv2_x]",
        f"run_dir={tmp_path / 'second'}",
    )
    source = runs.resolve_checkpoint(str(tmp_path / "first"), tmp_path)
    first = network_weights(load_checkpoint(source))
    second = network_weights(load_checkpoint(runs.newest_checkpoint(tmp_path / "second" / "checkpoints")))
    frozen = [name for name in first if name.startswith(("conv1.", "bn1.", "conv2_x."))]
    assert any("running_mean" in name for name in frozen)
    assert all(torch.equal(first[name], second[name]) for name in frozen)
    moved = [name for name in first if "running_mean" in name and name not in frozen]
    assert moved
    assert not any(torch.equal(first[name], second[name]) for name in moved)


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (["init=checkpoint", "init.path=nowhere.ckpt"], ConfigurationError, "no such file"),
        (["data.batch_size=5000"], DataError, "fewer than a batch of 5000"),
        (["data.batch_size=0"], ConfigurationError, "at least 1"),
        (["data.classes=['0','zehn']"], ConfigurationError, "no class 'zehn'"),
        (["data.classes=['0']"], ConfigurationError, "at least two classes"),
        (["monitor.metric=val/topone"], ConfigurationError, "is not measured"),
        (["resume=perhaps"], ConfigurationError, "auto or must or never"),
        (["trainer.accelerator=gpu"], ConfigurationError, "trainer"),
    ],
)
def test_mistakes_are_named_in_three_lines(train, words, error, says):
    if words == ["trainer.accelerator=gpu"] and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(error) as caught:
        train(*QUICK, *words)
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3


def test_a_checkpoint_of_another_network_is_refused_with_the_tensors(train, trained):
    with pytest.raises(ConfigurationError, match=r"does not fit the network: \d+ tensors: conv1.weight"):
        train("model=resnet20", "init=checkpoint", f"init.path={trained}")


def test_one_batch_can_be_overfitted(train, tmp_path):
    train("model=lenet5_modern", "debug=overfit")
    folder, _ = only_run(tmp_path)
    assert float(rows(folder)[-1]["train/loss"]) < 1e-2
    assert float(rows(folder)[-1]["train/error_micro"]) == 0


def test_plan_tells_and_writes_nothing(places, digits, tmp_path, capsys):
    from striate.pipelines import train as pipeline

    config = compose("train", [*places, "model=lenet5", "plan=true", f"paths.runs_dir={tmp_path / 'runs'}"])
    figures = pipeline.run(config)
    assert figures["parameters"] == 60_000
    assert figures["mult_adds"] == 325_680
    assert figures["samples_train"] == 1169
    assert figures["steps"] == 15 * (1169 // 64)
    assert "325,680" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_a_plan_knows_stages(places, digits):
    from striate.pipelines import train as pipeline

    words = [*places, "model=lenet5_modern", "plan=true"]
    for word in ("init.train=[C9]", "init.freeze=[C9]"):
        with pytest.raises(ConfigurationError, match="LeNet5 has no stage 'C9'"):
            pipeline.run(compose("train", [*words, word]))
    figures = pipeline.run(compose("train", [*words, "init.train=head"]))
    assert (figures["parameters"], figures["trainable_parameters"]) == (61_706, 84 * 10 + 10)


def test_moving_average_and_early_stopping(train, tmp_path):
    train(
        "model=lenet5_modern", "callbacks=[default,ema,early_stopping]", "callbacks.early_stopping.patience=1",
        "callbacks.early_stopping.min_delta=0.5", "trainer.max_epochs=9", "test=false",
    )  # fmt: skip
    folder, _ = only_run(tmp_path)
    assert 1 < len(rows(folder)) < 9
    content = load_checkpoint(runs.newest_checkpoint(folder / "checkpoints"))
    assert "current_model_state" in content


def test_a_rate_and_a_batch_are_found(train, capsys, tmp_path):
    train("model=lenet5_modern", "find_lr=true", "find_batch_size=true", "trainer.max_epochs=1", "test=false")
    said = capsys.readouterr().out
    assert "find_lr: " in said
    assert "find_batch_size: 32: " in said, "1,169 samples leave room for 20 steps of 58"
    folder, _ = only_run(tmp_path)
    record = load_checkpoint(runs.newest_checkpoint(folder / "checkpoints"))["striate"]
    assert record["config"]["data"]["batch_size"] == 32
    assert 1e-6 < record["config"]["optimizer"]["lr"] < 10


def test_weights_and_biases_offline_holds_the_curves(train, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(*QUICK, "logger=wandb", "test=false")
    folder, _ = only_run(tmp_path)
    (file,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    assert b"val/top1_micro" in file.read_bytes()


def test_the_stored_configuration_holds_no_secret(places, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "very-secret-key")
    assert "very-secret-key" not in json.dumps(resolved(compose("train", [*places, "logger=wandb"])))


def test_the_noted_command_holds_no_secret(train, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "logger.mlflow.address=https://me:hidden@host/x"])
    train(
        "trainer.max_epochs=1",
        "data.samples_per_class=4",
        "data.batch_size=32",
        "test=false",
        f"run_dir={tmp_path / 'run'}",
    )
    noted = json.loads((tmp_path / "run" / "run.json").read_text())["command"]
    assert "logger.mlflow.address=https://me:***@host/x" in noted
    assert "hidden" not in noted
