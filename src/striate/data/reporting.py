"""What `prepare` left out or noticed, and what came out: as a file and on the screen."""

import csv
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from striate.data.meta import Meta
from striate.data.sources.base import legible
from striate.storage import atomic_file

HEADER = ("name", "split", "class", "kept", "reason")


class Note(NamedTuple):
    """One line of the report.

    Args:
        name: of a picture, or of a kind of foreign files.
        split: that it was in, or empty.
        class_name: likewise.
        kept: whether it is in the pack all the same.
        reason: what is remarkable about it.
        kind: the reason in general, under which lines are counted on the screen.
    """

    name: str
    split: str
    class_name: str
    kept: bool
    reason: str
    kind: str


def write_report(path: Path, notes: Iterable[Note]) -> None:
    """Writes `report.csv`, sorted by name."""
    with atomic_file(path, "w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(HEADER)
        for note in sorted(notes):
            kept = "yes" if note.kept else "no"
            writer.writerow(map(_harmless, (note.name, note.split, note.class_name, kept, note.reason)))


def _harmless(cell: str) -> str:
    # A file name that begins like a formula would be run as one by a spreadsheet.
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def show_notes(notes: Iterable[Note], report: Path) -> None:
    """Prints what was left out or noticed, counted by reason."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    kinds: dict[tuple[bool, str], list[Note]] = defaultdict(list)
    for note in sorted(notes):
        kinds[note.kept, note.kind].append(note)
    if not kinds:
        return
    table = Table(title="left out or noticed", caption=f"all of it in {report}", title_justify="left")
    table.add_column("in the pack")
    table.add_column("reason", overflow="fold")
    table.add_column("lines", justify="right")
    table.add_column("such as", overflow="fold")
    for (kept, kind), found in sorted(kinds.items()):
        table.add_row("yes" if kept else "no", Text(kind), f"{len(found):,}", Text(legible(found[0].name)))
    Console().print(table)


def summary(meta: Meta) -> str:
    """A prepared set in two lines."""
    counts = ", ".join(f"{meta.samples[split]:,} {split}" for split in meta.splits)
    size = f"{meta.image_size[1]} × {meta.image_size[0]}" if meta.image_size else "sizes of their own"
    colour = "grey" if meta.channels == 1 else "RGB"
    mean, std = (" ".join(f"{value:.4f}" for value in values) for values in (meta.mean, meta.std))
    return (
        f"{meta.name}: {counts}; {meta.num_classes} classes; {colour}, {size}; data hash {meta.hash[:12]}\n"
        f"mean {mean}, deviation {std} (training pixels, 0 to 1)"
    )
