"""`python src/predict.py`: what pictures show, by a checkpoint and the preprocessing that it records."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from tqdm import tqdm

from striate import runs
from striate.allocation import keep_freed_memory
from striate.configuration import plain
from striate.data.finding import find_pictures, read_for_network
from striate.data.multiview import Views, grouped, pictures_at_once
from striate.errors import ConfigurationError
from striate.evaluation.tables import write_csv
from striate.messages import say, shown
from striate.pipelines import predict_pixels
from striate.pipelines.evaluating import calibrate
from striate.pipelines.predicting import readable
from striate.pipelines.viewing import look_as_configured
from striate.storage import storage_errors, write_text
from striate.tasks.classification import ClassificationTask
from striate.tasks.loading import load_task
from striate.tasks.segmentation import SegmentationTask

SUFFIXES = (".csv", ".json")


def run(cfg: DictConfig) -> dict[str, float]:
    """Predicts and writes the output.

    Returns:
        How many pictures were named (`pictures`) and how many could not be read (`unreadable`).

    Raises:
        ConfigurationError: no such checkpoint, or an output of another kind.
        DataError: no picture found, or none that could be read (the output is written all the same).
        StorageError: a damaged checkpoint, or an output that cannot be written.
    """
    keep_freed_memory()
    config = plain(cfg)
    device, pictures = device_of(config["device"]), find_pictures(config["input"])
    output = Path(config["output"] or "predictions.csv")
    require_output(output, suffixes=(*SUFFIXES, ""))  # a folder, where pixels are labelled
    path = runs.resolve_checkpoint(config["ckpt_path"], Path(config["paths"]["runs_dir"]))
    task, record = load_task(path)
    say(f"Checkpoint: {shown(path)}")
    if isinstance(task, SegmentationTask):
        return predict_pixels.run(config, task.to(device), record, pictures)
    assert isinstance(task, ClassificationTask)
    require_output(output, SUFFIXES)
    classes = record["meta"]["classes"]
    if record["config"]["channels_last"]:
        task.network.to(memory_format=torch.channels_last)
    calibrate(task, config)
    views = look_as_configured(task, config["views"], config["batch_size"])
    task.to(device)
    at_once = pictures_at_once(views, config["batch_size"])
    rows = list(predict(task, views, classes, pictures, config["top_k"], at_once))
    write(output, rows, min(config["top_k"], len(classes)))
    named = readable(rows, output, config["input"])
    say(f"{named} pictures named, {len(rows) - named} not read: {shown(output)}")
    return {"pictures": named, "unreadable": len(rows) - named}


def require_output(output: Path, suffixes: Sequence[str]) -> None:
    """Finds out now, and not after the work, whether the output can be written."""
    if output.suffix.lower() not in suffixes:
        raise ConfigurationError(f"output={output}: neither .csv nor .json", nearest=str(output.with_suffix(".csv")))
    with storage_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=output.parent).close()


def device_of(name: str) -> torch.device:
    """The device that a name means here; a GPU where there is none is refused (ConfigurationError)."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("device=cuda: there is no CUDA device", do="device=auto or device=cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@torch.inference_mode()
def predict(
    task: ClassificationTask,
    views: Views,
    classes: Sequence[str],
    pictures: Mapping[str, Path],
    top_k: int,
    batch_size: int,
) -> Iterator[dict[str, Any]]:
    """Rows of name, predictions (class and probability, the most probable first) and error (None or the reason)."""
    names = list(pictures)
    batches = [names[start : start + batch_size] for start in range(0, len(names), batch_size)]
    with (
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
        tqdm(total=len(names), unit="picture", disable=None) as bar,
    ):

        def submit(batch: Sequence[str]) -> list[Future]:
            return [pool.submit(read_for_network, pictures[name], task.preprocessing, views) for name in batch]

        # The next batch is decoded while the network works on this one.
        waiting = submit(batches[0])
        for batch, following in zip(batches, [*batches[1:], []], strict=True):
            content, waiting = [future.result() for future in waiting], submit(following)
            seen = [looks for looks in content if not isinstance(looks, str)]
            answers: Iterator[Any] = iter(())
            if seen:
                best = task.probabilities(said(task, seen)).topk(min(top_k, len(classes)), dim=1)
                answers = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            for name, looks in zip(batch, content, strict=True):
                if isinstance(looks, str):
                    yield {"name": name, "predictions": [], "error": looks}
                    continue
                ranked = [
                    {"class": classes[label], "probability": value} for label, value in zip(*next(answers), strict=True)
                ]
                yield {"name": name, "predictions": ranked, "error": None}
            bar.update(len(batch))


def said(task: ClassificationTask, seen: Sequence[list[np.ndarray]]) -> torch.Tensor:
    """Logits (N, K) of N pictures, of each its views."""
    images, owners = grouped(seen)
    groups = [views.to(next(task.network.parameters()).device) for views in images]
    if task.multiview is None:
        return task.classify(groups[0])
    return task.multiview(task.classify, groups, owners, len(seen))


def write(output: Path, rows: Sequence[Mapping[str, Any]], ranks: int) -> None:
    """CSV with the columns name, class_1, probability_1, …, error; or the rows as JSON."""
    if output.suffix.lower() == ".json":
        text = json.dumps(list(rows), indent=2, ensure_ascii=False) + "\n"
        write_text(output, text.encode("utf-8", "backslashreplace").decode())  # a file name need not be valid UTF-8
        return
    columns = [f"{part}_{rank}" for rank in range(1, ranks + 1) for part in ("class", "probability")]
    flat = [
        {"name": row["name"], "error": row["error"]}
        | {f"{part}_{rank}": answer[part] for rank, answer in enumerate(row["predictions"], 1) for part in answer}
        for row in rows
    ]
    write_csv(output, ("name", *columns, "error"), flat)
