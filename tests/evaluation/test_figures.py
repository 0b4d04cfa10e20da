"""The pictures: that each can be drawn of anything, holds what it should, and appears as a whole or not at all."""

import numpy as np
import pytest
from matplotlib import rcParams
from PIL import Image

from striate.evaluation import figures, metrics

HOSTILE = ["=cmd()", "<script>alert(1)</script>", "two\nlines", "$\\frac{", "日本語", "", "x" * 300, "%s {0}"]


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def confusion(classes, samples=400):
    generator = np.random.default_rng(classes)
    matrix = np.zeros((classes, classes), np.int64)
    true = generator.integers(classes, size=samples)
    wrong = generator.random(samples) < 0.2
    np.add.at(matrix, (true, np.where(wrong, generator.integers(classes, size=samples), true)), 1)
    return matrix


@pytest.mark.parametrize("classes", [2, 10, 102, 1000])
def test_confusion_matrix_of_any_size(tmp_path, classes):
    matrix, names = confusion(classes), [f"class {number}" for number in range(classes)]
    figures.confusion_matrix(matrix, names, tmp_path / "counts.png")
    figures.confusion_matrix(matrix, names, tmp_path / "shares.png", normalised=True)
    counts, shares = pixels(tmp_path / "counts.png"), pixels(tmp_path / "shares.png")
    assert min(counts.shape[:2]) >= min(2 * classes, 500), "at least two pixels a cell, or a picture of some size"
    assert counts.shape == shares.shape
    assert (counts != shares).any()
    # The diagonal is drawn: as dark as the scale goes, in no less than half of its cells.
    dark = (counts.astype(int).sum(axis=2) < 300).sum()
    assert dark > 2 * classes
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["counts.png", "shares.png"]


def test_hostile_names_are_drawn_as_text(tmp_path):
    matrix = confusion(len(HOSTILE))
    figures.confusion_matrix(matrix, HOSTILE, tmp_path / "matrix.png")
    many = [f"{HOSTILE[number % 8]} {number}" for number in range(40)]
    figures.confusion_matrix(confusion(40), many, tmp_path / "listed.png")
    mistakes = [mistake(8, 8, 1) | {"true": name, "predicted": name, "name": name} for name in HOSTILE]
    figures.mistakes_gallery(mistakes, tmp_path / "mistakes.png", total=8)
    figures.transfer_gain({name: [0.5, 0.6] for name in HOSTILE}, tmp_path / "gain.png", metric="$x_{")
    assert all(min(pixels(path).shape[:2]) > 300 for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("rose", "rose"),
        (" a\nb\tc ", "a b c"),
        ("", "(no name)"),
        ("a" * 18, "a" * 18),
        ("abcdefghijklmnopqrstuvwxyz", "abcdefghijkl…vwxyz"),
    ],
)
def test_labels_are_one_short_line(name, shown):
    assert figures.label(name) == shown
    assert len(figures.label(name)) <= 18


def test_confusion_matrix_wants_a_name_for_each_class(tmp_path):
    with pytest.raises(ValueError, match="2 classes, got shape"):
        figures.confusion_matrix(np.eye(3), ["a", "b"], tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_reliability_diagram_shows_over_and_underconfidence_and_empty_bins(tmp_path):
    samples, hits = np.array([0, 4, 0, 600]), np.array([0, 4, 0, 300])
    bins = (samples, np.array([0.0, 1.2, 0.0, 580.0]), hits)
    figures.reliability_diagram(
        metrics.reliability(*bins), metrics.expected_calibration_error(*bins), tmp_path / "x.png"
    )
    image = pixels(tmp_path / "x.png").astype(int)
    red = (abs(image - [0xD5, 0x5E, 0x00]).sum(axis=2) < 40).sum()
    assert red > 500, "the gap is hatched"


def mistake(height, width, channels):
    image = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return {"image": image, "true": "rose", "predicted": "tulip", "confidence": 0.9, "name": "rose/1.png"}


@pytest.mark.parametrize("shape", [(8, 8, 1), (32, 32, 3), (224, 224, 3), (40, 160, 3), (224, 224, 1)])
@pytest.mark.parametrize("count", [1, 7])
def test_gallery_of_any_pictures(tmp_path, shape, count):
    figures.mistakes_gallery([mistake(*shape)] * count, tmp_path / "x.png", total=99)
    image = pixels(tmp_path / "x.png").astype(int)
    coloured = (image.max(axis=2) - image.min(axis=2) > 60).mean()
    assert (coloured > 0.02) == (shape[2] == 3)


def test_gallery_without_mistakes_says_so(tmp_path):
    figures.mistakes_gallery([], tmp_path / "x.png", total=0)
    assert 0 < (pixels(tmp_path / "x.png") < 128).mean() < 0.05


def rows(epochs):
    return [
        {
            "epoch": epoch,
            "train/loss": 2.0 / epoch,
            "val/loss": 2.2 / epoch,
            "train/error_micro": 0.5 / epoch,
            "val/error_micro": 0.6 / epoch,
            "val/top1_micro": 1 - 0.6 / epoch,
            "learning_rate": 0.1 / epoch,
        }
        for epoch in range(1, epochs + 1)
    ]


@pytest.mark.parametrize("epochs", [1, 2, 200])
def test_learning_curves(tmp_path, epochs):
    figures.learning_curves(rows(epochs), tmp_path / "x.png")
    assert pixels(tmp_path / "x.png").shape[1] > 1000


def test_learning_curves_out_of_a_file_and_with_gaps(tmp_path):
    text = [{name: str(value) for name, value in row.items()} for row in rows(6)]
    for row in text[::2]:  # validated every second epoch only
        row |= {"val/loss": "", "val/error_micro": "", "val/top1_micro": ""}
    del text[3]["learning_rate"]
    figures.learning_curves(text, tmp_path / "x.png")
    figures.learning_curves([{"epoch": 1, "train/loss": float("nan")}], tmp_path / "nothing.png")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(("mode", "epoch"), [("max", 2), ("min", 1)])
def test_best_epoch_is_the_first_of_the_best(mode, epoch):
    history = [{"epoch": place, "m": value} for place, value in enumerate([0.1, 0.9, 0.9, 0.1, float("nan")], 1)]
    assert figures._best_epoch(history, "m", mode)["epoch"] == epoch
    assert figures._best_epoch(history, "other", mode) is None


def test_transfer_gain(tmp_path):
    scores = {"from scratch": [0.71, 0.75, 0.69], "fine-tuned": [0.9, 0.91, 0.93]}
    figures.transfer_gain(scores, tmp_path / "three.png")
    figures.transfer_gain({"from scratch": [0.71], "head only": [0.8], "fine-tuned": [0.9]}, tmp_path / "one.png")
    figures.transfer_gain({"from scratch": [0.71, 0.75], "fine-tuned": [0.9]}, tmp_path / "unequal.png")
    assert len(list(tmp_path.iterdir())) == 3
    for empty in ({}, {"a": []}):
        with pytest.raises(ValueError, match="at least one"):
            figures.transfer_gain(empty, tmp_path / "x.png")


def test_gain_is_taken_seed_by_seed():
    ways = {"from scratch": np.array([0.5, 0.6, 0.7]), "fine-tuned": np.array([0.6, 0.7, 0.8])}
    assert figures._gain_title(ways) == "fine-tuned: +10.0 ± 0.0 points over from scratch"
    assert figures._gain_title({"from scratch": np.array([0.5])}) == "from scratch"


def test_drawing_leaves_the_style_of_others_alone_and_is_the_same_twice(tmp_path):
    before = dict(rcParams)
    for name in ("a.png", "b.png"):
        figures.learning_curves(rows(3), tmp_path / name)
    assert dict(rcParams) == before
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_picture_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "x.png"
    figures.learning_curves(rows(2), path)
    old = path.read_bytes()
    with pytest.raises(TypeError):
        figures.mistakes_gallery([mistake(8, 8, 1) | {"confidence": None}], path, total=1)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
