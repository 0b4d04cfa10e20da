"""Transforms of torchvision.transforms.v2, one picture at a time, under a generator state that the key decides."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from striate.data.augmentation.base import Augmentation, Images, as_batch
from striate.data.sampling import Keys


class Torchvision(Augmentation):
    """Apply torchvision v2 transforms in their order.

    They draw from PyTorch's global CPU generator, which is set to the key before each picture and afterwards put back
    to where it was.

    Args:
        transforms: callables from (C, H, W) uint8 to the same, of one size.
    """

    def __init__(self, transforms: Sequence[Callable[[Any], Any]]):
        self.transforms = list(transforms)

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        import torch
        from torchvision.tv_tensors import Image

        views = []
        with torch.random.fork_rng(devices=[]):
            for image, key in zip(images, keys.tolist(), strict=True):
                torch.default_generator.manual_seed(key)  # not torch.manual_seed, which also seeds the GPUs
                picture: Any = Image(torch.from_numpy(np.require(image, requirements="W")).permute(2, 0, 1))
                for transform in self.transforms:
                    picture = transform(picture)
                views.append(picture.permute(1, 2, 0).numpy())
        return as_batch(views)
