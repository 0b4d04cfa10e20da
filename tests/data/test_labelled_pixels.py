"""Pictures with masks from raw pairs to batches: packs, passport, reports, splits, native sizes, resumption."""

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from striate.data.augmentation import HorizontalFlip, Pipeline, ScaleAndCrop
from striate.data.masks import IGNORE, shape_mask
from striate.data.meta import Meta
from striate.data.module import ImageDataModule
from striate.data.pack import open_pack, verify_pack
from striate.data.pictures import apply_geometry
from striate.data.preparation import Preparation, prepare
from striate.data.sources.pairs import PairSource
from striate.errors import ConfigurationError, DataError, StorageError

# Real sets that are tested on where they are there: beside the repository, or where STRIATE_TEST_DATA says.
SHARED = Path(os.environ.get("STRIATE_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
CLASSES = ("sky", "road", "car", "never")


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def pair(seed, height=20, width=28):
    """A picture and a mask of three of the four classes, with some pixels that do not count."""
    chance = np.random.default_rng(seed)
    mask = np.repeat(np.repeat(chance.choice([0, 0, 0, 1, 2, IGNORE], (height // 4, width // 4)), 4, 0), 4, 1)
    return chance.integers(0, 256, (height, width, 3), dtype=np.uint8), mask.astype(np.uint8)


@pytest.fixture(scope="module")
def pairs():
    """Name → picture and mask, 24 of one size."""
    return {f"{number:02d}": pair(number) for number in range(24)}


@pytest.fixture(scope="module")
def mixed():
    """30 of three sizes."""
    return {f"{number:02d}": pair(number, *[(20, 28), (28, 20), (40, 32)][number % 3]) for number in range(30)}


def raw(root, pairs, splits=()):
    """Writes pairs as PNGs; the first of `splits` gets half of them, the others the rest in equal parts."""
    root.mkdir(exist_ok=True)
    for place, (name, (picture, mask)) in enumerate(pairs.items()):
        within = ""
        if splits:
            split = splits[0] if place % 2 == 0 else splits[1 + place // 2 % (len(splits) - 1)]
            within = f"{split}/"
        for kind, pixels in (("images", picture), ("masks", mask)):
            path = root / kind / within / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(pixels))
    return root


def make(root, destination, *, source=None, **options):
    source = source or PairSource(str(root), CLASSES)
    return prepare("set", source, Preparation(**{"workers": 1, **options}), destination, progress=False)


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def all_of(folder):
    """Name → (picture, mask) over all splits."""
    found = {}
    for split in Meta.load(folder).splits:
        pack = open_pack(folder, split)
        places = np.arange(len(pack))
        found |= {
            Path(name).stem: both
            for name, both in zip(pack.names, zip(pack.read(places), pack.masks(places), strict=True), strict=True)
        }
    return found


@pytest.mark.parametrize("kind", ["array", "encoded"])
def test_packs_hold_pictures_and_masks_and_the_passport_counts_them(kind, pairs, tmp_path):
    meta = make(raw(tmp_path / "raw", pairs), tmp_path / "set", pack=kind, val_fraction=0.25, test_fraction=0.25)
    assert meta == Meta.load(tmp_path / "set") == verify_pack(tmp_path / "set")
    assert (meta.kind, meta.pack, meta.classes, meta.num_classes) == ("segmentation", kind, CLASSES, 4)
    assert meta.samples == {"train": 12, "val": 6, "test": 6}
    found = all_of(tmp_path / "set")
    assert found.keys() == pairs.keys()
    for name, (picture, mask) in pairs.items():
        assert np.array_equal(found[name][0], picture)
        assert np.array_equal(found[name][1], mask)
    labelling = meta.labelling
    assert labelling["ignore_index"] == IGNORE
    assert labelling["colours"] == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    for split in meta.splits:
        masks = np.stack([pairs[Path(name).stem][1] for name in open_pack(tmp_path / "set", split).names])
        pixels = [int((masks == label).sum()) for label in range(4)]
        having = [(masks == label).any((1, 2)) for label in range(4)]
        assert labelling["pixels"][split] == pixels
        assert meta.counts[split] == tuple(int(with_it.sum()) for with_it in having)
        assert labelling["pixels_of_pictures_with"][split] == [int(with_it.sum()) * 20 * 28 for with_it in having]
        assert open_pack(tmp_path / "set", split).labels.tolist() == [
            int(np.bincount(mask[mask != IGNORE]).argmax()) for mask in masks
        ]
    assert len(json.loads((tmp_path / "set" / "meta.json").read_text())["labelling"]) == 5
    with open(tmp_path / "set" / "report.csv", newline="") as stream:
        assert [(row["name"], row["reason"]) for row in csv.DictReader(stream)] == [
            ("never", "no training pixel has this class")
        ]
    with Image.open(tmp_path / "set" / "contact_sheet.png") as sheet:
        shown = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
    assert {tuple(colour) for colour in labelling["colours"]} <= {
        tuple(colour) for colour in np.unique(shown, axis=0).tolist()
    }


@pytest.mark.parametrize("kind", ["array", "encoded"])
def test_the_same_bytes_for_any_number_of_processes(kind, pairs, tmp_path):
    root = raw(tmp_path / "raw", pairs)
    make(root, tmp_path / "one", pack=kind)
    make(root, tmp_path / "three", pack=kind, workers=3)
    assert content(tmp_path / "one") == content(tmp_path / "three")


def test_geometry_moves_both_and_the_mask_is_never_mixed(mixed, tmp_path):
    root = raw(tmp_path / "raw", mixed)
    for number, options in enumerate(
        [
            {"image_size": [16, 24]},
            {"image_size": 16, "fit": "pad"},
            {"max_short_side": 12},
            {"image_size": [16, 24], "fit": "stretch"},
        ]
    ):
        meta = make(root, tmp_path / f"{number}", **options)
        assert meta.image_size == ((16, 24) if number in (0, 3) else (16, 16) if number == 1 else None)
        for name, (picture, mask) in all_of(tmp_path / f"{number}").items():
            assert np.array_equal(picture, apply_geometry(mixed[name][0], meta.geometry))
            assert np.array_equal(mask, shape_mask(mixed[name][1], meta.geometry))
            assert picture.shape[:2] == mask.shape
            assert set(np.unique(mask)) <= set(np.unique(mixed[name][1])) | {IGNORE}


def test_median_frequency_weights_follow_from_the_passport(tmp_path):
    # Two pictures of 8 pixels: freq of a class is its pixels over all pixels of the pictures that have it.
    first, second = np.zeros((2, 4), np.uint8), np.array([[0, 1, 1, 2], [0, 1, 2, IGNORE]], np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (3, 2, 4, 3), dtype=np.uint8)
    both = {str(number): (noise[number], mask) for number, mask in enumerate((first, second))}
    meta = make(raw(tmp_path / "raw", both), tmp_path / "set", val_fraction=0, test_fraction=0,
                source=PairSource(str(tmp_path / "raw"), CLASSES[:3]))  # fmt: skip
    pixels, areas = (np.array(meta.labelling[key]["train"]) for key in ("pixels", "pixels_of_pictures_with"))
    assert (pixels / areas).tolist() == [10 / 16, 3 / 8, 2 / 8]
    assert (np.median(pixels / areas) / (pixels / areas)).tolist() == [0.375 / 0.625, 1.0, 1.5]


def test_camvid_has_the_published_figures(tmp_path):
    tar = SHARED / "camvid" / "camvid.tar"
    if not tar.is_file():
        pytest.skip(f"{tar} is not there")
    from striate.configuration import build, compose

    config = compose("prepare", ["data=camvid", f"data.root={tar}", f"paths.prepared_dir={tmp_path}",
                                 "data.prepare.pack=encoded", "data.prepare.workers=2"])  # fmt: skip
    module = build(config.data)
    meta = prepare("camvid", module.source, module.preparation, tmp_path / "camvid", progress=False)
    assert meta.samples == {"train": 367, "val": 101, "test": 233}
    pixels, areas = (np.array(meta.labelling[key]["train"]) for key in ("pixels", "pixels_of_pictures_with"))
    shares = [0.1685, 0.2326, 0.0098, 0.3166, 0.0449, 0.0972, 0.0117, 0.0113, 0.0587, 0.0064, 0.0029]
    assert (pixels / (367 * 360 * 480)).round(4).tolist() == shares
    weights = [0.2793, 0.2017, 4.7865, 0.1490, 1.0, 0.4217, 3.8467, 1.9736, 0.7889, 6.3747, 8.8587]
    assert (np.median(pixels / areas) / (pixels / areas)).round(4).tolist() == weights
    assert [round(value, 4) for value in (*meta.mean, *meta.std)] == [0.4116, 0.4249, 0.4322, 0.3068, 0.3114, 0.3069]


# what is refused


def damaged(pairs, root):
    """Four of the pairs do not fit: a mask of another size, of an unknown value, missing, and one without a picture."""
    raw(root, pairs)
    names = sorted(pairs)
    (root / "masks" / f"{names[1]}.png").write_bytes(png(np.zeros((20, 20), np.uint8)))
    (root / "masks" / f"{names[2]}.png").write_bytes(png(np.full((20, 28), 9, np.uint8)))
    (root / "masks" / f"{names[3]}.png").unlink()
    (root / "masks" / "alone.png").write_bytes(png(np.zeros((20, 28), np.uint8)))
    return root


def test_pairs_that_do_not_fit_are_told_by_file_or_dropped(pairs, tmp_path):
    root = damaged(pairs, tmp_path / "raw")
    with pytest.raises(DataError, match="4 of 25 pictures cannot be read, or not with their masks") as refusal:
        make(root, tmp_path / "set")
    assert "bad=drop" in refusal.value.do
    with open(tmp_path / "set.report.csv", newline="") as stream:
        reasons = {row["name"]: row["reason"] for row in csv.DictReader(stream)}
    assert reasons == {
        "images/01.png": "sizes differ: the picture is 28 × 20, its mask 20 × 20",
        "images/02.png": "its mask masks/02.png: the value 9 (first at row 0, column 0; 560 pixels have one) "
        "belongs to no class",
        "images/03.png": "it has no mask",
        "masks/alone.png": "a mask without a picture",
    }
    meta = make(root, tmp_path / "set", bad="drop")
    assert sum(meta.samples.values()) == 21
    assert all_of(tmp_path / "set").keys() == pairs.keys() - {"01", "02", "03"}
    assert (
        make(root, tmp_path / "other", bad="drop", source=PairSource(str(root), CLASSES, unknown="ignore")).samples[
            "train"
        ]
        > 10
    )


def test_given_splits_stay_and_leaks_are_found(pairs, tmp_path):
    root = raw(tmp_path / "raw", pairs, ("train", "val", "test"))
    meta = make(root, tmp_path / "set")
    assert meta.samples == {"train": 12, "val": 6, "test": 6}
    for split in meta.splits:
        assert all(f"/{split}/" in name for name in open_pack(tmp_path / "set", split).names)
    for kind in ("images", "masks"):
        other = next((root / kind / "test").iterdir())
        (root / kind / "train" / "twin.png").write_bytes(other.read_bytes())
    with pytest.raises(DataError, match=r"1 picture\(s\) are in two splits at once"):
        make(root, tmp_path / "set2")
    assert make(root, tmp_path / "set2", leaks="drop").samples == {"train": 12, "val": 6, "test": 6}
    assert make(root, tmp_path / "set3", leaks="keep").samples == {"train": 13, "val": 6, "test": 6}


def test_equal_pictures_are_cut_into_one_split(pairs, tmp_path):
    root = raw(tmp_path / "raw", pairs)
    for number in range(6):
        for kind in ("images", "masks"):
            (root / kind / f"copy{number}.png").write_bytes((root / kind / "05.png").read_bytes())
    meta = make(root, tmp_path / "set", val_fraction=0.3, test_fraction=0.3)
    splits = {Path(name).stem: split for split in meta.splits for name in open_pack(tmp_path / "set", split).names}
    assert len({splits[name] for name in ("05", *(f"copy{number}" for number in range(6)))}) == 1


def test_a_second_preparation_has_nothing_to_do_until_a_mask_changes(pairs, tmp_path, capsys):
    root = raw(tmp_path / "raw", pairs)
    first = make(root, tmp_path / "set")
    assert make(root, tmp_path / "set") == first
    assert "is up to date" in capsys.readouterr().out
    (root / "masks" / "00.png").write_bytes(png(1 - np.minimum(pairs["00"][1], 1)))
    assert make(root, tmp_path / "set").hash != first.hash
    assert make(root, tmp_path / "set", source=PairSource(str(root), CLASSES[:3])).classes == CLASSES[:3]


def test_a_damaged_mask_in_a_pack_is_told(mixed, tmp_path):
    make(raw(tmp_path / "raw", mixed), tmp_path / "set", pack="encoded", val_fraction=0, test_fraction=0)
    shard = tmp_path / "set" / "train-00000.arrow"
    data = bytearray(shard.read_bytes())
    place = data.rindex(b"IDAT") - 40
    assert data[place : place + 60].count(b"PNG") == 1
    start = data.index(b"\x89PNG", place)
    data[start : start + 8] = bytes(8)
    shard.write_bytes(data)
    pack = open_pack(tmp_path / "set", "train")
    with pytest.raises(StorageError, match=r"the mask of picture 29 of train .* is damaged"):
        pack.masks(np.arange(len(pack)))


# batches


def module(folder, **options):
    return ImageDataModule("set", str(folder), batch_size=options.pop("batch_size", 4), **options)


@pytest.fixture(scope="module")
def of_one_size(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    make(raw(folder / "raw", pairs), folder / "set", val_fraction=0.25, test_fraction=0.25)
    return folder


@pytest.fixture(scope="module")
def of_many_sizes(mixed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    make(raw(folder / "raw", mixed), folder / "set", val_fraction=0.3, test_fraction=0.3)
    return folder


def test_batches_of_an_array_pack_are_whole_pictures(of_one_size, pairs):
    data = module(of_one_size)
    for loader, count in ((data.train_dataloader(), 12), (data.val_dataloader(), 6)):
        seen = []
        for batch in loader:
            assert batch.images.shape == (len(batch.indices), 20, 28, 3)
            assert (batch.targets.dtype, batch.targets.shape) == (torch.uint8, batch.images.shape[:3])
            names = [loader.dataset.names[index] for index in batch.indices]
            for name, image, target in zip(names, batch.images, batch.targets, strict=True):
                assert np.array_equal(image, pairs[Path(name).stem][0])
                assert np.array_equal(target, pairs[Path(name).stem][1])
            seen += batch.indices.tolist()
        assert sorted(seen) == list(range(count))
    assert data.input_shape == (3, 20, 28)
    assert data.labels_pixels


def test_evaluation_sees_pictures_at_their_own_size_in_batches_of_one_size(of_many_sizes, mixed):
    data = module(of_many_sizes, input_size=16, augmentation=Pipeline([ScaleAndCrop(16), HorizontalFlip()]))
    loader = data.val_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader)
    assert sorted(index for batch in batches for index in batch.indices.tolist()) == list(range(9))
    assert len({tuple(batch.images.shape[1:3]) for batch in batches}) > 1
    assert max(len(batch.indices) for batch in batches) > 1
    for batch in batches:
        for index, image, target in zip(batch.indices, batch.images, batch.targets, strict=True):
            picture, mask = mixed[Path(loader.dataset.names[index]).stem]
            assert np.array_equal(image, picture)
            assert np.array_equal(target, mask)
    again = [batch.indices.tolist() for batch in data.val_dataloader()]
    assert again == [batch.indices.tolist() for batch in batches]
    train = next(iter(data.train_dataloader()))
    assert (train.images.shape, train.targets.shape) == ((4, 16, 16, 3), (4, 16, 16))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_that_goes_on_in_its_middle_is_the_same_to_the_bit(workers, of_many_sizes):
    def loader(start, count):
        data = module(of_many_sizes, input_size=16, num_workers=count, seed=7, batch_size=2,
                      augmentation=Pipeline([ScaleAndCrop(16), HorizontalFlip()]))  # fmt: skip
        made = data.train_dataloader()
        made.sampler.set_epoch(3)
        made.load_state_dict({"batches": start})
        return list(made)

    whole, rest = loader(0, 0), loader(2, workers)
    assert len(whole) == 6
    assert len(rest) == 4
    for one, other in zip(whole[2:], rest, strict=True):
        assert all(torch.equal(first, second) for first, second in zip(one, other, strict=True))


def test_processes_of_an_evaluation_share_its_batches(of_many_sizes):
    from striate.data.sampling import BatchSampler

    kinds = [3, 1, 1, 3, 1, 2, 1, 1]
    whole = [batch.tolist() for _, batch in BatchSampler(8, 3, kinds=kinds)]
    assert whole == [[1, 2, 4], [6, 7], [5], [0, 3]]
    parts = [
        [batch.tolist() for _, batch in BatchSampler(8, 3, kinds=kinds, rank=rank, world_size=2)] for rank in (0, 1)
    ]
    assert parts == [[[1, 4], [6], [5], [0]], [[2], [7], [], [3]]]
    assert len(BatchSampler(8, 3, kinds=kinds)) == 4
    with pytest.raises(ValueError, match="kinds need samples in order"):
        BatchSampler(8, 3, kinds=kinds, shuffle=True)
    dataset = module(of_many_sizes, input_size=16).dataset("val")
    empty = dataset[0, np.array([], np.int64)]
    assert [len(part) for part in empty] == [0, 0, 0]


def test_some_classes_only_leave_the_others_out_of_account(of_one_size, pairs):
    data = module(of_one_size, classes=["car", "sky"])
    meta, whole = data.meta, data.whole
    assert (meta.classes, meta.kind) == (("car", "sky"), "segmentation")
    assert meta.labelling["pixels"]["train"] == [whole.labelling["pixels"]["train"][place] for place in (2, 0)]
    assert meta.labelling["colours"] == [whole.labelling["colours"][place] for place in (2, 0)]
    assert data.class_counts() == [whole.counts["train"][place] for place in (2, 0)]
    loader = data.val_dataloader()
    table = np.full(256, IGNORE, np.uint8)
    table[[2, 0]] = [0, 1]
    for batch in loader:
        for index, target in zip(batch.indices, batch.targets, strict=True):
            assert np.array_equal(target, table[pairs[Path(loader.dataset.names[index]).stem][1]])


def test_one_batch_and_what_does_not_suit_pixels(of_one_size):
    data = module(of_one_size, one_batch=True)
    assert len(data.dataset("train")) == 4
    assert len(list(data.train_dataloader())) == 1
    with pytest.raises(ConfigurationError, match="samples_per_class=5 is not for pictures with masks"):
        module(of_one_size, samples_per_class=5).dataset("train")
    with pytest.raises(ConfigurationError, match="has no class 'cars'") as refusal:
        _ = module(of_one_size, classes=["cars", "sky"]).meta
    assert refusal.value.nearest == "car"
