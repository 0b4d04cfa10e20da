"""Artifacts: names that every dashboard takes, and DVC's hashes only where they are still those of the files."""

import pytest
import yaml

from striate.tracking.lineage import Artifact, dvc_hash


@pytest.fixture
def locked(tmp_path):
    """A repository of DVC's with a pack of two files and a checkpoint."""
    (tmp_path / "prepared" / "digits").mkdir(parents=True)
    (tmp_path / "prepared" / "digits" / "a.npy").write_bytes(b"1234")
    (tmp_path / "prepared" / "digits" / "meta.json").write_bytes(b"12")
    (tmp_path / "model.ckpt").write_bytes(b"weights")
    outputs = [
        {"path": "prepared/digits", "hash": "md5", "md5": "aa.dir", "size": 6, "nfiles": 2},
        {"path": "model.ckpt", "hash": "md5", "md5": "bb", "size": 7},
    ]
    lock = {"schema": "2.0", "stages": {"prepare": {"outs": outputs[:1]}, "train": {"cmd": "x", "outs": outputs[1:]}}}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    return tmp_path


def test_dvc_names_files_and_folders(locked):
    assert dvc_hash(locked / "prepared" / "digits") == "aa.dir"
    assert dvc_hash(locked / "model.ckpt") == "bb"
    assert dvc_hash(locked / "prepared") is None


def test_what_was_written_since_has_no_hash(locked):
    (locked / "model.ckpt").write_bytes(b"other weights")
    (locked / "prepared" / "digits" / "b.npy").write_bytes(b"5")
    assert dvc_hash(locked / "model.ckpt") is None
    assert dvc_hash(locked / "prepared" / "digits") is None


@pytest.mark.parametrize("content", ["", "stages: 3", "stages: {a: {outs: [{}]}}", "{", "stages: {a: 1}"])
def test_a_lock_that_is_none_is_no_fault(locked, content):
    (locked / "dvc.lock").write_text(content)
    assert dvc_hash(locked / "model.ckpt") is None


def test_an_artifact_says_all_that_is_known(locked):
    artifact = Artifact("lenet5_digits", "model", "ff", locked / "model.ckpt", {"code": "abc"})
    expected = {"sha256": "ff", "code": "abc", "path": str(locked / "model.ckpt"), "dvc_md5": "bb"}
    assert artifact.description() == expected


@pytest.mark.parametrize(
    ("name", "plain"),
    [("ants & bees/1", "ants-bees-1"), ("données", "donn-es"), ("…", "dataset"), ("a" * 300, "a" * 120)],
)
def test_names_have_the_letters_that_dashboards_take(name, plain):
    assert Artifact(name, "dataset", "0").plain_name == plain
