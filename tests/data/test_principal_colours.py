"""AlexNet's shift of colours: the components of a set, how they reach the augmentation, and what it adds."""

import json

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from striate.data.augmentation import HorizontalFlip, Pipeline, PrincipalColourShift
from striate.data.meta import Meta
from striate.data.module import ImageDataModule
from striate.data.preparation import Preparation, prepare
from striate.data.principal_colours import components, principal_colours
from striate.data.sampling import keys
from striate.data.sources.folder import FolderSource

IMAGENET = {
    "values": [0.2175, 0.0188, 0.0045],
    "vectors": [[-0.5675, -0.5808, -0.5836], [0.7192, -0.0045, -0.6948], [0.4009, -0.8140, 0.4203]],
}


@pytest.fixture(scope="module", params=["array", "encoded"])
def pictures(request, tmp_path_factory, class_files, written):
    """The folder of a small colour set, and whether it is an array pack."""
    root = tmp_path_factory.mktemp("colours")
    written(root / "raw", class_files(count=20))
    options = {"image_size": 16} if request.param == "array" else {"pack": "encoded"}
    prepare("set", FolderSource(root / "raw"), Preparation(**options, workers=1), root / "set", progress=False)
    return root / "set"


def pixels_of(folder) -> np.ndarray:
    """(N, 3) of all training pixels, 0 to 1."""
    module = ImageDataModule("set", str(folder.parent), input_size=8)
    pack = module.dataset("train").pack
    return np.concatenate([picture.reshape(-1, 3) for picture in pack.read(np.arange(len(pack)))]) / 255


# Measuring


def test_they_are_those_of_the_covariance_of_all_training_pixels(pictures):
    found = principal_colours(pictures, Meta.load(pictures))
    covariance = np.cov(pixels_of(pictures).T, bias=True)
    assert found.values == pytest.approx(np.linalg.eigvalsh(covariance)[::-1], abs=1e-11)
    for value, vector in zip(found.values, np.array(found.vectors), strict=True):
        assert covariance @ vector == pytest.approx(value * vector, abs=1e-9)
        assert vector[np.abs(vector).argmax()] > 0, "a vector's sign is not left to the library"
    assert sum(found.values) == pytest.approx(np.square(Meta.load(pictures).std).sum())


def test_they_are_kept_beside_the_pack_and_found_again(pictures, monkeypatch):
    meta, path = Meta.load(pictures), pictures.with_name(".set.colours.json")
    content = {file.name: file.read_bytes() for file in pictures.iterdir()}
    measured = principal_colours(pictures, meta)
    assert not path.exists(), "only who is asked to keeps them"
    assert principal_colours(pictures, meta, keep=True) == measured
    assert json.loads(path.read_text())["data"] == meta.hash
    with monkeypatch.context() as patch:
        patch.setattr("striate.data.principal_colours.open_pack", lambda *_: pytest.fail("measured again"))
        assert principal_colours(pictures, meta) == measured
    assert {file.name: file.read_bytes() for file in pictures.iterdir()} == content
    for damage in ("", "[]", json.dumps({"data": meta.hash, "values": [1]}), path.read_text().replace("a", "b")):
        path.write_text(damage)
        assert principal_colours(pictures, meta) == measured
    path.unlink()


@pytest.mark.parametrize("pictures", ["encoded"], indirect=True)
def test_of_many_pictures_an_even_sample_is_decoded(pictures, monkeypatch):
    read: list[int] = []
    monkeypatch.setattr("striate.data.principal_colours.SAMPLE", 5)
    own = ImageDataModule("set", str(pictures.parent), input_size=8).dataset("train").pack
    monkeypatch.setattr(type(own), "_decode", lambda self, index: read.append(index) or np.ones((4, 4, 3), np.uint8))
    principal_colours(pictures, Meta.load(pictures))
    assert read == np.linspace(0, len(own) - 1, 5).round().astype(int).tolist()


def test_grey_pictures_have_one_component(digits):
    found = principal_colours(digits.folder, digits.meta)
    assert found.vectors == ((1.0,),)
    assert found.values[0] == pytest.approx(digits.meta.std[0] ** 2)


def test_pictures_of_one_colour_have_no_variance_and_still_components():
    found = components(10, np.array([10, 20, 30]), np.outer([1, 2, 3], [1, 2, 3]) * 10)
    assert found.values == (0.0, 0.0, 0.0)
    assert np.array(found.vectors) @ np.array(found.vectors).T == pytest.approx(np.eye(3))


# Shifting


def test_the_shift_is_the_sum_over_the_components_with_the_stated_deviation():
    shift = PrincipalColourShift(std=0.1, **IMAGENET)
    shifts = shift.shifts(keys(0, 0, np.arange(20_000)))
    amounts = shifts / 255 @ np.linalg.inv(np.array(IMAGENET["vectors"])) / IMAGENET["values"]
    assert amounts.mean(0) == pytest.approx(np.zeros(3), abs=4 * 0.1 / np.sqrt(20_000))
    assert np.cov(amounts.T) == pytest.approx(0.01 * np.eye(3), abs=4 * 0.01 * np.sqrt(2 / 20_000))
    # Eigenvalues, not their roots: 255 · 0.1 · 0.2175 · 0.58 = 3.2 grey levels a channel along the first alone.
    assert shifts.std(0) == pytest.approx([3.17, 3.23, 3.26], rel=0.06)


def test_all_pixels_of_a_picture_move_alike_and_stay_in_range():
    images = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3), np.uint8)
    own = keys(0, 0, np.arange(50))
    shift = PrincipalColourShift(std=0.5, **IMAGENET)
    expected = np.clip(images + np.rint(shift.shifts(own))[:, None, None].astype(int), 0, 255)
    assert (shift(images, own) == expected).all()
    assert (expected != images).any()
    assert (PrincipalColourShift(std=0.0, **IMAGENET)(images, own) == images).all()


def test_each_use_of_each_picture_draws_anew_by_its_key_alone():
    shift = PrincipalColourShift(**IMAGENET)
    image = np.full((40, 2, 2, 3), 128, np.uint8)
    first, second = (shift(image, keys(0, epoch, np.arange(40))) for epoch in (0, 1))
    assert len({picture.tobytes() for picture in first}) > 30
    assert (first != second).any(axis=(1, 2, 3)).mean() > 0.8
    alone = np.concatenate([shift(image[:1], keys(0, 0, [number])) for number in range(40)])
    assert (alone == first).all()


@pytest.mark.parametrize(
    "options",
    [
        {"std": -1.0, **IMAGENET},
        {"values": [1.0, 1.0, 1.0]},
        {"vectors": IMAGENET["vectors"]},
        {"values": [1.0, 1.0], "vectors": [[1.0, 0.0], [0.0, 1.0]]},
        {"values": [-1.0], "vectors": [[1.0]]},
        {"values": [1.0, 1.0, 1.0], "vectors": [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]},
    ],
)
def test_what_are_no_components_is_refused(options):
    with pytest.raises(ValueError, match="expected "):
        PrincipalColourShift(**options)


def test_a_shift_without_components_or_for_other_channels_is_refused():
    grey = np.zeros((1, 4, 4, 1), np.uint8)
    with pytest.raises(ValueError, match="expected values and vectors"):
        PrincipalColourShift()(grey, keys(0, 0, [0]))
    with pytest.raises(ValueError, match="expected pictures of 3 channels"):
        PrincipalColourShift(**IMAGENET)(grey, keys(0, 0, [0]))


# On the way from the pack to the batches


def test_the_components_reach_the_shift_wherever_it_stands(pictures):
    inner = PrincipalColourShift()
    module = ImageDataModule("set", str(pictures.parent), augmentation=Pipeline([HorizontalFlip(), Pipeline([inner])]))
    found = module.dataset("train").augmentation.transforms[1].transforms[0]
    assert found.colours == principal_colours(pictures, module.meta)
    assert inner.colours is None, "what the configuration built stays as it was"


def test_who_asks_for_no_colours_measures_none(pictures, monkeypatch):
    monkeypatch.setattr("striate.data.module.principal_colours", lambda *_, **__: pytest.fail("measured"))
    given = PrincipalColourShift(**IMAGENET)
    module = ImageDataModule("set", str(pictures.parent), augmentation=Pipeline([HorizontalFlip(), given]))
    module.prepare_data()
    assert module.dataset("train").augmentation.transforms[1] is given


def test_preparing_keeps_them_and_workers_see_the_same(pictures):
    module = ImageDataModule("set", str(pictures.parent), augmentation=PrincipalColourShift(), batch_size=8)
    module.prepare_data()
    path = pictures.with_name(".set.colours.json")
    assert path.is_file()
    dataset = module.dataset("train")
    expected = dataset[(3, np.arange(8))].images
    loader = DataLoader(dataset, batch_size=None, sampler=[(3, np.arange(8))], num_workers=1)
    (found,) = (batch.images for batch in loader)
    assert torch.equal(found, expected)
    path.unlink()


def test_a_training_is_the_same_whether_they_were_kept_or_not_and_with_workers(train, digits):
    words = ["model=lenet5_modern", "augmentation=alexnet", "data.samples_per_class=10", "trainer.max_epochs=1"]
    path = digits.folder.with_name(f".{digits.folder.name}.colours.json")
    path.unlink(missing_ok=True)
    first = train(*words, "resume=never", "test=false")
    assert path.is_file()
    assert train(*words, "resume=never", "test=false", "data.num_workers=1") == first
    path.unlink()
