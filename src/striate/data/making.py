"""The steps from a source to the files of a prepared set."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from striate.data.contact_sheet import draw_contact_sheet
from striate.data.decoding import decode_chunks
from striate.data.fingerprint import contents_hash
from striate.data.masks import IGNORE, Labelling
from striate.data.meta import SPLITS, Meta
from striate.data.packing import write_array_split, write_encoded_split
from striate.data.pictures import FORMAT_OF
from striate.data.reporting import Note, show_notes, write_report
from striate.data.selection import Candidates, Rules, select
from striate.data.sources.base import Entry, Inventory, Source, legible
from striate.data.spooling import Spool, Wanted, stow
from striate.data.statistics import mean_and_std
from striate.errors import DataError
from striate.storage import sha256_of


class Options(Rules, Protocol):
    """The options of `Preparation` that count here."""

    @property
    def bad(self) -> str: ...
    def wanted(self, count: int, labelling: Labelling | None) -> Wanted: ...


@dataclass
class Made:
    """What came out.

    Args:
        meta: the passport.
        notes: what was left out or noticed.
        contents: hash of all pictures as they were read.
    """

    meta: Meta
    notes: list[Note]
    contents: str


def make_set(
    name: str, source: Source, options: Options, workers: int, folder: Path, failure_report: Path, progress: bool
) -> Made:
    """Writes all files of a prepared set, `meta.json` last.

    Args:
        name: of the set.
        source: the raw pictures.
        options: a `Preparation`.
        workers: decoding processes.
        folder: where to.
        failure_report: where the report goes when the set is refused.
        progress: show a progress bar, and a table when the set is refused.

    Raises:
        DataError: the set is refused.
    """
    inventory = source.scan()
    notes = [
        Note(kind.name, "", "", False, f"{kind.files} file(s): {kind.reason}", kind.reason)
        for kind in inventory.foreign
    ]
    spool = Spool(folder, options.wanted(len(inventory.entries), inventory.labelling))
    try:
        contents = _collect(source, inventory, spool, workers, notes, progress)
        try:
            _refuse_bad(notes[len(inventory.foreign) :], inventory, options, failure_report)
            entries = [inventory.entries[place] for place in spool.entries]
            digests = np.frombuffer(bytes(spool.digests), np.uint8).reshape(-1, 16)
            # Where every pixel has a label, a picture belongs to no class: all are cut alike.
            classes = inventory.classes if inventory.labelling is None else ("",)
            rows, splits = select(Candidates(entries, classes, digests), options, notes)
        except DataError:
            write_report(failure_report, notes)
            if progress:
                show_notes(notes, failure_report)
            raise
        chosen = {split: rows[splits == code] for code, split in enumerate(SPLITS) if (splits == code).any()}
        counts = _write_pack(folder, spool, entries, inventory.classes, chosen)
        meta = _passport(name, folder, spool, inventory.classes, counts, chosen)
        notes += _unseen_classes(meta)
    finally:
        spool.remove()
    write_report(folder / "report.csv", notes)
    draw_contact_sheet(folder, meta)
    meta.save(folder)
    return Made(meta, notes, contents)


def _collect(
    source: Source, inventory: Inventory, spool: Spool, workers: int, notes: list[Note], progress: bool
) -> str:
    """Decodes all pictures into the spool; returns the hash of their contents."""
    from tqdm import tqdm

    entries, digests, first = inventory.entries, bytearray(), 0

    def name_of(place: int) -> str:
        return legible(entries[place].name)

    bar = tqdm(total=len(entries), desc="decoding", unit=" pictures", leave=False, disable=None if progress else True)
    chunks = decode_chunks(
        source.read(inventory), lambda: spool.form, workers, name_of, partial(stow, spool.folder), spool.folder
    )
    with bar, closing(chunks):
        for chunk in chunks:
            digests += chunk.content_digests
            for place, reason in chunk.refused:
                mask = inventory.masks[first + place] if inventory.masks else ""
                notes.append(_note(entries[first + place], False, reason, mask))
            for place, format_name in zip(chunk.kept, chunk.formats, strict=True):
                _notice(entries[first + place], format_name, notes)
            spool.add(first, chunk, name_of)
            first += chunk.count
            bar.update(chunk.count)
    spool.finish()
    return contents_hash(inventory, _pieces(digests))


def _pieces(digests: bytearray) -> Iterator[bytes]:
    return (bytes(digests[start : start + 32]) for start in range(0, len(digests), 32))


def _notice(entry: Entry, format_name: str | None, notes: list[Note]) -> None:
    extension = "." + entry.name.rsplit(".", 1)[-1].lower()
    if format_name is not None and FORMAT_OF.get(extension) != format_name:
        notes.append(_note(entry, True, f"read by its content: it is {format_name}, not {extension}"))


def _note(entry: Entry, kept: bool, reason: str, mask: str = "") -> Note:
    kind = reason.split(" (")[0]
    if reason.startswith("its mask: "):
        reason = reason.replace("its mask", f"its mask {mask}", 1)
    return Note(entry.name, entry.split or "", entry.class_name, kept, reason, kind)


_CANNOT = {False: "cannot be read", True: "cannot be read, or not with their masks"}


def _refuse_bad(notes: list[Note], inventory: Inventory, options: Options, report: Path) -> None:
    bad = sorted(note for note in notes if not note.kept)
    if not bad or (options.bad == "drop" and len(bad) < len(inventory.entries)):
        return
    examples = ", ".join(f"{legible(note.name)} ({note.reason})" for note in bad[:3])
    raise DataError(
        f"{len(bad)} of {len(inventory.entries)} pictures {_CANNOT[inventory.labelling is not None]}: {examples}"
        + (" …" if len(bad) > 3 else ""),
        do=f"see {report}; mend or remove them, or leave them out: data.prepare.bad=drop",
    )


def _write_pack(
    folder: Path, spool: Spool, entries: list[Entry], classes: tuple[str, ...], chosen: dict[str, np.ndarray]
) -> dict[str, tuple[int, ...]]:
    label_of = {name: label for label, name in enumerate(classes)}
    labelled = spool.wanted.labelling is not None
    counts = {}
    for split, rows in chosen.items():
        names = [entries[row].name for row in rows]
        if labelled:
            pixels = spool.class_pixels[rows]
            labels = np.where(pixels.any(1), pixels.argmax(1), -1)
            counts[split] = tuple((pixels > 0).sum(0).tolist())
        else:
            labels = np.array([label_of[entries[row].class_name] for row in rows], np.int64)
            counts[split] = tuple(np.bincount(labels, minlength=len(classes)).tolist())
        if spool.pack == "array":
            assert spool.size is not None
            shape = (len(rows), *spool.size, spool.channels)
            masks = spool.masks(rows) if labelled else None
            write_array_split(folder, split, spool.pixels(rows), shape, labels, names, masks)
        else:
            mask_files = spool.mask_files(rows) if labelled else None
            write_encoded_split(folder, split, spool.files(rows), labels, names, mask_files)
    return counts


def _passport(
    name: str,
    folder: Path,
    spool: Spool,
    classes: tuple[str, ...],
    counts: dict[str, tuple[int, ...]],
    chosen: dict[str, np.ndarray],
) -> Meta:
    mean, std = mean_and_std(*spool.totals(chosen["train"]))
    is_array = spool.pack == "array"
    geometry = dict(spool.wanted.geometry)
    if is_array and spool.size is not None:
        geometry["image_size"] = list(spool.size)
    files = sorted(path for path in folder.iterdir() if not path.name.endswith(".spool"))
    return Meta.create(
        name=name,
        kind="classification" if spool.wanted.labelling is None else "segmentation",
        pack=spool.pack,
        classes=classes,
        channels=spool.channels,
        image_size=spool.size if is_array else None,
        mean=mean,
        std=std,
        counts=counts,
        geometry=geometry,
        files={path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in files},
        labelling=None if spool.wanted.labelling is None else _labelling(spool, spool.wanted.labelling, chosen),
    )


def _labelling(spool: Spool, labelling: Labelling, chosen: dict[str, np.ndarray]) -> dict[str, Any]:
    """What the passport says of masks."""
    pixels = {split: spool.class_pixels[rows] for split, rows in chosen.items()}
    areas = {split: spool.areas[rows] for split, rows in chosen.items()}
    return {
        "ignore_index": IGNORE,
        "colours": [list(colour) for colour in labelling.colours],
        "samples": {split: len(rows) for split, rows in chosen.items()},
        "pixels": {split: found.sum(0).tolist() for split, found in pixels.items()},
        "pixels_of_pictures_with": {
            split: ((found > 0) * areas[split][:, None]).sum(0).tolist() for split, found in pixels.items()
        },
    }


def _unseen_classes(meta: Meta) -> list[Note]:
    """Classes that no training pixel has: they cannot be learnt."""
    reason = "no training pixel has this class"
    return [
        Note(name, "train", name, True, reason, reason)
        for name, count in zip(meta.classes, meta.counts["train"], strict=True)
        if not count and meta.labelling is not None
    ]
