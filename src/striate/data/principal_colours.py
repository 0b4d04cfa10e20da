"""The principal components of the training pictures' colours: from the pack, once, and kept beside it.

The pack and its hash know nothing of them. They are exact sums of whole numbers, so that every process that measures
them finds the same.
"""

import json
from pathlib import Path

import numpy as np

from striate.data.augmentation.colours import PrincipalColours
from striate.data.meta import Meta
from striate.data.pack import open_pack
from striate.storage import write_json

SAMPLE = 10_000  # pictures of an encoded pack that are decoded for it, spread evenly over the training split
_AT_ONCE = 64


def principal_colours(folder: Path, meta: Meta, *, keep: bool = False) -> PrincipalColours:
    """Principal components of the training pixels: of all pictures of an array pack, else of at most `SAMPLE`.

    Args:
        folder: of the prepared set.
        meta: its passport.
        keep: write them to `.NAME.colours.json` beside the folder, where the next call finds them.

    Raises:
        StorageError: a damaged picture, or a file that cannot be written.
    """
    path = folder.with_name(f".{folder.name}.colours.json")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["data"] == meta.hash:
            return PrincipalColours(tuple(record["values"]), tuple(map(tuple, record["vectors"])))
    except (OSError, ValueError, TypeError, KeyError):
        pass  # not there, or not a whole one: measured anew
    colours = components(*_sums(folder, meta))
    if keep:
        vectors = [list(vector) for vector in colours.vectors]
        write_json(path, {"data": meta.hash, "values": list(colours.values), "vectors": vectors})
    return colours


def components(pixels: int, sums: np.ndarray, products: np.ndarray) -> PrincipalColours:
    """Principal components from sums over pixels.

    Args:
        pixels: their number.
        sums: (C,) of the values 0 … 255, whole numbers.
        products: (C, C) of the products of two channels' values.
    """
    total, square = [int(value) for value in sums], [[int(value) for value in row] for row in products]
    covariance = np.array(
        [
            [(pixels * square[a][b] - total[a] * total[b]) / (255 * pixels) ** 2 for b in range(len(total))]
            for a in range(len(total))
        ]
    )
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1].clip(0), vectors[:, ::-1].T
    # A vector is known up to its sign and its last digits, in which libraries differ.
    signs = np.sign(vectors[np.arange(len(vectors)), np.abs(vectors).argmax(1)])
    rounded = (vectors * signs[:, None]).round(10) + 0.0
    return PrincipalColours(tuple(values.round(12).tolist()), tuple(map(tuple, rounded.tolist())))


def _sums(folder: Path, meta: Meta) -> tuple[int, np.ndarray, np.ndarray]:
    """Pixels, their sums (C,) and the sums of products (C, C), exact: all whole numbers below 2^53 in a picture."""
    pack = open_pack(folder, "train")
    count = len(pack) if meta.pack == "array" else min(len(pack), SAMPLE)
    chosen = np.linspace(0, len(pack) - 1, count).round().astype(np.int64)
    pixels, sums = 0, np.zeros(meta.channels, np.int64)
    products = np.zeros((meta.channels, meta.channels), np.int64)
    for start in range(0, count, _AT_ONCE):
        for picture in pack.read(chosen[start : start + _AT_ONCE]):
            values = picture.reshape(-1, meta.channels).astype(np.float64)
            pixels += len(values)
            sums += values.sum(axis=0).astype(np.int64)
            products += (values.T @ values).astype(np.int64)
    return pixels, sums, products
