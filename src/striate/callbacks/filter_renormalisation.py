"""Filters that have grown too large are scaled back after each update, as ZFNet's paper has it."""

from collections.abc import Sequence
from typing import Annotated, Any

import lightning.pytorch as pl
import torch
from annotated_types import Gt
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.nn.modules.conv import _ConvNd

from striate.errors import ConfigurationError, nearest


class FilterRenormalisation(Callback):
    """Rescales each convolution filter whose root mean square exceeds a radius to this radius, after every update
    (Zeiler & Fergus 2013, section 3: "a few of them dominate" otherwise, in the first layer above all).

    It has no state: what it does is a function of the weights, so that a resumed run goes on to the bit.

    Args:
        max_rms: the radius; the paper's 0.1 goes with inputs of about -128 to 128.
        layers: names of convolutions; None for all.
    """

    def __init__(self, max_rms: Annotated[float, Gt(0)] = 0.1, layers: Sequence[str] | None = None):
        self.max_rms, self.layers = max_rms, layers
        self._convolutions: list[nn.Module] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Finds the layers.

        Raises:
            ConfigurationError: the network has no such convolution, or none at all.
        """
        network: nn.Module = pl_module.network  # type: ignore[assignment]
        found = {name: module for name, module in network.named_modules() if isinstance(module, _ConvNd)}
        for name in found.keys() if self.layers is None else self.layers:
            if name not in found:
                raise ConfigurationError(
                    f"callbacks.filter_renormalisation.layers: {type(network).__name__} has no convolution {name!r}",
                    nearest=nearest(name, found),
                    do=f"choose among {', '.join(list(found)[:12])}{' …' if len(found) > 12 else ''}",
                )
        self._convolutions = [found[name] for name in (found if self.layers is None else self.layers)]
        if not self._convolutions:
            raise ConfigurationError(
                f"callbacks.filter_renormalisation: {type(network).__name__} has no convolution", do="leave it out"
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """After the update, before a checkpoint of it: Lightning calls those last."""
        for weight in (convolution.weight for convolution in self._convolutions):
            if weight.requires_grad:  # what is frozen stays
                renormalise(weight, self.max_rms)  # type: ignore[arg-type]


@torch.no_grad()
def renormalise(weight: torch.Tensor, max_rms: float) -> None:
    """Scales the filters (the first axis) of a kernel whose root mean square exceeds `max_rms` to it, in place."""
    rms = weight.square().mean(dim=tuple(range(1, weight.ndim)), keepdim=True).sqrt_()
    weight.mul_(torch.where(rms > max_rms, max_rms / rms, 1.0))
