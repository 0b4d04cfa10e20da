"""Counts of a classifier over a whole split, kept where the batches are and read once, at the end."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from striate.errors import DivergedError
from striate.evaluation import metrics


class Sums(nn.Module):
    """Named sums over samples, moved with the module, reset, and added up over processes.

    A module, so that it moves with the task; yet its tensors are neither parameters nor buffers:
    DistributedDataParallel would overwrite buffers by those of process 0 before each forward pass, a half-precision
    trainer would cast them, and weight averaging would average them.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        self._state: dict[str, Tensor] = {}
        self.reset("cpu")

    @abstractmethod
    def _empty(self, zeros: Callable[..., Tensor]) -> dict[str, Tensor]:
        """The sums over nothing; `zeros(*shape, dtype=torch.int64)` makes them. One is called `confusion`."""

    @torch.inference_mode(False)  # else what is reset in a validation loop could not be written to outside of one
    def reset(self, device: torch.device | str | None = None) -> None:
        """Starts anew, on this device or where it was."""
        device = self._state["confusion"].device if device is None else torch.device(device)

        def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self._state = self._empty(zeros)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # `fn` moves and may cast; only the move is wanted.
        super()._apply(fn, recurse)
        self._move(fn(torch.empty(0, device=self._state["confusion"].device)).device)
        return self

    def _move(self, device: torch.device) -> None:
        self._state = {name: tensor.to(device) for name, tensor in self._state.items()}

    def _follow(self, device: torch.device) -> None:
        if self._state["confusion"].device != device:
            self._move(device)  # FSDP moves parameters one by one, never the module

    def state(self) -> dict[str, Tensor]:
        """The sums themselves."""
        return dict(self._state)

    def numpy(self) -> dict[str, Any]:
        """The sums as NumPy arrays: what the functions of `metrics` take. Waits for the device."""
        return {name: tensor.cpu().numpy() for name, tensor in self._state.items()}

    def reduce(self, all_reduce: Callable[[Tensor], Tensor]) -> None:
        """Adds up the sums of all processes; once, after the last batch.

        Args:
            all_reduce: gives the sum of a tensor over the processes; it may work in place.
        """
        self._state = {name: all_reduce(tensor) for name, tensor in self._state.items()}


class ClassificationTally(Sums):
    """Sums over samples from which every figure follows, equal for any division into batches and processes.

    `update` waits for nothing: it only queues operations on the device of the logits. Whole numbers are summed as
    int64, the rest in float64, so that figures do not depend on how the samples were divided (to 1e-12 of themselves).

    Args:
        num_classes: K, at least 2.

    Raises:
        ValueError: fewer classes.
    """

    def __init__(self, num_classes: int):
        if num_classes < 2:
            raise ValueError(f"expected at least 2 classes, got {num_classes}")
        super().__init__(num_classes)

    def _empty(self, zeros: Callable[..., Tensor]) -> dict[str, Tensor]:
        return {
            "confusion": zeros(self.num_classes, self.num_classes),  # true classes in rows
            "top5_hits": zeros(),
            "criterion": zeros(dtype=torch.float64),
            "criterion_samples": zeros(),
            "criterion_weight": zeros(dtype=torch.float64),
            "not_finite": zeros(),
            **{
                form.format(name): zeros(*shape, dtype=dtype)
                for form in ("{}", metrics.CALIBRATED)
                for name, shape, dtype in (
                    ("nll", (), torch.float64),
                    ("brier", (), torch.float64),
                    ("bin_samples", (metrics.BINS,), torch.int64),
                    ("bin_confidence", (metrics.BINS,), torch.float64),
                    ("bin_hits", (metrics.BINS,), torch.int64),
                )
            },
        }

    @torch.no_grad()
    def update(
        self,
        logits: Tensor,
        targets: Tensor,
        criterion: Tensor | None = None,
        weights: Tensor | None = None,
        *,
        temperature: float | None = None,
    ) -> None:
        """Counts a batch; an empty one counts nothing.

        Of equal logits the class with the lower index comes first, as in `argmax`: a network that says the same of
        every class is no better than chance in top-5 either.

        Args:
            logits: (N, K), of any floating type.
            targets: (N,) int64 labels, 0 to K − 1.
            criterion: (N,) what the loss says of each sample, its weight included, or None.
            weights: (N,) how much each sample weighs in the mean of the criterion; None for 1.
            temperature: by which logits are divided to count their probabilities a second time; None for no such count.

        Raises:
            ValueError: other shapes.
        """
        samples = len(targets)
        if logits.shape != (samples, self.num_classes) or targets.shape != (samples,):
            shapes = f"{tuple(logits.shape)} and {tuple(targets.shape)}"
            raise ValueError(f"expected logits (N, {self.num_classes}) and targets (N,), got {shapes}")
        if criterion is not None and criterion.shape != targets.shape:
            raise ValueError(
                f"expected one value of the criterion a sample, ({samples},), got {tuple(criterion.shape)}"
            )
        self._follow(logits.device)
        state = self._state
        predicted, ones = logits.argmax(dim=1), torch.ones_like(targets)
        state["confusion"].view(-1).index_add_(0, targets * self.num_classes + predicted, ones)
        state["top5_hits"] += (self._ranks(logits, targets) < metrics.TOP).sum()
        if criterion is not None:
            state["criterion"] += criterion.double().sum()
            state["criterion_samples"] += samples
            state["criterion_weight"] += samples if weights is None else weights.double().sum()
        logits = logits.double()
        state["not_finite"] += self._count_probabilities(logits, targets, predicted == targets, "{}")
        if temperature is not None:
            self._count_probabilities(logits / temperature, targets, predicted == targets, metrics.CALIBRATED)

    def _count_probabilities(self, logits: Tensor, targets: Tensor, hits: Tensor, form: str) -> Tensor:
        """Counts what is said of probabilities under names of this form; how many samples have none."""
        log_probabilities = logits.log_softmax(dim=1)
        best = log_probabilities.max(dim=1)[0]
        negative = -log_probabilities.gather(1, targets[:, None])[:, 0]
        probabilities = log_probabilities.exp()
        # Σ (p − y)² over the classes, where y is 1 for the true one and 0 else.
        squared = probabilities.square().sum(dim=1) - 2 * (-negative).exp() + 1
        self._state[form.format("nll")] += negative.sum()
        self._state[form.format("brier")] += squared.nan_to_num(nan=0.0).sum()
        self._count_bins(best.exp(), hits, form)
        return (~(negative + best).isfinite()).sum()

    @staticmethod
    def _ranks(logits: Tensor, targets: Tensor) -> Tensor:
        """How many classes come before the true one, (N,)."""
        own = logits.gather(1, targets[:, None])
        earlier = torch.arange(logits.shape[1], device=logits.device) < targets[:, None]
        return ((logits > own) | ((logits == own) & earlier)).sum(dim=1)

    def _count_bins(self, confidence: Tensor, hits: Tensor, form: str) -> None:
        # Bins are (low, high], and what is at an edge but for rounding is at the edge: 1/3 is on every machine.
        places = (confidence * metrics.BINS - 1e-9).floor().clamp(0, metrics.BINS - 1)
        # Sums over a table of memberships have a fixed order, which atomic additions lack.
        members = places[:, None] == torch.arange(metrics.BINS, device=places.device)
        self._state[form.format("bin_samples")] += members.sum(dim=0)
        self._state[form.format("bin_confidence")] += (members * confidence[:, None]).nan_to_num(nan=0.0).sum(dim=0)
        self._state[form.format("bin_hits")] += (members & hits[:, None]).sum(dim=0)

    @property
    def samples(self) -> int:
        """How many samples were counted."""
        return int(self._state["confusion"].sum())

    def state(self) -> dict[str, Tensor]:
        """The sums themselves.

        Returns:
            confusion (K, K) int64, top5_hits, criterion and its criterion_weight (float64), criterion_samples, nll and
            brier (float64), not_finite (samples whose logits or likelihood are not finite), and per bin of confidence,
            (15,): bin_samples, bin_confidence (float64), bin_hits. What is said of probabilities stands a second time
            under `metrics.CALIBRATED`, after the temperature; all 0 where none was given.
        """
        return super().state()

    def compute(self) -> dict[str, float]:
        """The figures, see `metrics.classification_figures`; all finite. Waits for the device.

        Raises:
            ValueError: nothing was counted.
            DivergedError: a logit, likelihood or criterion is not finite, so that figures would say nothing.
        """
        state = self.numpy()
        count = int(state["not_finite"])
        if count or not np.isfinite(state["criterion"]):
            what = f"the logits of {count} of {self.samples} samples are" if count else "the loss of some sample is"
            raise DivergedError(
                f"evaluation: {what} not finite", do="train with a lower learning rate or gradient clipping"
            )
        return metrics.classification_figures(state)

    def intervals(self) -> dict[str, float]:
        """The 95 % intervals of the micro averages, see `metrics.classification_intervals`."""
        return metrics.classification_intervals(self.numpy())

    def per_class(self, class_names: Sequence[str]) -> list[dict[str, Any]]:
        """Rows of class, samples, precision, recall, f1; NaN where there is nothing to divide by (see `metrics`).

        Args:
            class_names: K names, index = label.

        Raises:
            ValueError: another number of names.
        """
        return metrics.class_table(self.numpy()["confusion"], class_names)
