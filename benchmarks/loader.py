"""Loaders alone, in samples per CPU-second of one core: torchvision, timm, albumentations, Striate, and the floor.

    python benchmarks/loader.py

Each gives normalised float batches (N, C, H, W). The floor of arrays is to copy a batch and to make normalised floats
of it; the floor of JPEGs is their decoder.
"""

import os
import sys
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when libraries are imported
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import cv2
import numpy as np
import torch

import peers
import pictures
from measuring import Case, Row, interleaved, options, rate, report
from striate.allocation import keep_freed_memory
from striate.data.augmentation import (
    Augmentation,
    HorizontalFlip,
    PadAndCrop,
    Pipeline,
    RandomResizedCrop,
    ScaleAndCrop,
)
from striate.data.module import ImageDataModule
from striate.data.pack import open_pack

UNIT = "pictures/CPU-s"


def drawn(name: str, batches: Iterator[Any], seconds: float) -> Case:
    """A loader as a case: `seconds` of its batches."""

    def draw() -> int:
        return len(next(batches)[0])

    return Case(name, lambda: rate(draw, seconds))


def ours(pack: Path, augmentation: Augmentation, batch_size: int, size: int | None = None) -> Iterator[Any]:
    """Normalised batches of the data module."""
    datamodule = ImageDataModule(
        pack.name, str(pack.parent), input_size=size, batch_size=batch_size, num_workers=0, augmentation=augmentation
    )
    normalise = datamodule.preprocessing.normalise
    loader = datamodule.train_dataloader()
    return ((normalise(batch.images), batch.targets) for batch in peers.endless(loader))


def copied(pack: Path, batch_size: int) -> Callable[[], int]:
    """The floor of arrays: consecutive pictures copied and converted, into memory that is there already."""
    data = pictures.InMemory(pack).data
    images = data if data.ndim == 4 else data[..., None]
    place, raw = [0], np.empty((batch_size, *images.shape[1:]), np.uint8)
    floats = torch.empty(raw.shape)

    def draw() -> int:
        place[0] = (place[0] + batch_size) % (len(images) - batch_size)
        np.copyto(raw, images[place[0] : place[0] + batch_size])
        floats.copy_(torch.from_numpy(raw)).mul_(1 / 255 / peers.STD).sub_(peers.MEAN / peers.STD)
        return batch_size

    return draw


def decoded(root: Path) -> Callable[[], int]:
    """The floor of JPEGs: files that are in memory, decoded."""
    files = cycle([np.fromfile(path, np.uint8) for path in sorted(root.rglob("*.jp*g"))[:256]])

    def draw() -> int:
        cv2.imdecode(next(files), cv2.IMREAD_COLOR_RGB)
        return 1

    return draw


def arrays(folder: Path, size: int, channels: int, count: int, repetitions: int, seconds: float) -> list[Row]:
    """Crop after padding by 4, flip, normalise."""
    pack = pictures.array_pack(folder / f"array{size}", size, channels, count)
    shape, batch = (size, channels, 128), 128
    augmentation = Pipeline([PadAndCrop(4), HorizontalFlip()])
    tv = peers.torchvision_arrays(pictures.InMemory(pack), *shape)
    tm = peers.timm_arrays(pictures.InMemory(pack), *shape)
    floor = copied(pack, batch)
    cases = [
        drawn("Striate", ours(pack, augmentation, batch), seconds),
        drawn("torchvision", peers.endless(tv), seconds),
        drawn("timm", peers.endless(tm), seconds),
        Case("copy and convert", lambda: rate(floor, seconds)),
    ]
    figures = interleaved(cases, repetitions)
    what = f"loader, {size}×{size}×{channels} array, crop + flip"
    goals = {"torchvision": 8.0, "timm": 10.0}
    return [
        Row(what, UNIT, figures["Striate"], name, figures[name], goals.get(name))
        for name in ("torchvision", "timm", "copy and convert")
    ]


def jpegs(folder: Path, raw: Path, repetitions: int, seconds: float) -> list[Row]:
    """Random resized crop to 224, flip, normalise."""
    augmentation, size, batch = Pipeline([RandomResizedCrop(224), HorizontalFlip()]), 224, 32
    floor = decoded(raw)
    packs = {
        "Striate": pictures.prepared(folder, "jpeg", raw, pack="encoded"),
        "Striate, short side 256": pictures.prepared(folder, "jpeg256", raw, pack="encoded", max_short_side=256),
    }
    cases = [drawn(name, ours(pack, augmentation, batch, size), seconds) for name, pack in packs.items()]
    cases += [
        drawn("torchvision", peers.endless(peers.torchvision_pictures(raw, size, batch)), seconds),
        drawn("timm", peers.endless(peers.timm_pictures(raw, size, batch)), seconds),
        drawn("albumentations", peers.endless(peers.albumentations_pictures(raw, size, batch)), seconds),
        Case("decoder alone", lambda: rate(floor, seconds)),
    ]
    figures = interleaved(cases, repetitions)
    goals = {"torchvision": 2.0, "timm": 1.5}
    names = {"Striate": "pack as the files are", "Striate, short side 256": "pack of short side 256"}
    return [
        Row(f"loader, JPEG → crop of 224, {label}", UNIT, figures[own], name, figures[name], goals.get(name))
        for own, label in names.items()
        for name in ("torchvision", "timm", "albumentations", "decoder alone")
    ]


def labelled_pixels(folder: Path, files: int, repetitions: int, seconds: float) -> list[Row]:
    """Pictures with masks at 480×360: factor 0.5 to 2, window of that size, flip, normalise."""
    keep_freed_memory()  # as training has it
    raw = pictures.pairs(folder / "pairs", files)
    augmentation, batch = Pipeline([ScaleAndCrop([360, 480], fill=127), HorizontalFlip()]), 8
    packs = {kind: pictures.prepared_pairs(folder, f"pairs_{kind}", raw, kind) for kind in ("array", "encoded")}
    encoded, place = open_pack(packs["encoded"], "train"), [0]

    def both() -> int:
        place[0] = (place[0] + 1) % len(encoded)
        chosen = np.array(place)
        encoded.read(chosen), encoded.masks(chosen)
        return 1

    cases = [drawn(kind, ours(pack, augmentation, batch), seconds) for kind, pack in packs.items()]
    cases.append(Case("decoders", lambda: rate(both, seconds)))
    figures = interleaved(cases, repetitions)
    return [
        Row(f"loader, 480×360 with masks, {kind} pack, scale + crop + flip", UNIT, figures[kind],
            "decoders of picture and mask alone", figures["decoders"])
        for kind in packs
    ]  # fmt: skip


def measure(folder: Path, repetitions: int, quick: bool, given: Path | None = None) -> list[Row]:
    """All rows."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    seconds, count, files = (0.05, 2000, 64) if quick else (2.0, 60000, 512)
    raw = given or pictures.jpegs(folder / "raw", files)
    return [
        *arrays(folder, 28, 1, count, repetitions, seconds),
        *arrays(folder, 32, 3, count, repetitions, seconds),
        *jpegs(folder, raw, repetitions, seconds),
        *labelled_pixels(folder, files // 4 if quick else files, repetitions, seconds),
    ]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--pictures", type=Path, help="class folders of JPEGs to take instead of made ones")
    chosen = parser.parse_args()
    with pictures.workplace(chosen.folder) as folder:
        repetitions = 1 if chosen.quick else chosen.repetitions
        report("Loader", measure(folder, repetitions, chosen.quick, chosen.pictures), chosen.json)


if __name__ == "__main__":
    main()
