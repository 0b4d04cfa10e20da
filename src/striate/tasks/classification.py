"""The LightningModule of classification: one label a picture."""

from typing import Any

import torch
from torch import Tensor

from striate.data.loading import Batch, ViewBatch
from striate.evaluation.tally import ClassificationTally
from striate.optim.losses import Loss
from striate.tasks.base import SupervisedTask
from striate.tasks.multiview import Multiview


class ClassificationTask(SupervisedTask):
    """Trains and evaluates a classifier, whose network gives logits (N, K); see `SupervisedTask`."""

    monitor = "val/top1_micro"
    train_error = "train/error_micro"
    counted_at_once = 16
    tally: ClassificationTally
    loss: Loss

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.multiview: Multiview | None = None  # `evaluate` may look at pictures more than once

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

    def _evaluate(self, batch: Batch | ViewBatch) -> Tensor | None:
        if not len(batch.indices):  # a process may get no sample of the last batch
            return None
        if isinstance(batch, ViewBatch):
            assert self.multiview is not None
            logits = self.multiview(self.classify, batch.images, batch.owners, len(batch.indices))
        else:
            logits = self.classify(batch.images).float()
        self.tally.update(
            logits, batch.targets, self.loss(logits, batch.targets), self.loss.sample_weights(batch.targets)
        )
        return logits
