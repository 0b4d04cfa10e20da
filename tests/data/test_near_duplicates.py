"""Copies that no digest finds, and pictures that are only of the same kind."""

import cv2
import numpy as np
import pytest

from striate.data.near_duplicates import alike, digest, perceptual_hash, thumbnail


def scene(seed, side=96):
    """A smooth picture with some edges, (side, side, 3) uint8."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    picture = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    for _ in range(5):
        centre, colour = generator.integers(10, side - 10, 2).tolist(), generator.integers(0, 256, 3).tolist()
        cv2.circle(picture, centre, int(generator.integers(4, 20)), colour, -1)
    return picture


def stored(picture):
    """The picture after lossy storage."""
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)


COPIES = {
    "stored with losses": stored,
    "of half the size": lambda picture: cv2.resize(picture, (48, 48), interpolation=cv2.INTER_AREA),
    "of twice the size": lambda picture: cv2.resize(picture, (192, 192), interpolation=cv2.INTER_LINEAR),
    "brighter": lambda picture: np.clip(picture * 0.9 + 20, 0, 255).astype(np.uint8),
    "with a mark": lambda picture: cv2.putText(picture.copy(), "x", (80, 92), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0)),
    "in grey": lambda picture: cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None],
}


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_and_nothing_else(kind):
    pictures = [scene(seed) for seed in range(40)]
    others = [scene(seed) for seed in range(100, 140)]
    others[7] = COPIES[kind](pictures[3])
    assert digest(others[7]) != digest(pictures[3])
    pairs = alike(*(np.stack([thumbnail(picture) for picture in part]) for part in (pictures, others)))
    assert [(pair.first, pair.second) for pair in pairs] == [(3, 7)]
    assert pairs[0].correlation > 0.99


def test_many_comparisons_are_made_in_parts(monkeypatch):
    from striate.data import near_duplicates

    small = np.stack([thumbnail(scene(seed)) for seed in range(30)])
    whole = alike(small, small)
    assert [(pair.first, pair.second) for pair in sorted(whole)] == [(place, place) for place in range(30)]
    monkeypatch.setattr(near_duplicates, "_AT_ONCE", 70)
    assert alike(small, small) == whole


def test_empty_pictures_are_like_nothing():
    flat = np.stack([thumbnail(np.full((20, 30, 1), level, np.uint8)) for level in (0, 128, 255)])
    assert alike(flat, flat) == []


def test_a_digest_tells_pixels_and_shapes_apart():
    picture = scene(0)
    assert digest(picture) == digest(picture.copy())
    assert digest(picture) == digest(np.asfortranarray(picture))
    changed = picture.copy()
    changed[0, 0, 0] ^= 1
    assert digest(changed) != digest(picture)
    assert digest(np.zeros((2, 3, 1), np.uint8)) != digest(np.zeros((3, 2, 1), np.uint8))


def test_the_hash_is_that_of_its_definition():
    small = thumbnail(scene(5))
    rows = np.arange(32)
    basis = np.cos(np.pi * (2 * rows[None] + 1) * rows[:, None] / 64) * np.where(
        rows[:, None], np.sqrt(2 / 32), np.sqrt(1 / 32)
    )
    low = (basis @ small @ basis.T)[:8, :8].ravel()
    bits = low > np.median(low[1:])
    found = np.unpackbits(np.array([perceptual_hash(small)]).view(np.uint8)).astype(bool)
    assert np.sum(found != bits) <= 1  # the value in the middle may fall on either side by rounding
