"""How long the gradient is, measured at some steps of an epoch and read once, at its end."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer


class GradientNorm:
    """The root of the mean square norm of the gradient, over the measured steps of an epoch, for each parameter group.

    Squares are summed where the gradients are, so that no step waits for a GPU, and the sums go into checkpoints, so
    that a resumed epoch has the same figure to the bit. Gradients are as the loss gives them: before clipping.

    Args:
        every: optimizer steps between two measurements; the first of an epoch is always measured.
    """

    def __init__(self, every: int):
        self.every = every
        self.reset()

    def reset(self) -> None:
        """Starts a new epoch."""
        self._sums: dict[str, Tensor] = {}
        self._steps = self._measured = 0

    def step(self, optimizer: Optimizer) -> None:
        """Looks at the gradients of a step, if it is its turn."""
        self._steps += 1
        if (self._steps - 1) % self.every:
            return
        self._measured += 1
        for place, group in enumerate(optimizer.param_groups):
            gradients = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
            if gradients:
                name, square = str(group.get("name", place)), get_total_norm(gradients).double().square()
                before = self._sums.get(name)
                self._sums[name] = square if before is None else before.to(square.device) + square

    def figures(self) -> dict[str, float]:
        """The norm of each group's part of the gradient; nothing where none was measured. The whole is their hypot."""
        return {name: (total.item() / self._measured) ** 0.5 for name, total in self._sums.items()}

    def state_dict(self) -> dict[str, Any]:
        """The sums so far, as plain data."""
        sums = {name: total.item() for name, total in self._sums.items()}
        return {"steps": self._steps, "measured": self._measured, "sums": sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the sums up again."""
        self._steps, self._measured = state["steps"], state["measured"]
        self._sums = {name: torch.tensor(total, dtype=torch.float64) for name, total in state["sums"].items()}
