"""The measured pictures, made here: nothing is downloaded, and every machine has the same ones."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from striate.data.meta import Meta
from striate.data.pack import IMAGES, LABELS, NAMES
from striate.data.packing import write_array_split

CLASSES = tuple("abcdefghij")


@contextmanager
def workplace(folder: Path | None) -> Iterator[Path]:
    """A given folder, which is kept, or a temporary one."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
    else:
        with TemporaryDirectory(prefix="striate-benchmark-") as name:
            yield Path(name)


def array_pack(folder: Path, size: int, channels: int, count: int) -> Path:
    """An array pack of random pictures in ten classes; speed does not depend on what they show."""
    if (folder / "meta.json").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    counts = {}
    for split, number in (("train", count), ("val", 100), ("test", 100)):
        images = generator.integers(0, 256, (number, size, size, channels), np.uint8)
        labels = np.arange(number) % 10
        write_array_split(folder, split, [images], images.shape, labels, [str(place) for place in range(number)])
        counts[split] = tuple(np.bincount(labels, minlength=10).tolist())
    _passport(folder, size, channels, counts)
    return folder


def sparse_pack(folder: Path, size: int, channels: int, total_bytes: int) -> Path:
    """An array pack of black pictures as a sparse file: as large as any to its readers, but without room on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    count = total_bytes // (size * size * channels)
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size, channels)}
    with open(folder / IMAGES.format("train"), "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        stream.truncate(stream.tell() + count * size * size * channels)
    labels = np.arange(count) % 10
    np.save(folder / LABELS.format("train"), labels)
    (folder / NAMES.format("train")).write_text(json.dumps([]), encoding="utf-8")  # training reads no names
    _passport(folder, size, channels, {"train": tuple(np.bincount(labels, minlength=10).tolist())})
    return folder


def _passport(folder: Path, size: int, channels: int, counts: dict[str, tuple[int, ...]]) -> None:
    files = {path.name: {"bytes": path.stat().st_size, "sha256": ""} for path in sorted(folder.iterdir())}
    Meta.create(
        name=folder.name, kind="classification", pack="array", classes=CLASSES, channels=channels,
        image_size=(size, size), mean=(0.5,) * channels, std=(0.29,) * channels, counts=counts, geometry={},
        files=files,
    ).save(folder)  # fmt: skip


class InMemory(Dataset):
    """An array pack's training split as torchvision's MNIST and CIFAR10 hold it: an array, and a PIL image a sample.

    Args:
        pack: folder of the pack.
        transform: of a PIL image, or None.
    """

    def __init__(self, pack: Path, transform=None):
        data = np.load(pack / IMAGES.format("train"))
        self.data = data[..., 0] if data.shape[3] == 1 else data
        self.targets = np.load(pack / LABELS.format("train")).tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int):
        image = Image.fromarray(self.data[index])
        return (image if self.transform is None else self.transform(image)), self.targets[index]


def jpegs(folder: Path, count: int, size: tuple[int, int] = (500, 375)) -> Path:
    """JPEGs of a size (width, height) in four class folders: windows of scikit-learn's two sample photographs.

    No two are equal, and they compress like photographs do: about 45 kB each at 500×375.
    """
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    generator = np.random.default_rng(0)
    width, height = size
    for number in range(count):
        path = folder / f"class{number % 4}" / f"{number:06d}.jpg"
        photograph = photographs[number % 2]
        high, wide = photograph.shape[:2]
        share = generator.uniform(0.6, 1.0)
        window_h = int(min(high, wide * height / width) * share)
        window_w = int(window_h * width / height)
        top, left = generator.integers(0, (high - window_h + 1, wide - window_w + 1))
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            window = Image.fromarray(photograph[top : top + window_h, left : left + window_w])
            window.resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
    return folder


def pairs(folder: Path, count: int, size: tuple[int, int] = (480, 360)) -> Path:
    """JPEGs as above with masks of eleven classes, whose regions are as ragged as those of road scenes."""
    for number, path in enumerate(sorted(jpegs(folder / "images", count, size).rglob("*.jpg"))):
        mask = folder / "masks" / path.relative_to(folder / "images").with_suffix(".png")
        if not mask.is_file():
            mask.parent.mkdir(parents=True, exist_ok=True)
            blurred = Image.open(path).convert("L").resize((48, 36)).resize(size, Image.Resampling.BICUBIC)
            Image.fromarray((np.asarray(blurred) // 24 + number).astype(np.uint8) % 11).save(mask)
    return folder


def prepared_pairs(folder: Path, name: str, raw: Path, pack: str) -> Path:
    """The pack of such a folder, made by `prepare`."""
    from striate.data.preparation import Preparation, prepare
    from striate.data.sources.pairs import PairSource

    source = PairSource(str(raw), [f"class{label}" for label in range(11)])
    prepare(name, source, Preparation(pack=pack, leaks="keep"), folder / name, progress=False, quiet=True)
    return folder / name


def prepared(folder: Path, name: str, raw: Path, **choices) -> Path:
    """The pack of a folder of pictures, made by `prepare`; `choices` are those of a `Preparation`."""
    from striate.data.preparation import Preparation, prepare
    from striate.data.sources.folder import FolderSource

    prepare(
        name, FolderSource(str(raw)), Preparation(leaks="keep", **choices), folder / name, progress=False, quiet=True
    )
    return folder / name
