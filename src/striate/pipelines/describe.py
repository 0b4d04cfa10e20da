"""`python src/describe.py FILE`: what a file is, in words or as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from torch import Tensor

from striate import runs
from striate.configuration import plain
from striate.data.meta import Meta
from striate.errors import StorageError
from striate.messages import calm_libraries, shown
from striate.pipelines.guessing import guess
from striate.storage import CHECKSUM_SUFFIX, load_checkpoint, sha256_of
from striate.tasks.loading import network_weights, outline, read_record
from striate.transfer.reading import WeightFile, is_pytorch, read_weights

_LISTED = 6  # classes that are named


def run(cfg: DictConfig) -> dict[str, Any]:
    """Describes the file on the screen.

    Returns:
        What was found, as plain data.

    Raises:
        ConfigurationError: no such file or directory.
        StorageError: damaged, hostile, or of no kind that holds weights.
    """
    calm_libraries()
    config = plain(cfg)
    given = Path(config["input"]).expanduser()
    facts = described_run(given) if given.is_dir() else {}
    path = runs.resolve_checkpoint(config["input"], Path(config["paths"]["runs_dir"]), key="input")
    facts |= {"file": shown(path), "bytes": path.stat().st_size, "sha256": sha256_of(path), **checksum(path)}
    facts |= described(path)
    if config["format"] == "json":
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        table = Table(show_header=False, box=SIMPLE)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in facts.items():
            table.add_row(name, in_words(value))
        Console().print(table)
    return facts


def described(path: Path) -> dict[str, Any]:
    """What the file holds: a checkpoint of Striate, or weights of others."""
    if is_pytorch(path):
        try:
            content = load_checkpoint(path)
        except StorageError:
            content = {}  # read_weights takes what old scripts put beside the weights, and says what is wrong else
        if isinstance(content.get("striate"), Mapping):
            return described_checkpoint(content, path)
    return described_weights(read_weights(path))


def checksum(path: Path) -> dict[str, str]:
    """Whether the bytes are those that were written; a file whose bytes are not is refused later."""
    beside = Path(f"{path}{CHECKSUM_SUFFIX}").is_file()
    return {"checksum": f"verified against {path.name}{CHECKSUM_SUFFIX}" if beside else "not verified: none beside it"}


def described_run(folder: Path) -> dict[str, Any]:
    """What a run directory says of its run."""
    facts = runs.read(folder)
    if facts is None:
        return {}
    kept = ("status", "started", "updated", "command", "reason")
    return {"run": shown(folder), **{key: facts[key] for key in kept if facts.get(key) is not None}}


def described_checkpoint(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself, after its network was compared with its tensors."""
    record = read_record(content, path)
    network, meta, view = outline(record, network_weights(content), path)
    config, code = record["config"], record.get("code") or {}
    options = {key: value for key, value in config["model"].items() if not key.startswith("_")}
    facts: dict[str, Any] = {
        "kind": "checkpoint of Striate",
        "network": {"name": config["model"]["_target_"], **options},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "classes": {"number": meta.num_classes, "names": list(meta.classes)},
        "preprocessing": view.to_dict(),
        "data": described_data(meta),
        "task": config.get("task"),
        "init": config.get("init"),
        "temperature": record.get("temperature"),
        "epoch": content.get("epoch"),
        "step": content.get("global_step"),
        "optimizer state": "inside: training can go on from it" if content.get("optimizer_states") else "not inside",
        "code": {"revision": code.get("revision"), "hash": code.get("hash")},
    }
    if "converted" in config:
        origin = config["converted"]
        facts["converted from"] = {key: origin.get(key) for key in ("source", "sha256", "matched", "notes")}
    return {key: value for key, value in facts.items() if value is not None}


def described_data(meta: Meta) -> dict[str, Any]:
    """The set that a network was trained on."""
    if not meta.files:
        return {"name": meta.name, "hash": "unknown: the weights were converted"}
    samples = meta.samples
    return {"name": meta.name, "hash": meta.hash, "samples": samples, "channels": meta.channels}


def described_weights(file: WeightFile) -> dict[str, Any]:
    """What can be seen of weights that do not describe themselves."""
    kinds = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in file.tensors.values()})
    return {
        "kind": f"{file.kind}, not of Striate",
        "tensors": len(file.tensors),
        "elements": sum(tensor.numel() for tensor in file.tensors.values()),
        "bytes of tensors": file.bytes,
        "types": kinds,
        "names": first_and_last(file.tensors),
        "notes": file.notes,
        "fits": guess(file) or "no network of this family by names or by shapes",
    }


def first_and_last(tensors: Mapping[str, Tensor]) -> list[str]:
    """The ends of a list of tensors, with shapes."""
    said = [f"{name} {'×'.join(map(str, tensor.shape)) or 1}" for name, tensor in tensors.items()]
    return said if len(said) <= _LISTED else [*said[: _LISTED // 2], "…", *said[-_LISTED // 2 :]]


def in_words(value: Any) -> str:
    """Plain data for a reader."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {in_words(entry)}" for key, entry in value.items() if entry not in (None, [], {}))
    if isinstance(value, list):
        more = f" … ({len(value)})" if len(value) > 2 * _LISTED else ""
        return ", ".join(map(in_words, value[: 2 * _LISTED])) + more
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
