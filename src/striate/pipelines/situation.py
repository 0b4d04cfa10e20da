"""What a training's own choices depend on: the data, the weights that it starts from, and the machine."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from striate import runs
from striate.data.module import ImageDataModule
from striate.pipelines.devices import gpu_count
from striate.storage import load_checkpoint
from striate.tasks.loading import read_record

_LOOKED_AT = 64  # pictures whose size is read


@dataclass(frozen=True)
class Data:
    """A prepared set.

    Args:
        pixels: every pixel has a label.
        channels: 1 or 3.
        counts: training samples of each class; with masks, pixels.
        samples: training pictures.
        validation: pictures of the validation split.
        side: short side of a picture in pixels, the median of the training pictures.
        whole: pictures share a size and are seen whole.
    """

    pixels: bool
    channels: int
    counts: tuple[int, ...]
    samples: int
    validation: int
    side: int
    whole: bool

    @property
    def per_class(self) -> float:
        """Training pictures of a class, on average."""
        return self.samples / len(self.counts)


@dataclass(frozen=True)
class Machine:
    """Where the training runs.

    Args:
        gpu: on a GPU.
        bfloat16: multiplied in hardware.
        cores: that this process may use.
    """

    gpu: bool
    bfloat16: bool
    cores: int


@dataclass(frozen=True)
class Weights:
    """First weights that were learnt on other pictures.

    Args:
        source: what they are, in words.
        side: of the pictures that they were learnt from, in pixels; None where nobody said.
        model: the node of their network, where the file says it.
    """

    source: str
    side: int | None = None
    model: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Choice:
    """A value and why it was chosen."""

    value: Any
    reason: str


@dataclass(frozen=True)
class Option:
    """An option of a group of the configuration, and what differs from it."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.changes.items())])


def data_of(datamodule: ImageDataModule) -> Data:
    """What a prepared data module has."""
    meta, train = datamodule.meta, datamodule.dataset("train")
    counts = meta.labelling["pixels"]["train"] if meta.labelling is not None else datamodule.class_counts()
    return Data(
        pixels=datamodule.labels_pixels,
        channels=meta.channels,
        counts=tuple(counts),
        samples=len(train),
        validation=len(datamodule.dataset("val")) if "val" in meta.counts else 0,
        side=short_side(datamodule),
        whole=meta.pack == "array",
    )


def short_side(datamodule: ImageDataModule) -> int:
    """The median over some training pictures, as they lie in the pack."""
    if datamodule.meta.image_size is not None:
        return min(datamodule.meta.image_size)
    dataset = datamodule.dataset("train")
    places = np.unique(np.linspace(0, len(dataset) - 1, _LOOKED_AT).round().astype(np.int64))
    pictures = dataset.pack.read(dataset.rows[places])
    return int(np.median([min(picture.shape[:2]) for picture in pictures]))


def machine_of(trainer: Mapping[str, Any]) -> Machine:
    """The device that a trainer's configuration gets here."""
    gpu = trainer["accelerator"] != "cpu" and gpu_count() > 0
    if gpu:
        bfloat16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        bfloat16 = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return Machine(gpu, bfloat16, len(os.sched_getaffinity(0)))


def weights_of(config: Mapping[str, Any]) -> Weights | None:
    """The first weights that an `init` group names; a library's expectation is not known before the network is."""
    init = config["init"]
    if init["kind"] == "none":
        return None
    if init["kind"] != "checkpoint":
        return Weights(f"init={init['kind']}")
    path = runs.resolve_checkpoint(init["path"], Path(config["paths"]["runs_dir"]), key="init.path", finished=True)
    record = read_record(load_checkpoint(path), path)
    size = record["preprocessing"].get("input_size") or record["meta"].get("image_size")
    side = min(size) if isinstance(size, list | tuple) else size
    return Weights(path.name, side, record["config"]["model"])
