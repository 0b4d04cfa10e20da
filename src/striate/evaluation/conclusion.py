"""What a finished run leaves behind: figures, curves, a published checkpoint, and a word on what to open."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from striate.evaluation.figures import learning_curves
from striate.evaluation.metrics import wilson_interval
from striate.messages import say, shown
from striate.runs import Run
from striate.storage import CHECKSUM_SUFFIX, storage_errors, write_json

_PICTURES = ("mosaic_val.png", "mosaic_worst.png", "mistakes.png", "confusion_matrix.png")  # those that were drawn
_ANSWERS = ("evaluation.json", "predictions.csv", "pixel_counts.csv")  # of the test: what `compare` needs


def conclude(
    run: Run,
    rows: list[dict[str, float]],
    metrics: Mapping[str, float],
    model: Path | None,
    test_samples: int,
    output_dir: str | None,
    monitor: Mapping[str, str],
) -> None:
    """Writes `metrics.json` and `learning_curves.png`, publishes, and says what is worth opening.

    Args:
        run: the run that has finished.
        rows: one an epoch, as in `history.csv`.
        metrics: figures of validation and test.
        model: the checkpoint to go on with.
        test_samples: pictures of the test split, for the interval.
        output_dir: where a stage of the pipeline wants its results, or None.
        monitor: `metric` and `mode` by which the best epoch was chosen.
    """
    folder = run.folder
    if rows:
        learning_curves(rows, folder / "learning_curves.png", monitor=monitor["metric"], mode=monitor["mode"])
    write_json(folder / "metrics.json", dict(metrics))
    names = ["history.csv", "learning_curves.png", "metrics.json", *_PICTURES]
    if output_dir is not None and model is not None:
        side = Path(f"{model}{CHECKSUM_SUFFIX}")
        files = {folder / name: name for name in (*_ANSWERS, *names) if (folder / name).is_file()}
        publish({side: "model.ckpt.sha256", model: "model.ckpt"} | files, Path(output_dir))
        folder, model = Path(output_dir), Path(output_dir) / "model.ckpt"
    run.record("finished", metrics=dict(metrics))
    if "test/top1_micro" in metrics:
        low, high = wilson_interval(round(metrics["test/top1_micro"] * test_samples), test_samples)
        say(
            f"Test: top-1 {metrics['test/top1_micro']:.2%} (95 % interval {low:.2%} to {high:.2%}, "
            f"{test_samples} pictures), loss {metrics['test/loss']:.4f}"
        )
    if "temperature" in metrics and "test/ece_15bins_calibrated" in metrics:
        before, after = (metrics[f"test/ece_15bins{form}"] for form in ("", "_calibrated"))
        say(
            f"Temperature {metrics['temperature']:.4g}, by the validation split: expected calibration error of the "
            f"test {before:.2%} without, {after:.2%} with it"
        )
    if "test/miou" in metrics:
        say(
            f"Test: mean IoU {metrics['test/miou']:.2%}, pixel accuracy {metrics['test/pixel_accuracy']:.2%}, "
            f"loss {metrics['test/loss']:.4f} ({test_samples} pictures)"
        )
    say("Worth opening: " + ", ".join(shown(folder / name) for name in names if (folder / name).is_file()))
    if model is not None:
        say(f"Next: python src/evaluate.py ckpt_path={shown(model)}")
        say(f"      python src/predict.py ckpt_path={shown(model)} input=PICTURES")


def publish(files: Mapping[Path, str], folder: Path) -> None:
    """Copies finished files to a stage's output folder, in order; the last marks it as complete.

    Raises:
        StorageError: the folder cannot be written.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for source, name in files.items():
            partial = folder / f".{name}.partial"
            shutil.copyfile(source, partial)
            partial.replace(folder / name)
