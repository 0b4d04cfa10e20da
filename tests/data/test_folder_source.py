"""Class folders, loose and in archives."""

import io
import os
import tarfile
import zipfile

import pytest

from contents import contents_of
from striate.data.sources.base import Unreadable
from striate.data.sources.folder import FolderSource
from striate.errors import ConfigurationError, DataError


def as_archive(files, path, top=""):
    """Packs files into an archive whose kind follows from its name."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(top + name, content)
        return path
    mode = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}[path.suffix]
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(top + name)
            info.size = len(content)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            archive.addfile(info, io.BytesIO(content))
    return path


def contents(root, **options):
    """{(name, class, split): content} and the inventory of a source."""
    source = FolderSource(str(root), **options)
    assert source.available()
    inventory = source.scan()
    return dict(zip(inventory.entries, contents_of(source, inventory), strict=True)), inventory


FILES = {f"{split}/{name}/{number}.jpg": f"{split}{name}{number}".encode() for split in ("train", "val") for name in
         ("cat", "dog") for number in range(3)}  # fmt: skip
FOREIGN = {
    "README": b"x", ".DS_Store": b"x", "train/Thumbs.db": b"x", "__MACOSX/train/cat/._0.jpg": b"x",
    "train/cat/notes.txt": b"x", "train/dog/notes.txt": b"x", "train/cat/.hidden.png": b"x", "cover.png": b"x",
}  # fmt: skip


@pytest.mark.parametrize(
    "kind", ["loose", "x.tar", "x.tar.gz", "x.tgz", "x.zip", "x.tar.xz", "x.tar.bz2", "in a folder"]
)
@pytest.mark.parametrize("top", ["", "deep/er/"])
def test_loose_or_archived_it_is_the_same(kind, top, written, tmp_path):
    files = {top + name: content for name, content in {**FILES, **FOREIGN}.items()}
    if kind == "loose":
        root = written(tmp_path / "set", files)
    elif kind == "in a folder":
        root = tmp_path / "set"
        root.mkdir()
        as_archive(files, root / "archive.tar")
    else:
        root = as_archive(files, tmp_path / kind)
    found, inventory = contents(root)
    assert inventory.classes == ("cat", "dog")
    assert {entry.name: content for entry, content in found.items()} == {top + name: FILES[name] for name in FILES}
    assert all(f"{entry.split}/{entry.class_name}" in entry.name for entry in found)
    passed_over = {kind.reason: kind.files for kind in inventory.foreign if "*.txt" in kind.name}
    assert passed_over == {"not a picture's name": 2}
    reasons = {kind.reason for kind in inventory.foreign}
    assert reasons == {"not a picture's name", "hidden or of the system", "outside every class folder"}


@pytest.mark.parametrize("inner", ["train/", ""])
def test_one_archive_for_each_split(inner, tmp_path):
    for split, word in (("train", "train"), ("test", "TEST")):
        files = {f"{name}/{i}.png": f"{split}{name}{i}".encode() for name in ("cat", "dog") for i in range(2)}
        as_archive(files, tmp_path / f"set-{word}.tar", top=inner.replace("train", split))
    (tmp_path / "README.md").write_text("x")
    found, inventory = contents(tmp_path)
    assert len(found) == 8
    for entry, content in found.items():
        assert content.decode().startswith(entry.split)
        assert entry.name.startswith(f"set-{'TEST' if entry.split == 'test' else 'train'}.tar/")
    assert [kind.name for kind in inventory.foreign] == ["README.md"]


def test_archives_beside_loose_pictures_are_passed_over(written, tmp_path):
    written(tmp_path, FILES)
    as_archive(FILES, tmp_path / "same.zip")
    found, inventory = contents(tmp_path)
    assert len(found) == len(FILES)
    assert [(kind.name, kind.reason) for kind in inventory.foreign] == [("same.zip", "archive beside loose pictures")]


NAMES = ["ünï/ça va.PNG", "a b/new\nline.jpeg", "x" * 100 + "/" + "y" * 200 + ".jpg", "a b/Case.png", "a b/case.png"]


@pytest.mark.parametrize("kind", ["loose", "x.tar", "x.zip"])
def test_unusual_names_work(kind, written, tmp_path):
    files = {name: name.encode() for name in NAMES}
    root = written(tmp_path / "set", files) if kind == "loose" else as_archive(files, tmp_path / kind)
    found, inventory = contents(root)
    assert {entry.name: content for entry, content in found.items()} == files
    assert inventory.classes == ("a b", "x" * 100, "ünï")


def test_names_that_are_no_unicode_work(tmp_path):
    for folder in (b"a", b"b"):
        os.makedirs(os.path.join(os.fsencode(tmp_path), folder))
        with open(os.path.join(os.fsencode(tmp_path), folder, b"\xff\xfe.png"), "wb") as stream:
            stream.write(folder)
    found, _ = contents(tmp_path)
    assert {entry.name: content for entry, content in found.items()} == {
        "a/\\xff\\xfe.png": b"a", "b/\\xff\\xfe.png": b"b",
    }  # fmt: skip


def test_nothing_outside_the_root_is_followed(written, tmp_path):
    secret = written(tmp_path / "outside", {"cow/secret.png": b"secret"})
    root = written(tmp_path / "set", {"cat/1.png": b"1", "dog/1.png": b"2"})
    (root / "cat" / "out.png").symlink_to(secret / "cow" / "secret.png")
    (root / "cat" / "broken.png").symlink_to(root / "nowhere.png")
    (root / "cat" / "in.png").symlink_to(root / "dog" / "1.png")
    (root / "cow").symlink_to(secret / "cow")
    (root / "loop").symlink_to(root)
    os.mkfifo(root / "cat" / "pipe.png")
    found, inventory = contents(root)
    assert {entry.name: content for entry, content in found.items()} == {
        "cat/1.png": b"1", "cat/in.png": b"2", "dog/1.png": b"2",
    }  # fmt: skip
    reasons = {kind.reason: kind.files for kind in inventory.foreign}
    assert reasons == {
        "link that leads outside of the root, not followed": 1, "link to a folder, not followed": 2, "not a file": 2,
    }  # fmt: skip


def test_a_file_that_cannot_be_read_is_told(written, tmp_path, monkeypatch):
    from striate.data.sources import base

    monkeypatch.setattr(base, "MAX_FILE_BYTES", 10)
    root = written(tmp_path, {"cat/1.png": b"1", "cat/2.png": b"1" * 11, "dog/1.png": b"2"})
    source = FolderSource(str(root))
    inventory = source.scan()
    (root / "dog" / "1.png").unlink()
    found = {
        entry.name: content for entry, content in zip(inventory.entries, contents_of(source, inventory), strict=True)
    }
    assert found["cat/1.png"] == b"1"
    assert found["cat/2.png"] == Unreadable("file of 11 bytes; at most 10 are read")
    assert found["dog/1.png"] == Unreadable("cannot be read: No such file or directory")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"cat/1.png": b"", "dog/": b""}, "1 class folder.s. without pictures: dog"),
        (
            {"train/cat/1.png": b"", "train/dog/1.png": b"", "val/cow/1.png": b""},
            "'cow' is in the val split but not in the",
        ),
        ({"cat/1.png": b"", "cat/2.png": b""}, "one class only: 'cat'"),
        ({"train/cat/1.png": b"", "val/cat/2.png": b""}, "one class only: 'cat'"),
        ({"1.png": b"", "2.png": b""}, "no pictures in class folders"),
        ({"cat/1.txt": b""}, "no pictures in class folders"),
        ({"test/cat/1.png": b"", "test/dog/1.png": b""}, "no training pictures, only test"),
        ({"train/cat/1.png": b"", "train/dog/1.png": b"", "val/Cat/1.png": b""}, "'Cat' is in the val split but not"),
        ({"Cat/1.png": b"", "cat/1.png": b"", "dog/1.png": b""}, "'Cat' and 'cat' differ in letter case only"),
    ],
)
def test_sets_that_break_the_rules(files, message, written, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        FolderSource(str(written(tmp_path / "set", files))).scan()
    assert len(str(caught.value).splitlines()) <= 3


def test_an_archive_without_split_beside_one_with(tmp_path):
    as_archive({"cat/1.png": b"", "dog/1.png": b""}, tmp_path / "train.tar")
    as_archive({"cat/2.png": b"", "dog/2.png": b""}, tmp_path / "more.tar")
    with pytest.raises(DataError, match=r"some pictures are in splits, others are not \(more.tar/"):
        FolderSource(str(tmp_path)).scan()


def test_missing_raw_data_say_how_to_get_them(tmp_path):
    source = FolderSource(str(tmp_path / "none"), hint="dvc pull data.dvc")
    assert source.missing() == str(tmp_path / "none")
    assert not source.available()
    with pytest.raises(DataError, match=r"no raw data at .*none") as caught:
        source.fetch()
    assert caught.value.do == "dvc pull data.dvc"
    (tmp_path / "file.rar").write_bytes(b"")
    with pytest.raises(DataError, match="neither a folder nor a"):
        FolderSource(str(tmp_path / "file.rar")).scan()


@pytest.mark.parametrize("above", ["", "train/"])
def test_pictures_beside_their_masks_are_no_two_classes(above, written, tmp_path):
    names = [f"{above}{kind}/{number}.png" for kind in ("Images", "masks") for number in range(2)]
    with pytest.raises(ConfigurationError, match="'Images' and 'masks': pictures and their masks") as refusal:
        contents(written(tmp_path / "set", dict.fromkeys(names, b"x")))
    assert refusal.value.nearest == "data=folder_masks"
    _, inventory = contents(written(tmp_path / "three", dict.fromkeys([*names, f"{above}other/0.png"], b"x")))
    assert inventory.classes == ("Images", "masks", "other")
