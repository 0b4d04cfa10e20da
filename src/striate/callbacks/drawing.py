"""Which classes an epoch of balanced sampling has really drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from striate.callbacks.history import as_csv
from striate.storage import write_text


class DrawnClasses(Callback):
    """Writes `drawn.csv`: one row an epoch, the samples of each class in its batches, over all processes.

    The least and the most of them are figures of the epoch, `train/drawn_least` and `train/drawn_most`: they stand in
    `history.csv` and go to every logger. They differ by what the last, incomplete batch would have had.

    Args:
        path: of the table.
        classes: names, index = label.
    """

    def __init__(self, path: Path, classes: Sequence[str]):
        self.path, self.classes = path, list(classes)
        self.rows: list[list[int]] = []  # in the checkpoint, so that a resumed run neither loses nor doubles one

    def state_dict(self) -> dict[str, Any]:
        """The rows so far, as plain data."""
        return {"rows": [list(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the rows up again."""
        self.rows = [list(row) for row in state_dict["rows"]]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Appends the counts of the epoch that has just ended and writes the file anew."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        requests = trainer.fit_loop.epoch_loop.batch_idx + 1
        counts = data.drawn_counts(trainer.current_epoch, requests)
        self.rows.append(counts)
        figures = {"train/drawn_least": min(counts), "train/drawn_most": max(counts)}
        pl_module.log_dict({name: torch.tensor(value, dtype=torch.float64) for name, value in figures.items()})
        if trainer.is_global_zero:
            names = ["epoch", *self.classes]
            rows: list[dict[str, float]] = [
                dict(zip(names, (epoch, *row), strict=True)) for epoch, row in enumerate(self.rows, start=1)
            ]
            write_text(self.path, as_csv(rows))
