"""Stops a run that leaves the finite numbers before the update that would spoil its weights."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from striate.errors import DivergedError


class DivergenceGuard(pl.Callback):
    """Raises DivergedError when the loss is not finite, before its gradient is taken; all processes decide alike.

    The last checkpoint was written before, and so is finite.
    """

    def __init__(self) -> None:
        self._batch: Any = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keeps the batch, for the names of its samples."""
        self._batch = batch

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Looks at the loss.

        Raises:
            DivergedError: it is not finite, on this process or another.
        """
        bad = not bool(torch.isfinite(loss))
        if trainer.world_size > 1:
            bad = trainer.strategy.reduce_boolean_decision(bad, all=False)
        if not bad:
            return
        rates = sorted({f"{group['lr']:.3g}" for group in trainer.optimizers[0].param_groups})
        names = self._names(trainer)
        raise DivergedError(
            f"the loss is {float(loss.detach())} at step {trainer.global_step} in epoch {trainer.current_epoch + 1} "
            f"(learning rate {', '.join(rates)}; samples {', '.join(names)})",
            do="lower optimizer.lr, clip (trainer.gradient_clip_val=1) or look at these samples; "
            "the last checkpoint is from before",
        )

    def _names(self, trainer: pl.Trainer, most: int = 4) -> list[str]:
        names = trainer.datamodule.dataset("train").names  # type: ignore[attr-defined]
        chosen = [names[index] for index in self._batch.indices[:most].tolist()]
        return chosen + ["…"] * (len(self._batch.indices) > most)
