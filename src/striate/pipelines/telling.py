"""What a run tells its dashboards beside its curves: from what it was made, what it saw, what came of it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import Logger

from striate import runs
from striate.callbacks.collecting import Collector
from striate.data.module import ImageDataModule
from striate.evaluation.pixel_figures import Labelled
from striate.pipelines.evaluating import answers
from striate.pipelines.mirrors import harmless, trackers_of
from striate.pipelines.show_samples import draw_samples
from striate.pipelines.showing import MASKS, draw_answers, show_answers
from striate.resumption import Start
from striate.storage import load_checkpoint, sha256_of
from striate.tasks.base import SupervisedTask
from striate.tasks.classification import ClassificationTask
from striate.tasks.loading import read_record
from striate.tracking.base import OF_EPOCHS
from striate.tracking.lineage import Artifact

SAMPLES = "samples.png"
_ROWS, _EPOCHS = 8, 6  # of the sheet of samples


def tell_start(loggers: Sequence[Logger], config: Mapping[str, Any], data: ImageDataModule, start: Start) -> None:
    """From what a training begins, and a sheet of what it will see."""
    trackers, run = trackers_of(loggers), start.run
    if not trackers:
        return
    with harmless():
        hashes = run.facts.get("hashes", {})
        started_from = [data_of(data), first_weights_of(config, hashes.get("weights", ""))]
        for tracker in trackers:
            tracker.log_hyperparams({f"run.{name}": value for name, value in [*hashes.items(), *code().items()]})
            for artifact in filter(None, started_from):
                tracker.use(artifact)
        if not data.labels_pixels:
            draw_samples(data, config["seed"], range(_EPOCHS), _ROWS, run.folder / SAMPLES)
            for tracker in trackers:
                tracker.show("train/samples", run.folder / SAMPLES, 0)


def tell_end(
    trainer: pl.Trainer, task: SupervisedTask, data: ImageDataModule, metrics: Mapping[str, float], model: Path | None,
    masks: Sequence[Labelled],
) -> None:  # fmt: skip
    """What came of a training: figures to judge it by, what its network says, and its weights.

    Args:
        trainer: of the fit and of the test, if there was one.
        task: with the weights that count.
        data: of both.
        metrics: of the run.
        model: the checkpoint with those weights.
        masks: validation pictures that were drawn.
    """
    trackers, step = trackers_of(trainer.loggers), trainer.global_step
    if not trackers:
        return
    folder = trackers[0].session.folder
    with harmless():
        tested = any(name.startswith("test/") for name in metrics)
        collector = next((entry for entry in trainer.callbacks if isinstance(entry, Collector)), None)  # type: ignore[attr-defined]
        if tested and collector is not None and isinstance(task, ClassificationTask):
            dataset, classes = data.dataset("test"), data.meta.classes
            said, confusion = answers(dataset, collector, task.temperature), task.tally.numpy()["confusion"]
            draw_answers(said, confusion, dataset, classes, folder)
            show_answers(trackers, said, confusion, dataset, classes, folder, step)
        for tracker in trackers if masks else ():
            tracker.show("val/mosaic", folder / MASKS, step)
            tracker.show_masks("val/masks", masks, data.meta.classes, step)
        made = None if model is None else model_of(model, task.record, figures=dict(metrics))
        for tracker in trackers:
            # The last epoch's figures are the dashboard's own; these are those of the weights that count.
            tracker.summarise(
                {f"best/{name}" if name.startswith(OF_EPOCHS) else name: metrics[name] for name in metrics}
            )
            if made is not None:
                tracker.make(made)


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
