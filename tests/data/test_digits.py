"""The embedded digits against the set that they come from."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from striate.data.digits import write_digits

RAW = Path(__file__).resolve().parents[2] / "data" / "digits"

datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")


def content_hash(folder):
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.png")):
        digest.update(f"{path.relative_to(folder)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


@pytest.mark.skipif(not RAW.is_dir(), reason="data/digits is not there: dvc pull data.dvc")
def test_the_pictures_are_scikit_learns():
    digits = datasets.load_digits()
    paths = sorted(RAW.rglob("*.png"), key=lambda path: path.name)
    assert [path.stem for path in paths] == [f"{place:04d}" for place in range(1797)]
    assert [int(path.parent.name) for path in paths] == digits.target.tolist()
    for path, values in zip(paths, digits.images, strict=True):
        with Image.open(path) as picture:
            assert picture.mode == "L"
            assert np.array_equal(np.rint(np.asarray(picture) * (16 / 255)), values)


def test_writing_is_deterministic(tmp_path):
    write_digits(tmp_path / "one")
    write_digits(tmp_path / "two")
    assert content_hash(tmp_path / "one") == content_hash(tmp_path / "two")
    assert len(list((tmp_path / "one").iterdir())) == 10


def test_the_prepared_set_has_the_data_hash_that_checkpoints_know(digits):
    # What is added to packs must leave those of classification as they were, to the byte.
    assert digits.meta.hash == "0c3ecd44ad7cd7ff12d0e57c8bad58c58cc71635e5171a32ff8367c1d6db2983"
    assert "labelling" not in digits.meta.to_dict()
