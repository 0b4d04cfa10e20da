"""Momentum with the learning rate inside the velocity, as AlexNet's paper and Caffe have it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class VelocitySGD(Optimizer):
    """v <- momentum v - weight_decay lr w - lr g; w <- w + v (Krizhevsky et al. 2012, section 5).

    While the rate is constant it gives the weights of `torch.optim.SGD`, whose velocity is this one over -lr. When the
    rate falls, this velocity keeps the old scale and dies away, where PyTorch's rule rescales all of it at once.

    Args:
        params: parameters, or groups of them.
        lr: rate.
        momentum: share of the velocity that is kept, 0 … 1.
        weight_decay: times lr, taken off the weights in each step.
    """

    def __init__(self, params: Any, lr: float = 0.01, momentum: float = 0.9, weight_decay: float = 0.0005):
        if lr < 0 or weight_decay < 0 or not 0 <= momentum < 1:
            raise ValueError(
                f"expected lr and weight_decay of 0 or more and momentum in 0 … 1, "
                f"got {lr}, {weight_decay} and {momentum}"
            )
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of the parameters that have a gradient; returns what `closure` returns."""
        outcome = None
        if closure is not None:
            with torch.enable_grad():
                outcome = closure()
        for group in self.param_groups:
            weights: list[Tensor] = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not weights:
                continue
            velocities = [self._velocity(weight) for weight in weights]
            torch._foreach_mul_(velocities, group["momentum"])
            if group["weight_decay"]:
                torch._foreach_add_(velocities, weights, alpha=-group["lr"] * group["weight_decay"])
            gradients = [weight.grad for weight in weights if weight.grad is not None]
            torch._foreach_add_(velocities, gradients, alpha=-group["lr"])
            torch._foreach_add_(weights, velocities)
        return outcome

    def _velocity(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(weight)
        return state["velocity"]
