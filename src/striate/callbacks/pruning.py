"""A trial of a study: it reports the validation curve as it grows, and ends when the study gives it up."""

import os
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint

from striate.callbacks.history import validated
from striate.errors import PrunedRun
from striate.sweeping.study import STUDY, reported_trial


class Pruning(Checkpoint):
    """Reports the monitored figure after each epoch and raises PrunedRun when the study's pruner says so.

    It comes after `Checkpointing`, as which it passes itself off for the order's sake: what a pruned run has learnt is
    saved. A study that cannot be reached costs the pruning, never the training.

    Args:
        trial: an `optuna.Trial`, on the main process; None on the others.
        monitor: the figure.
    """

    def __init__(self, trial: Any, monitor: str):
        self.trial, self.monitor = trial, monitor
        self._failed = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reports and asks; all processes of a trial end together.

        Raises:
            PrunedRun: the study gives the trial up.
        """
        if not validated(trainer):
            return
        pruned = trainer.is_global_zero and self._is_given_up(trainer)
        if trainer.world_size > 1:
            pruned = trainer.strategy.broadcast(pruned)
        if pruned:
            value = float(trainer.callback_metrics[self.monitor])
            raise PrunedRun(
                f"given up by its study after epoch {trainer.current_epoch + 1}: {self.monitor} {value:.4f}",
                do="the same words without a sweep go on with it",
            )

    def _is_given_up(self, trainer: pl.Trainer) -> bool:
        if self.trial is None or self._failed:
            return False
        epoch, value = trainer.current_epoch + 1, float(trainer.callback_metrics[self.monitor])
        try:
            self.trial.report(value, epoch)
            return epoch < (trainer.max_epochs or 0) and bool(self.trial.should_prune())
        except Exception as error:  # databases have many kinds
            self._failed = True
            print(f"\nthe study is not told any more: {' '.join(str(error).split())[:200]}", flush=True)
            return False


def of_this_trial(monitor: str, main: bool) -> list[Pruning]:
    """The callback, if this process is a trial of a study that prunes.

    Args:
        monitor: the figure to report.
        main: whether this process speaks for all of the trial.
    """
    if STUDY not in os.environ:
        return []
    return [Pruning(reported_trial() if main else None, monitor)]
