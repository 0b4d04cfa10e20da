"""What a run was made from and what it makes, as artifacts that another run names alike."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from striate import runs
from striate.data.module import ImageDataModule
from striate.storage import load_checkpoint, sha256_of
from striate.tasks.loading import read_record
from striate.tracking.lineage import Artifact


def code() -> dict[str, str]:
    """The version of the sources."""
    return {f"code_{name}": value for name, value in runs.code_version().items() if value}


def data_of(data: ImageDataModule) -> Artifact:
    """The prepared set."""
    meta = data.meta
    counts = {split: int(number) for split, number in meta.samples.items()}
    return Artifact(data.name, "dataset", meta.hash, data.folder, {"classes": list(meta.classes), "samples": counts})


def first_weights_of(config: Mapping[str, Any], digest: str) -> Artifact | None:
    """The weights that a run started from, by the name under which the run that made them has named them."""
    init = config["init"]
    if init["kind"] == "none" or not digest:
        return None
    if init["kind"] == "checkpoint":
        path = runs.resolve_checkpoint(init["path"], Path(config["paths"]["runs_dir"]), key="init.path", finished=True)
        return model_of(path, read_record(load_checkpoint(path), path))
    name = init["weights"] if init["path"] is None else Path(init["path"]).stem
    return Artifact(f"{init['kind']}_{name}", "model", digest, None if init["path"] is None else Path(init["path"]))


def model_of(path: Path, record: Mapping[str, Any], **facts: Any) -> Artifact:
    """A checkpoint, named by its network and its data."""
    network = str(record["config"]["model"]["_target_"]).rpartition(".")[2].lower()
    code = {"code": record["code"].get("revision") or record["code"].get("hash")}
    return Artifact(f"{network}_{record['meta']['name']}", "model", sha256_of(path), path, {**code, **facts})
