"""Folds of prepared sets: what the data module makes of `data.folds` and `data.fold`."""

import json
import pickle

import numpy as np
import pytest

from striate.configuration import compose
from striate.data.folding import JoinedPack, pool_of
from striate.data.pack import open_pack
from striate.errors import ConfigurationError, DataError
from striate.pipelines.train import build_datamodule


def opened(places, *words):
    datamodule = build_datamodule(compose("train", [*places, *words]))
    datamodule.prepare_data()
    return datamodule


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, class_files, written):
    """Words for an encoded set of 2 × 12 pictures, of which one cat comes three times, and a test split."""
    root = tmp_path_factory.mktemp("folds")
    files = class_files(count=12, prefix="train/", seed=5)
    files |= {f"train/cat/{name}.png": files["train/cat/003.png"] for name in ("again", "once_more")}
    written(root / "raw", files | class_files(count=2, prefix="test/", seed=6))
    return [
        *("data=folder", f"data.root={root / 'raw'}", f"paths.prepared_dir={root / 'prepared'}", "data.batch_size=4"),
        *("data.input_size=24", "data.prepare.pack=encoded", "data.prepare.workers=1", "data.num_workers=0"),
    ]


def test_every_picture_is_in_exactly_one_fold(places, digits):
    pool = [name for split in ("train", "val") for name in digits.dataset(split).names]
    modules = [opened(places, "data.folds=5", f"data.fold={fold}") for fold in range(5)]
    folds = [module.dataset("val").names for module in modules]
    assert sorted(name for names in folds for name in names) == sorted(pool)
    for module, names in zip(modules, folds, strict=True):
        assert sorted([*names, *module.dataset("train").names]) == sorted(pool)
        assert module.dataset("test").names == digits.dataset("test").names
        for split in ("train", "val"):
            counted = np.bincount(module.dataset(split).targets, minlength=10).tolist()
            assert counted == list(module.meta.counts[split])
        shares = np.array(module.meta.counts["val"]) / np.bincount(
            np.concatenate([digits.dataset(split).targets for split in ("train", "val")])
        )
        assert np.abs(shares - 0.2).max() < 0.01
    hashes = {module.meta.hash for module in modules}
    assert len(hashes - {digits.meta.hash}) > 1  # what is trained on is another set than without folds


def test_pictures_and_labels_stay_together(places, digits):
    """Whatever pack a picture comes from, its pixels, its label and its name are its own."""
    module = opened(places, "data.folds=3", "data.fold=1", "augmentation=none")
    known = {}
    for split in ("train", "val"):
        pack = open_pack(digits.folder, split)
        for name, pixels, label in zip(pack.names, pack.read(np.arange(len(pack))), pack.labels, strict=True):
            known[name] = (pixels, label)
    for split in ("train", "val"):
        dataset = module.dataset(split)
        order = np.random.default_rng(0).permutation(len(dataset))[:200]
        batch = dataset[0, order]
        for place, image, target in zip(order, batch.images.numpy(), batch.targets.tolist(), strict=True):
            pixels, label = known[dataset.names[place]]
            assert (pixels == image).all()
            assert label == target


def test_equal_pictures_of_an_encoded_set_are_in_one_fold(places, pictures):
    equal = {"train/cat/003.png", "train/cat/again.png", "train/cat/once_more.png"}
    found = []
    for fold in range(3):
        module = opened(places, *pictures, "data.folds=3", f"data.fold={fold}")
        assert module.whole.pack == "encoded"
        names = set(module.dataset("val").names)
        assert not names & set(module.dataset("train").names)
        assert not names & equal or equal <= names
        found.append(names)
        batch = next(iter(module.train_dataloader()))
        assert batch.images.shape == (4, 24, 24, 3)
    assert sum(equal <= names for names in found) == 1
    kept = json.loads(module.folder.with_name(f".{module.folder.name}.equal.json").read_text())
    assert [len(group) for group in kept["equal"]] == [3]


def test_what_is_kept_of_equal_pictures_is_not_taken_for_another_set(places, pictures):
    module = opened(places, *pictures, "data.folds=3", "data.fold=0")
    before = module.dataset("val").names
    path = module.folder.with_name(f".{module.folder.name}.equal.json")
    for content in ("", "[]", json.dumps({"data": "other", "split": "train+val", "equal": [list(range(20))]})):
        path.write_text(content)
        assert opened(places, *pictures, "data.folds=3", "data.fold=0").dataset("val").names == before


def test_a_joined_pack_reads_as_its_parts_do_and_can_be_sent_to_a_worker(digits):
    joined = pickle.loads(pickle.dumps(pool_of(digits.folder, digits.whole)))
    parts = [open_pack(digits.folder, split) for split in ("train", "val")]
    assert isinstance(joined, JoinedPack)
    assert len(joined) == len(parts[0]) + len(parts[1])
    assert joined.read(np.array([], np.int64)).shape == (0, 32, 32, 1)
    whole = np.concatenate([part.read(np.arange(len(part))) for part in parts])
    places = np.array([len(parts[0]), 0, len(joined) - 1, len(parts[0]) - 1])
    assert np.array_equal(joined.read(places), whole[places])
    assert joined.labels.tolist() == [*parts[0].labels, *parts[1].labels]


def test_folds_go_with_a_choice_of_classes_and_of_samples(places):
    module = opened(
        places, "data.folds=4", "data.fold=3", "data.classes=[9,2]", "data.samples_per_class=5", "data.batch_size=8"
    )
    assert module.meta.classes == ("9", "2")
    assert module.class_counts() == [5, 5]
    assert set(module.dataset("val").targets.tolist()) == {0, 1}
    other = opened(places, "data.folds=4", "data.fold=3", "data.classes=[2,9]")
    assert other.dataset("val").names == module.dataset("val").names
    assert list(reversed(other.meta.counts["val"])) == list(module.meta.counts["val"])
    other.classes = ["9", "2"]  # as `evaluate` does where the checkpoint has them in another order
    assert other.meta.counts["val"] == module.meta.counts["val"]


@pytest.mark.parametrize(
    ("words", "message", "nearest"),
    [
        (["data.folds=5"], "does not say which fold", None),
        (["data.fold=1"], "not of how many", None),
        (["data.folds=5", "data.fold=5"], "of 5 folds the last is 4", "data.fold=4"),
        (["data.folds=1", "data.fold=0"], "folds", None),
        (["data.folds=5", "data.fold=-1"], "fold", None),
    ],
)
def test_half_a_statement_is_refused(places, words, message, nearest):
    with pytest.raises(ConfigurationError, match=message) as refusal:
        opened(places, *words)
    if nearest:
        assert refusal.value.nearest == nearest


def test_a_class_that_is_smaller_than_the_folds_is_named(places, pictures):
    with pytest.raises(DataError, match="'cat' has 12 different"):
        opened(places, *pictures, "data.folds=13", "data.fold=0").dataset("val")


def test_masks_have_no_folds_and_no_balance(places):
    module = opened(places, "data=segmentation_digits", "data.folds=3", "data.fold=0")
    with pytest.raises(ConfigurationError, match="not for pictures with masks"):
        module.dataset("val")
    module = opened(places, "data=segmentation_digits", "data.sampling=balanced")
    with pytest.raises(ConfigurationError, match="not for pictures with masks"):
        module.train_dataloader()


def test_balanced_sampling_draws_rare_pictures_again_and_augments_each_time_anew(places, digits):
    """On digits of which two classes keep three samples: labels fit pictures, repetitions look different."""
    words = ["data.sampling=balanced", "data.classes=[0,1]", "augmentation=digits", "data.batch_size=16"]
    module = opened(places, *words)
    dataset = module.dataset("train")
    rare = np.flatnonzero(dataset.targets == 1)[:3]
    keep = np.sort(np.concatenate([np.flatnonzero(dataset.targets == 0), rare]))
    dataset.rows, dataset.targets = dataset.rows[keep], dataset.targets[keep]
    seen = list(module.train_dataloader())
    indices, targets = (np.concatenate([getattr(batch, name) for batch in seen]) for name in ("indices", "targets"))
    assert (dataset.targets[indices] == targets).all()
    counts = np.bincount(targets)
    assert abs(counts[0] - counts[1]) <= len(keep) % 16 + 1
    assert module.drawn_counts(0, len(seen)) == counts.tolist()
    one = np.flatnonzero(dataset.targets == 1)[0]
    looks = [image.numpy().tobytes() for batch in seen for image, index in zip(batch.images, batch.indices, strict=True)
             if index == one]  # fmt: skip
    assert len(set(looks)) == len(looks) > 10
