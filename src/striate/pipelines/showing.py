"""What a training leaves to look at beside its curves: what it saw, what it says of the test pictures, its masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from striate.data.loading import BatchDataset
from striate.data.module import ImageDataModule
from striate.evaluation.figures import confusion_matrix
from striate.evaluation.pixel_figures import Labelled, mosaic
from striate.evaluation.pixel_report import spread
from striate.evaluation.report import Predictions, draw_mistakes
from striate.pipelines.evaluating import drawn
from striate.tasks.segmentation import SegmentationTask
from striate.tracking.base import PredictionTable, Tracker

MASKS, MATRIX, MISTAKES = "mosaic_val.png", "confusion_matrix.png", "mistakes.png"
WORST = "mosaic_worst.png"
_SHARDED = ("FSDPStrategy", "DeepSpeedStrategy")  # one process alone cannot compute
_TABLE, _LARGEST_SIDE = 200, 256  # rows of a table of predictions, pixels of its pictures


def draw_answers(
    said: Predictions, confusion: np.ndarray, dataset: BatchDataset, class_names: Sequence[str], folder: Path
) -> None:
    """Draws confusion matrix and worst mistakes of a split, under the names that an evaluation gives them.

    Args:
        said: of each sample.
        confusion: (K, K) counts, true classes in rows.
        dataset: the split.
        class_names: K names.
        folder: of the pictures.
    """
    confusion_matrix(confusion, class_names, folder / MATRIX)
    draw_mistakes(folder / MISTAKES, class_names, said, lambda places: dataset[(0, places)].images.numpy())


def show_answers(
    trackers: Sequence[Tracker], said: Predictions, confusion: np.ndarray, dataset: BatchDataset,
    class_names: Sequence[str], folder: Path, step: int = 0, split: str = "test",
) -> None:  # fmt: skip
    """Sends dashboards what was drawn, the matrix as a table, and a table of predictions that begins with mistakes.

    Args:
        trackers: the dashboards.
        said: of each sample.
        confusion: (K, K) counts, true classes in rows.
        dataset: the split.
        class_names: K names.
        folder: of the pictures.
        step: of the training.
        split: its name.
    """
    table = predictions_table(said, dataset, class_names) if trackers else None
    for tracker in trackers:
        tracker.show(f"{split}/confusion_matrix", folder / MATRIX, step)
        tracker.show(f"{split}/mistakes", folder / MISTAKES, step)
        tracker.show_confusion(f"{split}/confusion", confusion, class_names, step)
        if table is not None:
            tracker.show_predictions(f"{split}/predictions", table, step)


def show_pixels(
    trackers: Sequence[Tracker], confusion: np.ndarray, class_names: Sequence[str], folder: Path, step: int
) -> None:
    """Draws and sends what a test of pixels has counted, and the pictures with the most mistakes if they were drawn.

    Args:
        trackers: the dashboards.
        confusion: (K, K) counts of pixels, true classes in rows.
        class_names: K names.
        folder: of the pictures.
        step: of the training.
    """
    confusion_matrix(confusion, class_names, folder / MATRIX, normalised=True)
    for tracker in trackers:
        tracker.show("test/confusion_matrix", folder / MATRIX, step)
        tracker.show_confusion("test/confusion", confusion, class_names, step)
        if (folder / WORST).is_file():
            tracker.show("test/mosaic_worst", folder / WORST, step)


def predictions_table(said: Predictions, dataset: BatchDataset, class_names: Sequence[str]) -> PredictionTable:
    """The most confident mistakes, and as many right answers spread over the split as there is room for."""
    wrong = said.mistakes()[: _TABLE * 3 // 4]
    right = np.flatnonzero(said.predicted == said.targets)
    chosen = right[np.unique(np.linspace(0, len(right) - 1, min(_TABLE - len(wrong), len(right))).round().astype(int))]
    places = np.concatenate([wrong, chosen]).astype(np.int64)
    images = dataset[(0, places)].images.numpy() if len(places) else ()
    return PredictionTable(
        [smaller(image) for image in images],
        [said.names[place] for place in places],
        [class_names[said.targets[place]] for place in places],
        [class_names[said.predicted[place]] for place in places],
        [float(said.probability[place]) for place in places],
    )


def smaller(image: np.ndarray) -> np.ndarray:
    """A picture (H, W, C) whose longer side a table has room for."""
    import cv2

    scale = _LARGEST_SIDE / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).reshape(size[1], size[0], -1)


def show_masks(task: Any, data: ImageDataModule, trainer: pl.Trainer, folder: Path) -> list[Labelled]:
    """Draws what a task that labels pixels says of some validation pictures; nothing for other tasks.

    Args:
        task: with the weights that count.
        data: with a validation split.
        trainer: of the fit that has ended.
        folder: of the run.

    Returns:
        What was drawn.
    """
    if not isinstance(task, SegmentationTask) or type(trainer.strategy).__name__ in _SHARDED:
        return []
    meta, dataset = data.meta, data.dataset("val")
    rows = [labelled(task, dataset, place) for place in spread(len(dataset))]
    title = f"{len(rows)} of {len(dataset):,} validation pictures of {meta.name}"
    mosaic(rows, meta.classes, (meta.labelling or {})["colours"], folder / MASKS, title=title)
    return rows


@torch.inference_mode()
def labelled(task: SegmentationTask, dataset: Any, place: int) -> Labelled:
    """A picture of a split with its mask and what the task says of it."""
    task.eval()
    images = dataset[(0, np.array([place]))].images.to(next(task.network.parameters()).device)
    return drawn(dataset, place, task.label(images).argmax(dim=1)[0].to(torch.uint8).cpu().numpy())
