"""The LightningModule of segmentation: a label for every pixel."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from striate.data.loading import Batch
from striate.data.masks import IGNORE
from striate.data.meta import SPLITS, Meta
from striate.errors import DataError
from striate.evaluation.pixel_tally import PixelTally
from striate.optim.losses import Loss
from striate.optim.pixel_losses import PixelLoss, median_frequency_weights, over_pixels
from striate.tasks.base import SupervisedTask
from striate.tasks.pixel_looks import PixelLooks


class Labelled(NamedTuple):
    """What a network says of a batch: `predicted` (N, H, W) uint8 classes at the size of the masks."""

    predicted: Tensor


class SegmentationTask(SupervisedTask):
    """Trains and evaluates a network whose logits are (N, K, H, W), at the size of the pictures; see `SupervisedTask`.

    Masks are (N, H, W) uint8, 255 where a pixel does not count. Evaluation never resizes a mask: where the network sees
    a picture at another size, what it says is brought to that of the mask.
    """

    monitor = "val/miou"
    train_error = "train/pixel_error"
    counted_at_once = 1  # logits of pictures are large
    tally: PixelTally
    loss: PixelLoss

    def __init__(self, network: nn.Module, preprocessing: Any, num_classes: int, loss: Loss | PixelLoss, *rest: Any,
                 **options: Any):  # fmt: skip
        super().__init__(network, preprocessing, num_classes, over_pixels(loss), *rest, **options)
        self.looks: PixelLooks | None = None  # `evaluate` may look at pictures more than once, or at another size

    def new_tally(self) -> PixelTally:
        """What counts the answers of a split."""
        return PixelTally(self.num_classes)

    def metric_names(self) -> list[str]:
        """The figures of each epoch, of which one selects the best."""
        tally, mask = self.new_tally(), torch.zeros(1, 2, 2, dtype=torch.uint8)
        mask[0, 0] = 1
        tally.update(torch.zeros(1, self.num_classes, 2, 2), mask, torch.zeros(1), torch.ones(1))
        return [self.train_error, "train/loss", *(f"val/{name}" for name in tally.compute())]

    def errors(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Whether the answer for each pixel is wrong, (N, H, W)."""
        return (logits.argmax(dim=1) != targets) & (targets != IGNORE)

    def samples(self, targets: Tensor) -> Tensor:
        """The labelled pixels of each picture, (N,) float32."""
        return (targets != IGNORE).sum(dim=(1, 2), dtype=torch.float32)

    def label(self, images: Tensor) -> Tensor:
        """(N, H, W, C) uint8 pictures to scores (N, K, H, W), whose softmax is the prediction."""
        if self.looks is None:
            return self.classify(images).float()
        return self.looks(self.network, self._inputs(images))

    def _evaluate(self, batch: Batch) -> Labelled | None:
        if not len(batch.indices):  # a process may get no sample of the last batch
            return None
        scores = self.label(batch.images)
        weights = self.loss.sample_weights(batch.targets)
        return Labelled(self.tally.update(scores, batch.targets, self.loss(scores, batch.targets), weights))


def mask_weights(node: Any, labelling: Mapping[str, Any]) -> Any:
    """A loss's node with the numbers that `class_weights: median_frequency` stands for, at any depth."""
    if not isinstance(node, Mapping):
        return node
    result = {key: mask_weights(value, labelling) for key, value in node.items()}
    if node.get("class_weights") == "median_frequency":
        pixels, of_pictures = (labelling[key]["train"] for key in ("pixels", "pixels_of_pictures_with"))
        result["class_weights"] = median_frequency_weights(pixels, of_pictures)
    return result


def require_labelled(meta: Meta, splits: Collection[str]) -> None:
    """Refuses pictures with masks that say nothing, before anything is done with them.

    Args:
        meta: the passport of the data, or of the chosen classes.
        splits: those that will be used; one that the set does not have is passed over.

    Raises:
        DataError: none of a split's pixels has a label of one of the classes.
    """
    pixels = {} if meta.labelling is None else meta.labelling["pixels"]
    for split in (split for split in SPLITS if split in splits and split in pixels):
        if not any(pixels[split]):
            without = "; or leave the test out: test=false" if split == "test" else ""
            raise DataError(
                f"the {split} split of {meta.name} has no pixel of any of the {meta.num_classes} classes",
                do=f"look at data.source.values, ignore and unknown, and at data.classes{without}",
            )
