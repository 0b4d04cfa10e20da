"""A task out of a checkpoint file alone. The file may come from a stranger: nothing in it is run."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from striate.data.meta import Meta
from striate.data.preprocessing import Preprocessing
from striate.errors import ConfigurationError, StorageError
from striate.storage import load_checkpoint
from striate.tasks.base import SupervisedTask
from striate.tasks.building import FORMAT, build_task, construct_network
from striate.tasks.classification import ClassificationTask

# Where the network of a file may come from; the rest of its configuration is not built, or checked as anybody's is.
_NETWORKS = ("striate.models", "torch.nn")
_SHOWN = 12  # classes that a message names


def read_record(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself: configuration, meta, preprocessing, code.

    Raises:
        StorageError: the file is not one of Striate's, or of a format that this version does not know.
    """
    record = content.get("striate")
    if not isinstance(record, dict) or "state_dict" not in content:
        raise StorageError(
            f"{path} is not a checkpoint of Striate: it does not describe itself",
            do="name a checkpoint that train.py wrote",
        )
    if record.get("format") != FORMAT:
        raise StorageError(
            f"{path} has checkpoint format {record.get('format')}; this version reads format {FORMAT}",
            do="use the version of Striate that wrote it",
        )
    return record


def network_weights(content: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors of the network alone, under the network's own names."""
    return {
        name.removeprefix("network."): tensor
        for name, tensor in content["state_dict"].items()
        if name.startswith("network.")
    }


def load_task(path: Path | str) -> tuple[SupervisedTask, dict[str, Any]]:
    """The task of a checkpoint, ready to evaluate, and the checkpoint's record.

    The network is first built on the meta device and compared with the tensors of the file, so that a file which asks
    for more memory than it brings is refused before anything is allocated.

    Raises:
        StorageError: missing, damaged, not a checkpoint of Striate, or tensors that do not fit its own configuration.
        ConfigurationError: its configuration names something that may not be built.
    """
    path = Path(path)
    content = load_checkpoint(path)
    record = read_record(content, path)
    weights = network_weights(content)
    _, meta, preprocessing = outline(record, weights, path)
    network = _construct(record, meta, preprocessing)
    network.load_state_dict(weights)
    counts, code = record.get("class_counts"), record.get("code")
    task = build_task(record["config"], network, meta, preprocessing, class_counts=counts, code=code, trains=False)
    if isinstance(task, ClassificationTask):
        task.temperature = read_temperature(record, path)
    return task.eval(), record


def read_temperature(record: Mapping[str, Any], path: Path) -> float | None:
    """The temperature that a checkpoint keeps for its probabilities; None of an older one, and of converted weights.

    Raises:
        StorageError: it is no positive number.
    """
    value = record.get("temperature")
    if value is None:
        return None
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise StorageError(f"the record of {path} has temperature {value!r}, which is no positive number")
    return float(value)


def outline(
    record: Mapping[str, Any], weights: Mapping[str, torch.Tensor], path: Path
) -> tuple[nn.Module, Meta, Preprocessing]:
    """The network of a record on the meta device, compared with the tensors of the file, and what else it says.

    Raises:
        StorageError: a record that is not complete, or tensors that do not fit it.
        ConfigurationError: it names something that may not be built.
    """
    try:
        meta, preprocessing = Meta.from_dict(record["meta"]), Preprocessing.from_dict(record["preprocessing"])
        _ = record["config"]["model"]
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"the record of {path} is incomplete: {error}") from error
    with torch.device("meta"):
        network = _construct(record, meta, preprocessing)
    _require_fit(network, weights, path)
    return network, meta, preprocessing


def _construct(record: Mapping[str, Any], meta: Meta, preprocessing: Preprocessing) -> nn.Module:
    side = preprocessing.input_size
    size = meta.image_size if side is None else (side, side)
    return construct_network(record["config"]["model"], meta, size, namespaces=_NETWORKS)


def _require_fit(network: nn.Module, weights: Mapping[str, torch.Tensor], path: Path) -> None:
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise StorageError(
            f"{path} does not fit its own configuration: {len(wrong)} tensors differ, first {name}: "
            f"the network has {expected.get(name)}, the file {found.get(name)}"
        )


def require_same_classes(record: Mapping[str, Any], meta: Meta) -> None:
    """Refuses data whose classes are not those that a checkpoint was trained for.

    Raises:
        ConfigurationError: other names or another number of classes or channels; the message gives both.
    """
    own = Meta.from_dict(record["meta"])
    if own.channels != meta.channels:
        raise ConfigurationError(
            f"the checkpoint was trained on {own.channels}-channel pictures, {meta.name} has {meta.channels}",
            do=f"prepare the data with data.prepare.channels={own.channels}",
        )
    if tuple(own.classes) != tuple(meta.classes):
        subset = set(own.classes) < set(meta.classes) and len(own.classes) <= _SHOWN
        raise ConfigurationError(
            f"the checkpoint knows {own.num_classes} classes ({_first(own.classes)}), "
            f"{meta.name} has {meta.num_classes} ({_first(meta.classes)})",
            nearest=f"data.classes=[{','.join(own.classes)}]" if subset else None,
            do="to train a new head for them: python src/train.py init=checkpoint init.path=CHECKPOINT data=…",
        )


def _first(classes: Sequence[str]) -> str:
    return ", ".join(classes[:5]) + (" …" if len(classes) > 5 else "")
