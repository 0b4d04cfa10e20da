"""Gradual unfreezing: one stage more learns after each so many epochs, from the classifier down."""

from collections.abc import Mapping, Sequence
from itertools import islice

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import nn

from striate.messages import say


class Unfreezing(Callback):
    """Lets a network learn stage by stage (Howard, Ruder 2018, arXiv:1801.06146, sec. 3.3).

    What sleeps is a function of the epoch alone, so that a run which goes on, on either side of a boundary, does to
    the bit what it would have done. All parameters are in the optimizer's groups from the start; those of a stage that
    sleeps get no gradient, hence no update, no decay and no momentum, and its batch-norm statistics stay.

    Args:
        waiting: the names of the modules of each stage that begins to learn later, in the order in which they do.
        frozen: names of modules that never learn.
        every: epochs after which one stage more learns.
    """

    def __init__(self, waiting: Mapping[str, Sequence[str]], frozen: Sequence[str], every: int):
        self.waiting, self.frozen, self.every = waiting, tuple(frozen), every
        self._waking: list[nn.Parameter] | None = None
        self._awake = -1

    def awake(self, epoch: int) -> int:
        """How many of the stages that waited learn in an epoch, counted from 0."""
        return min(epoch // self.every, len(self.waiting))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Before the first step: a run that goes on in the middle of an epoch has no start of it."""
        self._wake(pl_module, trainer.current_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wakes the stage whose epoch has come."""
        before = self._awake
        self._wake(pl_module, trainer.current_epoch)
        if self._awake > before:
            woken = list(self.waiting)[before : self._awake]
            say(f"Epoch {trainer.current_epoch + 1}: {', '.join(woken)} learns from now on")

    def _wake(self, pl_module: pl.LightningModule, epoch: int) -> None:
        network: nn.Module = pl_module.network  # type: ignore[assignment]
        if self._waking is None:  # some of a stage may never learn: a fixed kernel, a frozen module
            names = [name for own in self.waiting.values() for name in own]
            everything = (parameter for name in names for parameter in network.get_submodule(name).parameters())
            self._waking = [parameter for parameter in everything if parameter.requires_grad]
        if (awake := self.awake(epoch)) == self._awake:
            return
        self._awake = awake
        asleep = [name for own in islice(self.waiting.values(), awake, None) for name in own]
        still = {parameter for name in asleep for parameter in network.get_submodule(name).parameters()}
        for parameter in self._waking:
            parameter.requires_grad_(parameter not in still)
        network.frozen_modules = (*self.frozen, *asleep)  # type: ignore[assignment]
        pl_module.train()
