"""What a network says of the pixels of each picture of a split, gathered over all processes: sums, and a few masks."""

from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from striate.data.masks import IGNORE
from striate.evaluation.pixel_metrics import iou_of_pictures


class PixelCollector(Callback):
    """Keeps sums for each picture while a task is tested, and the masks said of some pictures.

    Args:
        classes: K.
        shown: places of pictures whose masks are kept in any case.
        worst: of how many pictures with the least mean IoU the masks are kept too.

    Attributes:
        indices: (N,) int64, the places of the pictures tested in order, once the test has ended: each exactly once.
        sums: (N, 3, K) int64 pixels of each picture: hits, true and predicted of each class.
        masks: place → (H, W) uint8 classes, of the shown and the worst.
        worst_places: of the latter, the worst first.
    """

    def __init__(self, classes: int, shown: tuple[int, ...] = (), worst: int = 0):
        self.classes, self.shown, self.worst = classes, frozenset(shown), worst
        self._rows: list[tuple[Tensor, Tensor]] = []
        self.masks: dict[int, np.ndarray] = {}
        self.worst_places: list[int] = []
        self._scores: dict[int, float] = {}
        self.indices, self.sums = np.empty(0, np.int64), np.empty((0, 3, classes), np.int64)

    def on_test_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Starts anew."""
        for kept in (self._rows, self.masks, self._scores):
            kept.clear()

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Keeps what the test step gives: the most probable classes, or None for a part without pictures."""
        if outputs is None:
            return
        sums = torch.stack([self._sums(*pair) for pair in zip(outputs.predicted, batch.targets, strict=True)])
        self._rows.append((batch.indices, sums))
        if not self.shown and not self.worst:
            return
        scores = iou_of_pictures(sums.cpu().numpy())
        for index, score, mask in zip(batch.indices.tolist(), scores.tolist(), outputs.predicted, strict=True):
            self._keep(index, score, mask)

    def _sums(self, predicted: Tensor, target: Tensor) -> Tensor:
        labelled = target != IGNORE
        true, said = target[labelled], predicted[labelled]
        rows = (true[true == said], true, said)
        return torch.stack([torch.bincount(row.long(), minlength=self.classes) for row in rows])

    def _keep(self, index: int, score: float, mask: Tensor) -> None:
        if index in self.shown:
            self.masks[index] = mask.cpu().numpy()
        if not self.worst or np.isnan(score):
            return
        if len(self._scores) == self.worst:
            best = max(self._scores, key=lambda place: (self._scores[place], place))
            if (score, index) >= (self._scores[best], best):
                return
            del self._scores[best]
            if best not in self.shown:
                del self.masks[best]
        self._scores[index], self.masks[index] = score, mask.cpu().numpy()

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Brings all pictures together, in the order of the split."""
        columns = zip(*self._rows, strict=True) if self._rows else ((), ())
        own = (*(torch.cat(column).cpu().numpy() if column else None for column in columns), self.masks)
        parts: list[Any] = [own]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, own)
        parts = [part for part in parts if part[0] is not None]
        if parts:
            indices, sums = (np.concatenate([part[column] for part in parts]) for column in (0, 1))
            order = indices.argsort()
            self.indices, self.sums = indices[order], sums[order]
        self.masks = {place: mask for part in parts for place, mask in part[2].items()}
        scores = dict(zip(self.indices.tolist(), iou_of_pictures(self.sums).tolist(), strict=True))
        ranked = sorted((scores[place], place) for place in self.masks if scores[place] == scores[place])
        self.worst_places = [place for _, place in ranked[: self.worst]]
