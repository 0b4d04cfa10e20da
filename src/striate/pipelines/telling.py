"""What a run tells its dashboards beside its curves: from what it was made, what it saw, what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.loggers import Logger

from striate.callbacks.collecting import Collector
from striate.data.module import ImageDataModule
from striate.evaluation.pixel_figures import Labelled
from striate.evaluation.pixel_report import spread
from striate.evaluation.report import Predictions
from striate.pipelines.evaluating import answers
from striate.pipelines.lineage import code, data_of, first_weights_of, model_of
from striate.pipelines.mirrors import evaluation_session, harmless, tracked, trackers_of
from striate.pipelines.show_samples import draw_samples
from striate.pipelines.showing import MASKS, MATRIX, MISTAKES, draw_answers, show_answers, show_pixels
from striate.resumption import Start
from striate.tasks.base import SupervisedTask
from striate.tasks.classification import ClassificationTask
from striate.tasks.segmentation import SegmentationTask
from striate.tracking.base import OF_EPOCHS

SAMPLES = "samples.png"
_DRAWN = ("reliability.png", "mosaic.png", "mosaic_worst.png", "iou.png")  # by evaluations, beside what all have
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
        draw_samples(data, config["seed"], range(_EPOCHS), _ROWS, run.folder / SAMPLES)
        masks = augmented(data) if data.labels_pixels else ()
        for tracker in trackers:
            tracker.show("train/samples", run.folder / SAMPLES, 0)
            if masks:
                tracker.show_masks("train/masks", masks, data.meta.classes, 0)


@dataclass(frozen=True)
class Augmented:
    """A picture (H, W, C) uint8 as training sees it, and its mask (H, W) uint8."""

    name: str
    image: np.ndarray
    truth: np.ndarray
    predicted: None = None


def augmented(data: ImageDataModule) -> list[Augmented]:
    """Training pictures as the first epoch sees them."""
    dataset = data.dataset("train")
    places = np.array(spread(len(dataset), _ROWS))
    batch = dataset[0, places]
    names = [dataset.names[place] for place in places]
    return list(map(Augmented, names, batch.images.numpy(), batch.targets.numpy()))


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
            if not (folder / MISTAKES).is_file():
                draw_answers(said, confusion, dataset, classes, folder)
            show_answers(trackers, said, confusion, dataset, classes, folder, step)
        if tested and isinstance(task, SegmentationTask):
            show_pixels(trackers, task.tally.numpy()["confusion"], data.meta.classes, folder, step)
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


def tell_evaluation(
    config: Mapping[str, Any], checkpoint: Path, record: Mapping[str, Any], data: ImageDataModule, folder: Path,
    results: Mapping[str, float], confusion: np.ndarray, said: Predictions | None = None,
) -> None:  # fmt: skip
    """Makes a finished evaluation a run of its own, linked to the weights and the data.

    Args:
        config: of the evaluation, with the `logger` group.
        checkpoint: that was evaluated.
        record: what it says of itself.
        data: that it was evaluated on.
        folder: with the report.
        results: its figures.
        confusion: (K, K) counts, true classes in rows.
        said: of each sample; None where pixels have labels.
    """
    if not any(config["logger"].values()):
        return
    split, classes = config["split"], data.meta.classes
    with tracked(config["logger"], evaluation_session(folder, checkpoint), config) as loggers, harmless():
        trackers = trackers_of(loggers)
        weights, pack = model_of(checkpoint, record), data_of(data)
        for tracker in trackers:
            tracker.use(pack)
            tracker.use(weights)
            tracker.tell({f"{split}/{name}": value for name, value in results.items()}, 0)
            for picture in _DRAWN if said is not None else (*_DRAWN, MATRIX):
                if (folder / picture).is_file():
                    tracker.show(f"{split}/{Path(picture).stem}", folder / picture, 0)
        if said is not None:
            show_answers(trackers, said, confusion, data.dataset(split), classes, folder, 0, split)
        for tracker in trackers if said is None else ():
            tracker.show_confusion(f"{split}/confusion", confusion, classes, 0)
