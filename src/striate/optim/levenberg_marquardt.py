"""Stochastic diagonal Levenberg-Marquardt: a rate for each weight from the curvature of the loss, as LeNet-5 has it."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.optim import Optimizer

from striate.optim.curvature import Criterion, hessian_diagonal


class StochasticDiagonalLM(Optimizer):
    """w_k <- w_k - lr / (mu + h_kk) · g_k (LeCun et al. 1998, appendix C, equation 21).

    h_kk is an estimate of the second derivative of the loss by the weight w_k, from some hundred samples before each
    pass (`estimate`), and fixed during the pass. mu keeps a rate from growing without limit where the curvature is
    small. The paper updates after every pattern: data.batch_size=1; larger batches take the mean gradient.

    The state of a parameter is its curvature, so that a run which resumes within a pass goes on with the same rates.

    Args:
        params: parameters, or groups of them.
        lr: the global rate eta, 0.0005 at first in the paper.
        mu: added to the curvature, above 0.
        samples: how many samples an estimate should see.
        weight_decay: added to the gradient as weight_decay · w; the paper has none.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 0.0005,
        mu: Annotated[float, Gt(0)] = 0.02,
        samples: Annotated[int, Ge(1)] = 500,
        weight_decay: float = 0.0,
    ):
        if lr < 0 or weight_decay < 0 or mu <= 0 or samples < 1:
            raise ValueError(
                f"expected lr and weight_decay of 0 or more, mu above 0 and samples of 1 or more, "
                f"got {lr}, {weight_decay}, {mu} and {samples}"
            )
        super().__init__(params, {"lr": lr, "mu": mu, "weight_decay": weight_decay})
        self.samples = samples

    def estimate(self, network: nn.Module, loss: Criterion, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Measures the curvature anew, of all parameters that learn now; all processes should see the same samples.

        Raises:
            ValueError: the network has an operation for which no rule is known.
        """
        curvatures = hessian_diagonal(network, loss, batches)
        for group in self.param_groups:
            for parameter in (parameter for parameter in group["params"] if parameter in curvatures):
                self.state[parameter]["curvature"] = curvatures[parameter]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of the parameters that have a gradient, of curvature 0 before the first estimate.

        Returns what `closure` returns.
        """
        outcome = None
        if closure is not None:
            with torch.enable_grad():
                outcome = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state, gradient = self.state[parameter], parameter.grad
                if "curvature" not in state:
                    state["curvature"] = torch.zeros_like(parameter)
                if group["weight_decay"]:
                    gradient = gradient.add(parameter, alpha=group["weight_decay"])
                parameter.addcdiv_(gradient, state["curvature"] + group["mu"], value=-group["lr"])
        return outcome
