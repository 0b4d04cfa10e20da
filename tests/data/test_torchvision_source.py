"""Real data set classes of torchvision on small sets of their own layout."""

from functools import partial

import numpy as np
import pytest
from test_idx_source import idx
from torchvision import datasets

from contents import contents_of
from striate.data.sources.torchvision import TorchvisionSource
from striate.errors import ConfigurationError, DataError


@pytest.fixture
def mnist(tmp_path, written):
    """A folder in which torchvision finds MNIST."""
    chance = np.random.default_rng(0)
    images = {"train": chance.integers(0, 256, (30, 28, 28)), "t10k": chance.integers(0, 256, (20, 28, 28))}
    files = {f"MNIST/raw/{part}-images-idx3-ubyte": idx(values) for part, values in images.items()}
    files |= {f"MNIST/raw/{part}-labels-idx1-ubyte": idx(np.arange(len(v)) % 10) for part, v in images.items()}
    written(tmp_path, files)
    return tmp_path, images


SPLITS = {"train": {"train": True}, "test": {"train": False}}


def test_pixels_of_a_set_in_memory(mnist):
    root, images = mnist
    source = TorchvisionSource(str(root), datasets.MNIST, SPLITS)
    assert source.available()
    inventory = source.scan()
    assert inventory.classes[3] == "3 - three"
    assert inventory.entries[0] == ("train/000000", "0 - zero", "train")
    assert inventory.entries[-1] == ("test/000019", "9 - nine", "test")
    contents = list(contents_of(source, inventory))
    assert np.array_equal(np.stack(contents), np.concatenate([images["train"], images["t10k"]]))
    assert len(source.listing()) == 4


def test_files_of_a_set_with_a_loader(tmp_path, written, encoded, picture):
    files = {
        f"imagenette2-320/{split}/{wnid}/{i}.JPEG".replace(".JPEG", ".jpeg"): encoded(picture(label * 10 + i), "JPEG")
        for split in ("train", "val")
        for label, wnid in enumerate(("n01440764", "n02102040"))
        for i in range(2)
    }
    written(tmp_path, files)
    dataset = partial(datasets.Imagenette, size="320px")
    source = TorchvisionSource(str(tmp_path), dataset, {"train": {"split": "train"}, "test": {"split": "val"}})
    inventory = source.scan()
    assert inventory.classes == ("tench", "English springer")
    found = {
        entry.name: content for entry, content in zip(inventory.entries, contents_of(source, inventory), strict=True)
    }
    assert found == files  # the JPEGs themselves
    assert {entry.split for entry in inventory.entries} == {"train", "test"}


def test_files_of_a_set_without_a_loader(tmp_path, written, encoded, picture):
    files = {
        f"oxford-iiit-pet/images/{name}_{i}.jpg": encoded(picture(i), "JPEG")
        for name in ("Beagle", "Abyssinian")
        for i in range(2)
    }
    lists = "\n".join(f"{name}_{i} {label} 1 1" for label, name in ((1, "Abyssinian"), (2, "Beagle")) for i in range(2))
    annotations = {f"oxford-iiit-pet/annotations/{split}.txt": lists.encode() for split in ("trainval", "test")}
    written(tmp_path, {**files, **annotations})
    splits = {"train": {"split": "trainval"}}
    source = TorchvisionSource(
        str(tmp_path),
        partial(datasets.OxfordIIITPet, target_types="category"),
        splits,
        files="_images",
        labels="_labels",
    )
    inventory = source.scan()
    assert inventory.classes == ("Abyssinian", "Beagle")
    found = {
        entry.name: content for entry, content in zip(inventory.entries, contents_of(source, inventory), strict=True)
    }
    assert found == files
    assert [entry.class_name for entry in inventory.entries] == ["Abyssinian"] * 2 + ["Beagle"] * 2


def test_missing_data_are_told(tmp_path):
    source = TorchvisionSource(str(tmp_path / "x"), datasets.CIFAR10, SPLITS, download=False, hint="buy it")
    assert source.missing() == str(tmp_path / "x")
    with pytest.raises(DataError, match="CIFAR10: Dataset not found") as caught:
        source.fetch()
    assert caught.value.do == "buy it"
    assert not (tmp_path / "x").exists()


def test_a_failed_download_is_told(tmp_path, monkeypatch):
    from urllib.error import URLError

    def refuse(*arguments, **options):
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", refuse)
    source = TorchvisionSource(str(tmp_path / "x"), datasets.CIFAR10, SPLITS)
    with pytest.raises(DataError, match="no route to host") as caught:
        source.fetch()
    assert str(tmp_path / "x") in caught.value.do
    assert not (tmp_path / "x").exists()


def test_impossible_arguments_are_refused(mnist):
    root, _ = mnist
    with pytest.raises(ConfigurationError, match="it needs train"):
        TorchvisionSource(str(root), datasets.MNIST, {"test": {}})
    with pytest.raises(ConfigurationError, match="refuses its arguments"):
        TorchvisionSource(str(root), datasets.MNIST, {"train": {"trian": True}}).scan()
    with pytest.raises(DataError, match="labels from 0 to 9 for 2 classes"):
        TorchvisionSource(str(root), datasets.MNIST, SPLITS, classes=["a", "b"]).scan()


def test_synonyms_are_shortened_where_that_is_clear():
    from striate.data.sources.torchvision import _class_names

    class Dataset:
        classes = [("tench", "Tinca tinca"), ("crane", "bird"), ("crane", "machine"), "dog"]  # noqa: RUF012

    assert _class_names(Dataset()) == ("tench", "crane, bird", "crane, machine", "dog")


def test_classes_of_one_name_are_told_apart():
    from striate.data.sources.torchvision import _class_names

    class Dataset:
        classes = (("crane",), ("maillot",), ("drake", "male duck"), ("crane",), ("maillot", "tank suit"))

    assert _class_names(Dataset()) == ("crane", "maillot", "drake", "crane (2)", "maillot, tank suit")
