"""The LightningModule of classification: one label a picture."""

from typing import Any

import torch
from torch import Tensor

from striate.data.loading import Batch, ViewBatch
from striate.evaluation.calibration import fit_temperature
from striate.evaluation.tally import ClassificationTally
from striate.optim.losses import Loss
from striate.tasks.base import SupervisedTask
from striate.tasks.multiview import Multiview

_KEPT = 1 << 26  # logits of a validation, by which the temperature is fitted; one number needs no more


class ClassificationTask(SupervisedTask):
    """Trains and evaluates a classifier, whose network gives logits (N, K); see `SupervisedTask`.

    Attributes:
        multiview: how `evaluate` looks at pictures more than once, or None.
        temperature: by which logits are divided where probabilities are wanted (Guo et al. 2017), or None. Each
            validation fits one to the weights of that moment, which a checkpoint taken then has in its record.
    """

    monitor = "val/top1_micro"
    train_error = "train/error_micro"
    counted_at_once = 16
    tally: ClassificationTally
    loss: Loss

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.multiview: Multiview | None = None
        self.temperature: float | None = None
        self._answers: list[tuple[Tensor, Tensor]] = []  # logits and targets of the running validation

    def new_tally(self) -> ClassificationTally:
        """What counts the answers of a split."""
        return ClassificationTally(self.num_classes)

    def metric_names(self) -> list[str]:
        """The figures of each epoch, of which one selects the best."""
        tally = self.new_tally()
        tally.update(torch.zeros(1, self.num_classes), torch.zeros(1, dtype=torch.int64), torch.zeros(1), torch.ones(1))
        return [self.train_error, "train/loss", *(f"val/{name}" for name in tally.compute())]

    def errors(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Whether each answer is wrong, (N,)."""
        return logits.argmax(dim=1) != targets

    def samples(self, targets: Tensor) -> Tensor:
        """One answer a picture, (N,) float32."""
        return torch.ones_like(targets, dtype=torch.float32)

    def on_train_epoch_start(self) -> None:
        """Drops the temperature of weights that are about to move."""
        self.record.pop("temperature", None)
        super().on_train_epoch_start()

    def on_validation_epoch_start(self) -> None:
        """Starts to count."""
        self._answers.clear()
        super().on_validation_epoch_start()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Counts a batch and keeps its logits; of a split with more than memory should hold, evenly spread ones."""
        if (logits := self._evaluate(batch)) is None:
            return
        every = -(-len(self.trainer.datamodule.dataset("val")) * self.num_classes // _KEPT)  # type: ignore[attr-defined]
        chosen = (batch.indices % every == 0).to(logits.device) if every > 1 else slice(None)
        self._answers.append((logits[chosen], batch.targets[chosen]))

    def on_validation_epoch_end(self) -> None:
        """Figures over the whole split, and the temperature of these weights."""
        super().on_validation_epoch_end()
        none = torch.empty(0, self.num_classes, device=self.device)
        none_either = torch.empty(0, dtype=torch.int64, device=self.device)
        logits, targets = (torch.cat(part) for part in zip(*(self._answers or [(none, none_either)]), strict=True))
        self._answers.clear()
        if logits.device.type == "mps":  # has no float64
            logits, targets = logits.cpu(), targets.cpu()
        self.record["temperature"] = fit_temperature(logits, targets, self._summed)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Logits (N, K) to probabilities, float64, through the temperature if there is one."""
        return (logits.double() / (self.temperature or 1.0)).softmax(dim=1)

    def _evaluate(self, batch: Batch | ViewBatch) -> Tensor | None:
        if not len(batch.indices):  # a process may get no sample of the last batch
            return None
        if isinstance(batch, ViewBatch):
            assert self.multiview is not None
            logits = self.multiview(self.classify, batch.images, batch.owners, len(batch.indices))
        else:
            logits = self.classify(batch.images).float()
        criterion, weights = self.loss(logits, batch.targets), self.loss.sample_weights(batch.targets)
        self.tally.update(logits, batch.targets, criterion, weights, temperature=self.temperature)
        return logits
