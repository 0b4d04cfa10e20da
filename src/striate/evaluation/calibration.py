"""Temperature scaling: one number that brings a classifier's confidence to its accuracy, and changes no answer.

Source: Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks" (ICML 2017), section 4.2: the logits z
of a trained network are divided by the temperature T > 0 that makes the likelihood of the validation split greatest.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LEAST, MOST = 0.05, 20.0  # beyond, a split says no more than that it is too small to tell
_DIGITS = 4  # what is kept of it, so that rounding in the last bits of logits does not show
_AT_ONCE = 1 << 22  # logits that are made float64 at a time


def fit_temperature(
    logits: Tensor, targets: Tensor, summed: Callable[[Tensor], Tensor] = lambda tensor: tensor
) -> float:
    """The temperature that makes the mean negative log likelihood of a split least; 1 where there is none.

    In 1/T that mean is convex, so there is one least value. It lies at T = 0 where every answer is right: such a split
    says nothing of how often the network errs, and its confidence stays as it is.

    Args:
        logits: (N, K) of the samples of this process, of any floating type; none is fine.
        targets: (N,) int64 labels.
        summed: adds a tensor up over all processes; each of them gets the same temperature.

    Returns:
        0.05 to 20, rounded to 4 digits after the point.

    Raises:
        ValueError: other shapes.
    """
    if logits.dim() != 2 or targets.shape != (len(logits),):
        raise ValueError(f"expected logits (N, K) and targets (N,), got {tuple(logits.shape)}, {tuple(targets.shape)}")
    wrong = _above(logits, targets) if len(logits) else 0
    samples, errors = summed(torch.tensor([len(logits), wrong], dtype=torch.float64, device=logits.device)).tolist()
    if not samples or not errors:
        return 1.0
    from scipy.optimize import minimize_scalar

    def objective(logarithm: float) -> float:
        return float(summed(_negative_log_likelihood(logits, targets, math.exp(logarithm)))) / samples

    bounds = math.log(LEAST), math.log(MOST)
    found: Any = minimize_scalar(objective, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return round(math.exp(found.x), _DIGITS)


def _above(logits: Tensor, targets: Tensor) -> int:
    """Of how many samples another class has as high a logit as the true one, or a higher one."""
    own = logits.gather(1, targets[:, None])
    return int(((logits >= own).sum(dim=1) > 1).sum())


def _negative_log_likelihood(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Summed over the samples, () float64."""
    total = torch.zeros((), dtype=torch.float64, device=logits.device)
    rows = max(1, _AT_ONCE // max(1, logits.shape[1]))
    for part, labels in zip(logits.split(rows), targets.split(rows), strict=True):
        scaled = part.double() / temperature
        total += (scaled.logsumexp(dim=1) - scaled.gather(1, labels[:, None])[:, 0]).sum()
    return total
