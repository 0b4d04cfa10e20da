"""The part of `evaluate` that is for networks which label pixels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from striate.data.module import ImageDataModule
from striate.data.preparation import Preparation
from striate.evaluation.pixel_collecting import PixelCollector
from striate.evaluation.pixel_report import SHOWN, spread, write_pixel_report
from striate.evaluation.report import begin_report
from striate.messages import is_main_process, say, shown
from striate.pipelines.evaluating import default_folder, described, drawn, show, test
from striate.pipelines.telling import tell_evaluation
from striate.pipelines.viewing import look_at_pixels
from striate.tasks.segmentation import SegmentationTask, require_labelled


def run(
    config: Mapping[str, Any],
    path: Path,
    task: SegmentationTask,
    record: Mapping[str, Any],
    datamodule: ImageDataModule,
) -> dict[str, float]:
    """Evaluates at the size of the pack's masks, which are never resized, and writes the report.

    Args:
        config: plain, of `evaluate`.
        path: of the checkpoint.
        task: of the checkpoint.
        record: what the checkpoint says of itself.
        datamodule: of the data.

    Returns:
        The figures of `metrics.json`; other processes than the main one give them without samples and intervals.
    """
    split, meta = config["split"], datamodule.meta
    require_labelled(meta, {split})
    datamodule.test_split, dataset = split, datamodule.dataset(split)
    _, height, width = datamodule.input_shape
    sizes = [(int(high), int(wide)) for high, wide in np.unique(dataset.sizes, axis=0)]
    views = look_at_pixels(task, config["views"], datamodule.batch_size * height * width, sizes)
    folder = Path(config["output_dir"] or default_folder(path, split, views.name))
    if is_main_process():
        begin_report(folder, described(path, record, meta, split, views))
    places = spread(len(dataset))
    collector = PixelCollector(meta.num_classes, places, SHOWN)
    figures = test(config, record["config"], task, datamodule, collector)
    if not is_main_process():
        return figures
    assert np.array_equal(collector.indices, np.arange(len(dataset))), "each picture of the split exactly once"
    labelling = meta.labelling or {}
    results = write_pixel_report(
        folder, task.tally.numpy(), meta.classes, labelling["colours"], dataset.names, collector.sums,
        {"mosaic.png": places, "mosaic_worst.png": collector.worst_places},
        lambda place: drawn(dataset, place, collector.masks[place]),
    )  # fmt: skip
    tell_evaluation(config, path, record, datamodule, folder, results, task.tally.numpy()["confusion"])
    if line := brought_to_size(datamodule.preparation, dataset.sizes):
        say(line)
    looks = f", {views.name} ({views.count} views a picture)" if task.looks is not None else ""
    show(results, list(figures), f"{meta.name}, {split} split{looks}")
    names = ("metrics.json", "mosaic.png", "mosaic_worst.png", "iou.png", "confusion_matrix.png", "per_class.csv")
    say("Worth opening: " + ", ".join(shown(folder / name) for name in names))
    return results


def brought_to_size(preparation: Preparation | None, sizes: np.ndarray) -> str | None:
    """What is to be said where masks are not of their native size; None where they are, or nobody knows.

    Args:
        preparation: that made the pack.
        sizes: (N, 2) height and width of the masks in the pack.
    """
    if preparation is None:
        return None
    limit, size = preparation.max_short_side, preparation.size
    touched = len(sizes) if size is not None else int((sizes.min(axis=1) == limit).sum())
    if not touched:
        return None
    key, value = ("max_short_side", limit) if size is None else ("image_size", list(size))
    return (
        f"Measured at the size of the prepared masks, to which data.prepare.{key}={value} brought {touched:,} of "
        f"{len(sizes):,}; at native size: the same data with data.prepare.{key}=null and another data.name"
    )
