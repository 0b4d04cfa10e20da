"""The interface of every augmentation, and how several become one."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from striate.data.sampling import Keys, bits
from striate.data.views import centre_view
from striate.errors import ConfigurationError

if TYPE_CHECKING:
    from striate.data.augmentation.colours import PrincipalColours

# (B, H, W, C) uint8, or B pictures (H, W, C) uint8 of different sizes
Images: TypeAlias = np.ndarray | Sequence[np.ndarray]


# (B, H, W) uint8, or B masks (H, W) uint8 of different sizes: class numbers, 255 for pixels that do not count
Masks: TypeAlias = np.ndarray | Sequence[np.ndarray]


class Augmentation(ABC):
    """Changes pictures at random, without a state: each output is a function of its picture and its key alone.

    Neither the other pictures of the batch nor the worker, the order of calls or a global generator has a part in it.
    """

    @abstractmethod
    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        """Augment a batch.

        Args:
            images: (B, H, W, C) uint8, or B pictures (H, W, C) uint8; left unchanged.
            keys: (B,) uint64, from `striate.data.sampling.keys`.

        Returns:
            (B, H', W', C) uint8.

        Raises:
            ValueError: the results do not share one size.
        """

    def pair(self, images: Images, masks: Masks, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        """Augment pictures with their masks: what moves pixels moves both alike, colours change in pictures only.

        Masks are never interpolated, and what comes in from outside is 255. Pictures become what `__call__` makes them.

        Args:
            images: as for `__call__`.
            masks: (B, H, W) uint8, or B masks (H, W) uint8, each of its picture's size; left unchanged.
            keys: (B,) uint64.

        Returns:
            (B, H', W', C) and (B, H', W') uint8.

        Raises:
            ConfigurationError: it moves pixels and cannot move a mask.
            ValueError: the results do not share one size.
        """
        raise ConfigurationError(
            f"augmentation: {type(self).__name__} cannot move a mask with its picture",
            do="leave it out, or take one that can: see conf/augmentation/segmentation_digits.yaml and camvid.yaml",
        )

    def with_colours(self, colours: "Callable[[], PrincipalColours]") -> "Augmentation":
        """The same with the colours of the training pictures where it needs them; only then does it ask for them."""
        return self

    def keeping_size(self, side: int) -> "Augmentation":
        """The same for pictures that share a size and are evaluated whole: what would make squares of `side` pixels of
        them keeps their size."""
        return self


class Photometric(Augmentation):
    """Changes colours and moves nothing: masks stay as they are."""

    def pair(self, images: Images, masks: Masks, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        return self(images, keys), as_masks(masks)


class Pipeline(Augmentation):
    """One augmentation after another, each under keys of its own (else two flips would always agree).

    Args:
        transforms: any augmentations; an empty list leaves the pictures as they are.
    """

    def __init__(self, transforms: Sequence[Augmentation]):
        self.transforms = list(transforms)

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        for position, transform in enumerate(self.transforms):
            images = transform(images, bits(keys, position))
        return as_batch(images)

    def pair(self, images: Images, masks: Masks, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        for position, transform in enumerate(self.transforms):
            images, masks = transform.pair(images, masks, bits(keys, position))
        return as_batch(images), as_masks(masks)

    def with_colours(self, colours: "Callable[[], PrincipalColours]") -> "Pipeline":
        """Hands them on."""
        return Pipeline([transform.with_colours(colours) for transform in self.transforms])

    def keeping_size(self, side: int) -> "Pipeline":
        """Hands it on."""
        return Pipeline([transform.keeping_size(side) for transform in self.transforms])


class CentreView(Augmentation):
    """No augmentation: the view that evaluation takes (`centre_view`), whatever the key.

    Args:
        input_size: side of the square, or None for pictures that share a size and keep it (array packs).
        crop_fraction: part of the short side that is kept.
    """

    def __init__(self, input_size: int | None, crop_fraction: float = 0.875):
        self.input_size, self.crop_fraction = input_size, crop_fraction

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        if self.input_size is None:
            return as_batch(images)
        return as_batch([centre_view(image, self.input_size, self.crop_fraction) for image in images])

    def pair(self, images: Images, masks: Masks, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        """Pictures with masks are evaluated whole, which is a batch only where they share a size."""
        if self.input_size is None or isinstance(images, np.ndarray):
            return as_batch(images), as_masks(masks)
        return super().pair(images, masks, keys)

    def keeping_size(self, side: int) -> "CentreView":
        return CentreView(None, self.crop_fraction) if self.input_size == side else self


def as_batch(images: Images) -> np.ndarray:
    """Stack pictures of one size to (B, H, W, C); a batch passes through.

    Raises:
        ValueError: not uint8, not (H, W, C), or of different sizes.
    """
    if isinstance(images, np.ndarray):
        shapes, dtypes = {images.shape[1:]}, {images.dtype}
    else:
        shapes, dtypes = {image.shape for image in images}, {image.dtype for image in images}
    if dtypes - {np.dtype(np.uint8)}:
        raise ValueError(
            f"expected uint8 pictures, got {dtypes.pop()}: scaling and normalising come after augmentation"
        )
    if len(shapes) > 1:
        raise ValueError(f"expected pictures of one size, got {sorted(shapes)[:3]}: a crop or a resize must come first")
    if shapes and len(next(iter(shapes))) != 3:
        raise ValueError(f"expected pictures of shape (H, W, C), got {shapes.pop()}")
    if isinstance(images, np.ndarray):
        return images
    return np.stack(images) if len(images) else np.zeros((0, 0, 0, 0), np.uint8)


def as_masks(masks: Masks) -> np.ndarray:
    """Stack masks of one size to (B, H, W); a batch passes through.

    Raises:
        ValueError: not uint8, not (H, W), or of different sizes.
    """
    shapes = {masks.shape[1:]} if isinstance(masks, np.ndarray) else {mask.shape for mask in masks}
    if len(shapes) > 1:
        raise ValueError(f"expected masks of one size, got {sorted(shapes)[:3]}: a crop or a resize must come first")
    if isinstance(masks, np.ndarray):
        stacked = masks
    else:
        stacked = np.stack(masks) if len(masks) else np.zeros((0, 0, 0), np.uint8)
    if stacked.dtype != np.uint8 or stacked.ndim != 3:
        raise ValueError(f"expected uint8 masks of shape (H, W), got {stacked.dtype} of shape {stacked.shape[1:]}")
    return stacked
