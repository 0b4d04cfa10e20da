"""`views=…` of evaluate and predict: against the single view, torchvision's crops, and among themselves."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from striate import runs
from striate.configuration import compose
from striate.data.preprocessing import Preprocessing
from striate.errors import ConfigurationError
from striate.models.lenet5 import LeNet5
from striate.optim.losses import CrossEntropy
from striate.pipelines import evaluate as pipeline
from striate.pipelines import predict
from striate.pipelines.viewing import look_as_configured
from striate.tasks.classification import ClassificationTask
from striate.tasks.loading import load_task

ROOT = Path(__file__).resolve().parents[2]


def rows(folder):
    with open(folder / "predictions.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


PLAIN = "calibrated=false"  # the network's own probabilities


@pytest.fixture
def evaluate(places, trained, tmp_path, monkeypatch):
    """`evaluate(*overrides)` gives the figures and the folder of an evaluation of the trained network."""
    monkeypatch.setattr("striate.evaluation.report._draw", lambda *_: None)  # the pictures are as ever, and dear

    def run(*overrides, checkpoint=trained):
        folder = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        own = [f"ckpt_path={checkpoint}", "trainer.enable_progress_bar=false", "trainer.accelerator=cpu"]
        return pipeline.run(compose("evaluate", [*places, *own, f"output_dir={folder}", *overrides])), folder

    return run


@pytest.fixture(scope="module")
def encoded(places, digits, tmp_path_factory):
    """The run directory of a network that sees windows of pictures which keep their size."""
    from striate.pipelines import train

    folder = tmp_path_factory.mktemp("encoded")
    words = ["data.name=views", "data.prepare.pack=encoded", "data.prepare.image_size=null", "data.input_size=32"]
    few = ["data.samples_per_class=20", "trainer.max_epochs=2", "trainer.enable_progress_bar=false", "test=false"]
    train.run(
        compose("train", [*places, "model=lenet5_modern", "augmentation=none", *words, *few, f"run_dir={folder}"])
    )
    return folder


def test_the_single_view_is_what_it_was(evaluate, trained, digits):
    # To the bit: the mean of ten tests of a network must not depend on which version made them.
    (figures, folder), (default, other) = evaluate("views=single", PLAIN), evaluate(PLAIN)
    assert figures == default
    for name in ("metrics.json", "predictions.csv", "confusion.csv", "reliability.csv"):
        assert (folder / name).read_bytes() == (other / name).read_bytes()
    task, _ = load_task(runs.resolve_checkpoint(str(trained), trained))
    dataset = digits.dataset("test")
    with torch.inference_mode():
        parts = [np.arange(start, min(start + 64, len(dataset))) for start in range(0, len(dataset), 64)]
        logits = torch.cat([task.classify(dataset[0, part].images).float() for part in parts])
    best = logits.double().softmax(1).max(1).values.tolist()
    assert [float(row["probability"]) for row in rows(folder)] == best
    assert json.loads((folder / "evaluation.json").read_text())["views"] == {
        "name": "single", "count": 1, "mirrored": False, "average": "probability"
    }  # fmt: skip


def test_ten_crops_are_those_that_torchvision_makes(evaluate, trained, digits):
    figures, folder = evaluate("views=ten_crop", PLAIN)
    task, _ = load_task(runs.resolve_checkpoint(str(trained), trained))
    dataset = digits.dataset("test")
    pictures = dataset[0, np.arange(len(dataset))].images.permute(0, 3, 1, 2)
    five = v2.FiveCrop(32)(v2.Resize(round(32 / 0.875), antialias=True)(pictures))
    ten = [view for window in five for view in (window, window.flip(3))]
    with torch.inference_mode():
        probabilities = sum(task.classify(view.permute(0, 2, 3, 1)).double().softmax(1) for view in ten) / 10
    said = rows(folder)
    assert [int(row["predicted"]) for row in said] == probabilities.argmax(1).tolist()
    assert [float(row["probability"]) for row in said] == pytest.approx(probabilities.max(1).values.tolist(), rel=1e-5)
    assert [row["name"] for row in said] == dataset.names
    own = probabilities[torch.arange(len(dataset)), torch.from_numpy(dataset.targets)]
    assert figures["nll"] == pytest.approx(float(-own.log().mean()), rel=1e-5)
    assert figures["samples"] == len(dataset)
    assert "top1_micro_low" in figures


def test_the_report_of_several_views_says_which_and_leaves_the_single_ones_alone(places, trained, capsys):
    words = [*places, f"ckpt_path={trained}", "trainer.enable_progress_bar=false", "views=flip", "split=val"]
    pipeline.run(compose("evaluate", words))
    record = json.loads((trained / "evaluation_val_flip" / "evaluation.json").read_text())
    assert record["views"] == {"name": "flip", "count": 2, "mirrored": True, "average": "probability"}
    assert "flip (2 views a picture)" in " ".join(capsys.readouterr().out.split())
    assert not (trained / "evaluation_val").exists()


@pytest.mark.parametrize("options", [["batch_size=19"], ["batch_size=640", "num_workers=1"]], ids=" ".join)
def test_neither_batch_nor_workers_matter(evaluate, options):
    words = ["views=ten_crop", "split=val"]
    (expected, _), (figures, _) = evaluate(*words), evaluate(*words, *options)
    assert figures == pytest.approx(expected, rel=1e-5)


def test_a_convolution_over_a_picture_of_the_usual_size_says_the_same(evaluate):
    (dense, folder), (flipped, other) = evaluate("views=dense"), evaluate("views=flip")
    assert dense == pytest.approx(flipped, rel=1e-5)
    assert [row["predicted"] for row in rows(folder)] == [row["predicted"] for row in rows(other)]


def test_the_mean_may_be_of_logits(evaluate):
    (logits, _), (probabilities, _) = (
        evaluate("views=flip", f"views.average={kind}") for kind in ("logit", "probability")
    )
    assert logits["nll"] != pytest.approx(probabilities["nll"], rel=1e-3)


@pytest.mark.parametrize("name", ["flip", "ten_crop", "dense", "multi_scale"])
def test_predictions_of_files_are_those_of_the_pack(evaluate, encoded, places, tmp_path, name):
    _, folder = evaluate(f"views={name}", "split=val", checkpoint=encoded)
    raw = Path(dict(word.split("=", 1) for word in places)["paths.data_dir"]) / "digits"
    output = tmp_path / "labels.csv"
    words = [f"ckpt_path={encoded}", f"input='{raw}/[23]/*.png'", f"output={output}", "device=cpu", f"views={name}"]
    predict.run(compose("predict", [*places, *words, "top_k=1", "batch_size=20"]))
    with open(output, newline="") as stream:
        said = {"/".join(Path(row["name"]).parts[-2:]): row for row in csv.DictReader(stream)}
    compared = [row for row in rows(folder) if row["name"] in said]
    assert len(compared) > 20
    for row in compared:
        assert said[row["name"]]["class_1"] == row["predicted"]
        assert float(said[row["name"]]["probability_1"]) == pytest.approx(float(row["probability"]), rel=1e-4)


def test_a_network_without_convolutional_form_is_refused_in_one_line():
    preprocessing = Preprocessing(1, (0.1,), (0.3,), {"image_size": [32, 32]})
    task = ClassificationTask(LeNet5(10, 1), preprocessing, 10, CrossEntropy(class_counts=[1] * 10)).eval()
    node = compose("evaluate", ["views=dense"], strict=False).views
    with pytest.raises(
        ConfigurationError, match="LeNet5 cannot be a convolution: LeNet5 has no convolutional form"
    ) as refusal:
        look_as_configured(task, node, 64)
    assert "views=ten_crop" in str(refusal.value)
    assert task.multiview is None
    assert isinstance(task.network, LeNet5)


def test_a_convolutional_form_that_says_something_else_is_refused(trained, monkeypatch):
    task, _ = load_task(runs.resolve_checkpoint(str(trained), trained))
    network = task.network
    monkeypatch.setattr("striate.pipelines.viewing.fully_convolutional", lambda _: torch.nn.Conv2d(1, 10, 5))
    node = compose("evaluate", ["views=multi_scale"], strict=False).views
    with pytest.raises(ConfigurationError, match="says something else of pictures of 32×32 pixels"):
        look_as_configured(task, node, 64)
    assert task.network is network


@pytest.mark.slow
def test_two_processes_see_every_view_of_every_sample_once(places, trained, evaluate, tmp_path):
    expected, _ = evaluate("views=ten_crop")
    words = [*places, f"ckpt_path={trained}", f"output_dir={tmp_path / 'two'}", "batch_size=179", "views=ten_crop",
             "trainer.devices=2", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]  # fmt: skip
    command = [sys.executable, ROOT / "src" / "evaluate.py", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "two" / "metrics.json").read_text()) == pytest.approx(expected, rel=1e-5)
