"""The shift of colours along the principal components of a training set's pixels (AlexNet)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import cv2
import numpy as np
from annotated_types import Ge

from striate.data.augmentation.base import Images, Photometric, as_batch
from striate.data.sampling import Keys, normal


@dataclass(frozen=True)
class PrincipalColours:
    """Principal components of the pixels of a training set, on a scale of 0 to 1; the largest comes first.

    Args:
        values: (C,) eigenvalues of the covariance, that is, variances.
        vectors: (C, C); vector i, of length 1, belongs to value i.

    Raises:
        ValueError: another form, a negative value, or vectors that are not of length 1 and perpendicular.
    """

    values: tuple[float, ...]
    vectors: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        values, vectors = np.asarray(self.values, float), [np.asarray(vector, float) for vector in self.vectors]
        if len(values) not in (1, 3) or [vector.shape for vector in vectors] != [values.shape] * len(values):
            raise ValueError(f"expected C values and C vectors of C numbers, C = 1 or 3, got {self.values} and "
                             f"{self.vectors}")  # fmt: skip
        if (values < 0).any() or np.abs(np.stack(vectors) @ np.stack(vectors).T - np.eye(len(values))).max() > 0.01:
            raise ValueError(
                f"expected values of 0 or more, perpendicular vectors of length 1, got {self.values}, {self.vectors}"
            )


class PrincipalColourShift(Photometric):
    """Add Σ aᵢ λᵢ pᵢ to all pixels of a picture, aᵢ normal, drawn anew at each use (Krizhevsky et al. 2012, 4.1).

    λᵢ is the eigenvalue itself, not its root, and pᵢ the eigenvector of the covariance of the training pixels. A
    variance depends on the scale: it is taken of pixels from 0 to 1, as public versions of the method do, and the sum
    is brought to grey levels afterwards. Here the sum is rounded to whole grey levels, and results are cut to 0 … 255.

    Args:
        std: deviation of aᵢ.
        values: λᵢ of pixels from 0 to 1; None takes those of the training pictures.
        vectors: pᵢ; None likewise. For ImageNet, as published with fb.resnet.torch: values [0.2175, 0.0188, 0.0045],
            vectors [[-0.5675, -0.5808, -0.5836], [0.7192, -0.0045, -0.6948], [0.4009, -0.8140, 0.4203]].

    Raises:
        ValueError: one of `values` and `vectors` alone, or components that are none.
    """

    def __init__(
        self,
        std: Annotated[float, Ge(0)] = 0.1,
        values: Sequence[float] | None = None,
        vectors: Sequence[Sequence[float]] | None = None,
    ):
        if std < 0 or (values is None) != (vectors is None):
            raise ValueError(f"expected std >= 0, and values and vectors together or neither, got {std}, {values}, "
                             f"{vectors}")  # fmt: skip
        self.std = std
        self.colours: PrincipalColours | None = None
        if values is not None and vectors is not None:
            self.colours = PrincipalColours(tuple(values), tuple(tuple(vector) for vector in vectors))

    def with_colours(self, colours: Callable[[], PrincipalColours]) -> "PrincipalColourShift":
        """With the components of the training pictures, unless it was given its own."""
        if self.colours is not None:
            return self
        measured = colours()
        return PrincipalColourShift(self.std, measured.values, measured.vectors)

    def __call__(self, images: Images, keys: Keys) -> np.ndarray:
        images = as_batch(images)
        shifts = self.shifts(keys)
        channels = images.shape[3]
        if shifts.shape[1] != channels:
            raise ValueError(f"expected pictures of {shifts.shape[1]} channels, as the components, got {channels}")
        levels = np.arange(256)[None, :, None] + np.rint(shifts).astype(np.int64)[:, None]
        tables = np.clip(levels, 0, 255).astype(np.uint8)
        changed = np.empty_like(images)
        for image, table, out in zip(images, tables, changed, strict=True):
            out[...] = cv2.LUT(image, table[None]).reshape(image.shape)
        return changed

    def shifts(self, keys: Keys) -> np.ndarray:
        """(B, C) grey levels to be added."""
        if self.colours is None:
            raise ValueError("expected values and vectors, or the training pictures to take them from")
        amounts = np.stack([normal(keys, stream, std=self.std) for stream in range(len(self.colours.values))], 1)
        weighted: Any = amounts * np.asarray(self.colours.values)
        return 255.0 * weighted @ np.asarray(self.colours.vectors)
