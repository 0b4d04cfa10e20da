"""Which folders are taken for splits and which for classes."""

import pytest

from striate.data.sources.layout import find_layout, split_in_name
from striate.errors import DataError


def places(paths, folders=()):
    layout = find_layout([tuple(path.split("/")) for path in paths], [tuple(f.split("/")) for f in folders], "here")
    return layout.places, layout.empty


@pytest.mark.parametrize("above", ["", "pictures/", "a/b/c/"])
def test_classes_without_splits(above):
    found, empty = places([f"{above}cat/1.png", f"{above}cat/deep/er/2.png", f"{above}dog/1.png"])
    assert found == [(None, "cat"), (None, "cat"), (None, "dog")]
    assert empty == []


@pytest.mark.parametrize("above", ["", "set/", "a/b/"])
@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Training", "VALIDATION", "testing"), ("TRAIN", "Valid", "Test")],
)
def test_splits_in_any_letter_case_and_depth(above, train, val, test):
    paths = [f"{above}{train}/cat/1.png", f"{above}{val}/cat/x/1.png", f"{above}{test}/dog/1.png"]
    assert places(paths)[0] == [("train", "cat"), ("val", "cat"), ("test", "dog")]


def test_one_split_alone():
    assert places(["train/cat/1.png", "train/dog/1.png"])[0] == [("train", "cat"), ("train", "dog")]
    assert places(["test/cat/1.png", "test/dog/1.png"])[0] == [("test", "cat"), ("test", "dog")]


def test_classes_with_the_names_of_splits():
    # Vehicles: "train" holds pictures, not class folders.
    assert places(["train/1.png", "bus/1.png", "car/1.png"])[0] == [(None, "train"), (None, "bus"), (None, "car")]
    assert places(["test/a/1.png", "bus/1.png"])[0] == [(None, "test"), (None, "bus")]


def test_pictures_outside_of_classes_belong_nowhere():
    found, _ = places(["logo.png", "train/cat/1.png", "train/stray.png", "extra/x/1.png", "test/unlabelled.png"])
    assert found == [None, ("train", "cat"), None, None, None]
    assert places(["x.png", "cat/1.png", "dog/1.png"])[0] == [None, (None, "cat"), (None, "dog")]


def test_one_class_is_not_descended_into():
    assert places(["cat/1.png", "cat/2.png"])[0] == [(None, "cat")] * 2
    assert places(["sets/cat/1.png"])[0] == [(None, "cat")]


def test_empty_class_folders_are_found():
    assert places(["cat/1.png", "dog/1.png"], ["cow", "cat/sub"])[1] == ["cow"]
    assert places(["train/cat/1.png", "train/dog/1.png"], ["train/cow", "notes"])[1] == ["train/cow"]
    assert places(["train/cat/1.png", "train/dog/1.png"], ["val", "val/cat"])[1] == ["val/cat"]
    assert places(["train/cat/1.png", "train/dog/1.png"], ["val"])[1] == []


def test_splits_without_classes_are_refused():
    with pytest.raises(DataError, match="the split folders train, trainannot, val have no class folders in them"):
        places(["train/1.jpg", "trainannot/1.png", "val/2.jpg"])


def test_two_folders_for_one_split_are_refused():
    with pytest.raises(DataError, match="'val' and 'valid' both stand for the val split"):
        places(["train/cat/1.png", "val/cat/1.png", "valid/cat/2.png"])


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("cifar10-train", "train"), ("Test_images", "test"), ("validation", "val"), ("training.v2", "train"),
        ("train_and_val", None), ("trainer", None), ("pets", None),
    ],
)  # fmt: skip
def test_split_in_an_archive_name(name, split):
    assert split_in_name(name) == split
