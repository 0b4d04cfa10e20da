"""`predict` against `evaluate` on the same pictures, in each kind of input and output, and on files that are none."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate import runs
from striate.configuration import compose
from striate.errors import ConfigurationError, DataError, StorageError
from striate.pipelines import evaluate
from striate.pipelines import predict as pipeline
from striate.storage import load_checkpoint


@pytest.fixture
def predict(places, trained, tmp_path):
    """`predict(input, *overrides)` names pictures; gives the rows of the output."""

    def run(pattern, *overrides, output="labels.json"):
        path = tmp_path / "out" / output
        words = [f"ckpt_path={trained}", f"input='{pattern}'", f"output={path}", "device=cpu"]
        pipeline.run(compose("predict", [*places, *words, *overrides]))
        if path.suffix == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        with open(path, encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

    return run


@pytest.fixture(scope="module")
def raw(places):
    """The folder of the raw digits."""
    return Path(dict(word.split("=", 1) for word in places)["paths.data_dir"]) / "digits"


def test_raw_files_are_named_as_the_evaluation_of_the_pack_names_them(predict, places, trained, raw, tmp_path):
    words = [f"ckpt_path={trained}", f"output_dir={tmp_path / 'evaluation'}", "trainer.enable_progress_bar=false"]
    evaluate.run(compose("evaluate", [*places, *words]))
    with open(tmp_path / "evaluation" / "predictions.csv", newline="") as stream:
        expected = {row["name"]: row for row in csv.DictReader(stream)}
    said = {row["name"]: row["predictions"] for row in predict(raw)}
    assert len(said) == 1797
    assert set(expected) <= set(said)
    for name, row in expected.items():
        assert said[name][0]["class"] == row["predicted"]
        assert said[name][0]["probability"] == pytest.approx(float(row["probability"]), rel=1e-4)


def test_pictures_that_keep_their_size_are_seen_as_in_the_evaluation(train, places, raw, tmp_path):
    words = ["data.name=encoded", "data.prepare.pack=encoded", "data.prepare.image_size=null", "data.input_size=32"]
    run = [f"run_dir={tmp_path / 'run'}", "data.samples_per_class=10", "trainer.max_epochs=1", "augmentation=none"]
    train("model=lenet5_modern", "test=false", *words, *run)
    checkpoint = f"ckpt_path={tmp_path / 'run'}"
    evaluate.run(compose("evaluate", [*places, checkpoint, "trainer.enable_progress_bar=false"]))
    output = tmp_path / "labels.csv"
    pipeline.run(compose("predict", [*places, checkpoint, f"input={raw}", f"output={output}", "device=cpu"]))
    with open(output, newline="") as stream:
        said = {row["name"]: row for row in csv.DictReader(stream)}
    with open(tmp_path / "run" / "evaluation_test" / "predictions.csv", newline="") as stream:
        for row in csv.DictReader(stream):
            assert float(said[row["name"]]["probability_1"]) == pytest.approx(float(row["probability"]), rel=1e-4)


def test_csv_and_json_say_the_same(predict, raw):
    rows, flat = predict(raw / "3", "top_k=2"), predict(raw / "3", "top_k=2", output="labels.csv")
    assert list(flat[0]) == ["name", "class_1", "probability_1", "class_2", "probability_2", "error"]
    assert [row["name"] for row in rows] == [row["name"] for row in flat]
    for row, line in zip(rows, flat, strict=True):
        for rank, answer in enumerate(row["predictions"], 1):
            assert (answer["class"], answer["probability"]) == (
                line[f"class_{rank}"],
                float(line[f"probability_{rank}"]),
            )
        assert (row["error"], line["error"]) == (None, "")


def test_the_most_probable_classes_come_first_and_no_more_than_there_are(predict, raw):
    (row,) = predict(next((raw / "7").iterdir()), "top_k=99")
    probabilities = [answer["probability"] for answer in row["predictions"]]
    assert len(probabilities) == 10
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)


def test_probabilities_go_through_the_temperature_unless_told_otherwise(predict, raw, trained, capsys):
    temperature = load_checkpoint(runs.resolve_checkpoint(str(trained), trained))["striate"]["temperature"]
    assert temperature != 1.0
    rows, plain = predict(raw / "3", "top_k=99"), predict(raw / "3", "top_k=99", "calibrated=false")
    assert f"temperature {temperature:.4g}" in capsys.readouterr().out
    for row, other in zip(rows, plain, strict=True):
        through, without = row["predictions"], other["predictions"]
        assert [answer["class"] for answer in through] == [answer["class"] for answer in without]
        powers = np.array([answer["probability"] for answer in without]) ** (1 / temperature)
        expected = powers / powers.sum()
        assert [answer["probability"] for answer in through] == pytest.approx(expected, rel=1e-4)


def test_the_batch_does_not_matter(predict, raw):
    few, many = predict(raw / "5", "batch_size=7"), predict(raw / "5", "batch_size=500")
    assert [row["name"] for row in few] == [row["name"] for row in many]
    for one, other in zip(few, many, strict=True):
        assert one["predictions"][0]["probability"] == pytest.approx(other["predictions"][0]["probability"], rel=1e-4)


def test_a_file_a_folder_and_a_pattern(predict, raw):
    one = next((raw / "1").glob("*.png"))
    assert [row["name"] for row in predict(one)] == [str(one)]
    folder = predict(raw / "1")
    assert [row["name"] for row in folder] == sorted(path.name for path in (raw / "1").iterdir())
    pattern = predict(raw / "[12]" / "*1.png")
    assert [row["name"] for row in pattern] == sorted(
        str(path) for label in "12" for path in (raw / label).glob("*1.png")
    )
    assert len(predict(raw / "**" / "*.png")) == 1797


def pictures(folder):
    """One digit in several forms, and files that are no pictures."""
    folder.mkdir()
    grey = np.zeros((40, 60), np.uint8)
    grey[8:32, 28:34] = 255
    image = Image.fromarray(grey)
    image.save(folder / "grey.png")
    image.convert("RGB").save(folder / "=rgb().PNG")
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("not a picture")
    whole = (folder / "cmyk.jpg").read_bytes()
    (folder / "cut.jpeg").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("passed over")
    return folder


def test_what_cannot_be_read_is_reported_beside_what_can(predict, tmp_path, capsys):
    rows = {row["name"]: row for row in predict(pictures(tmp_path / "mixed"), "batch_size=2")}
    assert set(rows) == {"grey.png", "=rgb().PNG", "cmyk.jpg", "empty.png", "text.jpg", "cut.jpeg"}
    failed = {name for name, row in rows.items() if row["error"]}
    assert failed == {"empty.png", "text.jpg", "cut.jpeg"}
    assert rows["empty.png"] == {"name": "empty.png", "predictions": [], "error": "empty file"}
    one, other = (rows[name]["predictions"][0] for name in ("grey.png", "=rgb().PNG"))
    assert one["class"] == other["class"]
    assert one["probability"] == pytest.approx(other["probability"], rel=1e-4), "one form, however it is stored"
    printed = capsys.readouterr().out
    assert all(f"not read: {name}: " in printed for name in failed)
    assert "3 pictures named, 3 not read" in printed


def test_names_in_csv_are_no_formulas(predict, tmp_path):
    rows = predict(pictures(tmp_path / "mixed"), output="labels.csv")
    assert "'=rgb().PNG" in {row["name"] for row in rows}
    assert [row["error"] for row in rows if row["name"] == "empty.png"] == ["empty file"]


def test_nothing_readable_is_an_error_with_an_output(predict, tmp_path):
    folder = pictures(tmp_path / "mixed")
    with pytest.raises(DataError, match="none of the 1 pictures"):
        predict(folder / "text.jpg")
    (row,) = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert "not a picture" in row["error"]


@pytest.mark.parametrize("kind", ["missing", "empty folder", "pattern"])
def test_no_match_names_the_pattern(predict, tmp_path, kind):
    (tmp_path / "empty").mkdir()
    pattern = {"missing": tmp_path / "x.png", "empty folder": tmp_path / "empty", "pattern": tmp_path / "*.png"}[kind]
    with pytest.raises(DataError) as refusal:
        predict(pattern)
    assert str(pattern) in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 2


def test_mistakes_are_said_before_the_work(predict, raw, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "load_task", lambda *_: pytest.fail("the checkpoint was read"))
    with pytest.raises(ConfigurationError, match=r"neither .csv nor .json"):
        predict(raw, output="labels.xlsx")
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot write"):
        predict(raw)


def test_large_files_are_not_read(predict, raw, monkeypatch):
    monkeypatch.setattr("striate.data.finding.MAX_FILE_BYTES", 10)
    with pytest.raises(DataError, match="none of the 1 pictures"):
        predict(next((raw / "0").iterdir()))
