"""Transfer through the whole pipeline: what a run says and leaves behind, and that it goes on where it was stopped."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from processes import train as train_process
from striate import runs
from striate.errors import ConfigurationError
from striate.storage import load_checkpoint
from striate.tasks.loading import network_weights

SMALL = ["model=resnet20", "model.depth=8", "model.widths=[4,8,16]", "data.samples_per_class=8", "data.batch_size=16"]
UNFREEZING = ["init.unfreeze_every=1", "init.freeze=[conv1]", "init.stage_decay=0.5"]
NORM = "conv1.weight", "bn1.weight", "bn1.bias"


def weights(folder):
    return network_weights(load_checkpoint(runs.newest_checkpoint(folder / "checkpoints")))


def report_of(folder):
    return json.loads((folder / "transfer.json").read_text())


@pytest.fixture(scope="module")
def base(places, digits, tmp_path_factory):
    """The run directory of a small residual network on all classes."""
    folder = tmp_path_factory.mktemp("base")
    assert train_process([*places, *SMALL, "trainer.max_epochs=1", "test=false", f"run_dir={folder}"]).code == 0
    return folder


def test_the_account_of_a_transfer(train, base, tmp_path, capsys):
    train(
        *SMALL, "trainer.max_epochs=2", "test=false", f"run_dir={tmp_path / 'run'}", "data.classes=['3','8']",
        "init=checkpoint", f"init.path={base}", "init.first=3", "init.freeze=[1,bn1]", "init.unfreeze_every=1",
        "init.stage_decay=0.5", "optimizer.lr=0.08", "optimizer.weight_decay=0.01",
    )  # fmt: skip
    report, first = (
        report_of(tmp_path / "run"),
        network_weights(load_checkpoint(runs.newest_checkpoint(base / "checkpoints"))),
    )
    new = [name for name in weights(tmp_path / "run") if name.startswith(("conv4_x.", "fc."))]
    assert report["new"] == report["skipped"] == new
    assert sorted(report["loaded"] + report["new"]) == sorted(first)
    assert report["frozen"] == list(NORM)
    begins = {row["stage"]: row["learns_from"] for row in report["stages"]}
    assert begins == {"conv1": None, "conv2_x": 3, "conv3_x": 2, "conv4_x": 1, "fc": 1}, "what is new learns at once"
    assert [row["rates"] for row in report["stages"]] == [[], [0.01], [0.02], [0.04], [0.08]]
    assert sum(group["parameters"] for group in report["groups"]) == sum(
        row["parameters"] for row in report["stages"][1:]
    )
    assert {group["weight_decay"] for group in report["groups"]} == {0.0, 0.01}
    said = capsys.readouterr().out
    assert "trainer.max_epochs=2 ends before conv2_x would begin to learn" in said
    assert "Epoch 2: conv3_x learns from now on" in said
    after = weights(tmp_path / "run")
    still = {name for name in first if first[name].shape == after[name].shape and torch.equal(first[name], after[name])}
    assert still == {name for name in first if name.startswith(("conv1.", "bn1.", "conv2_x."))}


def test_random_filters_that_stay_frozen(train, tmp_path):
    for name, epochs in (("one", 1), ("two", 2)):
        train(
            *SMALL, "init.train=1", f"trainer.max_epochs={epochs}", "callbacks=[default,ema]", "test=false",
            f"run_dir={tmp_path / name}",
        )  # fmt: skip
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    still = {name for name in one if torch.equal(one[name], two[name])}  # of the moving averages, which do not drift
    assert still == {name for name in one if name.startswith(("conv1.", "bn1.", "conv2_x.", "conv3_x."))}
    content = load_checkpoint(runs.newest_checkpoint(tmp_path / "two" / "checkpoints"))
    for name in still:
        assert torch.equal(content["state_dict"][f"network.{name}"], content["current_model_state"][f"network.{name}"])
    assert report_of(tmp_path / "one")["source"] == "the network's own initialisation"


def test_a_network_of_which_all_learns_alike_has_nothing_to_account_for(train, tmp_path):
    train(*SMALL, "trainer.limit_train_batches=1", "trainer.max_epochs=1", "test=false", f"run_dir={tmp_path / 'run'}")
    assert not (tmp_path / "run" / "transfer.json").exists()


@pytest.fixture(scope="module")
def uninterrupted(places, digits, base, tmp_path_factory):
    """The words of a run that unfreezes, and its directory: 5 steps an epoch, a stage more in each of 4 epochs."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    words = [
        *places, *SMALL, *UNFREEZING, "trainer.max_epochs=4", "callbacks=[default,ema]", "callbacks.ema.decay=0.9",
        "optimizer=adamw", "scheduler=plateau", "test=false", "callbacks.checkpointing.every_n_steps=2",
        "trainer.enable_progress_bar=false", "init=checkpoint", f"init.path={base}",
    ]  # fmt: skip
    assert train_process([*words, f"run_dir={folder}"]).code == 0
    return words, folder


@pytest.mark.parametrize(
    "kills", [(5,), (6,), *(pytest.param(kills, marks=pytest.mark.slow) for kills in ((10, 11), (8, 18)))], ids=str
)
def test_unfreezing_goes_on_to_the_bit_on_either_side_of_its_boundary(uninterrupted, kills, tmp_path):
    words, folder = uninterrupted
    for step in kills:
        assert train_process([*words, f"run_dir={tmp_path / 'run'}"], kill=("step", step)).code == -9
    assert train_process([*words, f"run_dir={tmp_path / 'run'}"]).code == 0
    expected, found = (
        load_checkpoint(runs.newest_checkpoint(run / "checkpoints")) for run in (folder, tmp_path / "run")
    )
    for state in ("state_dict", "current_model_state"):
        assert all(torch.equal(tensor, found[state][name]) for name, tensor in expected[state].items())
    slots = [content["optimizer_states"][0]["state"] for content in (expected, found)]
    assert slots[0].keys() == slots[1].keys()
    histories = []
    for run in (folder, tmp_path / "run"):
        with open(run / "history.csv", newline="") as stream:
            histories.append([(row["train/loss"], row["val/loss"]) for row in csv.DictReader(stream)])
    assert histories[0] == histories[1]
    assert len(histories[0]) == 4


@pytest.mark.slow
def test_two_processes_unfreeze_like_one(places, digits, tmp_path):
    # Without norms, whose statistics each process has of its own part.
    words = [*places, *SMALL, *UNFREEZING, "trainer.max_epochs=3", "test=false", "model.batch_norm=false"]
    words += ["trainer.accelerator=cpu"]
    root = Path(__file__).resolve().parents[2]
    environment = {key: value for key, value in os.environ.items() if key != "STRIATE_RUN"} | {"OMP_NUM_THREADS": "1"}
    for devices in (1, 2):
        command = [sys.executable, str(root / "src" / "train.py"), *words, f"trainer.devices={devices}"]
        done = subprocess.run(
            [*command, f"run_dir={tmp_path / str(devices)}", "trainer.enable_progress_bar=false"],
            capture_output=True, text=True, timeout=300, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = weights(tmp_path / "1"), weights(tmp_path / "2")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-5)


def test_unfreezing_refuses_a_strategy_that_wants_all_gradients(train):
    with pytest.raises(ConfigurationError, match=r"does not go with trainer\.strategy=fsdp") as caught:
        train(*SMALL, *UNFREEZING, "trainer.strategy=fsdp", "trainer.accelerator=cpu", "trainer.devices=2")
    assert caught.value.nearest == "trainer.strategy=ddp"
