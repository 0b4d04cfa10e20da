"""Digits on canvases: what is labelled, that no digit serves two splits, that all follows from the seed."""

import numpy as np
import pytest

from striate.configuration import build, compose
from striate.data.meta import Meta
from striate.data.pack import open_pack
from striate.data.preparation import Preparation, prepare
from striate.data.sources.canvases import INK, DigitCanvases, _pools
from striate.errors import ConfigurationError, DataError


@pytest.fixture(scope="module")
def root(places):
    return next(place.split("=")[1] for place in places if place.startswith("paths.data_dir")) + "/digits"


def canvases(root, **options):
    source = DigitCanvases(root, **{"canvases": {"train": 40, "val": 10, "test": 10}, **options})
    inventory = source.scan()
    return inventory, list(source.read(inventory))


def test_each_inked_pixel_bears_the_digit_that_is_seen(root):
    inventory, pairs = canvases(root)
    assert inventory.classes == ("background", *"0123456789")
    assert [entry.split for entry in inventory.entries] == ["train"] * 40 + ["val"] * 10 + ["test"] * 10
    for pair in pairs:
        assert pair.picture.shape == pair.mask.shape == (64, 64)
        assert np.array_equal(pair.mask > 0, pair.picture >= INK)
        assert 1 <= len(np.unique(pair.mask)) - 1 <= 5
    assert len({pair.picture.tobytes() for pair in pairs}) == 60
    labels = np.stack([pair.mask for pair in pairs])
    assert set(np.unique(labels)) == set(range(11))


def test_a_lone_digit_is_that_of_the_set_enlarged(root):
    source = DigitCanvases(root, {"train": 30}, digits=(1, 1), scale=(1.0, 1.0), size=20)
    pictures, labels, _ = source._digits()
    known = {picture.tobytes(): label for picture, label in zip(pictures, labels, strict=True)}
    for pair in source.read(source.scan()):
        windows = np.lib.stride_tricks.sliding_window_view(pair.picture, (8, 8)).reshape(-1, 8, 8)
        found = {known[window.tobytes()] for window in windows if window.tobytes() in known}
        assert found == {int(pair.mask.max())}


def test_no_digit_serves_two_splits(root):
    names = DigitCanvases(root, {"train": 1})._digits()[2]
    pools = _pools(names, [2000, 300, 300], seed=0)
    assert sorted(np.concatenate(pools).tolist()) == list(range(1797))
    assert [len(pool) for pool in pools] == [1382, 208, 207]
    classes = np.array([name.split("/")[0] for name in names])
    for pool in pools:
        assert min(np.unique(classes[pool], return_counts=True)[1]) > 0.06 * len(pool)
    assert not np.array_equal(pools[0], _pools(names, [2000, 300, 300], seed=1)[0])


def test_a_canvas_follows_from_seed_split_and_number(root):
    _, one = canvases(root)
    _, more = canvases(root, canvases={"train": 80, "val": 20, "test": 20})
    _, other = canvases(root, seed=1)
    assert all(np.array_equal(a.picture, b.picture) and np.array_equal(a.mask, b.mask)
               for a, b in zip(one[:40], more[:40], strict=True))  # fmt: skip
    assert not any(np.array_equal(a.picture, b.picture) for a, b in zip(one, other, strict=True))


def test_the_data_set_of_this_name_is_prepared_like_any_other(places, tmp_path):
    module = build(compose("prepare", ["data=segmentation_digits", *places]).data)
    assert module.source.canvases == {"train": 2000, "val": 300, "test": 300}
    few = DigitCanvases(str(module.source.root), {"train": 60, "val": 10, "test": 10})
    meta = prepare("few", few, Preparation(channels=1, workers=1), tmp_path / "few", progress=False)
    assert meta == Meta.load(tmp_path / "few")
    assert (meta.kind, meta.pack, meta.image_size, meta.channels) == (
        "segmentation",
        "array",
        (64, 64),
        1,
    )
    assert meta.samples == {"train": 60, "val": 10, "test": 10}
    pack = open_pack(tmp_path / "few", "test")
    pairs = list(few.read(few.scan()))[70:]
    assert np.array_equal(pack.masks(np.arange(10)), np.stack([pair.mask for pair in pairs]))
    assert np.array_equal(pack.read(np.arange(10))[..., 0], np.stack([pair.picture for pair in pairs]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"canvases": {"val": 3}}, "it needs train"),
        ({"canvases": {"train": 3, "else": 3}}, "it needs train"),
        ({"digits": [0, 2]}, r"digits=\[0, 2\] is not valid"),
        ({"scale": [1, 9]}, "where a digit fills the canvas"),
    ],
)
def test_settings_out_of_range(options, message, root):
    with pytest.raises(ConfigurationError, match=message):
        DigitCanvases(root, **{"canvases": {"train": 3}, **options})


def test_other_pictures_are_no_digits(tmp_path, written, class_files):
    source = DigitCanvases(str(written(tmp_path, class_files("0 1", 2))), {"train": 3})
    with pytest.raises(DataError, match="pictures that are not 8 × 8"):
        list(source.read(source.scan()))
