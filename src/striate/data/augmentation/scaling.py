"""Random enlargement with a window of fixed size: how networks that label pixels are trained."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Ge

from striate.data.augmentation.arrays import checked_range
from striate.data.augmentation.base import Augmentation, Images, Masks, as_batch, as_masks
from striate.data.augmentation.warps import resample, resample_mask
from striate.data.masks import IGNORE
from striate.data.sampling import Keys, integers, uniform


class ScaleAndCrop(Augmentation):
    """Enlarge or shrink a picture by a random factor, the aspect kept, and cut a window out at a random place.

    What is smaller than the window is put at a random place in it; around it masks are 255 and pictures `fill`. As
    Chen et al. train ("Rethinking atrous convolution for semantic image segmentation", 2017, section 4.1): factors from
    0.5 to 2, a window of 513.

    Args:
        size: side of the window in pixels, or [height, width]; None keeps the size of pictures that share one.
        scale: range of the factor, uniform.
        fill: grey value of what lies outside of the picture, or one value a channel.
    """

    def __init__(
        self,
        size: Annotated[int, Ge(1)] | Sequence[int] | None,
        scale: tuple[float, float] = (0.5, 2.0),
        fill: int | Sequence[int] = 0,
    ):
        sides = (size, size) if size is None or isinstance(size, int) else tuple(size)
        if len(sides) != 2 or any(side is not None and side < 1 for side in sides):
            raise ValueError(f"expected size >= 1 pixel or [height, width], got {size}")
        self.size, self.fill = sides, fill
        self.scale = checked_range("scale", scale, 1e-2, 1e2)

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        views = []
        for image, (height, width, source, place) in zip(images, self.windows(keys, images), strict=True):
            rows, columns = (part.stop - part.start for part in place)
            seen = resample(image[source], rows, columns)
            if (rows, columns) != (height, width):
                view = np.empty((height, width, image.shape[2]), np.uint8)
                view[...] = self.fill
                view[place] = seen
                seen = view
            views.append(seen)
        return as_batch(views)

    def pair(self, images: Images, masks: Masks, keys: Keys) -> tuple[np.ndarray, np.ndarray]:
        views = []
        for mask, (height, width, source, place) in zip(masks, self.windows(keys, masks), strict=True):
            view = np.full((height, width), IGNORE, np.uint8)
            view[place] = resample_mask(mask[source], *view[place].shape)
            views.append(view)
        return self(images, keys), as_masks(views)

    def windows(self, keys: Keys, images: Images) -> list[tuple[int, int, tuple[slice, slice], tuple[slice, slice]]]:
        """For each picture or mask height and width of the window, what of the picture is seen, and where in it.

        Cut first, resize then: a picture enlarged as a whole would be four times as much work.
        """
        sides = np.array([image.shape[:2] for image in images], np.int64).reshape(-1, 2)
        height, width = self.size
        wanted = sides if height is None or width is None else np.tile(np.array([[height, width]]), (len(sides), 1))
        factor = uniform(keys, 0, *self.scale)[:, None]
        scaled = np.maximum(np.rint(sides * factor), 1).astype(np.int64)
        seen = np.minimum(scaled, wanted)
        draws = [integers(keys, axis + 1, 0, np.abs(scaled - wanted)[:, axis] + 1) for axis in (0, 1)]
        place = np.stack(draws, 1)
        inside = np.where(scaled > wanted, place, 0)  # of the enlarged picture
        offset = np.where(scaled < wanted, place, 0)  # of the window
        first = np.minimum(np.rint(inside / scaled * sides).astype(np.int64), sides - 1)
        last = np.clip(np.rint((inside + seen) / scaled * sides).astype(np.int64), first + 1, sides)
        windows = []
        for size, start, stop, to, extent in zip(*(part.tolist() for part in (wanted, first, last, offset, seen)),
                                                 strict=True):  # fmt: skip
            source = (slice(start[0], stop[0]), slice(start[1], stop[1]))
            target = (slice(to[0], to[0] + extent[0]), slice(to[1], to[1] + extent[1]))
            windows.append((size[0], size[1], source, target))
        return windows
