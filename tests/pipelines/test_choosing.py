"""`choose=[KEY, …]`, `experiment=finetune`: what is typed wins, what is chosen is said, written down and remembered."""

import json
import os
import socket
import subprocess
import sys

import pytest
import yaml
from PIL import Image

from processes import train as train_in_a_process
from striate import runs
from striate.configuration import FOLDER, compose
from striate.configuration.composition import settled
from striate.configuration.schema import Train
from striate.data.digits import digit_pictures
from striate.errors import ConfigurationError
from striate.pipelines import choosing, rules, starting
from striate.pipelines import train as pipeline
from striate.pipelines.rules import RULES
from striate.transfer.libraries import obtainable, published
from striate.transfer.pairs import find_pair

OWN = ["trainer.enable_progress_bar=false", "model=lenet5_modern", "trainer.max_epochs=2", "test=false"]
CHOSEN = "choose=[data.batch_size,optimizer.lr,loss.class_weights]"


@pytest.fixture
def type_words(places, tmp_path, monkeypatch):
    """`type_words(*words)` trains as if these words had been typed on the command line."""

    def run(*words):
        words = ["trainer.enable_progress_bar=false", *places, f"paths.runs_dir={tmp_path / 'runs'}", *words]
        monkeypatch.delenv("STRIATE_RUN", raising=False)
        monkeypatch.setattr(starting, "typed_words", lambda: words)
        return pipeline.run(compose("train", words))

    return run


def kept(folder):
    return yaml.safe_load((folder / "config.yaml").read_text())


def newest(tmp_path):
    return runs.all_runs(tmp_path / "runs")[0]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """`pictures(counts, sides)` gives a folder with so many real digits of each class, enlarged to these sides."""

    def write(counts, sides, fold=None):
        root = tmp_path_factory.mktemp("pictures")
        images, labels = digit_pictures()
        for name, count in counts.items():
            for place, image in enumerate(images[labels == int(name)][:count]):
                path = root / f"digit {name}" / f"{place:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                side = sides[place % len(sides)]
                Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC).save(path)
        return root

    return write


def test_what_was_typed_is_not_chosen():
    config = {"choose": list(RULES), "find_lr": False, "find_batch_size": False}
    typed = ["data.batch_size", "model.widths", "init.train", "monitor.metric"]
    keys = choosing.keys_to_choose(config, typed)
    assert set(RULES) - set(keys) == {"data.batch_size", "model", "init.train", "monitor"}
    assert keys == [key for key in RULES if key in keys], "in the order in which one depends on the other"
    assert "init" not in choosing.keys_to_choose(config, ["init.path"])
    assert "init" not in choosing.keys_to_choose(config, ["init"])
    searching = {**config, "find_batch_size": True, "choose": []}
    assert choosing.keys_to_choose(searching, typed) == ["data.batch_size"]


def test_what_cannot_be_chosen_is_said():
    config = {"choose": ["data.batchsize"], "find_lr": False, "find_batch_size": False}
    with pytest.raises(ConfigurationError, match="nothing that can be chosen") as caught:
        choosing.keys_to_choose(config, [])
    assert caught.value.nearest == "data.batch_size"


def test_debugging_is_obeyed(monkeypatch):
    monkeypatch.setattr(starting, "typed_words", lambda: ["debug=fast", "+data.root=x"])
    assert {"debug", "data.root", "trainer.max_epochs", "trainer.limit_test_batches"} <= set(choosing.typed_keys())
    monkeypatch.setattr(starting, "typed_words", lambda: ["debug=overfit"])
    assert {"augmentation", "scheduler", "data.one_batch"} <= set(choosing.typed_keys())


def test_choices_stand_in_the_configuration_and_its_repetition_chooses_nothing(type_words, digits, tmp_path, capsys):
    type_words(*OWN, CHOSEN)
    said = capsys.readouterr().out
    folder, _ = newest(tmp_path)
    config = kept(folder)
    assert config["choose"] == []
    assert set(config["chosen"]) == {"data.batch_size", "optimizer.lr", "loss.class_weights"}
    assert config["data"]["batch_size"] == 64
    assert f"data.batch_size = 64: {config['chosen']['data.batch_size']}" in said
    assert "optimizer.lr = " in said
    again = settled(compose("config", [], folder=folder, strict=False), Train)
    os.environ.pop("STRIATE_RUN", None)
    figures = pipeline.run(again)
    assert "optimizer.lr = " not in capsys.readouterr().out
    second, facts = newest(tmp_path)
    assert second != folder
    assert kept(second) == config
    assert {key: facts["metrics"][key] for key in figures} == figures
    words = ["-cp", str(folder), "-cn", "config", "plan=true"]
    command = [sys.executable, str(FOLDER.parent / "src" / "train.py"), *words]
    outcome = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert outcome.returncode == 0, outcome.stderr
    assert "What would be trained" in outcome.stdout
    assert "optimizer.lr = " not in outcome.stdout


@pytest.mark.parametrize("words", [[CHOSEN], ["find_lr=true", "find_batch_size=true"]], ids=["chosen", "searched"])
def test_a_killed_run_goes_on_without_choosing_anew(places, digits, tmp_path, words):
    run = [*places, *OWN, *words, f"paths.runs_dir={tmp_path / 'runs'}", "callbacks.checkpointing.every_n_steps=2"]
    first = train_in_a_process(run, kill=("step", 5))
    assert first.code == -9
    assert "As the unfinished" not in first.text
    folder, _ = newest(tmp_path)
    before = kept(folder)
    second = train_in_a_process(run)
    assert second.code == 0
    assert f"As the unfinished {folder.name} has chosen: " in second.text
    assert "Going on with" in second.text
    assert "optimizer.lr = " not in second.text.partition("As the unfinished")[0]
    assert "find_lr: " not in second.text
    assert len(runs.all_runs(tmp_path / "runs")) == 1
    assert kept(folder) == before
    if "find_lr=true" not in words:  # what computes something else chooses for itself
        third = train_in_a_process([*run, "optimizer.momentum=0.8"])
        assert third.code == 0
        assert "As the unfinished" not in third.text


def test_a_process_that_was_started_by_another_takes_its_choices(places, digits, monkeypatch):
    config = compose("train", [*places, *OWN, CHOSEN])
    settings, _ = choosing.settled(config, pipeline.build_datamodule)
    handed = json.loads(os.environ["STRIATE_CHOSEN"])
    handed["data.batch_size"][0] = 37
    monkeypatch.setenv("STRIATE_CHOSEN", json.dumps(handed))
    monkeypatch.setenv("LOCAL_RANK", "1")
    other, datamodule = choosing.settled(config, pipeline.build_datamodule)
    assert other["data"]["batch_size"] == datamodule.batch_size == 37
    assert other["optimizer"]["lr"] == settings["optimizer"]["lr"]
    monkeypatch.delenv("STRIATE_CHOSEN")
    with pytest.raises(ConfigurationError, match="each for itself"):
        choosing.settled(config, pipeline.build_datamodule)


def test_a_folder_of_small_pictures(type_words, pictures, tmp_path, capsys):
    root = pictures({"0": 120, "1": 120, "2": 40, "7": 3}, [12])
    words = ["experiment=finetune", f"data.root={root}", f"paths.prepared_dir={tmp_path / 'p'}",
             "trainer.max_epochs=5", "data.batch_size=20"]  # fmt: skip
    type_words(*words)
    said = capsys.readouterr().out
    folder, facts = newest(tmp_path)
    config = kept(folder)
    assert "too small for public weights: from scratch" in said
    assert config["model"]["depth"] == 20
    assert len(config["loss"]["class_weights"]) == 4
    assert "by the root of the counts" in said
    assert config["monitor"] == {"metric": "val/loss", "mode": "min"}
    assert config["augmentation"]["_target_"].endswith("RandomAffine")
    assert config["optimizer"]["nesterov"] is True
    assert (config["data"]["batch_size"], config["trainer"]["max_epochs"]) == (20, 5), "typed"
    assert not {"data.batch_size", "trainer.max_epochs"} & set(config["chosen"])
    assert facts["metrics"]["test/top1_micro"] > 0.65, "the most frequent class is 0.42"
    assert "python src/predict.py ckpt_path=" in said
    assert "mistakes.png" in said
    assert (folder / "mistakes.png").is_file()
    assert (folder / "confusion_matrix.png").is_file()
    stopped = folder.rename(folder.with_name("stopped"))
    (stopped / ".lock").unlink()  # this process has it until its end
    runs.Run(stopped, facts).record("interrupted")  # as if after its last epoch
    type_words(*words)
    said = capsys.readouterr().out
    assert "As the unfinished stopped has chosen" in said
    assert "Going on with" in said
    assert "model = " not in said
    assert len(runs.all_runs(tmp_path / "runs")) == 1
    assert kept(stopped) == config


def test_photographs_without_weights_at_hand(type_words, pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rules, "obtainable", lambda wanted: "no network")
    root = pictures({"3": 12, "4": 12}, [70, 66, 90])
    type_words("experiment=finetune", f"data.root={root}", f"paths.prepared_dir={tmp_path / 'p'}",
               "trainer.max_epochs=1", "data.num_workers=0")  # fmt: skip
    said = capsys.readouterr().out
    config = kept(newest(tmp_path)[0])
    assert "IMAGENET1K_V1 cannot be had (no network): from scratch, with a small network" in said
    assert config["init"]["kind"] == "none"
    assert config["model"]["widths"] == [32, 64, 128, 256]
    assert config["data"]["input_size"] == 64
    assert config["augmentation"]["transforms"][0]["size"] == 64, "what refers to a choice follows it"
    assert config["data"]["batch_size"] == 8


def test_a_checkpoint_brings_network_and_size(type_words, pictures, trained, tmp_path, capsys):
    root = pictures({"5": 5, "6": 5}, [40, 50])
    type_words("experiment=finetune", f"data.root={root}", f"paths.prepared_dir={tmp_path / 'p'}", "init=checkpoint",
               f"init.path={trained}", "data.num_workers=0", "trainer.max_epochs=2")  # fmt: skip
    said = capsys.readouterr().out
    config = kept(newest(tmp_path)[0])
    assert config["model"]["_target_"] == "striate.models.lenet5.LeNet5"
    assert config["init"]["train"] == "head"
    assert config["data"]["input_size"] == 32
    assert "3 pictures a class are too few for more than a new head" in said


def test_whether_weights_can_be_had(monkeypatch, tmp_path):
    wanted = published(find_pair("torchvision", "striate.models.resnet.ResNet", {"depth": 18}), "IMAGENET1K_V1")
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))

    def at(url):
        class Elsewhere:
            place = type("Place", (), {"url": url})

        return Elsewhere

    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    silent.listen()  # takes calls and says nothing
    port = silent.getsockname()[1]
    assert obtainable(at(f"http://127.0.0.1:{port}/weights.pth"), 0.3) == "no answer in 0.3 s"
    silent.close()
    assert "refused" in obtainable(at(f"http://127.0.0.1:{port}/weights.pth"), 5)
    file = tmp_path / "checkpoints" / wanted.place.url.rpartition("/")[2]
    file.parent.mkdir()
    file.touch()
    assert obtainable(wanted, 0.1) == ""
