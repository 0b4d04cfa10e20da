"""What a run keeps of its own test: the answer to every sample, and how it was asked.

With these two files beside its figures a run can be compared with others sample by sample, without its network.
"""

from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from striate.callbacks.collecting import Collector
from striate.data.module import ImageDataModule
from striate.data.multiview import SingleView
from striate.evaluation.pixel_collecting import PixelCollector
from striate.evaluation.pixel_report import write_counts
from striate.evaluation.report import write_predictions
from striate.pipelines.evaluating import answers, described
from striate.storage import write_json
from striate.tasks.base import SupervisedTask
from striate.tasks.classification import ClassificationTask
from striate.tasks.segmentation import SegmentationTask


def collector_for(task: SupervisedTask) -> Callback:
    """The callback that gathers what a task says while it is tested."""
    return PixelCollector(task.num_classes) if isinstance(task, SegmentationTask) else Collector()


def keep_answers(folder: Path, task: SupervisedTask, trainer: pl.Trainer, data: ImageDataModule, model: Path) -> None:
    """Writes `evaluation.json` and `predictions.csv`, or `pixel_counts.csv` where every pixel has a label.

    Args:
        folder: of the run.
        task: that was tested last.
        trainer: of that test, with the callback of `collector_for`.
        data: that it was tested on.
        model: the checkpoint with the task's weights.
    """
    collector = next(entry for entry in trainer.callbacks if isinstance(entry, Collector | PixelCollector))  # type: ignore[attr-defined]
    dataset, classes = data.dataset("test"), data.meta.classes
    temperature = task.temperature if isinstance(task, ClassificationTask) else None
    about = described(model, task.record, data.meta, "test", SingleView(), temperature)
    if isinstance(collector, PixelCollector):
        write_counts(folder / "pixel_counts.csv", classes, dataset.names, collector.sums)
    else:
        write_predictions(folder / "predictions.csv", classes, answers(dataset, collector, temperature))
    write_json(folder / "evaluation.json", about)
