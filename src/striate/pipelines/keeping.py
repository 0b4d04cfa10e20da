"""What a run keeps of its own test: the answer to every sample, and how it was asked.

With these two files beside its figures a run can be compared with others sample by sample, without its network.
"""

from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from striate.callbacks.collecting import Collector
from striate.data.module import ImageDataModule
from striate.data.multiview import SingleView
from striate.data.pixel_views import PixelViews
from striate.evaluation.pixel_collecting import PixelCollector
from striate.evaluation.pixel_figures import mosaic
from striate.evaluation.pixel_report import SHOWN, write_counts
from striate.evaluation.report import write_predictions
from striate.pipelines.evaluating import answers, described, drawn
from striate.pipelines.showing import WORST, draw_answers
from striate.storage import write_json
from striate.tasks.base import SupervisedTask
from striate.tasks.classification import ClassificationTask
from striate.tasks.segmentation import SegmentationTask


def collector_for(task: SupervisedTask, draw: bool = False) -> Callback:
    """The callback that gathers what a task says while it is tested; to draw, also the masks that are most wrong."""
    if isinstance(task, SegmentationTask):
        return PixelCollector(task.num_classes, worst=SHOWN if draw else 0)
    return Collector()


def keep_answers(
    folder: Path, task: SupervisedTask, trainer: pl.Trainer, data: ImageDataModule, model: Path, draw: bool = False
) -> None:
    """Writes `evaluation.json` and `predictions.csv`, or `pixel_counts.csv` where every pixel has a label.

    Args:
        folder: of the run.
        task: that was tested last.
        trainer: of that test, with the callback of `collector_for`.
        data: that it was tested on.
        model: the checkpoint with the task's weights.
        draw: also the mistakes as pictures: `mistakes.png` and `confusion_matrix.png`, or `mosaic_worst.png`.
    """
    collector = next(entry for entry in trainer.callbacks if isinstance(entry, Collector | PixelCollector))  # type: ignore[attr-defined]
    dataset, classes = data.dataset("test"), data.meta.classes
    temperature = task.temperature if isinstance(task, ClassificationTask) else None
    views = PixelViews() if isinstance(collector, PixelCollector) else SingleView()
    about = described(model, task.record, data.meta, "test", views, temperature)
    if isinstance(collector, PixelCollector):
        names = [dataset.names[place] for place in collector.indices.tolist()]  # not all: trainer.limit_test_batches
        write_counts(folder / "pixel_counts.csv", classes, names, collector.sums)
        if draw:
            rows = [drawn(dataset, place, collector.masks[place]) for place in collector.worst_places]
            title = f"The test pictures of {data.meta.name} with the least IoU"
            mosaic(rows, classes, (data.meta.labelling or {})["colours"], folder / WORST, title=title)
    else:
        said = answers(dataset, collector, temperature)
        write_predictions(folder / "predictions.csv", classes, said)
        if draw:
            draw_answers(said, task.tally.numpy()["confusion"], dataset, classes, folder)
    write_json(folder / "evaluation.json", about)
