"""What a network says of every pixel of pictures that it sees more than once, in parts, or at another size."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from striate.data.pixel_views import PixelViews, places, seen_size


class PixelLooks:
    """Averages what a network says of each pixel over scales, windows and mirror images.

    Args:
        views: how pictures are looked at.
        geometry: how `prepare` brought raw pictures to the size that the network was trained on.
        pixels: that the network is given at once, at least a window.
    """

    def __init__(self, views: PixelViews, geometry: Mapping[str, Any], pixels: int):
        self.views, self.geometry, self.pixels = views, dict(geometry), pixels

    def __call__(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Scores of pictures.

        Args:
            network: (n, C, h, w) to logits (n, K, h, w).
            x: (N, C, H, W), normalised.

        Returns:
            (N, K, H, W) float32: logarithms of the mean probabilities, or mean logits. Their softmax is the prediction.
        """
        return torch.cat([self._of_one(network, picture) for picture in x.split(1)])

    def _of_one(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        base, total, looks = seen_size(height, width, self.geometry), torch.zeros(()), 0
        for scale in self.views.scales:
            size = tuple(max(1, round(side * scale)) for side in base)
            seen = x if size == (height, width) else resized(x, size)
            for mirrored in (False, True) if self.views.mirrored else (False,):
                scores = self._swept(network, seen.flip(3) if mirrored else seen)
                scores = resized(scores.flip(3) if mirrored else scores, (height, width))
                total, looks = total + scores, looks + 1
        mean = total / looks
        if self.views.average == "logit":
            return mean
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()  # a likelihood of 0 has no finite logarithm

    def _swept(self, network: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Probabilities or logits (1, K, H, W) of a whole picture: the mean over the windows that cover a pixel."""
        side = self.views.window
        if side is None:
            return self._scores(network(x))
        size = tuple(min(side, length) for length in x.shape[2:])
        rows, columns = (
            places(length, part, self.views.overlap) for length, part in zip(x.shape[2:], size, strict=True)
        )
        corners = [(top, left) for top in rows for left in columns]
        at_once = max(1, self.pixels // (size[0] * size[1]))
        total, seen = torch.zeros(()), x.new_zeros(1, 1, *x.shape[2:], dtype=torch.float32)
        for start in range(0, len(corners), at_once):
            part = corners[start : start + at_once]
            windows = torch.cat([x[:, :, top : top + size[0], left : left + size[1]] for top, left in part])
            for scores, (top, left) in zip(self._scores(network(windows)), part, strict=True):
                if not total.dim():
                    total = scores.new_zeros(1, len(scores), *x.shape[2:])
                total[0, :, top : top + size[0], left : left + size[1]] += scores
                seen[0, :, top : top + size[0], left : left + size[1]] += 1
        return total / seen

    def _scores(self, logits: Tensor) -> Tensor:
        return logits.float().softmax(dim=1) if self.views.average == "probability" else logits.float()


def resized(x: Tensor, size: tuple[int, ...]) -> Tensor:
    """(N, C, H, W) at another size, bilinear; anti-aliased where it shrinks."""
    if x.shape[2:] == size:
        return x
    return functional.interpolate(
        x, size, mode="bilinear", antialias=min(a / b for a, b in zip(size, x.shape[2:], strict=True)) < 1
    )
