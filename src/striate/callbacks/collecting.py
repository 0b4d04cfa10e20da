"""What a network says of each sample of a split, gathered over all processes."""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor


class Collector(Callback):
    """Keeps label and probability of each sample while a task is tested.

    Attributes:
        indices: (N,) int64, 0 to N − 1 in order once the test has ended: each sample exactly once.
        predicted: (N,) int64 labels.
        probability: (N,) float64 of the predicted label.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, ...]] = []
        self.indices, self.predicted = torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
        self.probability = torch.empty(0, dtype=torch.float64)

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts anew."""
        self._batches.clear()

    def on_test_batch_end(  # type: ignore[override]
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Tensor | None, batch: Any, *_: Any
    ) -> None:
        """Keeps what the test step gives: logits, or None for a part without samples."""
        if outputs is not None:
            predicted = outputs.argmax(dim=1, keepdim=True)
            best = pl_module.probabilities(outputs).gather(1, predicted)  # type: ignore[operator]
            self._batches.append((batch.indices, predicted[:, 0], best[:, 0]))

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Brings all samples together, in the order of the split."""
        columns = [torch.cat([part.cpu() for part in parts]) for parts in zip(*self._batches, strict=True)]
        if trainer.world_size > 1:
            parts: list[Any] = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, columns)
            columns = [torch.cat(column) for column in zip(*filter(None, parts), strict=True)]
        if columns:
            order = columns[0].argsort()
            self.indices, self.predicted, self.probability = (column[order] for column in columns)
