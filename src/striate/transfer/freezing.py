"""Stages that do not learn: no gradient, and batch-norm statistics that stay through every `.train()`."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from striate.errors import ConfigurationError, nearest


def freeze(network: nn.Module, stages: Sequence[str]) -> list[str]:
    """Freezes the named modules of a network.

    Args:
        network: any network.
        stages: names of its modules, dotted if nested (`conv1`, `conv2_x`, `features.0`).

    Returns:
        The names of the frozen parameters.

    Raises:
        ConfigurationError: a name that the network does not have.
    """
    modules = dict(network.named_modules())
    for stage in stages:
        if not stage or stage not in modules:
            children = [name for name, _ in network.named_children()]
            raise ConfigurationError(
                f"init.freeze: {type(network).__name__} has no stage {stage!r}",
                nearest=nearest(stage, children) or nearest(stage, modules),
                do=f"choose among {', '.join(children)}",
            )
        for parameter in modules[stage].parameters():
            parameter.requires_grad_(False)
        for module in modules[stage].modules():
            # An instance attribute, so that Lightning's and everybody's .train() meets it too.
            module.train = _stay_in_eval.__get__(module)
        modules[stage].eval()
    network.frozen_stages = tuple(stages)  # type: ignore[assignment]
    return [name for name, parameter in network.named_parameters() if not parameter.requires_grad]


def _stay_in_eval(self: nn.Module, mode: bool = True) -> Any:
    self.training = False
    for child in self.children():
        child.train(False)
    return self
