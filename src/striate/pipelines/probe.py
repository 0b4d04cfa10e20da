"""`python src/probe.py`: what the stages of a network know, by simple classifiers on features computed once."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig
from rich.table import Table

from striate.configuration import plain
from striate.evaluation.probe_figure import probe_figure
from striate.evaluation.probing import LINEAR, Labelled, linear_probe, nearest_neighbours
from striate.evaluation.tables import write_csv
from striate.evaluation.typesetting import wide_console
from striate.messages import calm_libraries, say, shown
from striate.pipelines.features import features_of
from striate.pipelines.predict import device_of
from striate.pipelines.subject import Subject, subject_of
from striate.storage import require_writable, write_json
from striate.transfer.features import probed_stages

SPLITS = ("train", "val", "test")
COLUMNS = (
    *("stage", "numbers", "kind", "chosen", "val_top1_micro", "top1_micro", "top1_micro_low", "top1_micro_high"),
    *("recall_macro", "converged"),
)


def run(cfg: DictConfig) -> dict[str, float]:
    """Computes the features that are not there yet, fits, and writes probe.csv, metrics.json and probe.png.

    Returns:
        Figures of the stage and classifier that validation chooses.

    Raises:
        StriateError: a mistake of the person's, data or weights that are missing or broken.
    """
    calm_libraries()
    config = plain(cfg)
    subject = subject_of(config, device_of(config["device"]))
    folder = Path(config["output_dir"] or subject.folder)
    require_writable(folder)
    stages, started = probed_stages(subject.network, config["stages"]), time.perf_counter()
    splits = {
        split: features_of(subject, split, stages, config["max_features"], folder / "features") for split in SPLITS
    }
    read = time.perf_counter()
    rows = [row for stage in stages for row in probed(subject, stage, splits, config)]
    counts = ", ".join(f"{split} {len(subject.data.dataset(split)):,}" for split in SPLITS)
    title = f"{type(subject.network).__name__} ({subject.source}) on {subject.data.name}"
    say(
        f"{title}: {counts} pictures; features in {read - started:.1f} s, classifiers in "
        f"{time.perf_counter() - read:.1f} s"
    )
    return conclude(subject, rows, title, folder)


def probed(
    subject: Subject, stage: str, splits: Mapping[str, Mapping[str, np.ndarray]], config: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The rows of the table for a stage."""
    train, val, test = (Labelled(splits[split][stage], subject.data.dataset(split).targets) for split in SPLITS)
    linear = linear_probe(train, val, test, config["strengths"], config["max_iterations"])
    if not linear.converged:
        say(f"{stage}: the logistic regression is not at its end after max_iterations={config['max_iterations']}")
    return [
        {
            "stage": stage,
            "numbers": train.features.shape[1],
            "kind": probe.kind,
            "chosen": probe.chosen,
            "val_top1_micro": probe.val,
            **probe.figures(test.labels, subject.data.meta.num_classes),
            "converged": probe.converged,
        }
        for probe in (linear, nearest_neighbours(train, val, test, config["neighbours"]))
    ]


def conclude(subject: Subject, rows: Sequence[dict[str, Any]], title: str, folder: Path) -> dict[str, float]:
    """Writes the results and says them."""
    targets = [subject.data.dataset(split).targets for split in ("train", "test")]
    chance = float((targets[1] == np.bincount(targets[0]).argmax()).mean())
    best = max(rows, key=lambda row: row["val_top1_micro"])  # the first of equally good ones
    figures = {f"test/{name}": best[name] for name in ("top1_micro", "recall_macro")}
    figures |= {"val/top1_micro": best["val_top1_micro"], "test/most_frequent_class": chance}
    write_csv(folder / "probe.csv", COLUMNS, rows)
    probe_figure(rows, title, chance, folder / "probe.png")
    write_json(folder / "metrics.json", {**figures, "stage": best["stage"], "kind": best["kind"]})
    show(rows, title)
    say(
        f"By validation: {best['stage']}, {best['kind']}: test {best['top1_micro']:.2%} (95 % interval "
        f"{best['top1_micro_low']:.2%} to {best['top1_micro_high']:.2%}); the most frequent class alone {chance:.2%}"
    )
    say("Worth opening: " + ", ".join(shown(folder / name) for name in ("probe.png", "probe.csv")))
    return figures


def show(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    """Prints the table."""
    table = Table(
        "features of", "numbers", "classifier", "chosen", "validation", "test", "95 % interval", "macro recall"
    )
    table.title = title
    for row in rows:
        chosen = f"C = {row['chosen']:g}" if row["kind"] == LINEAR else f"k = {row['chosen']:g}"
        table.add_row(
            *(row["stage"], f"{row['numbers']:,}", row["kind"], chosen, f"{row['val_top1_micro']:.2%}"),
            *(f"{row['top1_micro']:.2%}", f"{row['top1_micro_low']:.2%} to {row['top1_micro_high']:.2%}"),
            f"{row['recall_macro']:.2%}",
        )
    wide_console().print(table)
