"""A picture of an augmentation: training pictures as they are stored, and what training sees of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from striate.data.contact_sheet import FAINT, GAP, INK, MARGIN, PAPER, paste, write

TILE, LABEL_WIDTH, HEAD, COLUMN_HEAD = 112, 150, 70, 24


@dataclass(frozen=True)
class Row:
    """A picture and what became of it.

    Args:
        title: its class, or its name where every pixel has a label.
        index: its place in the training split: with seed and epoch, what decides.
        picture: (H, W, C) uint8, as stored.
        views: (H', W', C) uint8, one an epoch.
    """

    title: str
    index: int
    picture: np.ndarray
    views: Sequence[np.ndarray]


def draw_augmentation_sheet(path: Path, name: str, seed: int, epochs: Sequence[int], rows: Sequence[Row]) -> None:
    """Draws a row for each picture, a column for each epoch.

    Args:
        path: of the PNG file.
        name: of the set.
        seed: of the draws.
        epochs: of the columns.
        rows: the pictures.
    """
    left = MARGIN + LABEL_WIDTH
    first = left + TILE + 3 * GAP  # what training sees stands apart from what is stored
    width = max(first + len(epochs) * (TILE + GAP) - GAP + MARGIN, 560)
    top = MARGIN + HEAD + COLUMN_HEAD
    sheet = Image.new("RGB", (width, top + len(rows) * (TILE + GAP) - GAP + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    size = " × ".join(map(str, rows[0].views[0].shape[1::-1]))
    write(draw, (MARGIN, MARGIN - 6), f"What training sees of {name}", 26, INK, width - 2 * MARGIN)
    facts = f"{size} pixels · each view a function of seed {seed}, epoch and index alone"
    write(draw, (MARGIN, MARGIN + 30), facts, 14, FAINT, width - 2 * MARGIN)
    write(draw, (left, MARGIN + HEAD), "as stored", 13, FAINT, TILE)
    for column, epoch in enumerate(epochs):
        write(draw, (first + column * (TILE + GAP), MARGIN + HEAD), f"epoch {epoch}", 13, FAINT, TILE)
    for number, row in enumerate(rows):
        height = top + number * (TILE + GAP)
        write(draw, (MARGIN, height + TILE // 2 - 22), row.title, 18, INK, LABEL_WIDTH - 12)
        write(draw, (MARGIN, height + TILE // 2 + 4), f"index {row.index}", 12, FAINT, LABEL_WIDTH - 12)
        paste(sheet, row.picture, (left, height), TILE)
        for column, view in enumerate(row.views):
            paste(sheet, view, (first + column * (TILE + GAP), height), TILE)
    sheet.save(path, optimize=False)
