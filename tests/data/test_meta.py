"""The passport: what it keeps, what it refuses."""

import json
from dataclasses import replace

import pytest

from striate.data.meta import Meta
from striate.errors import ConfigurationError, DataError, StorageError

FIELDS = {
    "name": "pets",
    "kind": "classification",
    "pack": "array",
    "classes": ("cat", "dog", "é \n,"),
    "channels": 3,
    "image_size": (8, 9),
    "mean": (0.1, 0.25, 1 / 3),
    "std": (0.5, 0.5, 0.125),
    "counts": {"train": (3, 2, 1), "test": (1, 0, 4)},
    "geometry": {"image_size": [8, 9], "fit": "crop"},
    "files": {"train.images.npy": {"bytes": 10, "sha256": "00"}},
}


@pytest.fixture
def meta():
    return Meta.create(**FIELDS)


def test_round_trip(meta, tmp_path):
    meta.save(tmp_path)
    assert Meta.load(tmp_path) == meta
    assert Meta.from_dict(json.loads(json.dumps(meta.to_dict()))) == meta
    assert meta.num_classes == 3
    assert meta.splits == ("train", "test")
    first = (tmp_path / "meta.json").read_bytes()
    Meta.load(tmp_path).save(tmp_path)
    assert (tmp_path / "meta.json").read_bytes() == first


OTHER = {
    "name": "x", "kind": "x", "pack": "encoded", "classes": ("cat", "dog", "e"), "channels": 1, "image_size": (9, 8),
    "mean": (0.2, 0.25, 0.3), "std": (0.5, 0.5, 0.5), "counts": {"train": (3, 2, 1)}, "geometry": {},
    "files": {"train.images.npy": {"bytes": 10, "sha256": "01"}},
}  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_moves_the_hash(field, meta):
    assert Meta.create(**{**FIELDS, field: OTHER[field]}).hash != meta.hash
    with pytest.raises(DataError):
        Meta.from_dict({**meta.to_dict(), field: replace(meta, **{field: OTHER[field]}).to_dict()[field]})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("classes", ("cat", "cat", "dog")),
        ("classes", ("cat",)),
        ("counts", {"test": (1, 2, 3)}),
        ("counts", {"train": (1, 2)}),
        ("counts", {"train": (1, 2, -3)}),
        ("channels", 2),
        ("mean", (0.5,)),
        ("std", (0.5, float("nan"), 0.5)),
        ("image_size", None),
        ("pack", "encoded"),
        ("kind", "poetry"),
    ],
)
def test_impossible_passports_are_refused(field, value):
    forged = Meta.create(**{**FIELDS, field: value})
    with pytest.raises(DataError, match=field if field != "pack" else "image_size"):
        Meta.from_dict(forged.to_dict())


@pytest.mark.parametrize("record", [{}, {"name": "x"}, [], None, {**FIELDS, "hash": "x", "more": 1}])
def test_what_is_no_passport_is_refused(record):
    with pytest.raises(DataError):
        Meta.from_dict(record)


def test_a_missing_set_says_how_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"prepare\.py data=digits"):
        Meta.load(tmp_path / "digits")


@pytest.mark.parametrize(
    "damage", [lambda text: text.replace("pets", "pests"), lambda text: text[:100], lambda text: ""]
)
def test_a_damaged_file_is_named(damage, meta, tmp_path):
    meta.save(tmp_path)
    path = tmp_path / "meta.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(StorageError, match=r"meta\.json is damaged"):
        Meta.load(tmp_path)


def test_subset_renumbers(meta):
    part = meta.subset(["é \n,", "cat"])
    assert part.classes == ("é \n,", "cat")
    assert part.counts == {"train": (1, 3), "test": (4, 1)}
    assert part.hash != meta.hash
    assert part.mean == meta.mean
    assert Meta.from_dict(part.to_dict()) == part
    assert meta.subset(meta.classes) == meta


@pytest.mark.parametrize("classes", [["cat"], ["cat", "cat"], [], ["cat", "dgo"]])
def test_impossible_subsets_are_refused(classes, meta):
    with pytest.raises(ConfigurationError) as caught:
        meta.subset(classes)
    assert caught.value.nearest == ("dog" if "dgo" in classes else None)
