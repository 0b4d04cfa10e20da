"""Tells dashboards of the epochs and of some single steps."""

import math
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from striate.callbacks.history import History
from striate.tracking.base import Tracker


class Mirroring(Checkpoint):
    """Sends each dashboard the row of each epoch, as `history.csv` has it, and every so many steps loss and rates.

    It comes between `History` and `Checkpointing`: a row that is in a checkpoint has been sent, so that no resumption
    loses one, and a dashboard that is new to a resumed run is sent the rows before. For Lightning it is a checkpoint
    callback because only those run after the others.

    Args:
        trackers: the dashboards.
        history: has the rows.
        monitor: the figure that selects the best epoch; its best value so far is sent as `best/NAME`.
        mode: "max" or "min".
    """

    def __init__(self, trackers: Sequence[Tracker], history: History, monitor: str, mode: str):
        self.trackers, self.history, self.monitor, self.mode = list(trackers), history, monitor, mode

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sends the rows of a resumed run to those who have not had them."""
        for tracker in self.trackers:
            if not tracker.continues:
                for place in range(len(self.history.rows)):
                    self._send(tracker, place)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Sends loss and rates of every so many steps (`trainer.log_every_n_steps`)."""
        step = trainer.global_step
        if step % trainer.log_every_n_steps or trainer.fit_loop.epoch_loop._should_accumulate():  # type: ignore[attr-defined]
            return
        groups = trainer.optimizers[0].param_groups
        figures = {f"rate/{group.get('name', place)}": float(group["lr"]) for place, group in enumerate(groups)}
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if loss is not None:  # of one part of the batch; Lightning has divided it by the number of parts
            figures["batch/loss"] = float(loss) * (
                trainer.accumulate_grad_batches if pl_module.automatic_optimization else 1
            )
        for tracker in self.trackers:
            tracker.tell(figures, step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Sends the row of the epoch that has just ended, with rates and gradient norms of each parameter group."""
        for tracker in self.trackers:
            self._send(tracker, len(self.history.rows) - 1, self.history.details)

    def _send(self, tracker: Tracker, place: int, details: dict[str, float] | None = None) -> None:
        row = dict(self.history.rows[place])
        step = int(row.pop("step"))
        values = [before[self.monitor] for before in self.history.rows[: place + 1] if self.monitor in before]
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            row[f"best/{self.monitor}"] = (max if self.mode == "max" else min)(finite)
        tracker.tell({**row, **(details or {})}, step)
