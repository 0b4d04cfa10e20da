"""The log of a run that cannot lose or repeat a row: it is part of the checkpoint, and the file follows it."""

import csv
import io
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from striate.storage import write_text


class History(Checkpoint):
    """Writes `history.csv`, one row an epoch: figures of training and validation, learning rate, throughput.

    A resumed run rewrites the file from the checkpoint, so that rows after it are neither lost nor doubled. For
    Lightning it is a checkpoint callback because only those run after the task has logged the epoch's training figures;
    `Checkpointing` comes after it, so that the row is in the checkpoint of its epoch.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.path: Path | None = None  # the pipeline sets it
        self._started = time.monotonic()
        self._seconds = 0.0  # of this epoch, before an interruption

    def state_dict(self) -> dict[str, Any]:
        """The rows so far, as plain data."""
        return {"rows": [dict(row) for row in self.rows], "seconds": self._seconds + time.monotonic() - self._started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the rows up again."""
        self.rows, self._seconds = [dict(row) for row in state_dict["rows"]], state_dict["seconds"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock; a resumed run first brings the file to what the checkpoint knows."""
        self._started = time.monotonic()
        self._write(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock of the epoch."""
        self._started, self._seconds = time.monotonic(), 0.0

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Appends the figures of the epoch that has just ended and writes the file anew."""
        seconds = self._seconds + time.monotonic() - self._started
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        samples = trainer.num_training_batches * data.batch_size / trainer.accumulate_grad_batches
        figures = {
            name: float(value)
            for name, value in sorted(trainer.callback_metrics.items())
            if name.startswith("train/") or (name.startswith("val/") and validated(trainer))
        }
        self.rows.append(
            {
                "epoch": trainer.current_epoch + 1,
                "step": trainer.global_step,
                **figures,
                "learning_rate": max(group["lr"] for group in trainer.optimizers[0].param_groups),
                "seconds": round(seconds, 3),
                "samples_per_second": round(samples / max(seconds, 1e-9), 1),
            }
        )
        self._write(trainer)

    def _write(self, trainer: pl.Trainer) -> None:
        if self.path is None or not trainer.is_global_zero or not self.rows:
            return
        write_text(self.path, as_csv(self.rows))


def validated(trainer: pl.Trainer) -> bool:
    """Whether the epoch that ends now had a validation; Lightning keeps the figures of an earlier one."""
    return trainer.enable_validation and (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0


def as_csv(rows: list[dict[str, float]]) -> str:
    """Rows with all their columns, in the order in which they first appear."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
