"""Losses of classification, one value per sample, and the one rule by which they become a mean.

Per sample, because evaluation names the worst samples, because a mean over processes or batches of unequal size must be
taken from sums, and because mixed labels need the losses under both. The mean of weighted losses divides by the sum of
the weights, as PyTorch does, so that the size of a loss does not depend on which classes a batch happens to hold.

Each loss also says its own first derivative by the logits z, which backpropagation by hand starts from, and the
diagonal of the second one in the approximation of Gauss and Newton, from which the diagonal Levenberg-Marquardt rule
starts. With outputs a and one-hot targets t the first is dC/da · a'(z); a - t for softmax and cross entropy.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional

ClassWeights = Sequence[float] | Literal["balanced", "median_frequency"] | None


class Loss(nn.Module, ABC):
    """A loss per sample, weighted by the sample's class.

    Args:
        class_counts: training samples per class; their number is that of the classes.
        class_weights: one per class, or "balanced" for N / (K * count) (King & Zeng 2001; scikit-learn's), under which
            every class weighs equally in all and the mean weight of a sample is 1, or None for 1. "median_frequency" is
            for pixels, and whoever knows the pixels puts the numbers of `median_frequency_weights` in its place.

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

    @property
    def counts_alike(self) -> bool:
        """Whether every sample weighs 1, so that a mean needs no sum of weights."""
        return self.weight is None

    @abstractmethod
    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Losses (N,), times the weights of their classes, of logits (N, K) and classes (N,) int64.

        Computed in float32 at least, whatever the network's precision.
        """

    @abstractmethod
    def output_error(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The first derivative of each loss by its logits, (N, K), times the weight of the class."""

    @abstractmethod
    def output_curvature(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The second derivative of each loss by each of its logits, (N, K), times the weight of the class; never
        negative: second derivatives of the outputs' activation are dropped."""

    def _weighted(self, values: Tensor, targets: Tensor) -> Tensor:
        """Losses (N, …) or derivatives (N, K, …) times the weights of their classes."""
        if self.weight is None:
            return values
        weights = self.weight[targets].to(values.dtype)
        return values * (weights if values.ndim == targets.ndim else weights.unsqueeze(1))

    def _one_hot(self, targets: Tensor, like: Tensor) -> Tensor:
        """(N, …) classes as (N, K, …) zeros and ones."""
        return functional.one_hot(targets, self.num_classes).movedim(-1, 1).to(like.dtype)

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
    """-sum t log a: -log softmax(z)[target], with smoothed targets and class weights as in PyTorch.

    Args:
        class_counts: training samples per class.
        class_weights: see `Loss`.
        label_smoothing: part of the target that all classes share equally, 0 … 1 (Szegedy et al. 2015, section 7).
        activation: what makes outputs of the logits: "softmax", or "sigmoid" for -sum [t log a + (1 - t) log(1 - a)],
            each class against all others (Nielsen 2015, chapter 3, equation 63).
    """

    def __init__(
        self,
        *,
        class_counts: Sequence[int],
        class_weights: ClassWeights = None,
        label_smoothing: float = 0.0,
        activation: Literal["softmax", "sigmoid"] = "softmax",
    ):
        super().__init__(class_counts=class_counts, class_weights=class_weights)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"expected label_smoothing in 0 … 1, got {label_smoothing}")
        if activation not in ("softmax", "sigmoid"):
            raise ValueError(f"expected the activation softmax or sigmoid, got {activation}")
        self.label_smoothing, self.activation = label_smoothing, activation

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        logits = _widened(logits)
        if self.activation == "sigmoid":
            wanted = self._wanted(targets, logits)
            each = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(1)
            return self._weighted(each, targets)
        weight = None if self.weight is None else self.weight.to(logits.dtype)
        return functional.cross_entropy(
            logits, targets, weight=weight, label_smoothing=self.label_smoothing, reduction="none"
        )

    def _wanted(self, targets: Tensor, like: Tensor) -> Tensor:
        share = self.label_smoothing
        return self._one_hot(targets, like) * (1 - share) + share / self.num_classes

    def output_error(self, logits: Tensor, targets: Tensor) -> Tensor:
        """a - t under both activations; class weights in the softmax form go by the class that t gives them to."""
        logits = _widened(logits)
        wanted = self._wanted(targets, logits)
        if self.activation == "sigmoid":
            return self._weighted(logits.sigmoid() - wanted, targets)
        if self.weight is not None:  # PyTorch weighs each term of the sum by its own class
            wanted = wanted * _along_classes(self.weight, wanted)
        return logits.softmax(1) * wanted.sum(1, keepdim=True) - wanted

    def output_curvature(self, logits: Tensor, targets: Tensor) -> Tensor:
        """a (1 - a), the diagonal of the exact second derivative, under both activations."""
        logits = _widened(logits)
        outputs = logits.sigmoid() if self.activation == "sigmoid" else logits.softmax(1)
        curvature = outputs * (1 - outputs)
        if self.activation == "sigmoid" or self.weight is None:
            return self._weighted(curvature, targets)
        wanted = self._wanted(targets, logits)
        return curvature * (wanted * _along_classes(self.weight, wanted)).sum(1, keepdim=True)


class Focal(Loss):
    """-(1 - p)^gamma log p of the probability p of the right class (Lin et al. 2017, arXiv:1708.02002, equation 4).

    Args:
        class_counts: training samples per class.
        class_weights: see `Loss`; the paper's alpha.
        gamma: how little what is right already counts; 0 is cross entropy, the paper takes 2.
    """

    def __init__(
        self,
        *,
        class_counts: Sequence[int],
        class_weights: ClassWeights = None,
        gamma: Annotated[float, Ge(0)] = 2.0,
    ):
        super().__init__(class_counts=class_counts, class_weights=class_weights)
        if not gamma >= 0:
            raise ValueError(f"expected gamma >= 0, got {gamma}")
        self.gamma = gamma

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        negative = functional.cross_entropy(_widened(logits), targets, reduction="none")  # -log p
        return self._weighted(self._missing(negative) ** self.gamma * negative, targets)

    @staticmethod
    def _missing(negative: Tensor) -> Tensor:
        """1 - p of -log p, without cancellation; never 0, where the slope of a root is infinite."""
        return -torch.expm1(-negative.clamp_min(torch.finfo(negative.dtype).tiny))

    def output_error(self, logits: Tensor, targets: Tensor) -> Tensor:
        """[(1 - p)^gamma - gamma p (1 - p)^(gamma - 1) log p] (a - t)."""
        logits = _widened(logits)
        negative = functional.cross_entropy(logits, targets, reduction="none")
        missing, right = self._missing(negative), torch.exp(-negative)
        slope = missing**self.gamma + self.gamma * right * missing ** (self.gamma - 1) * negative
        return self._weighted(slope.unsqueeze(1) * (logits.softmax(1) - self._one_hot(targets, logits)), targets)

    def output_curvature(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(1 - p)^gamma a (1 - a): cross entropy's, by the same factor as its loss."""
        logits = _widened(logits)
        outputs = logits.softmax(1)
        missing = self._missing(functional.cross_entropy(logits, targets, reduction="none"))
        return self._weighted((missing**self.gamma).unsqueeze(1) * outputs * (1 - outputs), targets)


class SquaredError(Loss):
    """Half the squared distance between the outputs and the one-hot target, summed over the classes.

    The quadratic cost of the early networks; the half makes its gradient by an output that output minus its target.

    Args:
        class_counts: training samples per class.
        class_weights: see `Loss`.
        activation: what makes outputs of the network's logits: "identity" takes them as they are, "sigmoid" is the
            output layer of the multilayer perceptron (Nielsen 2015, chapter 1), "softmax" gives Brier's score; "tanh"
            and "relu" are for those who compare.
    """

    def __init__(
        self,
        *,
        class_counts: Sequence[int],
        class_weights: ClassWeights = None,
        activation: Literal["identity", "sigmoid", "softmax", "tanh", "relu"] = "identity",
    ):
        super().__init__(class_counts=class_counts, class_weights=class_weights)
        if activation not in ("identity", "sigmoid", "softmax", "tanh", "relu"):
            raise ValueError(f"expected the activation identity, sigmoid, softmax, tanh or relu, got {activation}")
        self.activation = activation

    def _outputs(self, logits: Tensor) -> Tensor:
        logits = _widened(logits)
        if self.activation == "softmax":
            return logits.softmax(1)
        return logits if self.activation == "identity" else getattr(torch, self.activation)(logits)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        outputs = self._outputs(logits)
        losses = (outputs - self._one_hot(targets, outputs)).square().sum(1) / 2
        return self._weighted(losses, targets)

    def output_error(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(a - t) · a'(z); for softmax, whose outputs depend on all logits, its Jacobian times a - t."""
        outputs = self._outputs(logits)
        by_output = outputs - self._one_hot(targets, outputs)
        if self.activation == "softmax":
            error = outputs * (by_output - (by_output * outputs).sum(1, keepdim=True))
        else:
            error = by_output * self._slope(outputs)
        return self._weighted(error, targets)

    def output_curvature(self, logits: Tensor, targets: Tensor) -> Tensor:
        """a'(z)², the sum over the outputs for softmax."""
        outputs = self._outputs(logits)
        if self.activation == "softmax":  # sum over k of (a_k (1[k = i] - a_i))²
            squares = outputs.square()
            curvature = squares * (1 - 2 * outputs + squares.sum(1, keepdim=True))
        else:
            curvature = self._slope(outputs).square()
        return self._weighted(curvature, targets)

    def _slope(self, outputs: Tensor) -> Tensor:
        """a'(z), of the outputs a themselves."""
        if self.activation == "sigmoid":
            return outputs * (1 - outputs)
        if self.activation == "tanh":
            return 1 - outputs.square()
        return torch.ones_like(outputs) if self.activation == "identity" else (outputs > 0).to(outputs.dtype)


class MeanDistance(Loss):
    """The output of the correct class's unit where outputs are distances y = -z (LeCun et al. 1998, equation 8).

    The first criterion of LeNet-5, for networks whose logits are minus distances to fixed codes: it draws to the own
    code and does not push from the others. For any other network it has no lower bound.

    Args:
        class_counts: training samples per class.
        class_weights: see `Loss`.
    """

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        distances = -_widened(logits).gather(1, targets.unsqueeze(1)).squeeze(1)
        return self._weighted(distances, targets)

    def output_error(self, logits: Tensor, targets: Tensor) -> Tensor:
        """-t."""
        return self._weighted(-self._one_hot(targets, _widened(logits)), targets)

    def output_curvature(self, logits: Tensor, targets: Tensor) -> Tensor:
        """0: it is linear in the distances, whose own curvature is the network's."""
        return torch.zeros_like(_widened(logits))


class DiscriminativeDistance(Loss):
    """y_correct + log(exp(-j) + sum exp(-y)) where outputs are distances y = -z (LeCun et al. 1998, equation 9).

    The second criterion of LeNet-5: minus the log of the posterior (MAP) of the correct class among all classes and a
    class of rubbish at the constant distance j, which keeps trainable codes from collapsing, and stops pushing from
    codes that are farther than j already.

    Args:
        class_counts: training samples per class.
        class_weights: see `Loss`.
        j: the constant, above 0; the paper does not give its value.
    """

    def __init__(
        self,
        *,
        class_counts: Sequence[int],
        class_weights: ClassWeights = None,
        j: Annotated[float, Gt(0)] = 1.0,
    ):
        super().__init__(class_counts=class_counts, class_weights=class_weights)
        if not j > 0:
            raise ValueError(f"expected j > 0, got {j}")
        self.j = j

    def _with_rubbish(self, logits: Tensor) -> Tensor:
        """The logits (N, K + 1) with that of the rubbish behind the others."""
        return torch.cat([logits, torch.full_like(logits[:, :1], -self.j)], dim=1)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        logits = _widened(logits)
        return self._weighted(functional.cross_entropy(self._with_rubbish(logits), targets, reduction="none"), targets)

    def output_error(self, logits: Tensor, targets: Tensor) -> Tensor:
        """p - t with the posteriors p of the classes."""
        logits = _widened(logits)
        posteriors = self._with_rubbish(logits).softmax(1)[:, :-1]
        return self._weighted(posteriors - self._one_hot(targets, logits), targets)

    def output_curvature(self, logits: Tensor, targets: Tensor) -> Tensor:
        """p (1 - p)."""
        posteriors = self._with_rubbish(_widened(logits)).softmax(1)[:, :-1]
        return self._weighted(posteriors * (1 - posteriors), targets)


def _resolve_weights(class_weights: Sequence[float] | str, class_counts: Sequence[int]) -> list[float]:
    if isinstance(class_weights, str):
        if class_weights == "median_frequency":
            raise ValueError('class_weights "median_frequency" is for pixels; of samples there is "balanced"')
        if class_weights != "balanced":
            raise ValueError(f'expected class_weights to be "balanced", a list or null, got {class_weights!r}')
        if min(class_counts, default=0) < 1:
            raise ValueError(f"expected training samples of every class for balanced weights, got {list(class_counts)}")
        return [sum(class_counts) / (len(class_counts) * count) for count in class_counts]
    weights = [float(weight) for weight in class_weights]
    if len(weights) != len(class_counts) or min(weights) < 0 or max(weights) == 0:
        raise ValueError(f"expected {len(class_counts)} class weights, none negative and not all 0, got {weights}")
    return weights


def _along_classes(weight: Tensor, like: Tensor) -> Tensor:
    """(K,) weights along the second axis of `like`."""
    return weight.to(like.dtype).view(1, -1, *[1] * (like.ndim - 2))


def _widened(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
