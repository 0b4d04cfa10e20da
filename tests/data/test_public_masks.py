"""The public sets with masks, as conf/data has them, on small trees of the same layout."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from striate.configuration import FOLDER, build, compose
from striate.data.masks import IGNORE
from striate.data.preparation import prepare
from striate.errors import DataError

CHANCE = np.random.default_rng(0)
SETS = ["ade20k", "camvid", "cityscapes", "pets_trimaps", "voc2012", "voc2012_sbd"]


def encoded(pixels, format="PNG"):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format)
    return stream.getvalue()


def photograph():
    return encoded(CHANCE.integers(0, 256, (24, 32, 3), dtype=np.uint8), "JPEG")


def mask(*values):
    """A mask with blocks of all these values."""
    return np.resize(np.repeat(np.array(values, np.uint8), 7), (24, 32))


def with_palette(values):
    image = Image.fromarray(values, "P")
    image.putpalette(CHANCE.integers(0, 256, 768, dtype=np.uint8).tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def voc():
    top, stems = "VOCdevkit/VOC2012", [f"2007_{number:06d}" for number in range(12)]
    files = {f"{top}/JPEGImages/{stem}.jpg": photograph() for stem in stems}
    files |= {f"{top}/SegmentationClass/{stem}.png": with_palette(mask(0, 15, 20, 255)) for stem in stems}
    files |= {f"{top}/SegmentationObject/{stem}.png": with_palette(mask(0, 1)) for stem in stems}
    files[f"{top}/ImageSets/Segmentation/train.txt"] = "\n".join(stems[:8]).encode()
    files[f"{top}/ImageSets/Segmentation/val.txt"] = "\n".join(stems[8:]).encode()
    return files


def sbd():
    savemat = pytest.importorskip("scipy.io").savemat
    files = voc()
    # Two that VOC trains with, one that it tests with, three of its own.
    stems = ["2007_000000", "2007_000001", "2007_000009", "2008_000001", "2008_000002", "2008_000003"]
    for stem in stems:
        stream = io.BytesIO()
        savemat(stream, {"GTcls": {"Segmentation": mask(0, 7)}})
        files |= {f"img/{stem}.jpg": photograph(), f"cls/{stem}.mat": stream.getvalue()}
    return files | {"train.txt": "\n".join(stems[:4]).encode(), "val.txt": "\n".join(stems[4:]).encode()}


def pets():
    stems = [f"Abyssinian_{number}" for number in range(12)]
    files = {f"oxford-iiit-pet/images/{stem}.jpg": photograph() for stem in stems}
    files |= {f"oxford-iiit-pet/annotations/trimaps/{stem}.png": encoded(mask(1, 2, 3)) for stem in stems}
    files |= {"oxford-iiit-pet/annotations/trimaps/._Abyssinian_0.png": b"of a Mac",
              "oxford-iiit-pet/images/Abyssinian_0.mat": b"of another tool"}  # fmt: skip
    for name, part in (("trainval", stems[:8]), ("test", stems[8:])):
        lines = [f"{stem} 1 1 1" for stem in part]
        files[f"oxford-iiit-pet/annotations/{name}.txt"] = "\n".join(lines).encode()
    return files


def cityscapes():
    files = {}
    for split, count in (("train", 8), ("val", 4), ("test", 2)):
        for number in range(count):
            stem = f"ulm/ulm_{number:06d}_000019"
            files[f"leftImg8bit/{split}/{stem}_leftImg8bit.png"] = encoded(
                CHANCE.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            )
            files[f"gtFine/{split}/{stem}_gtFine_labelIds.png"] = encoded(mask(0, 7, 11, 33))
            files[f"gtFine/{split}/{stem}_gtFine_instanceIds.png"] = encoded(mask(0, 7))
    return files


def ade20k():
    files = {}
    for split, word, count in (("training", "train", 8), ("validation", "val", 4)):
        for number in range(count):
            stem = f"{split}/ADE_{word}_{number:08d}"
            files[f"ADEChallengeData2016/images/{stem}.jpg"] = photograph()
            files[f"ADEChallengeData2016/annotations/{stem}.png"] = encoded(mask(0, 1, 3, 150))
    return files


def camvid():
    files = {}
    for split, count in (("train", 8), ("val", 3), ("test", 4)):
        for number in range(count):
            files[f"CamVid/{split}/0001TP_{number}.png"] = encoded(CHANCE.integers(0, 256, (24, 32, 3), dtype=np.uint8))
            files[f"CamVid/{split}annot/0001TP_{number}.png"] = encoded(mask(0, 3, 10, 11))
        lines = [
            f"/SegNet/CamVid/{split}/0001TP_{n}.png /SegNet/CamVid/{split}annot/0001TP_{n}.png" for n in range(count)
        ]
        files[f"CamVid/{split}.txt"] = "\n".join(lines).encode()
    return files


MADE = {"voc2012": voc, "voc2012_sbd": sbd, "pets_trimaps": pets, "cityscapes": cityscapes, "ade20k": ade20k,
        "camvid": camvid}  # fmt: skip
# What the masks above become: the class of each of their values.
BECOME = {
    "voc2012": {0: 0, 15: 15, 20: 20, 255: IGNORE},
    "voc2012_sbd": {0: 0, 15: 15, 20: 20, 255: IGNORE},
    "pets_trimaps": {1: 1, 2: 0, 3: IGNORE},
    "cityscapes": {0: IGNORE, 7: 0, 11: 2, 33: 18},
    "ade20k": {0: IGNORE, 1: 0, 3: 2, 150: 149},
    "camvid": {0: 0, 3: 3, 10: 10, 11: IGNORE},
}
CLASSES = {"voc2012": 21, "voc2012_sbd": 21, "pets_trimaps": 2, "cityscapes": 19, "ade20k": 150, "camvid": 11}
COUNTS = {"voc2012": (7, 1, 4), "voc2012_sbd": (10, 1, 4), "pets_trimaps": (7, 1, 4), "cityscapes": (7, 1, 4),
          "ade20k": (7, 1, 4), "camvid": (8, 3, 4)}  # fmt: skip


def module(name, root, tmp_path):
    return build(compose("prepare", [f"data={name}", f"data.root={root}", f"paths.prepared_dir={tmp_path}"]).data)


@pytest.mark.parametrize("kind", ["loose", "zip"])
@pytest.mark.parametrize("name", SETS)
def test_a_tree_in_the_public_layout_is_prepared(name, kind, tmp_path, written):
    files = MADE[name]()
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "raw.zip", "w") as archive:
            for path, content in files.items():
                archive.writestr(path, content)
    root = written(tmp_path / "raw", files) if kind == "loose" else tmp_path / "raw.zip"
    data = module(name, root, tmp_path)
    assert data.source.available()
    meta = prepare(name, data.source, data.preparation, data.folder, progress=False)
    assert (meta.kind, meta.num_classes) == ("segmentation", CLASSES[name])
    assert tuple(meta.samples[split] for split in ("train", "val", "test")) == COUNTS[name]
    table = np.full(256, 254, np.uint8)
    for value, label in BECOME[name].items():
        table[value] = label
    expected = table[mask(*BECOME[name])]
    data._prepared = True
    for batch in data.test_dataloader():
        assert batch.images.shape == (len(batch.indices), 24, 32, 3)
        assert all(np.array_equal(target, expected) for target in batch.targets)
    # SBD adds masks of its own to training.
    train = np.concatenate([np.unique(found) for found in data.dataset("train").pack.masks(np.arange(COUNTS[name][0]))])
    assert (7 in train) == (name == "voc2012_sbd")


@pytest.mark.parametrize("name", SETS)
def test_every_set_has_an_augmentation_that_moves_masks_and_says_how_to_get_it(name, tmp_path):
    from striate.data.sampling import keys

    assert (FOLDER / "augmentation" / f"{name}.yaml").is_file()
    config = compose("train", [f"data={name}", "data.input_size=20"], strict=False)
    images = [CHANCE.integers(0, 256, (24 + number, 32, 3), dtype=np.uint8) for number in range(3)]
    masks = [np.zeros((24 + number, 32), np.uint8) for number in range(3)]
    moved, labels = build(config.augmentation).pair(images, masks, keys(0, 0, np.arange(3)))
    assert (moved.shape, labels.shape) == ((3, 20, 20, 3), (3, 20, 20))
    data = module(name, tmp_path / "nothing", tmp_path)
    assert data.source.missing() == str(tmp_path / "nothing")
    if not data.source.downloads:
        with pytest.raises(DataError, match="there are no raw data") as refusal:
            data.source.fetch()
        assert "data.root" in refusal.value.do
