"""Stops a run that leaves the finite numbers before the update that would spoil its weights."""

import math
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
        value = loss.item()
        bad = not math.isfinite(value)
        names = self._names(trainer) if bad else []
        if trainer.world_size > 1:
            bad = trainer.strategy.reduce_boolean_decision(bad, all=False)
        if not bad:
            return
        value, names = self._guilty(trainer, value, names)
        rates = sorted({f"{group['lr']:.3g}" for group in trainer.optimizers[0].param_groups})
        raise DivergedError(
            f"the loss is {value} at step {trainer.global_step} in epoch {trainer.current_epoch + 1} "
            f"(learning rate {', '.join(rates)}; samples {', '.join(names)})",
            do="lower optimizer.lr, clip (trainer.gradient_clip_val=1) or look at these samples; "
            "checkpoints hold no such weights",
        )

    @staticmethod
    def _guilty(trainer: pl.Trainer, value: float, names: list[str]) -> tuple[float, list[str]]:
        """Loss and samples of the first process whose loss is not finite; every process asks."""
        if trainer.world_size == 1:
            return value, names
        said: list[Any] = [None] * trainer.world_size
        torch.distributed.all_gather_object(said, (value, names))
        return next((own, its) for own, its in said if its)

    def _names(self, trainer: pl.Trainer, most: int = 4) -> list[str]:
        names = trainer.datamodule.dataset("train").names  # type: ignore[attr-defined]
        chosen = [names[index] for index in self._batch.indices[:most].tolist()]
        return chosen + ["…"] * (len(self._batch.indices) > most)
