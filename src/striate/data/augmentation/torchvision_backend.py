"""Transforms of torchvision.transforms.v2, one picture at a time, under a generator state that the key decides."""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from striate.data.augmentation.base import Augmentation, Images, Masks, as_batch, as_masks
from striate.data.masks import IGNORE
from striate.data.sampling import Keys
from striate.errors import ConfigurationError


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

        views = []
        with torch.random.fork_rng(devices=[]):
            for image, key in zip(images, keys.tolist(), strict=True):
                torch.default_generator.manual_seed(key)  # not torch.manual_seed, which also seeds the GPUs
                picture = _picture(image)
                for transform in self.transforms:
                    picture = transform(picture)
                views.append(picture.permute(1, 2, 0).numpy())
        return as_batch(views)

    def pair(self, images: Images, masks: Masks, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        import torch
        from torchvision.tv_tensors import Mask

        views, moved = [], []
        with torch.random.fork_rng(devices=[]):
            for image, mask, key in zip(images, masks, keys.tolist(), strict=True):
                torch.default_generator.manual_seed(key)
                both: Any = _picture(image), Mask(torch.from_numpy(np.require(mask, requirements="W")))
                for transform in self._for_pairs:
                    both = _applied(transform, both)
                views.append(both[0].permute(1, 2, 0).numpy())
                moved.append(both[1].numpy())
        return as_batch(views), as_masks(moved)

    @cached_property
    def _for_pairs(self) -> list[Callable[..., Any]]:
        """The transforms, filling masks with 255.

        Raises:
            ConfigurationError: one that would leave the mask as it is although it moves or erases pixels.
        """
        from torchvision.transforms import v2
        from torchvision.tv_tensors import Mask

        transforms: Any = copy.deepcopy(self.transforms)
        for transform in transforms:
            for part in _parts(transform):
                deaf = isinstance(part, v2.RandomErasing | v2.LinearTransformation | v2.Lambda)
                if deaf or not isinstance(part, v2.Transform):
                    raise _refusal(part)
                if hasattr(part, "_fill"):
                    part._fill = {**part._fill, Mask: IGNORE}
        return transforms


def _parts(transform: Any) -> Iterator[Any]:
    """The transform and all that it is made of, which torchvision holds in lists."""
    yield transform
    for part in getattr(transform, "transforms", ()):
        yield from _parts(part)


def _picture(image: np.ndarray) -> Any:
    import torch
    from torchvision.tv_tensors import Image

    return Image(torch.from_numpy(np.require(image, requirements="W")).permute(2, 0, 1))


def _applied(transform: Callable[..., Any], both: Any) -> Any:
    try:
        return transform(*both)
    except TypeError as error:  # so the automatic augmentations refuse masks
        if "Mask" not in str(error):
            raise
        raise _refusal(transform) from error


def _refusal(transform: Any) -> ConfigurationError:
    name = type(transform).__name__
    return ConfigurationError(
        f"augmentation: torchvision's {name} cannot move a mask with its picture",
        nearest="striate.data.augmentation.RandomErasing" if name == "RandomErasing" else None,
        do="leave it out",
    )
