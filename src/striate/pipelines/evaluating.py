"""What all evaluations share: where the report goes, what it says of itself, the pass over the split, the table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich.console import Console
from rich.table import Table

from striate import runs
from striate.callbacks.progress import ProgressBar
from striate.configuration import build
from striate.data.meta import Meta
from striate.data.module import ImageDataModule
from striate.errors import ConfigurationError
from striate.storage import sha256_of
from striate.tasks.base import SupervisedTask


def described(checkpoint: Path, record: Mapping[str, Any], meta: Meta, split: str, views: Any) -> dict[str, Any]:
    """What is evaluated: checkpoint, data, views, code."""
    return {
        "checkpoint": {"name": checkpoint.name, "sha256": sha256_of(checkpoint), "code": record["code"]},
        "data": {"name": meta.name, "hash": meta.hash, "split": split},
        "views": {"name": views.name, "count": views.count, "average": views.average},
        "classes": list(meta.classes),
        "code": runs.code_version()["hash"],
    }


def default_folder(checkpoint: Path, split: str, views: str) -> Path:
    """Where a report goes when nobody says: into the run directory of the checkpoint."""
    run = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    return run / (f"evaluation_{split}" if views == "single" else f"evaluation_{split}_{views}")


def test(
    config: Mapping[str, Any], own: Mapping[str, Any], task: SupervisedTask, data: ImageDataModule, keep: Callback
) -> dict[str, float]:
    """Runs the network over the split, as the training's own test does."""
    node = dict(config["trainer"])
    if node.get("limit_test_batches") is not None:
        raise ConfigurationError("trainer.limit_test_batches: an evaluation counts every sample", do="leave it null")
    node["precision"] = node["precision"] or own["trainer"]["precision"]
    bar = [ProgressBar()] if node["enable_progress_bar"] else []
    if own["channels_last"]:
        task.network.to(memory_format=torch.channels_last)
    try:
        trainer: pl.Trainer = build(
            node, "trainer", callbacks=[keep, *bar], logger=False, enable_checkpointing=False,
            deterministic=own["deterministic"],
        )  # fmt: skip
        trainer.test(task, datamodule=data, verbose=False)
    except MisconfigurationException as error:
        message = f"trainer: {' '.join(str(error).split())}"
        raise ConfigurationError(message, do="see conf/trainer/default.yaml") from error
    return task.tally.compute()


def show(results: Mapping[str, float], names: Sequence[str], title: str) -> None:
    """Prints these figures and their intervals."""
    table = Table("figure", "value", "95 % interval", title=f"{title}: {results['samples']:,} samples")
    for name in names:
        value, bounds = results[name], (results.get(f"{name}_low"), results.get(f"{name}_high"))
        interval = "" if None in bounds else f"{bounds[0]:.2%} to {bounds[1]:.2%}"
        table.add_row(name, f"{value:.4f}" if name in ("loss", "nll") else f"{value:.2%}", interval)
    Console().print(table)
