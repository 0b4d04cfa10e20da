"""Pictures with masks: the layouts that are understood, the pairs that are found, what is refused and how."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from striate.data.masks import IGNORE
from striate.data.sources.base import PictureFile, Unreadable
from striate.data.sources.pairs import PairSource, read_classes
from striate.errors import ConfigurationError, DataError

CLASSES = ["sky", "road", "car"]


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def picture(seed):
    return png(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8))


def mask(seed):
    return png(np.random.default_rng(seed).integers(0, 3, (6, 8), dtype=np.uint8))


def source(root, **options):
    return PairSource(str(root), **{"classes": CLASSES, **options})


def found(root, **options):
    """(name, mask, split) of all pairs."""
    inventory = source(root, **options).scan()
    return [(entry.name, mask, entry.split) for entry, mask in zip(inventory.entries, inventory.masks, strict=True)]


def bytes_of(content):
    return content.read() if isinstance(content, PictureFile) else content


def archived(path, files, kind):
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w" if kind == "tar" else "w:gz") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


LAYOUTS = {
    "two folders": ({"images/a.png", "images/b.png", "masks/a.png", "masks/b.png"},
                    [("images/a.png", "masks/a.png", None), ("images/b.png", "masks/b.png", None)]),
    "splits within": ({"Images/train/a.png", "Images/val/b.png", "Labels/train/a.png", "Labels/val/b.png"},
                      [("Images/train/a.png", "Labels/train/a.png", "train"),
                       ("Images/val/b.png", "Labels/val/b.png", "val")]),
    "splits above": ({"x/Train/images/a.png", "x/Train/masks/a.png", "x/test/images/b.png", "x/test/masks/b.png"},
                     [("x/Train/images/a.png", "x/Train/masks/a.png", "train"),
                      ("x/test/images/b.png", "x/test/masks/b.png", "test")]),
    "camvid": ({"CamVid/train/a.png", "CamVid/trainannot/a.png", "CamVid/testannot/b.png", "CamVid/test/b.png"},
               [("CamVid/train/a.png", "CamVid/trainannot/a.png", "train"),
                ("CamVid/test/b.png", "CamVid/testannot/b.png", "test")]),
    "deeper": ({"images/one/a.png", "images/two/a.png", "masks/two/a.png", "masks/one/a.png"},
               [("images/one/a.png", "masks/one/a.png", None), ("images/two/a.png", "masks/two/a.png", None)]),
}  # fmt: skip


def contents(names):
    """A picture or a mask for each name."""
    return {
        name: (mask if "mask" in name or "Label" in name or "annot" in name else picture)(place)
        for place, name in enumerate(sorted(names))
    }


@pytest.mark.parametrize("kind", ["loose", "tar", "zip"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_usual_layouts_are_found_loose_and_in_archives(name, kind, tmp_path, written):
    names, expected = LAYOUTS[name]
    files = contents(names)
    root = written(tmp_path / "raw", files) if kind == "loose" else archived(tmp_path / f"raw.{kind}", files, kind)
    assert found(root) == expected
    raw = source(root)
    inventory = raw.scan()
    assert inventory.classes == tuple(CLASSES)
    assert not inventory.foreign
    for (first, second, _), pair in zip(expected, raw.read(inventory), strict=True):
        assert bytes_of(pair.picture) == files[first]
        assert bytes_of(pair.mask) == files[second]


def test_lists_of_pairs_of_whatever_machine(tmp_path, written):
    files = contents(
        {"train/b.png", "train/a.png", "trainannot/a.png", "trainannot/b.png", "test/c.png", "testannot/c.png"}
    )
    lines = "/SegNet/CamVid/train/b.png /SegNet/CamVid/trainannot/b.png\n\ntrain/a.png trainannot/a.png\n"
    lists = {"train.txt": lines.encode(), "test.txt": b"# the test\ntest/c.png,testannot/c.png\n"}
    root = written(tmp_path / "raw", {**files, **lists, "train/unused.png": picture(99), "README.md": b"text"})
    assert found(root) == [
        ("train/b.png", "trainannot/b.png", "train"),
        ("train/a.png", "trainannot/a.png", "train"),
        ("test/c.png", "testannot/c.png", "test"),
    ]
    foreign = {kind.name: kind.reason for kind in source(root).scan().foreign}
    assert foreign == {"README.md": "not a picture's name", "train/unused.png": "in no pair"}


def test_lists_of_stems_as_voc_has_them(tmp_path, written):
    files = {f"VOC/JPEGImages/{name}.jpg": picture(number) for number, name in enumerate("abcde")}
    files |= {f"VOC/SegmentationClass/{name}.png": mask(number) for number, name in enumerate("abcd")}
    lists = {"VOC/Sets/train.txt": b"b 1 -1\na 1 1\n", "VOC/Sets/val.txt": b"c\n", "VOC/Sets/more.txt": b"a\nc\nd\n"}
    root = written(tmp_path / "raw", {**files, **lists})
    folders = {"images": "JPEGImages", "masks": "SegmentationClass"}
    assert {split for _, _, split in found(root)} == {None}  # in no usual place
    splits = {"train": [{**folders, "lists": ["Sets/train.txt"]}], "test": [{**folders, "lists": ["Sets/val.txt"]}]}
    names = [(name, split) for name, _, split in found(root, splits=splits)]
    assert names == [(f"VOC/JPEGImages/{stem}.jpg", split) for stem, split in
                     [("b", "train"), ("a", "train"), ("c", "test")]]  # fmt: skip
    # A further part adds what is neither in the first one nor left out: so SBD is added to VOC.
    splits["train"].append({**folders, "lists": ["Sets/more.txt"], "without": ["Sets/val.txt"]})
    names = [name.split("/")[-1] for name, _, split in found(root, splits=splits) if split == "train"]
    assert names == ["b.jpg", "a.jpg", "d.jpg"]


@pytest.mark.parametrize("place", ["VOC2012/ImageSets/Segmentation/", "VOC2012/"])
def test_lists_of_stems_in_a_usual_place_are_found(place, tmp_path, written):
    files = {f"VOC2012/JPEGImages/{name}.jpg": picture(number) for number, name in enumerate("abcd")}
    files |= {f"VOC2012/SegmentationClass/{name}.png": mask(number) for number, name in enumerate("abc")}
    root = written(tmp_path / "raw", {**files, f"{place}train.txt": b"c\na\n", f"{place}val.txt": b"b\n"})
    assert [(name[-5:], split) for name, _, split in found(root)] == [
        ("c.jpg", "train"), ("a.jpg", "train"), ("b.jpg", "val"),
    ]  # fmt: skip


def test_endings_tell_pictures_from_masks(tmp_path, written):
    city = {
        "leftImg8bit/train/ulm/u_1_leftImg8bit.png": picture(0),
        "leftImg8bit/val/bonn/b_1_leftImg8bit.png": picture(1),
    }
    for path in ("gtFine/train/ulm/u_1_gtFine", "gtFine/val/bonn/b_1_gtFine"):
        city |= {f"{path}_labelIds.png": mask(2), f"{path}_color.png": picture(3), f"{path}_polygons.json": b"{}"}
    root = written(tmp_path / "raw", city)
    splits = {"train": [{"images": "leftImg8bit/train", "masks": "gtFine/train"}],
              "test": [{"images": "leftImg8bit/val", "masks": "gtFine/val"}]}  # fmt: skip
    options = {"image_ending": "_leftImg8bit", "mask_ending": "_gtFine_labelIds", "splits": splits}
    assert [(name.split("/")[-1], other.split("/")[-1], split) for name, other, split in found(root, **options)] == [
        ("u_1_leftImg8bit.png", "u_1_gtFine_labelIds.png", "train"),
        ("b_1_leftImg8bit.png", "b_1_gtFine_labelIds.png", "test"),
    ]
    # Also from the archives as they are handed out, side by side.
    both = tmp_path / "zips"
    both.mkdir()
    for top in ("leftImg8bit", "gtFine"):
        files = {name: content for name, content in city.items() if name.startswith(top)}
        archived(both / f"{top}_trainvaltest.zip", {**files, "README": b"text"}, "zip")
    assert found(both, **options) == found(root, **options)
    raw = source(both, **options)
    pair = next(raw.read(raw.scan()))
    assert (pair.picture, pair.mask) == (
        city["leftImg8bit/train/ulm/u_1_leftImg8bit.png"],
        city["gtFine/train/ulm/u_1_gtFine_labelIds.png"],
    )


def test_what_has_no_twin_is_listed_with_the_reason(tmp_path, written):
    root = written(tmp_path / "raw", contents({"images/a.png", "images/b.png", "masks/a.png", "masks/c.png"}))
    raw = source(root)
    inventory = raw.scan()
    reasons = {
        entry.name: str(pair.picture)
        for entry, pair in zip(inventory.entries, raw.read(inventory), strict=True)
        if isinstance(pair.picture, Unreadable)
    }
    assert reasons == {"images/b.png": "it has no mask", "masks/c.png": "a mask without a picture"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.png", "b.png"}, "no pictures with masks in a usual place"),
        ({"images/a.png", "images/a.jpg", "masks/a.png"}, "images/a.jpg and images/a.png bear one name"),
        ({"val/images/a.png", "val/masks/a.png"}, "has no training pictures, only val"),
    ],
)
def test_layouts_that_are_not_understood(files, message, tmp_path, written):
    root = written(tmp_path / "raw", contents(files))
    with pytest.raises(DataError, match=message) as refusal:
        source(root).scan()
    assert refusal.value.do


def test_what_is_named_must_be_there(tmp_path, written):
    root = written(tmp_path / "raw", contents({"top/images/a.png", "top/masks/a.png"}))
    with pytest.raises(DataError, match=r"holds no labels in top"):
        source(root, splits={"train": [{"images": "images", "masks": "labels"}]}).scan()
    with pytest.raises(DataError, match="there are no raw data at"):
        source(tmp_path / "nowhere").fetch()


def test_a_compressed_archive_is_refused(tmp_path):
    path = archived(tmp_path / "raw.tar.gz", contents({"images/a.png", "masks/a.png"}), "tar.gz")
    with pytest.raises(DataError, match="compressed as a whole") as refusal:
        source(path).scan()
    assert "unpack it" in refusal.value.do


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["one"]}, "classes has 1 names"),
        ({"classes": ["a", "a"]}, "classes has 2 names"),
        ({"values": {"sky": 1, "road": 2}}, "do not name the same: car"),
        ({"values": {"sky": 1, "road": 1, "car": 2}}, "stands for two classes"),
        ({"ignore": [2]}, "stands for two classes, or for one and to be ignored"),
        ({"read_as": "colour"}, "colours is missing"),
        ({"colours": {"sky": [1, 2], "road": [0, 0, 0], "car": [1, 1, 1]}}, "no colour"),
        ({"ignore": [-1]}, "-1 is no value of a mask"),
        ({"splits": {"val": []}}, "it needs train"),
        ({"splits": {"train": [{"images": "images"}]}}, "splits.train has images"),
        ({"splits": {"train": [{"images": "images", "mask": "masks"}]}}, "splits.train has images, mask"),
    ],
)
def test_settings_that_do_not_fit_are_refused_at_once(options, message, tmp_path):
    with pytest.raises(ConfigurationError, match=message):
        source(tmp_path, **options)


def test_values_colours_and_what_is_ignored(tmp_path, written):
    root = written(tmp_path / "raw", contents({"images/a.png", "masks/a.png"}))
    labelling = source(root, first_value=1, ignore=[0, 255]).scan().labelling
    assert labelling.codes == ((1, 0), (2, 1), (3, 2), (0, IGNORE), (255, IGNORE))
    assert labelling.colours == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    table = {"sky": [0, 0, 9], "road": [1, 0, 0], "car": [9, 9, 9]}
    labelling = source(root, colours=table, read_as="colour", ignore=[[0, 0, 0]]).scan().labelling
    assert labelling.codes == ((9, 0), (1 << 16, 1), (9 << 16 | 9 << 8 | 9, 2), (0, IGNORE))
    assert labelling.colours == tuple(map(tuple, table.values()))


@pytest.mark.parametrize(
    "text",
    [
        "sky 128 128 128\nroad 1 2 3\ntraffic light 7 8 9\n",
        "128 128 128\tsky\n1 2 3\t\troad\n7 8 9\ttraffic light\n",
        "name,r,g,b\nsky, 128, 128, 128\nroad,1,2,3\ntraffic light,7,8,9\n",
    ],
)
def test_a_table_of_classes_and_colours_in_a_file(text, tmp_path, written):
    files = contents({"images/a.png", "masks/a.png"})
    root = written(tmp_path / "raw", {**files, "classes.txt": text.encode()})
    raw = source(root, classes="classes.txt", read_as="colour")
    inventory = raw.scan()
    assert inventory.classes == ("sky", "road", "traffic light")
    assert inventory.labelling.colours == ((128, 128, 128), (1, 2, 3), (7, 8, 9))
    assert raw.describe()["classes"] == inventory.classes
    with pytest.raises(DataError, match=r"other\.txt cannot be read"):
        source(root, classes="other.txt").scan()


def test_names_alone():
    assert read_classes("# classes\nsky\n\ntraffic light\nroom 7\n") == [
        ("sky", None),
        ("traffic light", None),
        ("room 7", None),
    ]


def test_downloads_are_made_by_torchvision_when_something_is_missing(tmp_path, written):
    made = []

    def dataset(root, download):
        made.append((root, download))
        written(tmp_path / "raw", contents({"images/a.png", "masks/a.png"}))

    splits = {"train": [{"images": "images", "masks": "masks"}]}
    raw = source(tmp_path / "raw", splits=splits, downloads=[dataset])
    written(tmp_path / "raw", {"half.tar": b"of a download that broke off"})
    assert raw.missing() == str(tmp_path / "raw")
    raw.fetch()
    assert made == [(str(tmp_path / "raw"), True)]
    assert raw.missing() is None
    raw.fetch()
    assert len(made) == 1

    def offline(root, download):
        raise RuntimeError("no\nnetwork")

    with pytest.raises(DataError, match="cannot get torchvision's offline: no network"):
        source(tmp_path / "other", splits=splits, downloads=[offline]).fetch()
    assert not (tmp_path / "other").exists()
