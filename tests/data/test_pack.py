"""Array and encoded packs: written, opened, read, pickled, verified."""

import pickle

import numpy as np
import pytest

from striate.data import packing
from striate.data.meta import Meta
from striate.data.pack import ArrayPack, EncodedPack, open_pack, verify_pack
from striate.errors import DataError, StorageError
from striate.storage import sha256_of


@pytest.fixture
def pictures(picture):
    return np.stack([picture(seed) for seed in range(10)])


def make_meta(folder, pack, **changes):
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in folder.glob("t*")
        if path.is_file()
    }
    fields = {
        "name": "set", "kind": "classification", "pack": pack, "classes": ("a", "b"), "channels": 3,
        "image_size": (24, 32) if pack == "array" else None, "mean": (0.5,) * 3, "std": (0.5,) * 3,
        "counts": {"train": (5, 5)}, "geometry": {}, "files": files,
    }  # fmt: skip
    meta = Meta.create(**{**fields, **changes})
    meta.save(folder)
    return meta


@pytest.fixture(params=["array", "encoded"])
def folder(request, pictures, encoded, tmp_path, monkeypatch):
    labels, names = np.arange(10) % 2, [f"b/{i}\n é.png" for i in range(10)]
    if request.param == "array":
        packing.write_array_split(tmp_path, "train", [pictures[:3], pictures[3:]], pictures.shape, labels, names)
    else:
        monkeypatch.setattr(packing, "SHARD_BYTES", 3000)
        monkeypatch.setattr(packing, "BATCH_BYTES", 1200)
        packing.write_encoded_split(tmp_path, "train", [encoded(one) for one in pictures], labels, names)
        assert len(list(tmp_path.glob("train-*.arrow"))) > 2
    make_meta(tmp_path, request.param)
    return tmp_path


def test_what_was_written_is_read(folder, pictures):
    pack = open_pack(folder, "train")
    assert len(pack) == 10
    assert pack.labels.dtype == np.int64
    assert pack.labels.tolist() == [0, 1] * 5
    assert list(pack.names) == [f"b/{i}\n é.png" for i in range(10)]
    assert pack.names[-1] == "b/9\n é.png"
    assert list(pack.names[2:4]) == ["b/2\n é.png", "b/3\n é.png"]
    indices = np.array([7, 0, 7, 9, 3])
    found = pack.read(indices)
    if isinstance(pack, ArrayPack):
        assert type(found) is np.ndarray
        assert found.flags.writeable
    else:
        assert isinstance(found, list)
    assert np.array_equal(np.stack(list(found)), pictures[indices])
    assert len(pack.read(np.zeros(0, np.int64))) == 0
    with pytest.raises(IndexError):
        pack.read(np.array([10]))


def test_a_copy_in_another_process_reads_the_same(folder, pictures):
    pack = open_pack(folder, "train")
    content = pickle.dumps(pack)
    assert len(content) < 1000  # the place, not the pictures
    again = pickle.loads(content)
    assert type(again) is type(pack)
    assert np.array_equal(np.stack(list(again.read(np.arange(10)))), pictures)


def test_pictures_are_mapped_not_loaded(folder):
    pack = open_pack(folder, "train")
    view = pack._images if isinstance(pack, ArrayPack) else pack.encoded(4)
    assert not view.flags.owndata
    assert not view.flags.writeable


def test_verify(folder):
    assert verify_pack(folder).name == "set"
    path = max(folder.glob("train*"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    open_pack(folder, "train")
    with pytest.raises(StorageError, match=path.name):
        verify_pack(folder)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_missing_and_cut_files_are_found_when_opening(folder, damage):
    path = sorted(folder.glob("train*"))[0]
    path.write_bytes(path.read_bytes()[:-1]) if damage == "cut" else path.unlink()
    with pytest.raises(StorageError, match=path.name):
        open_pack(folder, "train")


def test_a_split_that_is_not_there(folder):
    with pytest.raises(DataError, match="no val split, only train"):
        open_pack(folder, "val")
    with pytest.raises(DataError, match="no prepared set"):
        open_pack(folder / "none", "train")


def test_a_damaged_picture_is_named(pictures, encoded, tmp_path):
    files = [encoded(pictures[0]), b"\x89PNG broken", encoded(pictures[1])]
    packing.write_encoded_split(tmp_path, "train", files, np.array([0, 1, 0]), ["x", "y", "z"])
    make_meta(tmp_path, "encoded", counts={"train": (2, 1)})
    pack = open_pack(tmp_path, "train")
    assert isinstance(pack, EncodedPack)
    assert np.array_equal(pack.read(np.array([2]))[0], pictures[1])
    with pytest.raises(StorageError, match=r"picture 1 of train \(y\) is damaged"):
        pack.read(np.array([0, 1]))
