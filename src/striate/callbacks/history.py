"""The log of a run that cannot lose or repeat a row: it is part of the checkpoint, and the file follows it."""

import csv
import io
import math
import time
from pathlib import Path
from typing import Annotated, Any

import lightning.pytorch as pl
from annotated_types import Ge
from lightning.pytorch.callbacks import Checkpoint
from torch.optim import Optimizer

from striate.callbacks.gradient_norm import GradientNorm
from striate.storage import write_text

TIMED = ("seconds", "samples_per_second", "waiting")  # columns that say how fast it went: no two runs have the same
_SHARDED = ("FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy")  # a process sees a part of the gradient


class History(Checkpoint):
    """Writes `history.csv`, one row an epoch: figures of training and validation, rate, gradient, throughput.

    `waiting` is the share of the training's own time (validation left out) in which the step waited for its batch,
    `gradient_norm` the root mean square over the measured steps, before clipping.

    A resumed run rewrites the file from the checkpoint, so that rows after it are neither lost nor doubled. For
    Lightning it is a checkpoint callback because only those run after the task has logged the epoch's training figures;
    `Checkpointing` comes after it, so that the row is in the checkpoint of its epoch.

    Args:
        gradient_every: optimizer steps between two measurements of the gradient's norm; None for none.
    """

    def __init__(self, gradient_every: Annotated[int, Ge(1)] | None = 10) -> None:
        self.rows: list[dict[str, float]] = []
        self.path: Path | None = None  # the pipeline sets it
        self.gradient = None if gradient_every is None else GradientNorm(gradient_every)
        self.details: dict[str, float] = {}  # of the last epoch, by parameter group: rate/NAME, gradient/NAME
        self._started = time.monotonic()
        # Of this epoch: before an interruption, of it for validation, of it for batches that were not there yet.
        self._seconds = self._validating = self._waited = 0.0
        self._validation_started = 0.0
        self._loader: Any = None  # knows how long it was waited for

    def state_dict(self) -> dict[str, Any]:
        """The rows and sums so far, as plain data."""
        return {
            "rows": [dict(row) for row in self.rows],
            "seconds": self._seconds + time.monotonic() - self._started,
            "waited": self._waited_so_far(),
            "gradient": None if self.gradient is None else self.gradient.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them up again."""
        self.rows, self._seconds = [dict(row) for row in state_dict["rows"]], state_dict["seconds"]
        self._waited = state_dict["waited"]
        if self.gradient is not None and state_dict["gradient"] is not None:
            self.gradient.load_state_dict(state_dict["gradient"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock; a resumed run first brings the file to what the checkpoint knows."""
        self._started, self._loader = time.monotonic(), trainer.train_dataloader
        if type(trainer.strategy).__name__ in _SHARDED:
            self.gradient = None
        self._write(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts the clock of the epoch."""
        self._started = time.monotonic()
        self._seconds = self._validating = self._waited = 0.0
        if self.gradient is not None:
            self.gradient.reset()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Measures the gradient at some steps."""
        if self.gradient is not None:
            self.gradient.step(optimizer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stops the clock of training."""
        self._validation_started = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lets it go on."""
        self._validating += time.monotonic() - self._validation_started

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
        groups = trainer.optimizers[0].param_groups
        norms = {} if self.gradient is None else self.gradient.figures()
        self.details = {f"rate/{group.get('name', place)}": float(group["lr"]) for place, group in enumerate(groups)}
        self.details |= {f"gradient/{name}": norm for name, norm in norms.items()}
        self.rows.append(
            {
                "epoch": trainer.current_epoch + 1,
                "step": trainer.global_step,
                **figures,
                "learning_rate": max(group["lr"] for group in groups),
                **({"gradient_norm": math.hypot(*norms.values())} if norms else {}),
                "seconds": round(seconds, 3),
                "samples_per_second": round(samples / max(seconds, 1e-9), 1),
                "waiting": round(min(self._waited_so_far() / max(seconds - self._validating, 1e-9), 1.0), 4),
            }
        )
        self._write(trainer)

    def _waited_so_far(self) -> float:
        return self._waited + getattr(self._loader, "waited", 0.0)

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
