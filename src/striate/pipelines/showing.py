"""What a training of masks leaves to look at: a mosaic of validation pictures, also as overlays for W&B."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from striate.callbacks.tracking import WandbMirror
from striate.data.module import ImageDataModule
from striate.evaluation.pixel_figures import Labelled, mosaic
from striate.evaluation.pixel_report import spread
from striate.pipelines.evaluate_pixels import drawn
from striate.tasks.segmentation import SegmentationTask

FILE = "mosaic_val.png"
_SHARDED = ("FSDPStrategy", "DeepSpeedStrategy")  # one process alone cannot compute


def show_masks(task: Any, data: ImageDataModule, trainer: pl.Trainer, folder: Path) -> None:
    """Draws what a task that labels pixels says of some validation pictures; nothing for other tasks.

    Args:
        task: with the weights that count.
        data: with a validation split.
        trainer: of the fit that has ended.
        folder: of the run.
    """
    if not isinstance(task, SegmentationTask) or type(trainer.strategy).__name__ in _SHARDED:
        return
    meta, dataset = data.meta, data.dataset("val")
    rows = [labelled(task, dataset, place) for place in spread(len(dataset))]
    title = f"{len(rows)} of {len(dataset):,} validation pictures of {meta.name}"
    mosaic(rows, meta.classes, (meta.labelling or {})["colours"], folder / FILE, title=title)


class Overlays(Callback):
    """Sends W&B what the last weights say of some validation pictures, while its run is still open."""

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sends them, from the main process."""
        mirrors = [logger for logger in trainer.loggers if isinstance(logger, WandbMirror)]
        if not mirrors or not trainer.is_global_zero or type(trainer.strategy).__name__ in _SHARDED:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        dataset = data.dataset("val")
        task: Any = pl_module
        rows = [labelled(task, dataset, place) for place in spread(len(dataset))]
        for mirror in mirrors:
            mirror.log_masks("val/masks", rows, data.meta.classes)


@torch.inference_mode()
def labelled(task: SegmentationTask, dataset: Any, place: int) -> Labelled:
    """A picture of a split with its mask and what the task says of it."""
    task.eval()
    images = dataset[(0, np.array([place]))].images.to(next(task.network.parameters()).device)
    return drawn(dataset, place, task.label(images).argmax(dim=1)[0].to(torch.uint8).cpu().numpy())
