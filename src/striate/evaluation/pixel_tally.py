"""Counts of a network that labels pixels over a whole split, kept where the batches are and read once, at the end."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from striate.data.masks import IGNORE, MOST_CLASSES
from striate.errors import DataError, DivergedError
from striate.evaluation import pixel_metrics
from striate.evaluation.tally import Sums

_NONE = 254  # no class, and no pixel without a label either


class PixelTally(Sums):
    """Sums over pixels from which every figure follows, equal for any division into batches and processes.

    Args:
        num_classes: K, 2 to `MOST_CLASSES`.

    Raises:
        ValueError: another number.
    """

    def __init__(self, num_classes: int):
        if not 2 <= num_classes <= MOST_CLASSES:
            raise ValueError(f"expected 2 to {MOST_CLASSES} classes, got {num_classes}")
        super().__init__(num_classes)

    def _empty(self, zeros: Callable[..., Tensor]) -> dict[str, Tensor]:
        classes = self.num_classes
        return {
            "confusion": zeros(classes, classes),  # true classes in rows
            "pictures": zeros(),
            "criterion": zeros(dtype=torch.float64),
            "criterion_weight": zeros(dtype=torch.float64),
            "not_finite": zeros(),
            **{f"boundary_{name}": zeros(classes) for name in ("true", "found", "predicted", "right")},
            "boundary_f1": zeros(dtype=torch.float64),
            "boundary_pictures": zeros(),
        }

    @torch.no_grad()
    def update(self, logits: Tensor, targets: Tensor, criterion: Tensor, weights: Tensor) -> Tensor:
        """Counts a batch; an empty one counts nothing.

        Args:
            logits: (N, K, H, W), of any floating type.
            targets: (N, H, W) uint8 of classes, 255 where a pixel does not count.
            criterion: (N,) what the loss says of each picture, summed over its pixels.
            weights: (N,) how much each picture weighs in the mean of the criterion.

        Returns:
            (N, H, W) uint8, the most probable class of every pixel.

        Raises:
            ValueError: other shapes.
        """
        if (
            logits.dim() != 4
            or logits.shape[1] != self.num_classes
            or targets.shape != (len(logits), *logits.shape[2:])
        ):
            shapes = f"{tuple(logits.shape)} and {tuple(targets.shape)}"
            raise ValueError(f"expected logits (N, {self.num_classes}, H, W) and targets (N, H, W), got {shapes}")
        self._follow(logits.device)
        state, predicted = self._state, logits.argmax(dim=1).to(torch.uint8)
        if not len(logits):
            return predicted
        state["confusion"] += confusion_of(predicted, targets, self.num_classes)
        state["pictures"] += len(logits)
        state["criterion"] += criterion.double().sum()
        state["criterion_weight"] += weights.double().sum()
        state["not_finite"] += (~logits.flatten(1).isfinite().all(dim=1)).sum()
        tolerance = pixel_metrics.boundary_tolerance(*targets.shape[1:])
        counts = boundary_counts(predicted, targets, self.num_classes, tolerance)
        for name, count in counts.items():
            state[f"boundary_{name}"] += count.sum(dim=0)
        scores, counted = boundary_scores(counts)
        state["boundary_f1"] += scores.sum()
        state["boundary_pictures"] += counted.sum()
        return predicted

    @property
    def samples(self) -> int:
        """How many pictures were counted."""
        return int(self._state["pictures"])

    def compute(self) -> dict[str, float]:
        """The figures, see `pixel_metrics.segmentation_figures`; all finite. Waits for the device.

        Raises:
            DataError: no labelled pixel was counted.
            DivergedError: a logit or criterion is not finite, so that figures would say nothing.
        """
        state = self.numpy()
        count = int(state["not_finite"])
        if count or not np.isfinite(state["criterion"]):
            what = f"the logits of {count} of {self.samples} pictures are" if count else "the loss of some picture is"
            raise DivergedError(
                f"evaluation: {what} not finite", do="train with a lower learning rate or gradient clipping"
            )
        if not state["confusion"].any():
            raise DataError(
                f"evaluation: none of {self.samples} pictures has a labelled pixel",
                do="evaluate more pictures (trainer.limit_val_batches), or look at the masks",
            )
        return pixel_metrics.segmentation_figures(state)

    def per_class(self, class_names: Sequence[str]) -> list[dict[str, Any]]:
        """See `pixel_metrics.class_table`."""
        return pixel_metrics.class_table(self.numpy(), class_names)


def confusion_of(predicted: Tensor, targets: Tensor, classes: int) -> Tensor:
    """(K, K) int64 pixels, true classes in rows, of two maps of classes; 255 in `targets` does not count."""
    labelled = targets != IGNORE
    places = torch.where(labelled, targets.long() * classes + predicted, classes * classes)
    return torch.bincount(places.flatten(), minlength=classes * classes + 1)[:-1].view(classes, classes)


def boundary_counts(predicted: Tensor, targets: Tensor, classes: int, tolerance: int) -> dict[str, Tensor]:
    """Boundary pixels of each class, and how many of them have a twin of the same class at most `tolerance` pixels off.

    A pixel lies on the boundary of its class if one of its four neighbours has another; unlabelled pixels and the
    picture's frame make none.

    Args:
        predicted: (N, H, W) uint8 classes.
        targets: (N, H, W) uint8 classes, 255 where a pixel does not count; there the prediction does not either.
        classes: K.
        tolerance: Euclidean distance in pixels.

    Returns:
        (N, K) int64 each: `true`, `found` of them, `predicted`, `right` of them.
    """
    true = _outline(targets)
    said = _outline(torch.where(targets == IGNORE, targets, predicted))
    found, right = torch.zeros_like(true, dtype=torch.bool), torch.zeros_like(true, dtype=torch.bool)
    height, width = true.shape[1:]
    padded = [functional.pad(outline, (tolerance,) * 4, value=_NONE) for outline in (true, said)]
    reach = range(-tolerance, tolerance + 1)
    for down in reach:
        for right_by in reach:
            if down * down + right_by * right_by > tolerance * tolerance:
                continue
            rows = slice(tolerance + down, tolerance + down + height)
            columns = slice(tolerance + right_by, tolerance + right_by + width)
            found |= padded[1][:, rows, columns] == true
            right |= padded[0][:, rows, columns] == said
    counts = {"true": true, "found": torch.where(found, true, _NONE), "predicted": said,
              "right": torch.where(right, said, _NONE)}  # fmt: skip
    places = 256 * torch.arange(len(true), device=true.device).view(-1, 1, 1)
    return {
        name: torch.bincount((outline + places).flatten(), minlength=256 * len(true)).view(-1, 256)[:, :classes]
        for name, outline in counts.items()
    }


def boundary_scores(counts: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """F1 of each picture, the mean over the classes whose boundary it shows, (N,) float64; and whether it shows any.

    Args:
        counts: as `boundary_counts` gives them.
    """
    true, found, predicted, right = (counts[name].double() for name in ("true", "found", "predicted", "right"))
    recall, precision = found / true.clamp_min(1), right / predicted.clamp_min(1)
    f1 = 2 * precision * recall / (precision + recall).clamp_min(1e-12)
    shown = (true > 0).sum(dim=1)
    return f1.sum(dim=1) / shown.clamp_min(1), shown > 0


def _outline(labels: Tensor) -> Tensor:
    """(N, H, W) uint8: the classes of boundary pixels, `_NONE` elsewhere."""
    edge = torch.zeros_like(labels, dtype=torch.bool)
    for axis in (1, 2):
        ahead, behind = labels.narrow(axis, 1, labels.shape[axis] - 1), labels.narrow(axis, 0, labels.shape[axis] - 1)
        differs = (ahead != behind) & (ahead != IGNORE) & (behind != IGNORE)
        edge.narrow(axis, 1, labels.shape[axis] - 1).logical_or_(differs)
        edge.narrow(axis, 0, labels.shape[axis] - 1).logical_or_(differs)
    return torch.where(edge, labels, _NONE)
