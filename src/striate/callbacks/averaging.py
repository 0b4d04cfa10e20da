"""The moving average of the weights, which are evaluated and kept in place of those that the optimizer moves."""

from functools import partial
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    """Exponential moving average of weights and batch-norm statistics, updated after every step.

    PyTorch's and Lightning's own sum decay · average + (1 - decay) · weight drifts by roundings, also where the weight
    stays. Here the average moves by a part of the difference: what is frozen has itself as its average, to the bit.

    Args:
        decay: share of the average that an update keeps.
        use_buffers: average the statistics too, instead of taking the newest.
    """

    def __init__(self, decay: Annotated[float, Ge(0), Lt(1)] = 0.999, use_buffers: bool = True):
        super().__init__(use_buffers=use_buffers, avg_fn=partial(moved, 1 - decay))


def moved(share: float, average: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
    """The average after an update; whole numbers, which count, are taken as they are."""
    if not average.is_floating_point():
        return current
    return torch.lerp(average, current.to(average.dtype), share)
