"""`python src/evaluate.py`: figures, tables and pictures of a checkpoint on a split, from the checkpoint alone."""

from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from striate import runs
from striate.allocation import keep_freed_memory
from striate.callbacks.collecting import Collector
from striate.configuration import plain
from striate.evaluation.report import begin_report, write_report
from striate.messages import calm_libraries, is_main_process, say, shown
from striate.pipelines import evaluate_pixels
from striate.pipelines.checkpoint_data import open_data
from striate.pipelines.devices import require_devices
from striate.pipelines.evaluating import answers, calibrate, default_folder, described, show, test
from striate.pipelines.telling import tell_evaluation
from striate.pipelines.viewing import look_as_configured
from striate.tasks.classification import ClassificationTask
from striate.tasks.loading import load_task
from striate.tasks.segmentation import SegmentationTask


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
    if isinstance(task, SegmentationTask):
        return evaluate_pixels.run(config, path, task, record, datamodule)
    assert isinstance(task, ClassificationTask)
    calibrate(task, config)
    views = look_as_configured(task, config["views"], datamodule.batch_size)
    datamodule.test_split, datamodule.test_views = config["split"], views if task.multiview else None
    folder, meta = Path(config["output_dir"] or default_folder(path, config["split"], views.name)), datamodule.meta
    if is_main_process():
        begin_report(folder, described(path, record, meta, config["split"], views, task.temperature))
    collector = Collector()
    figures = test(config, record["config"], task, datamodule, collector)
    if not is_main_process():
        return figures
    dataset = datamodule.dataset(config["split"])
    assert np.array_equal(collector.indices, np.arange(len(dataset))), "each sample of the split exactly once"
    said = answers(dataset, collector, task.temperature)
    results = write_report(
        folder, task.tally.numpy(), meta.classes, said, lambda places: dataset[(0, places)].images.numpy()
    )
    tell_evaluation(config, path, record, datamodule, folder, results, task.tally.numpy()["confusion"], said)
    looks = f", {views.name} ({views.count} views a picture)" if task.multiview else ""
    show(results, list(figures), f"{meta.name}, {config['split']} split{looks}")
    names = ("metrics.json", "confusion_matrix.png", "reliability.png", "mistakes.png", "per_class.csv")
    say("Worth opening: " + ", ".join(shown(folder / name) for name in names))
    return results
