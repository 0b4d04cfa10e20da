"""The data of a checkpoint, found again from the checkpoint alone, or others that its network can be shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from striate.configuration import build
from striate.data.meta import Meta
from striate.data.module import ImageDataModule
from striate.errors import ConfigurationError, DataError, StorageError
from striate.messages import is_main_process, say, shown
from striate.tasks.loading import require_same_classes

_TARGET = f"{ImageDataModule.__module__}.{ImageDataModule.__qualname__}"


def open_data(config: Mapping[str, Any], record: Mapping[str, Any]) -> ImageDataModule:
    """The data that a configuration names, else those of the checkpoint, prepared and seen as its network sees them.

    Args:
        config: with data (None for the checkpoint's), paths, batch_size, num_workers (None for the checkpoint's) and
            allow_other_data.
        record: what the checkpoint says of itself.

    Raises:
        ConfigurationError: other classes, channels or picture size than the network was trained for.
        DataError: the data are missing, or no longer those of the training.
        StorageError: the checkpoint does not name its data.
    """
    datamodule = data_of(config, record)
    _require_fitting(Meta.from_dict(record["meta"]), record, datamodule, config["allow_other_data"])
    return datamodule


def data_of(config: Mapping[str, Any], record: Mapping[str, Any]) -> ImageDataModule:
    """The same data, whatever their classes.

    Args:
        config: with data, paths, batch_size and num_workers as for `open_data`.
        record: what the checkpoint says of itself.

    Raises:
        DataError: the data are missing.
        StorageError: the checkpoint does not name its data.
    """
    own = record["config"]
    node = config["data"] or _relocated(_own_node(own), own["paths"], config["paths"])
    known = own.get("data") or {}
    kept = ["input_size", "crop_fraction"]
    if node.get("name") == known.get("name") and node.get("folds") is None:
        kept += ["folds", "fold"]  # or pictures that it was trained on would validate it
    shared = {key: known[key] for key in kept if known.get(key) is not None}
    given = {key: config[key] for key in ("batch_size", "num_workers") if config[key] is not None}
    datamodule = build({**node, **shared, **given}, "data", augmentation=None, seed=own["seed"])
    if is_main_process():
        datamodule.prepare_data(only_missing=True)
    return datamodule


def _own_node(own: Mapping[str, Any]) -> Mapping[str, Any]:
    # What comes out of a file may be a stranger's: it names data, and no folder but one of the prepared sets.
    node = own.get("data") or {}
    name = str(node.get("name") or "data")
    if node.get("_target_") != _TARGET or Path(name).name != name or name == "..":
        raise StorageError("the checkpoint does not say which data it was trained on", do="name them: data=…")
    return node


def _relocated(node: Any, before: Mapping[str, str], now: Mapping[str, str]) -> Any:
    """A part of a configuration with its paths below the directories `before` moved to those of `now`."""
    if isinstance(node, Mapping):
        return {key: _relocated(value, before, now) for key, value in node.items()}
    if isinstance(node, str):
        for key, folder in sorted(before.items(), key=lambda item: -len(item[1])):
            if key in now and (node == folder or node.startswith(f"{folder}/")):
                return now[key] + node[len(folder) :]
    return node


def _require_fitting(own: Meta, record: Mapping[str, Any], datamodule: ImageDataModule, allow_other: bool) -> None:
    """Refuses data on which the figures of this checkpoint would say nothing, or something else than they seem to."""
    meta = datamodule.meta
    if own.kind != meta.kind:
        raise ConfigurationError(
            f"the checkpoint was trained for {own.kind}, {meta.name} is made for {meta.kind}",
            do="name data of the same kind: data=…",
        )
    if set(own.classes) == set(meta.classes):
        # By name: another order of the same classes is no difference.
        datamodule.classes, datamodule.class_half = list(own.classes), None
    require_same_classes(record, datamodule.meta)
    size = record["preprocessing"]["input_size"]
    if not own.files:  # converted weights, which know no pictures but the size that the network sees
        if meta.image_size not in (None, (size, size)):
            raise ConfigurationError(
                f"the checkpoint was converted for pictures of {size}×{size} pixels, {meta.name} has {_size(meta)}",
                do=f"data.prepare.image_size={size}, or pictures that keep their sizes: data.prepare.pack=encoded; "
                "under another data.name",
            )
    elif own.image_size != meta.image_size and not datamodule.labels_pixels:
        raise ConfigurationError(
            f"the checkpoint was trained on pictures of {_size(own)}, {meta.name} has {_size(meta)}",
            do="prepare these pictures with the same data.prepare.image_size, under another data.name",
        )
    if own.hash == datamodule.meta.hash:
        return
    if own.name == meta.name and not allow_other:
        raise DataError(
            f"data hash differs: the checkpoint was trained on {own.name} {own.hash[:12]}, "
            f"{shown(datamodule.folder)} is {datamodule.meta.hash[:12]}",
            do="prepare the set as it was then, or say allow_other_data=true",
        )
    say(f"Not the data of the training: {own.name} {own.hash[:12]} there, {meta.name} {datamodule.meta.hash[:12]} here")


def _size(meta: Meta) -> str:
    return f"{meta.image_size[0]}×{meta.image_size[1]} pixels" if meta.image_size else "any size"
