"""Losses of classification, one value per sample, and the one rule by which they become a mean.

Per sample, because evaluation names the worst samples, because a mean over processes or batches of unequal size must be
taken from sums, and because mixed labels need the losses under both. The mean of weighted losses divides by the sum of
the weights, as PyTorch does, so that the size of a loss does not depend on which classes a batch happens to hold.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

ClassWeights = Sequence[float] | Literal["balanced"] | None


class Loss(nn.Module, ABC):
    """A loss per sample, weighted by the sample's class.

    Args:
        class_counts: training samples per class; their number is that of the classes.
        class_weights: one per class, or "balanced" for N / (K * count) (King & Zeng 2001; scikit-learn's), under which
            every class weighs equally in all and the mean weight of a sample is 1, or None for 1.

    Raises:
        ValueError: as many weights as classes are expected, none negative; "balanced" needs samples of every class.
    """

    weight: Tensor | None

    def __init__(self, *, class_counts: Sequence[int], class_weights: ClassWeights = None):
        super().__init__()
        self.num_classes = len(class_counts)
        weight = None
        if class_weights is not None:
            weight = torch.tensor(_resolve_weights(class_weights, class_counts), dtype=torch.float32)
        # Not in the checkpoint: it follows from the configuration and the counts, both of which are.
        self.register_buffer("weight", weight, persistent=False)

    @abstractmethod
    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Losses (N,), times the weights of their classes, of logits (N, K) and classes (N,) int64.

        Computed in float32 at least, whatever the network's precision.
        """

    def sample_weights(self, targets: Tensor) -> Tensor:
        """The weight of each sample's class, (N,) float32. Sums of it are the denominators of means."""
        if self.weight is None:
            return torch.ones_like(targets, dtype=torch.float32)
        return self.weight[targets]

    def reduce(self, losses: Tensor, targets: Tensor) -> Tensor:
        """The mean: sum of the losses over the sum of the samples' weights; 0 with a gradient of 0 for no samples."""
        if self.weight is None:
            return losses.mean() if len(losses) else losses.sum()
        total = self.sample_weights(targets).sum()
        return losses.sum() / torch.where(total > 0, total, 1.0).to(losses.dtype)


class CrossEntropy(Loss):
    """-log softmax(logits)[target], with smoothed targets and class weights as in `torch.nn.CrossEntropyLoss`.

    Args:
        class_counts: training samples per class.
        class_weights: see `Loss`.
        label_smoothing: part of the target that all classes share equally, 0 … 1 (Szegedy et al. 2015, section 7).
    """

    def __init__(
        self, *, class_counts: Sequence[int], class_weights: ClassWeights = None, label_smoothing: float = 0.0
    ):
        super().__init__(class_counts=class_counts, class_weights=class_weights)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"expected label_smoothing in 0 … 1, got {label_smoothing}")
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        logits = _widened(logits)
        weight = None if self.weight is None else self.weight.to(logits.dtype)
        return functional.cross_entropy(
            logits, targets, weight=weight, label_smoothing=self.label_smoothing, reduction="none"
        )


class SquaredError(Loss):
    """Half the squared distance between the outputs and the one-hot target, summed over the classes.

    The quadratic cost of the early networks; the half makes its gradient by an output that output minus its target.

    Args:
        class_counts: training samples per class.
        class_weights: see `Loss`.
        activation: what makes outputs of the network's logits: "identity" takes them as they are, "sigmoid" is the
            output layer of the multilayer perceptron (Nielsen 2015, chapter 1), "softmax" gives Brier's score.
    """

    def __init__(
        self,
        *,
        class_counts: Sequence[int],
        class_weights: ClassWeights = None,
        activation: Literal["identity", "sigmoid", "softmax"] = "identity",
    ):
        super().__init__(class_counts=class_counts, class_weights=class_weights)
        if activation not in ("identity", "sigmoid", "softmax"):
            raise ValueError(f"expected the activation identity, sigmoid or softmax, got {activation}")
        self.activation = activation

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        outputs = _widened(logits)
        if self.activation == "sigmoid":
            outputs = outputs.sigmoid()
        elif self.activation == "softmax":
            outputs = outputs.softmax(1)
        one_hot = functional.one_hot(targets, self.num_classes).to(outputs.dtype)
        losses = (outputs - one_hot).square().sum(1) / 2
        return losses if self.weight is None else losses * self.weight[targets].to(losses.dtype)


def _resolve_weights(class_weights: Sequence[float] | Literal["balanced"], class_counts: Sequence[int]) -> list[float]:
    if isinstance(class_weights, str):
        if class_weights != "balanced":
            raise ValueError(f'expected class_weights to be "balanced", a list or null, got {class_weights!r}')
        if min(class_counts, default=0) < 1:
            raise ValueError(f"expected training samples of every class for balanced weights, got {list(class_counts)}")
        return [sum(class_counts) / (len(class_counts) * count) for count in class_counts]
    weights = [float(weight) for weight in class_weights]
    if len(weights) != len(class_counts) or min(weights) < 0 or max(weights) == 0:
        raise ValueError(f"expected {len(class_counts)} class weights, none negative and not all 0, got {weights}")
    return weights


def _widened(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
