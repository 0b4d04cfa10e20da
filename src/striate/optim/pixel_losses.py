"""Losses over pixels: of each picture a sum over those of its pixels that have a label, and how much these weigh.

A mean is the sum of the losses over the sum of the weights, so that it is the same for any division of a batch into
parts, and pictures without a labelled pixel weigh nothing: a batch of such gives 0 with a gradient of 0, not NaN.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor, nn

from striate.optim.losses import Loss

UNLABELLED = 255
"""In targets: a pixel that does not count."""


class PixelLoss(nn.Module, ABC):
    """A loss per picture."""

    num_classes: int
    counts_alike = False  # pictures weigh by their labelled pixels

    @abstractmethod
    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Losses (N,), sums over labelled pixels, of logits (N, K, H, W) and classes (N, H, W) uint8, 255 for none."""

    def sample_weights(self, targets: Tensor) -> Tensor:
        """What the pixels of each picture weigh in all, (N,) float32; here each labelled one weighs 1."""
        return (targets != UNLABELLED).sum(dim=(1, 2), dtype=torch.float32)

    def reduce(self, losses: Tensor, targets: Tensor) -> Tensor:
        """The mean: sum of the losses over the sum of the weights; 0 with a gradient of 0 where nothing weighs."""
        total = self.sample_weights(targets).sum()
        return losses.sum() / torch.where(total > 0, total, 1.0).to(losses.dtype)


class Pixelwise(PixelLoss):
    """A loss of classification, each labelled pixel being a sample.

    Args:
        loss: takes logits (N, K, H, W) and classes (N, H, W) to (N, H, W), as all of `striate.optim.losses` do.
    """

    def __init__(self, loss: Loss):
        super().__init__()
        self.loss, self.num_classes = loss, loss.num_classes

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        labelled, known = _labelled(targets)
        each = self.loss(logits, known)
        return torch.where(labelled, each, 0.0).sum(dim=(1, 2))

    def sample_weights(self, targets: Tensor) -> Tensor:
        """The weights of the classes of each picture's labelled pixels, summed, (N,) float32."""
        if self.loss.weight is None:
            return super().sample_weights(targets)
        labelled, known = _labelled(targets)
        return (self.loss.weight[known] * labelled).sum(dim=(1, 2))


class Dice(PixelLoss):
    """1 - (2 sum p t + s) / (sum p^e + sum t + s), the mean over the classes that a picture shows (Milletari et al.
    2016, arXiv:1606.04797, section 3), times the picture's labelled pixels, in one scale with pixelwise losses.

    Taken picture by picture and not over all pixels of a batch, so that it too adds up over the parts of one.

    Args:
        class_counts: training pixels per class; their number is that of the classes.
        smooth: s, in pixels; above 0 it also keeps a class of a few pixels from governing a step.
        squared: e = 2, as in the paper; false: 1, as in most of what came after.

    Raises:
        ValueError: a negative `smooth`.
    """

    def __init__(self, *, class_counts: Sequence[int], smooth: Annotated[float, Ge(0)] = 1.0, squared: bool = False):
        super().__init__()
        if not smooth >= 0:
            raise ValueError(f"expected smooth >= 0, got {smooth}")
        self.num_classes, self.smooth, self.squared = len(class_counts), smooth, squared

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        labelled, known = _labelled(targets)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        shares = torch.where(labelled.unsqueeze(1), logits.softmax(1), 0.0)
        # Not one_hot, whose eight bytes a class and pixel would be more than the logits themselves.
        classes = torch.arange(self.num_classes, device=known.device).view(-1, 1, 1)
        truth = (known.unsqueeze(1) == classes) & labelled.unsqueeze(1)
        pixels = truth.sum(dim=(2, 3))  # (N, K)
        common = (shares * truth).sum(dim=(2, 3))
        said = (shares.square() if self.squared else shares).sum(dim=(2, 3))
        below = said + pixels + self.smooth
        lost = 1 - (2 * common + self.smooth) / torch.where(below > 0, below, 1.0)
        shown = pixels > 0
        return (lost * shown).sum(1) / shown.sum(1).clamp_min(1) * self.sample_weights(targets)


class Combined(PixelLoss):
    """A weighted sum of losses, each as it is without the others, over the pixels.

    A part whose classes weigh differently is divided by the number of the pixels like the rest, not by their weights.

    Args:
        class_counts: training pixels per class.
        parts: name → `part(class_counts=…)`, a loss of `striate.optim.losses` or of this file.
        weights: name → how much the part counts; 1 where a name is missing.

    Raises:
        ValueError: no parts, a weight below 0 or of no part.
    """

    def __init__(
        self,
        *,
        class_counts: Sequence[int],
        parts: Mapping[str, Callable[..., Any]],
        weights: Mapping[str, float] | None = None,
    ):
        super().__init__()
        weights = dict(weights or {})
        if not parts or not set(weights) <= set(parts) or any(not weight >= 0 for weight in weights.values()):
            raise ValueError(f"expected parts, and weights of at least 0 for some of {sorted(parts)}, got {weights}")
        self.parts = nn.ModuleDict({name: over_pixels(part(class_counts=class_counts)) for name, part in parts.items()})
        self.weights, self.num_classes = weights, len(class_counts)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        losses = (self.weights.get(name, 1.0) * part(logits, targets) for name, part in self.parts.items())
        return torch.stack(list(losses)).sum(0)


def over_pixels(loss: Loss | PixelLoss) -> PixelLoss:
    """Any loss as one over pixels."""
    return loss if isinstance(loss, PixelLoss) else Pixelwise(loss)


def median_frequency_weights(pixels: Sequence[int], pixels_of_pictures_with: Sequence[int]) -> list[float]:
    """Median over classes of f, divided by f of each class (Eigen & Fergus 2015, arXiv:1411.4734, section 4.3.2).

    Args:
        pixels: of each class in the training pictures.
        pixels_of_pictures_with: all pixels of those pictures that show the class; f is the ratio.

    Returns:
        One weight a class; 0 for a class that is never shown, which does not count in the median either.

    Raises:
        ValueError: no class is ever shown.
    """
    shown = torch.tensor(pixels, dtype=torch.float64) > 0
    if not shown.any():
        raise ValueError("expected pixels of at least one class, got none")
    frequency = torch.tensor(pixels, dtype=torch.float64) / torch.tensor(pixels_of_pictures_with).clamp_min(1)
    median = frequency[shown].quantile(0.5)  # the mean of the two in the middle; `median` would take the lower
    return torch.where(shown, median / torch.where(shown, frequency, 1.0), 0.0).tolist()


def _labelled(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Which pixels count, (N, H, W), and their classes as int64, 0 for the others."""
    labelled = targets != UNLABELLED
    return labelled, targets.masked_fill(~labelled, 0).long()
