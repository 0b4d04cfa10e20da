"""Pictures that look the same: copies that were resized, stored anew or changed a little, which no digest finds.

A perceptual hash proposes pairs, their correlation decides. The hash is pHash (Zauner, "Implementation and benchmarking
of perceptual image hash functions", 2010): the signs of the 8 × 8 lowest frequencies, about their median, of a small
grey picture. They survive resizing and lossy storage.
"""

import hashlib
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 32  # of the grey picture that is looked at
_KEPT = 8  # frequencies a side
DISTANCE = 8  # of 64 bits that may differ in a proposed pair
CORRELATION = 0.99  # of the grey pictures of a pair that is reported
_AT_ONCE = 1 << 23  # distances that are in memory at a time
_FLAT = 1e-3  # deviation, on a scale of 0 to 1, below which a picture shows nothing to compare


class Pair(NamedTuple):
    """Two pictures that look the same: their places in the two sets, and their correlation."""

    first: int
    second: int
    correlation: float


def digest(picture: NDArray[np.uint8]) -> bytes:
    """16 bytes of a strong hash of a picture's shape and pixels, (H, W, C) uint8."""
    content = np.ascontiguousarray(picture)
    return hashlib.blake2b(content.tobytes(), digest_size=16, key=str(content.shape).encode()).digest()


def thumbnail(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What is compared of a picture (H, W, C) uint8: grey, (32, 32) float32 in 0 to 1."""
    grey = picture[..., 0] if picture.shape[2] == 1 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    method = cv2.INTER_AREA if min(grey.shape) >= SIDE else cv2.INTER_CUBIC
    small = cv2.resize(grey.astype(np.float32) / 255, (SIDE, SIDE), interpolation=method)
    return np.asarray(small, np.float32)


def perceptual_hash(small: NDArray[np.float32]) -> np.uint64:
    """64 bits of a thumbnail."""
    low = cv2.dct(small)[:_KEPT, :_KEPT].ravel()
    return np.packbits(low > np.median(low[1:])).view(np.uint64)[0]  # the mean of the picture is not in the median


def alike(first: NDArray[np.float32], second: NDArray[np.float32]) -> list[Pair]:
    """The pairs of two sets that look the same, the most alike first.

    Args:
        first: (N, 32, 32) thumbnails.
        second: (M, 32, 32) thumbnails.
    """
    own, others = (np.array([perceptual_hash(small) for small in part], np.uint64) for part in (first, second))
    flat = [np.std(part, axis=(1, 2)) < _FLAT for part in (first, second)]
    standard = [_standardised(part) for part in (first, second)]
    found: list[Pair] = []
    rows = max(1, _AT_ONCE // max(1, len(others)))
    for start in range(0, len(own), rows):
        distances = np.bitwise_count(own[start : start + rows, None] ^ others[None])
        left, right = np.nonzero(distances <= DISTANCE)
        left += start
        sound = ~(flat[0][left] | flat[1][right])
        left, right = left[sound], right[sound]
        correlation = np.einsum("ij,ij->i", standard[0][left], standard[1][right])
        chosen = np.flatnonzero(correlation >= CORRELATION)
        found += [Pair(int(left[place]), int(right[place]), float(correlation[place])) for place in chosen]
    return sorted(found, key=lambda pair: (-pair.correlation, pair.first, pair.second))


def _standardised(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 1024), each of mean 0 and length 1, so that a product is a correlation."""
    flat = thumbnails.reshape(len(thumbnails), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
