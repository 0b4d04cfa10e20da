"""What all evaluations share: where the report goes, what it says of itself, the pass over the split, the table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich.console import Console
from rich.table import Table

from striate import runs
from striate.callbacks.collecting import Collector
from striate.callbacks.progress import ProgressBar
from striate.configuration import build
from striate.data.loading import BatchDataset
from striate.data.meta import Meta
from striate.data.module import ImageDataModule
from striate.errors import ConfigurationError
from striate.evaluation.pixel_figures import Labelled
from striate.evaluation.report import Predictions
from striate.messages import say
from striate.storage import sha256_of
from striate.tasks.base import SupervisedTask
from striate.tasks.classification import ClassificationTask


def described(
    checkpoint: Path, record: Mapping[str, Any], meta: Meta, split: str, views: Any, temperature: float | None = None
) -> dict[str, Any]:
    """What is evaluated: checkpoint, data, views, temperature, code, and the hash of what makes the figures of it."""
    return {
        "checkpoint": {"name": checkpoint.name, "sha256": sha256_of(checkpoint), "code": record["code"]},
        "data": {"name": meta.name, "hash": meta.hash, "split": split},
        "views": {**plain_settings(views), "count": views.count},
        "temperature": temperature,
        "classes": list(meta.classes),
        "code": runs.code_version()["hash"],
        "measure": runs.measure_version(),
    }


def plain_settings(views: Any) -> dict[str, Any]:
    """What a way of looking was made with, as JSON has it: views of one name may be taken at other scales."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in sorted(vars(views).items())}


def calibrate(task: ClassificationTask, config: Mapping[str, Any]) -> None:
    """Leaves a task the temperature of its checkpoint, or takes it away; says so."""
    if not config["calibrated"]:
        task.temperature = None
    if task.temperature is not None:
        say(f"Probabilities through the checkpoint's temperature {task.temperature:.4g} (calibrated=false: without)")


def answers(dataset: BatchDataset, collected: Collector, temperature: float | None) -> Predictions:
    """What was collected of a split, with its names and labels."""
    said = collected.predicted.numpy(), collected.probability.numpy()
    return Predictions(dataset.names, dataset.targets, *said, temperature)


def default_folder(checkpoint: Path, split: str, views: str) -> Path:
    """Where a report goes when nobody says: into the run directory of the checkpoint."""
    return runs.folder_of(checkpoint) / (f"evaluation_{split}" if views == "single" else f"evaluation_{split}_{views}")


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


def drawn(dataset: BatchDataset, place: int, predicted: np.ndarray) -> Labelled:
    """A picture of a split with its mask and what was said of it."""
    batch = dataset[(0, np.array([place]))]
    return Labelled(dataset.names[place], batch.images[0].numpy(), batch.targets[0].numpy(), predicted)


def show(results: Mapping[str, float], names: Sequence[str], title: str) -> None:
    """Prints these figures and their intervals."""
    table = Table("figure", "value", "95 % interval", title=f"{title}: {results['samples']:,} samples")
    for name in names:
        value, bounds = results[name], (results.get(f"{name}_low"), results.get(f"{name}_high"))
        interval = "" if None in bounds else f"{bounds[0]:.2%} to {bounds[1]:.2%}"
        share = not name.startswith(("loss", "nll", "brier"))
        table.add_row(name, f"{value:.2%}" if share else f"{value:.4f}", interval)
    Console().print(table)
