"""Transforms of albumentations 2.0.8 (the last MIT release), one picture at a time, seeded per sample.

Its own random state is never relied on: workers would repeat each other's draws and epochs the last one's
(albumentations-team/albumentations#2473). `Compose.set_random_seed` is no cure either: it gives every transform of the
list the same seed, whereupon two transforms of probability 0.5 are either both applied or neither is. Here each
transform, also inside `OneOf` and its like, draws from a stream of its own.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from striate.data.augmentation.base import Augmentation, Images, Masks, as_batch, as_masks
from striate.data.masks import IGNORE
from striate.data.sampling import Keys, bits
from striate.errors import ConfigurationError

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version

# What mixes class numbers, moves objects within a mask, or brings other pictures in.
_NOT_FOR_MASKS = ("Lambda", "MaskDropout", "Morphological", "Mosaic", "OverlayElements")


class Albumentations(Augmentation):
    """Apply albumentations transforms in their order.

    Args:
        transforms: instances, also nested ones (`OneOf`, `SomeOf`, …), that leave pictures uint8 and of one size.
    """

    def __init__(self, transforms: Sequence[Any]):
        import albumentations

        self.compose = albumentations.Compose(list(transforms))
        self._nodes = list(_nodes(self.compose))
        self._moves_masks = False
        for node in self._nodes:
            node.random_generator = np.random.Generator(np.random.PCG64(0))  # its state is set before each use

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        seeds, views = self._seeds(keys), []
        for position, image in enumerate(images):
            self._set(seeds, position)
            view = self.compose(image=image)["image"]
            views.append(view if view.ndim == 3 else view[..., None])
        return as_batch(views)

    def pair(self, images: Images, masks: Masks, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        if not self._moves_masks:
            for node in self._nodes:
                _let_move_masks(node)
            self._moves_masks = True
        seeds, views, moved = self._seeds(keys), [], []
        for position, (image, mask) in enumerate(zip(images, masks, strict=True)):
            self._set(seeds, position)
            both = self.compose(image=image, mask=mask)
            view = both["image"]
            views.append(view if view.ndim == 3 else view[..., None])
            moved.append(both["mask"])
        return as_batch(views), as_masks(moved)

    def _seeds(self, keys: Keys) -> list[tuple[list[int], list[int]]]:
        """Of each transform two words a picture."""
        streams = range(len(self._nodes))
        return [(bits(keys, 2 * stream).tolist(), bits(keys, 2 * stream + 1).tolist()) for stream in streams]

    def _set(self, seeds: list[tuple[list[int], list[int]]], position: int) -> None:
        for node, (first, second) in zip(self._nodes, seeds, strict=True):
            _seed(node, first[position], second[position])


def _nodes(transform: Any) -> Iterator[Any]:
    """The transform and, where it is a composition, all within it; an instance that occurs twice comes once."""
    from albumentations import BaseCompose

    seen, waiting = set(), [transform]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, BaseCompose):
            waiting.extend(reversed(node.transforms))


def _let_move_masks(node: Any) -> None:
    """Lets a transform move masks by the nearest neighbour, with 255 where nothing is to be said.

    Raises:
        ConfigurationError: it cannot move a mask, or would give it values of its own.
    """
    from albumentations import BaseCompose, DualTransform, ImageOnlyTransform
    from albumentations.core.type_definitions import Targets

    name = type(node).__name__
    moves = isinstance(node, DualTransform) and Targets.MASK in node._targets and name not in _NOT_FOR_MASKS
    if not (moves or isinstance(node, BaseCompose | ImageOnlyTransform)):
        raise ConfigurationError(
            f"augmentation: albumentations' {name} cannot move a mask with its picture", do="leave it out"
        )
    if hasattr(node, "fill_mask"):
        node.fill_mask = IGNORE
    if hasattr(node, "mask_interpolation"):
        resizes = "resize" in type(node).__module__ or "crops" in type(node).__module__
        node.mask_interpolation = cv2.INTER_NEAREST_EXACT if resizes else cv2.INTER_NEAREST


def _seed(node: Any, first: int, second: int) -> None:
    """Set both generators of a transform; `set_random_seed` would make new ones, at four times the price."""
    node.py_random.seed(first)
    node.random_generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": first << 64 | second, "inc": 1},
        "has_uint32": 0,
        "uinteger": 0,
    }
