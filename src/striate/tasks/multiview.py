"""What a network says of pictures that it sees in several views."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from striate.data.multiview import Views


class Multiview:
    """Averages what a network says over the views of each picture.

    Args:
        views: how pictures are looked at.
        pixels: of one call of the network: what a batch of single views has. A larger view comes alone.
    """

    def __init__(self, views: Views, pixels: int):
        self.views, self.pixels = views, pixels

    def __call__(
        self, classify: Callable[[Tensor], Tensor], images: Sequence[Tensor], owners: Sequence[Tensor], count: int
    ) -> Tensor:
        """Scores of pictures.

        Args:
            classify: (n, H, W, C) uint8 to logits (n, K), or (n, K, H', W'), which are averaged over places.
            images: views (n, H, W, C) uint8, one tensor a size.
            owners: of which picture each view is, (n,) int64 a tensor.
            count: N, the number of pictures.

        Returns:
            (N, K) float64: logarithms of the mean probabilities, or mean logits. Their softmax is the prediction.
        """
        device = images[0].device
        sums, seen = torch.zeros(0), torch.zeros(count, dtype=torch.float64, device=device)
        for group, owner in zip(images, owners, strict=True):
            at_once = max(1, self.pixels // (group.shape[1] * group.shape[2]))
            for part, places in zip(group.split(at_once), owner.to(device).split(at_once), strict=True):
                for look in (part, part.flip(2)) if self.views.mirrored else (part,):
                    scores = self._scores(classify(look))
                    if not sums.numel():
                        sums = scores.new_zeros(count, scores.shape[1])
                    sums.index_add_(0, places, scores)
                    seen.index_add_(0, places, torch.ones_like(places, dtype=torch.float64))
        mean = sums / seen[:, None]
        if self.views.average == "logit":
            return mean
        return mean.clamp_min(torch.finfo(torch.float64).tiny).log()  # a likelihood of 0 has no finite logarithm

    def _scores(self, logits: Tensor) -> Tensor:
        logits = logits.double()
        if logits.dim() == 4:
            logits = logits.mean(dim=(2, 3))
        return logits.softmax(dim=1) if self.views.average == "probability" else logits
