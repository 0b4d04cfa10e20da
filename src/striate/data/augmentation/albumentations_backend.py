"""Transforms of albumentations 2.0.8 (the last MIT release), one picture at a time, seeded per sample.

Its own random state is never relied on: workers would repeat each other's draws and epochs the last one's
(albumentations-team/albumentations#2473). `Compose.set_random_seed` is no cure either: it gives every transform of the
list the same seed, whereupon two transforms of probability 0.5 are either both applied or neither is. Here each
transform, also inside `OneOf` and its like, draws from a stream of its own.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from striate.data.augmentation.base import Augmentation, Images, as_batch
from striate.data.sampling import Keys, bits

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else its import asks the network for a newer version


class Albumentations(Augmentation):
    """Apply albumentations transforms in their order.

    Args:
        transforms: instances, also nested ones (`OneOf`, `SomeOf`, …), that leave pictures uint8 and of one size.
    """

    def __init__(self, transforms: Sequence[Any]):
        import albumentations

        self.compose = albumentations.Compose(list(transforms))
        self._nodes = list(_nodes(self.compose))
        for node in self._nodes:
            node.random_generator = np.random.Generator(np.random.PCG64(0))  # its state is set before each use

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        streams = range(len(self._nodes))
        seeds = [(bits(keys, 2 * stream).tolist(), bits(keys, 2 * stream + 1).tolist()) for stream in streams]
        views = []
        for position, image in enumerate(images):
            for node, (first, second) in zip(self._nodes, seeds, strict=True):
                _seed(node, first[position], second[position])
            view = self.compose(image=image)["image"]
            views.append(view if view.ndim == 3 else view[..., None])
        return as_batch(views)


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


def _seed(node: Any, first: int, second: int) -> None:
    """Set both generators of a transform; `set_random_seed` would make new ones, at four times the price."""
    node.py_random.seed(first)
    node.random_generator.bit_generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": first << 64 | second, "inc": 1},
        "has_uint32": 0,
        "uinteger": 0,
    }
