"""What a training needs whose stages begin to learn one after the other."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.callbacks import Callback
from torch import nn

from striate.callbacks.unfreezing import Unfreezing
from striate.pipelines.devices import strategy_for
from striate.transfer.freezing import Learning


def unfreezing(config: Mapping[str, Any], network: nn.Module) -> list[Callback]:
    """The callback that wakes one stage after the other, where the configuration asks for it."""
    if config["init"].get("unfreeze_every") is None:
        return []
    learning: Learning = network.learning  # type: ignore[assignment]
    return [Unfreezing(learning.waiting, learning.frozen, learning.every)]


def strategy(config: Mapping[str, Any]) -> str:
    """The strategy of the Trainer.

    Raises:
        ConfigurationError: one that bears no parameters without gradients, where stages wait.
    """
    waits = config["init"].get("unfreeze_every") is not None
    # Gradients by hand are summed by hand.
    return strategy_for(config["trainer"], unused=waits and config["task"]["kind"] != "backpropagation")
