"""`python src/evaluate.py`: figures, tables and pictures of a checkpoint on a split, from the checkpoint alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from striate import runs
from striate.allocation import keep_freed_memory
from striate.callbacks.collecting import Collector
from striate.callbacks.progress import ProgressBar
from striate.configuration import build, plain
from striate.data.module import ImageDataModule
from striate.errors import ConfigurationError
from striate.evaluation.report import Predictions, begin_report, write_report
from striate.messages import calm_libraries, is_main_process, say, shown
from striate.pipelines.checkpoint_data import open_data
from striate.pipelines.devices import require_devices
from striate.pipelines.viewing import look_as_configured
from striate.storage import sha256_of
from striate.tasks.classification import ClassificationTask
from striate.tasks.loading import load_task


def run(cfg: DictConfig) -> dict[str, float]:
    """Evaluates and writes the report.

    Returns:
        The figures of `metrics.json`; other processes than the main one give them without samples and intervals.

    Raises:
        ConfigurationError: no such checkpoint, or data of other classes, channels or size than it was trained for.
        DataError: the data are missing, or no longer those of the training.
        StorageError: a damaged checkpoint, or an output folder that cannot be written.
    """
    calm_libraries()
    keep_freed_memory()
    config = plain(cfg)
    require_devices(config["trainer"])
    path = runs.resolve_checkpoint(config["ckpt_path"], Path(config["paths"]["runs_dir"]))
    task, record = load_task(path)
    say(f"Checkpoint: {shown(path)}")
    datamodule = open_data(config, record)
    views = look_as_configured(task, config["views"], datamodule.batch_size)
    datamodule.test_split, datamodule.test_views = config["split"], views if task.multiview else None
    folder, meta = Path(config["output_dir"] or default_folder(path, config["split"], views.name)), datamodule.meta
    if is_main_process():
        begin_report(
            folder,
            {
                "checkpoint": {"name": path.name, "sha256": sha256_of(path), "code": record["code"]},
                "data": {"name": meta.name, "hash": meta.hash, "split": config["split"]},
                "views": {"name": views.name, "count": views.count, "average": views.average},
                "classes": list(meta.classes),
                "code": runs.code_version()["hash"],
            },
        )
    collector = Collector()
    figures = test(config, record["config"], task, datamodule, collector)
    if not is_main_process():
        return figures
    dataset = datamodule.dataset(config["split"])
    assert np.array_equal(collector.indices, np.arange(len(dataset))), "each sample of the split exactly once"
    said = Predictions(dataset.names, dataset.targets, collector.predicted.numpy(), collector.probability.numpy())
    results = write_report(
        folder, task.tally.numpy(), meta.classes, said, lambda places: dataset[(0, places)].images.numpy()
    )
    looks = f", {views.name} ({views.count} views a picture)" if task.multiview else ""
    show(results, list(figures), f"{meta.name}, {config['split']} split{looks}")
    names = ("metrics.json", "confusion_matrix.png", "reliability.png", "mistakes.png", "per_class.csv")
    say("Worth opening: " + ", ".join(shown(folder / name) for name in names))
    return results


def default_folder(checkpoint: Path, split: str, views: str) -> Path:
    """Where a report goes when nobody says: into the run directory of the checkpoint."""
    run = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    return run / (f"evaluation_{split}" if views == "single" else f"evaluation_{split}_{views}")


def test(
    config: Mapping[str, Any], own: Mapping[str, Any], task: ClassificationTask, data: ImageDataModule, keep: Collector
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
