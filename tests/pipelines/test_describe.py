"""What a file is: checkpoints, run directories, weights of others, and files that are neither."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from striate.configuration import compose
from striate.configuration.command import named
from striate.errors import ConfigurationError, StorageError
from striate.pipelines import convert
from striate.pipelines import describe as pipeline
from striate.storage import sha256_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "transfer"))
from foreign_networks import ScriptResNet20
from pairing import NAMES, theirs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def describe():
    """`describe(path, *overrides)` gives the facts."""
    return lambda path, *overrides: pipeline.run(compose("describe", [f"input='{path}'", *overrides]))


def best(run_dir):
    (path,) = (run_dir / "checkpoints").glob("best-*.ckpt")
    return path


def test_a_checkpoint(describe, trained, digits, capsys):
    facts = describe(best(trained))
    assert facts["kind"] == "checkpoint of Striate"
    assert facts["network"]["name"] == "striate.models.lenet5.LeNet5"
    assert facts["network"]["form"] == "modern"
    assert facts["parameters"] == sum(p.numel() for p in lenet().parameters())
    assert facts["classes"] == {"number": 10, "names": list("0123456789")}
    assert facts["preprocessing"]["mean"] == list(digits.meta.mean)
    assert facts["data"]["hash"] == digits.meta.hash
    assert facts["sha256"] == sha256_of(best(trained))
    assert facts["checksum"].startswith("verified")
    assert facts["optimizer state"] == "not inside"
    assert len(facts["code"]["hash"]) == 64
    assert "LeNet5" in capsys.readouterr().out


def lenet():
    from striate.models.lenet5 import LeNet5

    return LeNet5(10, 1, form="modern")


def test_a_run_directory_and_a_checkpoint_to_go_on_from(describe, trained):
    facts = describe(trained)
    assert facts["status"] == "finished"
    assert facts["file"].endswith(best(trained).name)
    last = max((trained / "checkpoints").glob("step-*.ckpt"))
    assert describe(last)["optimizer state"].startswith("inside")


def test_json_is_the_same(describe, trained, capsys):
    facts = describe(best(trained), "format=json")
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(facts))


def test_weights_of_others_and_what_they_fit(describe, tmp_path, monkeypatch):
    network = ScriptResNet20()
    torch.save({"state_dict": {f"module.{n}": t for n, t in network.state_dict().items()}}, tmp_path / "old.th")
    facts = describe(tmp_path / "old.th")
    assert facts["kind"] == "PyTorch state dict, not of Striate"
    assert facts["checksum"].startswith("not verified")
    assert facts["tensors"] == len(network.state_dict())
    assert facts["elements"] == sum(tensor.numel() for tensor in network.state_dict().values())
    assert "model=resnet20 (10 classes; the names are those of pytorch_resnet_cifar10's resnet20)" in facts["fits"]
    torch.save(theirs(NAMES["torchvision-googlenet"], 7).state_dict(), tmp_path / "net.pth")
    fits = describe(tmp_path / "net.pth")["fits"]
    assert fits == ["model=googlenet_bn (7 classes; the names are those of torchvision's googlenet)"]
    torch.save({"a.weight": torch.zeros(3, 5)}, tmp_path / "other.pth")
    monkeypatch.setattr("striate.pipelines.guessing.FOLDER", tmp_path)
    assert describe(tmp_path / "other.pth")["fits"].startswith("no network of this family")


def test_a_converted_checkpoint_says_where_it_comes_from(describe, tmp_path):
    torch.save(ScriptResNet20().state_dict(), tmp_path / "old.th")
    words = ["model=resnet20", f"input={tmp_path / 'old.th'}", f"output={tmp_path / 'new.ckpt'}"]
    convert.run(compose("convert", words))
    facts = describe(tmp_path / "new.ckpt")
    assert facts["converted from"]["sha256"] == sha256_of(tmp_path / "old.th")
    assert facts["data"] == {"name": "new (converted)", "hash": "unknown: the weights were converted"}


@pytest.mark.filterwarnings("ignore")
def test_damaged_and_hostile_files_are_one_line(describe, trained, tmp_path):
    path = tmp_path / "best.ckpt"
    shutil.copy(best(trained), path)
    shutil.copy(f"{best(trained)}.sha256", f"{path}.sha256")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageError, match="do not match"):
        describe(path)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(StorageError, match="not a whole PyTorch file"):
        describe(tmp_path / "text.pth")
    with pytest.raises(ConfigurationError, match="no such file"):
        describe(tmp_path / "nothing.pth")


def test_the_first_word_is_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "epoch=3 it's.ckpt").write_text("")
    assert named(["epoch=3 it's.ckpt", "format=json"], "input") == [r"input='epoch=3 it\'s.ckpt'", "format=json"]
    assert named(["net.pth"], "input") == ["input='net.pth'"]
    assert named(["input=net.pth"], "input") == ["input=net.pth"]
    assert named(["--help"], "input") == ["--help"]
    assert named([], "input") == []


def test_the_command(tmp_path):
    (tmp_path / "epoch=3 it's.pth").write_text("no weights")
    said = subprocess.run(
        [sys.executable, str(ROOT / "src" / "describe.py"), str(tmp_path / "epoch=3 it's.pth")],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert said.returncode == 5
    assert said.stderr.splitlines()[0].endswith("is refused: it is not a whole PyTorch file")
    assert len(said.stderr.splitlines()) == 2
