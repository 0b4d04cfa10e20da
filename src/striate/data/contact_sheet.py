"""A picture of a prepared set: samples of each class, to look at before anything is trained on them."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from striate.data.masks import overlaid
from striate.data.meta import Meta
from striate.data.pack import Pack, open_split
from striate.storage import atomic_file

ROWS, COLUMNS, TILE, GAP = 24, 12, 80, 6
LABEL_WIDTH, MARGIN, HEAD = 230, 24, 84
MASKS_SHOWN, PAIRS_A_ROW, MASK_TILE = 24, 3, 170
LEGEND_COLUMNS, LEGEND_ROW = 4, 22
PAIR_TILE, PAIR_COLUMNS = 110, 4
INK, FAINT, PAPER = (28, 32, 38), (120, 126, 134), (255, 255, 255)


def draw_contact_sheet(folder: Path, meta: Meta) -> None:
    """Draws training pictures of each class into `folder/contact_sheet.png`; of many, some."""
    pack = open_split(folder, "train", meta)
    if meta.labelling is not None:
        _draw_masks(folder, meta, pack)
        return
    labels = np.linspace(0, meta.num_classes - 1, min(ROWS, meta.num_classes)).round().astype(int).tolist()
    most = max(meta.counts["train"][label] for label in labels)
    columns = min(COLUMNS, most)
    width = 2 * MARGIN + LABEL_WIDTH + columns * (TILE + GAP) - GAP
    sheet = Image.new("RGB", (max(width, 640), MARGIN + HEAD + len(labels) * (TILE + GAP) - GAP + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    some = (
        f"{len(labels)} of {meta.num_classes} classes" if len(labels) < meta.num_classes else f"{len(labels)} classes"
    )
    _draw_head(draw, meta, some)
    for row, label in enumerate(labels):
        top = MARGIN + HEAD + row * (TILE + GAP)
        counts = " · ".join(f"{split} {meta.counts[split][label]:,}" for split in meta.splits)
        write(draw, (MARGIN, top + TILE // 2 - 22), meta.classes[label], 18, INK, LABEL_WIDTH - 12)
        write(draw, (MARGIN, top + TILE // 2 + 4), counts, 12, FAINT, LABEL_WIDTH - 12)
        for column, picture in enumerate(_samples(pack, label, columns)):
            paste(sheet, picture, (MARGIN + LABEL_WIDTH + column * (TILE + GAP), top))
    sheet.save(folder / "contact_sheet.png", optimize=False)


def _draw_masks(folder: Path, meta: Meta, pack: Pack) -> None:
    """Training pictures, each beside itself under its mask, and what the colours mean."""
    assert meta.labelling is not None
    colours, count = meta.labelling["colours"], min(MASKS_SHOWN, len(pack))
    chosen = np.linspace(0, len(pack) - 1, count).round().astype(int)
    sizes = pack.sizes()[chosen].tolist()
    tiles = [(MASK_TILE, max(1, round(MASK_TILE * height / width))) if width >= height
             else (max(1, round(MASK_TILE * width / height)), MASK_TILE) for height, width in sizes]  # fmt: skip
    row_height = max(height for _, height in tiles)
    legend = -(-meta.num_classes // LEGEND_COLUMNS)
    top = MARGIN + HEAD + legend * LEGEND_ROW + 12
    width = 2 * MARGIN + PAIRS_A_ROW * (2 * MASK_TILE + 2 + 2 * GAP) - 2 * GAP
    sheet = Image.new("RGB", (width, top + -(-count // PAIRS_A_ROW) * (row_height + GAP) - GAP + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_head(draw, meta, f"{meta.num_classes} classes of pixels")
    _draw_legend(draw, meta, width - 2 * MARGIN)
    for place, (index, tile) in enumerate(zip(chosen.tolist(), tiles, strict=True)):
        image, mask = pack.read(np.array([index]))[0], pack.masks(np.array([index]))[0]
        left = MARGIN + place % PAIRS_A_ROW * (2 * MASK_TILE + 2 + 2 * GAP)
        below = top + place // PAIRS_A_ROW * (row_height + GAP)
        for side, pixels in enumerate((np.repeat(image, 3 // image.shape[2], 2), overlaid(image, mask, colours))):
            method = Image.Resampling.NEAREST if max(mask.shape) < MASK_TILE else Image.Resampling.LANCZOS
            sheet.paste(Image.fromarray(pixels).resize(tile, method), (left + side * (MASK_TILE + 2), below))
    sheet.save(folder / "contact_sheet.png", optimize=False)


def _draw_legend(draw: ImageDraw.ImageDraw, meta: Meta, width: int) -> None:
    assert meta.labelling is not None
    pixels = meta.labelling["pixels"]["train"]
    rows, each = -(-meta.num_classes // LEGEND_COLUMNS), width // LEGEND_COLUMNS
    for label, (name, colour) in enumerate(zip(meta.classes, meta.labelling["colours"], strict=True)):
        left, top = MARGIN + label // rows * each, MARGIN + HEAD - 12 + label % rows * LEGEND_ROW
        draw.rectangle((left, top, left + 14, top + 14), fill=tuple(colour), outline=FAINT)
        write(draw, (left + 22, top - 2), name, 14, INK, each - 172)
        share, pictures = pixels[label] / max(1, sum(pixels)), meta.counts["train"][label]
        write(draw, (left + each - 145, top), f"{share:.2%} · {pictures:,} pictures", 12, FAINT, 140)


def _draw_head(draw: ImageDraw.ImageDraw, meta: Meta, some: str) -> None:
    size = f"{meta.image_size[1]} × {meta.image_size[0]}" if meta.image_size else "sizes of their own"
    counts = ", ".join(f"{meta.samples[split]:,} {split}" for split in meta.splits)
    facts = f"{some} · {counts} · {'grey' if meta.channels == 1 else 'RGB'}, {size} · data hash {meta.hash[:12]}"
    write(draw, (MARGIN, MARGIN - 6), meta.name, 30, INK, 580)
    write(draw, (MARGIN, MARGIN + 36), facts, 14, FAINT, 10_000)


def _samples(pack: Pack, label: int, count: int) -> list[np.ndarray]:
    # Evenly spread over the class: neighbours in a folder are often shots of one scene.
    places = np.flatnonzero(pack.labels == label)
    chosen = places[np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)]
    return list(pack.read(chosen))


def draw_pairs(
    pairs: Sequence[Sequence[tuple[np.ndarray, str]]], captions: Sequence[str], title: str, path: Path
) -> None:
    """Draws pictures side by side, two by two.

    Args:
        pairs: each two pictures (H, W, C) uint8 with their names.
        captions: of the pairs.
        title: of the whole.
        path: of the PNG file.
    """
    width, height = 2 * (PAIR_TILE + GAP) + 3 * GAP, PAIR_TILE + 62
    columns = min(PAIR_COLUMNS, max(1, len(pairs)))
    size = (max(2 * MARGIN + columns * width, 640), MARGIN + 40 + -(-len(pairs) // columns) * height + MARGIN)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    write(draw, (MARGIN, MARGIN - 8), title, 18, INK, size[0] - 2 * MARGIN)
    for place, (pair, caption) in enumerate(zip(pairs, captions, strict=True)):
        left, top = MARGIN + place % columns * width, MARGIN + 40 + place // columns * height
        for side, (picture, _) in enumerate(pair):
            paste(sheet, picture, (left + side * (PAIR_TILE + GAP), top), PAIR_TILE)
        for line, text in enumerate([*(name for _, name in pair), caption]):
            write(draw, (left, top + PAIR_TILE + 3 + 15 * line), text, 12, FAINT if line == 2 else INK, width - 3 * GAP)
    with atomic_file(path) as stream:
        sheet.save(stream, format="PNG")


def paste(sheet: Image.Image, pixels: np.ndarray, corner: tuple[int, int], tile: int = TILE) -> None:
    """Draws a picture (H, W, C) uint8 into a square, as large as its aspect allows."""
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    scale = tile / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # Small pictures are shown as they are, pixel by pixel.
    method = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    offset = ((tile - size[0]) // 2, (tile - size[1]) // 2)
    sheet.paste(picture.resize(size, method), (corner[0] + offset[0], corner[1] + offset[1]))


def write(draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, size: int, colour: Any, width: int) -> None:
    """Writes a line, cut off with an ellipsis where it is wider than `width` pixels."""
    font = _font(size)
    text = " ".join(text.split())
    if draw.textlength(text, font) > width:
        while text and draw.textlength(text + "…", font) > width:
            text = text[:-1]
        text += "…"
    draw.text(corner, text, colour, font)


@lru_cache
def _font(size: int) -> Any:
    # Matplotlib's font has the letters of many alphabets; importing Matplotlib only to find it would take a second.
    package = find_spec("matplotlib")
    for place in (package.submodule_search_locations or ()) if package else ():
        path = Path(place) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(str(path), size)
    return ImageFont.load_default(size)
