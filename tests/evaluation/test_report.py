"""The files of an evaluation: what they say, in which form, and that hostile names stay names."""

import csv
import json
import math

import numpy as np
import pytest
import torch

from striate.errors import StorageError
from striate.evaluation import report, tables
from striate.evaluation.tally import ClassificationTally

NAMES = ["=cmd()", "<script>", "two\nlines", "plain, with comma", '"quoted"', "-1", "@x"]


@pytest.fixture
def split():
    """Sums and predictions of 60 samples of seven classes, of which the last never occurs."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(6, (60,), generator=generator)
    logits = torch.randn(60, 7, generator=generator) + 2 * torch.nn.functional.one_hot(targets, 7)
    tally = ClassificationTally(7)
    tally.update(logits, targets, torch.nn.functional.cross_entropy(logits, targets, reduction="none"))
    best, predicted = logits.double().softmax(dim=1).max(dim=1)
    names = [f"{NAMES[label]}/{place}.png" for place, label in enumerate(targets)]
    return tally, report.Predictions(names, targets.numpy(), predicted.numpy(), best.numpy())


def written(folder, tally, predictions, names=NAMES):
    report.begin_report(folder, {"data": "these"})
    pictures = np.arange(60 * 64, dtype=np.uint8).reshape(60, 8, 8, 1)
    return report.write_report(folder, tally.numpy(), names, predictions, lambda places: pictures[places])


def rows(path):
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_folder_holds_what_is_promised_and_says_the_figures(split, tmp_path):
    tally, predictions = split
    results = written(tmp_path, tally, predictions)
    assert {path.name for path in tmp_path.iterdir()} == set(report.FILES)
    stored = json.loads((tmp_path / "metrics.json").read_text())
    assert stored == results == {"samples": 60, **tally.compute(), **tally.intervals()}
    assert list(stored) == sorted(stored), "sorted, so that a comparison of two files is a comparison of figures"
    assert json.loads((tmp_path / "evaluation.json").read_text()) == {"data": "these"}


def test_tables_agree_with_the_figures(split, tmp_path):
    tally, predictions = split
    results = written(tmp_path, tally, predictions)
    said = rows(tmp_path / "predictions.csv")
    assert len(said) == 60
    assert sum(row["true"] == row["predicted"] for row in said) / 60 == results["top1_micro"]
    assert [float(row["probability"]) for row in said] == predictions.probability.tolist(), "in full precision"
    mistakes = rows(tmp_path / "mistakes.csv")
    assert len(mistakes) == round(60 * results["error_micro"]) > 3
    assert all(row["true"] != row["predicted"] for row in mistakes)
    confidences = [float(row["probability"]) for row in mistakes]
    assert confidences == sorted(confidences, reverse=True)
    plotted = rows(tmp_path / "confusion.csv")
    assert len(plotted) == 60
    assert sum(row["actual"] == row["predicted"] for row in plotted) / 60 == results["top1_micro"]
    bins = rows(tmp_path / "reliability.csv")
    assert sum(int(row["samples"]) for row in bins) == 60
    gaps = [
        int(row["samples"]) * abs(float(row["confidence"]) - float(row["accuracy"])) for row in bins if row["accuracy"]
    ]
    assert sum(gaps) / 60 == pytest.approx(results["ece_15bins"])
    classes = rows(tmp_path / "per_class.csv")
    assert sum(int(row["samples"]) for row in classes) == 60
    assert (classes[6]["samples"], classes[6]["recall"]) == ("0", ""), "nothing is known of a class without samples"
    recalls = [float(row["recall"]) for row in classes[:6]]
    assert np.mean(recalls) == pytest.approx(results["recall_macro"])


def test_hostile_names_run_nowhere(split, tmp_path):
    written(tmp_path, *split)
    for path in tmp_path.glob("*.csv"):
        for row in csv.reader(path.read_text(encoding="utf-8").splitlines()):
            for entry in row:
                assert entry == "-1" or not entry.startswith(tuple("=+@-")), path.name
    for name in ("per_class.csv", "confusion.csv"):  # DVC puts these into its page without escaping
        assert "<" not in (tmp_path / name).read_text(encoding="utf-8")
    assert {row["class"] for row in rows(tmp_path / "per_class.csv")} == {
        "'=cmd()", "‹script›", "two\\nlines", "plain, with comma", '"quoted"', "-1", "'@x"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (math.nan, ""), (0.1 + 0.2, "0.30000000000000004"), (np.float64(0.5), "0.5"), (np.int64(3), "3"),
        ("rose", "rose"), ("=1+1", "'=1+1"), ("  =1+1", "'  =1+1"), ("+49", "+49"), ("-1e3", "-1e3"), ("-x", "'-x"),
        ("@sum", "'@sum"), ("\t=1", "\\t=1"), ("a\r\nb", "a\\r\\nb"), ("a\u2028b", "a\\u2028b"), ("日本", "日本"),
    ],
)  # fmt: skip
def test_cells(value, text):
    assert tables.cell(value) == text


def test_file_names_that_are_not_utf8_are_written(tmp_path):
    name = b"caf\xe9.png".decode("utf-8", "surrogateescape")
    tables.write_csv(tmp_path / "x.csv", ("name", "missing"), [{"name": name}])
    assert (tmp_path / "x.csv").read_bytes() == b"name,missing\ncaf\\udce9.png,\n"


def test_of_many_classes_the_most_confused_are_plotted(tmp_path):
    # Classes 0 and 99 are confused with each other, the others never.
    targets = np.arange(100).repeat(3)
    predicted = targets.copy()
    predicted[:3], predicted[-3:] = 99, 0
    confusion = np.zeros((100, 100), np.int64)
    np.add.at(confusion, (targets, predicted), 1)
    said = report.Predictions([""] * 300, targets, predicted, np.ones(300))
    plotted = report._plotted(confusion, [f"c{label}" for label in range(100)], said)
    assert len({row["actual"] for row in plotted}) == 60
    assert (
        plotted.count({"actual": "c0", "predicted": "c99"}) == plotted.count({"actual": "c99", "predicted": "c0"}) == 3
    )


def test_the_same_evaluation_gives_the_same_bytes(split, tmp_path):
    for name in ("a", "b"):
        written(tmp_path / name, *split)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_without_mistakes_there_is_still_a_gallery(tmp_path):
    logits, targets = torch.eye(3)[[0, 1, 2, 0]] * 9, torch.tensor([0, 1, 2, 0])
    tally = ClassificationTally(3)
    tally.update(logits, targets)
    said = report.Predictions(list("abcd"), targets.numpy(), targets.numpy(), np.full(4, 0.99))
    results = written(tmp_path, tally, said, ["x", "y", "z"])
    assert results["error_micro"] == 0
    assert rows(tmp_path / "mistakes.csv") == []
    assert (tmp_path / "mistakes.png").is_file()


def test_a_report_that_was_not_finished_has_no_metrics(split, tmp_path):
    tally, predictions = split
    written(tmp_path, tally, predictions)
    report.begin_report(tmp_path, {})
    with pytest.raises(ZeroDivisionError):
        report.write_report(tmp_path, tally.numpy(), NAMES, predictions, lambda places: 1 / 0)
    assert not (tmp_path / "metrics.json").exists()


def test_sums_of_other_samples_are_refused(split, tmp_path):
    tally, predictions = split
    tally.update(torch.zeros(1, 7), torch.tensor([0]), torch.zeros(1))
    with pytest.raises(ValueError, match="expected 60 samples"):
        written(tmp_path, tally, predictions)
    tally.reset()
    logits = torch.zeros(60, 7)
    logits[5] = math.nan
    tally.update(logits, torch.zeros(60, dtype=torch.int64))
    with pytest.raises(ValueError, match="finite"):
        written(tmp_path, tally, predictions)


def test_a_place_that_cannot_be_written_is_said_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a parent of it is a file"):
        report.begin_report(tmp_path / "file" / "folder", {})
