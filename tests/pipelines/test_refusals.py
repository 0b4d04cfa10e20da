"""What people do wrong, with the real configuration and real data: what they are told, and what is left as it was."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import processes
from striate import runs
from striate.configuration.keys import nearest_key
from striate.data.meta import Meta
from striate.errors import ConfigurationError, DataError, InterruptedRun, StorageError, StriateError
from striate.pipelines import devices
from striate.storage import load_checkpoint
from striate.tasks.loading import require_same_classes

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["model=lenet5_modern", "trainer.max_epochs=1", "test=false"]


def told(caught):
    """The message, which must be short and end with the right code."""
    error = caught.value
    lines = str(error).splitlines()
    assert 1 <= len(lines) <= 3
    assert error.exit_code in (2, 3, 5)
    return lines


def left_behind(tmp_path):
    return sorted(entry.name for entry in (tmp_path / "runs").glob("*"))


OUT_OF_RANGE = {
    "trainer.max_epochs=-3": "trainer.max_epochs must be int, at least 1, not -3",
    "trainer.max_epochs=0": "at least 1, not 0",
    "trainer.devices=0": "at least 1, or auto, or list[int], not 0",
    "trainer.devices=nonsense": 'at least 1, or auto, or list[int], not "nonsense"',
    "trainer.num_nodes=0": "trainer.num_nodes must be int, at least 1",
    "trainer.precision=float8": "trainer.precision must be",
    "trainer.accelerator=tpu": "must be auto or cpu or gpu",
    "trainer.accumulate_grad_batches=0": "at least 1, not 0",
    "trainer.check_val_every_n_epoch=0": "at least 1, not 0",
    "trainer.gradient_clip_val=-1": "must be float, above 0, or null, not -1",
    "trainer.max_time=abc": "DD:HH:MM:SS",
    "trainer.strategy=dpd": "invalid strategy name",
    "optimizer.lr=-1": "optimizer.lr must be float, at least 0, not -1",
    "optimizer.momentum=-1": "optimizer.momentum must be float, at least 0",
    "loss.label_smoothing=3": "expected label_smoothing in 0 … 1, got 3",
    "scheduler.warmup_epochs=-3": "expected a warm-up of 0 or more epochs",
    "data.batch_size=0": "data.batch_size must be int, at least 1",
    "data.samples_per_class=0": "must be int, at least 1, or null, not 0",
    "data.input_size=-4": "must be int, at least 1, or null, not -4",
    "data.crop_fraction=2": "at most 1, not 2",
    "data.num_workers=-1": "at least 0, or auto, not -1",
    "data.prepare.val_fraction=2": "expected 0 or more and below 1",
    "data.name=../elsewhere": "is not the name of one folder",
    "callbacks.checkpointing.every_n_steps=0": "at least 1, or null, not 0",
    "monitor.metric=val/top1": "monitor.metric=val/top1 is not measured",
}


@pytest.mark.parametrize("word", OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_and_leaves_nothing(train, tmp_path, word):
    with pytest.raises(ConfigurationError) as caught:
        train(*QUICK, word)
    assert OUT_OF_RANGE[word] in told(caught)[0]
    assert left_behind(tmp_path) == []
    assert not (tmp_path / "elsewhere").exists()


def test_a_width_that_is_no_width(train):
    with pytest.raises(ConfigurationError) as caught:
        train("model=mobilenet", "model.width_multiplier=0")
    assert "width_multiplier must be above 0; got 0" in told(caught)[0]
    assert told(caught)[1].endswith("given was model.width_multiplier=0")


def test_a_batch_that_cannot_be_divided_names_the_nearest(train, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        train(*QUICK, "trainer.accumulate_grad_batches=3")
    assert told(caught)[1:] == [
        "nearest valid choice: data.batch_size=63",
        "what to do: a multiple of devices × trainer.accumulate_grad_batches = 3",
    ]
    assert left_behind(tmp_path) == []


def test_letters_that_changed_places():
    assert nearest_key("modle", ["model", "monitor", "monitor.mode"]) == "model"


def test_the_nearest_figure_is_offered(train):
    with pytest.raises(ConfigurationError) as caught:
        train(*QUICK, "scheduler=plateau", "scheduler.monitor=val/los")
    assert told(caught)[:2] == ["scheduler.monitor=val/los is not measured", "nearest valid choice: val/loss"]


def test_a_network_that_does_not_take_the_pictures(train, tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        train("model=lenet5", "data.prepare.image_size=24", f"paths.prepared_dir={tmp_path / 'prepared'}")
    what, do = told(caught)
    assert "LeNet5 does not take the 24×24 pictures of digits" in what
    assert "32×32 or 28×28" in what
    assert "data.prepare.image_size=SIDE" in do
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("there", "words", "lines"),
    [
        (0, {"accelerator": "gpu"}, ["trainer.accelerator=gpu: PyTorch finds no GPU on this machine",
                                     "nearest valid choice: trainer.accelerator=auto"]),
        (1, {"devices": 4}, ["trainer.devices=4: this machine has 1 GPU(s)",
                             "nearest valid choice: trainer.devices=1"]),
        (2, {"devices": [0, 3]}, ["trainer.devices=[0, 3]: this machine has 2 GPU(s)",
                                  "nearest valid choice: trainer.devices=[0, 1]"]),
    ],
)  # fmt: skip
def test_more_devices_than_there_are(monkeypatch, there, words, lines):
    monkeypatch.setattr(devices, "gpu_count", lambda: there)
    with pytest.raises(ConfigurationError) as caught:
        devices.require_devices({"accelerator": "auto", "devices": 1, "num_nodes": 1, **words})
    assert told(caught)[:2] == lines


@pytest.mark.parametrize(
    ("there", "words"),
    [(0, {"devices": 4}), (1, {"devices": 4, "accelerator": "cpu"}), (2, {"devices": 2}), (2, {"devices": "auto"})],
)
def test_devices_that_are_there(monkeypatch, there, words):
    monkeypatch.setattr(devices, "gpu_count", lambda: there)
    devices.require_devices({"accelerator": "auto", "devices": 1, "num_nodes": 1, **words})


def test_the_loss_of_another_process_is_no_traceback():
    told_by_gloo = RuntimeError("[gloo/transport/tcp/pair.cc:545] Read error: Connection reset by peer. " + "x" * 900)
    message = devices.lost_process(told_by_gloo)
    assert message.exit_code == 1
    assert "another process of the run has ended" in message.what
    assert len(message.what) < 300
    assert devices.lost_process(RuntimeError("shapes differ")) is None


# ---- data ------------------------------------------------------------------------------------------------------------


def write_pictures(root, counts, size=32):
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 255, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:02}.jpg")


@pytest.mark.parametrize(
    ("kind", "says", "do"),
    [
        ("nowhere", "there are no raw data at", "data.root="),
        ("truncated", "1 of 24 pictures cannot be read: a/03.jpg (cannot be decoded", "data.prepare.bad=drop"),
        ("text", "1 of 24 pictures cannot be read: a/03.jpg (not a picture", "data.prepare.bad=drop"),
        ("empty", "1 of 24 pictures cannot be read: a/03.jpg (empty file)", "data.prepare.bad=drop"),
        ("empty class", "1 class folder(s) without pictures: c", "fill or remove"),
        ("one class", "has one class only: 'a'", "at least two"),
        ("single", "the class 'b' has 1 picture(s): too few to cut", "data.prepare.val_fraction=0"),
        ("few", "has 20 training samples, fewer than a batch of 64", "data.batch_size=20 or less"),
    ],
)
def test_data_that_cannot_be_trained_on(train, tmp_path, kind, says, do):
    root = tmp_path / "pictures"
    if kind != "nowhere":
        write_pictures(root, {"a": 12} if kind == "one class" else {"a": 12, "b": 1 if kind == "single" else 12})
    spoilt = root / "a" / "03.jpg"
    if kind == "truncated":
        spoilt.write_bytes(spoilt.read_bytes()[:400])
    elif kind in ("text", "empty"):
        spoilt.write_text("no picture" if kind == "text" else "")
    elif kind == "empty class":
        (root / "c").mkdir()
    with pytest.raises(DataError) as caught:
        train("model=resnet20", "data=folder", f"data.root={root}", f"paths.prepared_dir={tmp_path / 'prepared'}")
    assert says in told(caught)[0]
    assert do in told(caught)[-1]
    assert left_behind(tmp_path) == []
    whole = [entry.name for entry in (tmp_path / "prepared").glob("*/")]
    assert whole == (["pictures"] if kind == "few" else [])


def test_a_folder_without_a_root(train):
    with pytest.raises(ConfigurationError) as caught:
        train("data=folder")
    assert told(caught) == ["data.root has no value yet", "what to do: give it one: data.root=VALUE"]


# ---- checkpoints -----------------------------------------------------------------------------------------------------


class Payload:
    """A pickle that makes a file when it is read."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.fixture
def broken(trained, tmp_path):
    """Files that are no checkpoint of Striate, by kind, and what is said of them."""
    whole = runs.resolve_checkpoint(str(trained), trained)
    files = {kind: tmp_path / f"{kind}.ckpt" for kind in ("text", "empty", "truncated", "code", "pickle", "list")}
    files["text"].write_text("hello, I am a text file")
    files["empty"].write_bytes(b"")
    files["truncated"].write_bytes(whole.read_bytes()[:5000])
    torch.save({"state_dict": Payload(tmp_path / "canary")}, files["code"])
    files["pickle"].write_bytes(pickle.dumps(Payload(tmp_path / "canary")))
    torch.save([1, 2], files["list"])
    return files


@pytest.mark.parametrize("key", ["ckpt_path", "init.path"])
@pytest.mark.filterwarnings("error::UserWarning")
def test_files_that_are_no_checkpoint(train, broken, tmp_path, key):
    says = {"list": "holds a list", "code": "objects other than", "pickle": "objects other than"}
    for kind, file in broken.items():
        with pytest.raises(StorageError) as caught:
            train(*QUICK, *(["init=checkpoint"] if key == "init.path" else []), f"{key}={file}")
        assert f"{file} is refused: it" in told(caught)[0]
        assert says.get(kind, "not a whole PyTorch file") in told(caught)[0]
    assert not (tmp_path / "canary").exists()
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("key", ["ckpt_path", "init.path"])
def test_a_checkpoint_that_is_not_there_is_named_by_its_key(train, key):
    with pytest.raises(ConfigurationError) as caught:
        train(*(["init=checkpoint"] if key == "init.path" else []), f"{key}=/nowhere.ckpt")
    assert told(caught)[0] == f"{key}=/nowhere.ckpt: there is no such file"


def test_best_weights_are_nothing_to_go_on_from(train, trained):
    with pytest.raises(ConfigurationError) as caught:
        train(*QUICK, f"ckpt_path={runs.resolve_checkpoint(str(trained), trained)}")
    assert "holds weights alone" in told(caught)[0]
    assert "init=checkpoint init.path=PATH" in told(caught)[1]


def test_a_checkpoint_for_fewer_classes_offers_them(digits):
    own, whole = digits.meta.subset(["0", "1", "2"]), digits.meta
    with pytest.raises(ConfigurationError) as caught:
        require_same_classes({"meta": own.to_dict()}, whole)
    what, near, do = told(caught)
    assert "knows 3 classes (0, 1, 2), digits has 10 (0, 1, 2, 3, 4 …)" in what
    assert near == "nearest valid choice: data.classes=[0,1,2]"
    assert "init=checkpoint init.path=CHECKPOINT" in do


def test_a_checkpoint_for_other_channels_says_how_to_go_on(train, trained, tmp_path):
    words = ["init=checkpoint", f"init.path={trained}", "model=lenet5_modern", "data.prepare.channels=3"]
    words.append(f"paths.prepared_dir={tmp_path / 'prepared'}")
    with pytest.raises(ConfigurationError) as caught:
        train(*words)
    assert "first filters see 1 channel, the pictures have 3" in told(caught)[0]
    assert "init.grey=" in " ".join(told(caught)[1:])
    train(*words, *QUICK, "init.exclude=['C1.*']")
    assert Meta.load(tmp_path / "prepared" / "digits").channels == 3


# ---- run directories and storage -------------------------------------------------------------------------------------


def test_a_command_that_was_refused_can_be_corrected_in_its_directory(train, tmp_path):
    with pytest.raises(DataError):
        train(*QUICK, f"run_dir={tmp_path / 'run'}", "data.batch_size=5000")
    assert runs.read(tmp_path / "run")["status"] == "failed"
    train(*QUICK, f"run_dir={tmp_path / 'run'}")
    assert runs.read(tmp_path / "run")["status"] == "finished"
    with pytest.raises(StorageError) as caught:
        train(*QUICK, "seed=1", f"run_dir={tmp_path / 'run'}")
    assert "is already used by a run of" in told(caught)[0]
    assert told(caught)[0].endswith("which is finished")


def test_a_running_directory_is_not_shared(train, tmp_path):
    run = runs.claim(tmp_path / "run", {"fingerprint": "of another"})
    with pytest.raises(StorageError) as caught:
        train(*QUICK, f"run_dir={tmp_path / 'run'}")
    assert "another process is using the run directory" in told(caught)[0]
    assert runs.read(tmp_path / "run")["fingerprint"] == "of another"
    run.release()


@pytest.mark.parametrize("key", ["run_dir", "output_dir", "paths.runs_dir"])
def test_a_place_that_is_a_file_is_said_before_training(train, tmp_path, key):
    place = tmp_path / "place"
    place.write_text("mine")
    with pytest.raises(StorageError) as caught:
        train(*QUICK, f"{key}={place}")
    assert told(caught)[0] == f"cannot write {place}: it is a file, not a directory"
    assert place.read_text() == "mine"
    assert left_behind(tmp_path) == []


def test_a_full_disk_stops_after_three_tries_with_what_was_there_before(places, digits, tmp_path):
    words = [*places, *QUICK[:1], "trainer.max_epochs=9", "test=false", "trainer.enable_progress_bar=false"]
    words += [f"run_dir={tmp_path / 'run'}", "callbacks.checkpointing.every_n_steps=5"]
    assert processes.train(words, kill=("sigterm", 7)).code == 143
    before = {path.name: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").iterdir()}
    outcome = processes.train(words, kill=("full", 50_000))
    assert outcome.code == 5
    assert "the file would be larger than allowed; training goes on (1 of 3 failures)" in outcome.text
    assert len(outcome.text[outcome.text.rindex("cannot write") :].strip().splitlines()) <= 3
    after = {path.name: path.read_bytes() for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert after == before
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "step-00000007.ckpt")["global_step"] == 7


# ---- the real commands -----------------------------------------------------------------------------------------------


def script(name, *words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("STRIATE_RUN", None)
    command = [sys.executable, str(ROOT / "src" / f"{name}.py"), *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_ctrl_c_while_preparing_leaves_nothing_that_looks_whole(tmp_path):
    write_pictures(tmp_path / "pictures", {"a": 300, "b": 300}, size=400)
    prepared = tmp_path / "prepared"
    words = ["data=folder", f"data.root={tmp_path / 'pictures'}", f"paths.prepared_dir={prepared}"]
    process = script("prepare", *words)
    while not list(prepared.glob("pictures.partial-*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors
    assert list(prepared.glob("*/")) == []


def test_ctrl_c_before_the_first_step_leaves_no_directory(train, tmp_path, monkeypatch):
    from striate.pipelines import train as pipeline

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "carry_out", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(*QUICK)
    assert left_behind(tmp_path) == []


def test_an_interrupted_run_is_kept_as_one(train, tmp_path, monkeypatch):
    from striate.pipelines import train as pipeline

    def stop(*arguments):
        raise InterruptedRun("stopped", exit_code=143)

    monkeypatch.setattr(pipeline, "carry_out", stop)
    with pytest.raises(StriateError):
        train(*QUICK)
    ((folder, facts),) = runs.all_runs(tmp_path / "runs")
    assert facts["status"] == json.loads((folder / "run.json").read_text())["status"] == "interrupted"
