"""Decoded pictures on their way into a pack: kept on disk by arrival, so that the raw data are read once and the memory
stays bounded, although splits are known only when the last picture has been seen.

The spool lies in the unfinished pack and needs about as much room as the pack itself until that is written. Each
decoding process writes files of its own, so that what was decoded need not pass through a pipe.
"""

import math
import os
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from striate.data.decoding import Decoded, Form, Refused
from striate.data.masks import Labelling
from striate.errors import DataError

ARRAY_BYTES = 2 << 30
BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class Wanted:
    """How pictures are to be kept.

    Args:
        pack: "array", "encoded", or "auto": an array if all turn out to have one size and to fit in `ARRAY_BYTES`.
        channels: 1, 3 or None for 1 if all turn out to be grey.
        geometry: for `apply_geometry`.
        max_pixels: of a raw picture.
        count: how many there will be, None where some may be dropped.
        labelling: what the values of their masks mean; None where there are none.
    """

    pack: str
    channels: int | None
    geometry: dict
    max_pixels: int
    count: int | None
    labelling: Labelling | None = None


@dataclass
class Stowed:
    """What is known of consecutive pictures whose pixels and files lie in the spool.

    Args:
        process: that wrote them.
        count: of pictures.
        content_digests: 32 bytes for each.
        refused: which of them cannot be read, and why.
        kept: which of them can; what follows is about these.
        formats: of the files, None where pixels were given.
        digests: 16 bytes for each.
        sizes: H, W of each.
        grey: all are.
        sums: of each as in `Decoded`.
        pixels: in the process's file of pixels, where each begins.
        files: in the process's file of files, where each begins.
        file_bytes: length of each.
        mask_bytes: length of each one's mask file, which lies behind it, as a mask's pixels behind the picture's.
        class_pixels: of each mask, pixels of each class.
    """

    process: int
    count: int = 0
    content_digests: bytearray = field(default_factory=bytearray)
    refused: list[tuple[int, str]] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    formats: list[str | None] = field(default_factory=list)
    digests: bytearray = field(default_factory=bytearray)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    grey: bool = True
    sums: array = field(default_factory=lambda: array("q"))
    pixels: array = field(default_factory=lambda: array("q"))
    files: array = field(default_factory=lambda: array("q"))
    file_bytes: array = field(default_factory=lambda: array("q"))
    mask_bytes: array = field(default_factory=lambda: array("q"))
    class_pixels: array = field(default_factory=lambda: array("q"))


def stow(folder: Path, pictures: Iterator[Decoded | Refused]) -> Stowed:
    """Writes pictures into the spool, in the process that decoded them.

    Args:
        folder: of the spool.
        pictures: one after the other; only one at a time is held.
    """
    stowed = Stowed(os.getpid())
    with (
        open(_pixel_path(folder, stowed.process), "ab", buffering=1 << 20) as pixels,
        open(_file_path(folder, stowed.process), "ab", buffering=1 << 20) as files,
    ):
        pixels_end, files_end = pixels.tell(), files.tell()
        for picture in pictures:
            stowed.content_digests += picture.content_digest
            if isinstance(picture, Refused):
                stowed.refused.append((stowed.count, picture.reason))
            else:
                stowed.kept.append(stowed.count)
                stowed.formats.append(picture.format)
                stowed.digests += picture.digest
                stowed.sizes.append(picture.size)
                stowed.grey &= picture.grey
                stowed.sums.extend(picture.sums)
                if picture.pixels is not None:
                    stowed.pixels.append(pixels_end)
                    pixels_end += pixels.write(picture.pixels.data)
                    if picture.mask is not None:
                        pixels_end += pixels.write(picture.mask.data)
                if picture.file is not None:
                    stowed.files.append(files_end)
                    stowed.file_bytes.append(len(picture.file))
                    files_end += files.write(picture.file)
                    if picture.mask_file is not None:
                        stowed.mask_bytes.append(len(picture.mask_file))
                        files_end += files.write(picture.mask_file)
                stowed.class_pixels.extend(picture.class_pixels or ())
            stowed.count += 1
    return stowed


def _pixel_path(folder: Path, process: int) -> Path:
    return folder / f"{process}.pixels.spool"


def _file_path(folder: Path, process: int) -> Path:
    return folder / f"{process}.files.spool"


class Spool:
    """Pictures by arrival.

    Attributes:
        entries: for each picture its place in the inventory.
        digests: 16 bytes for each.
        size: (H, W) of all, or None where they differ.
        grey: all are.
    """

    def __init__(self, folder: Path, wanted: Wanted):
        self.folder, self.wanted = folder, wanted
        self.entries, self.digests = array("q"), bytearray()
        self.size: tuple[int, int] | None = None
        self.grey = True
        self._with_pixels, self._with_files = wanted.pack != "encoded", wanted.pack != "array"
        self._first_name = ""
        self._processes, self._pixel_counts, self._sums = array("q"), array("q"), array("q")
        self._pixel_starts, self._file_starts, self._file_bytes = array("q"), array("q"), array("q")
        self._mask_bytes, self._class_pixels = array("q"), array("q")
        self._pixels_gone = False
        self._room = ARRAY_BYTES if wanted.pack == "auto" else 1 << 62
        # Where one picture is more than its share of that, it is known at once that it will be no array.
        self._share = self._room // max(1, wanted.count or 1)

    @property
    def form(self) -> Form:
        """What is still wanted of the pictures to come."""
        wanted = self.wanted
        return Form(
            wanted.channels, wanted.geometry, wanted.max_pixels, self._with_pixels, self._with_files, self._share,
            wanted.labelling,
        )  # fmt: skip

    @property
    def pack(self) -> str:
        """What it has become: "array" or "encoded"."""
        return "array" if self._with_pixels else "encoded"

    @property
    def channels(self) -> int:
        return self.wanted.channels or (1 if self.grey else 3)

    @property
    def _stored(self) -> int:
        return self.wanted.channels or 3

    @property
    def _has_masks(self) -> bool:
        return self.wanted.labelling is not None

    @property
    def class_pixels(self) -> np.ndarray:
        """(N, K) int64: pixels of each class in each mask."""
        assert self.wanted.labelling is not None
        return np.frombuffer(self._class_pixels, np.int64).reshape(
            len(self.entries), len(self.wanted.labelling.classes)
        )

    def add(self, first: int, stowed: Stowed, name_of: Callable[[int], str]) -> None:
        """Takes consecutive pictures that a process has stowed away.

        Args:
            first: place in the inventory of the first of them.
            stowed: what is known of them.
            name_of: the name of the picture at a place.

        Raises:
            DataError: their sizes differ from the others' where an array is asked for.
        """
        if not stowed.kept:
            return
        if not self.entries:
            self.size, self._first_name = stowed.sizes[0], name_of(first + stowed.kept[0])
        for place, size in zip(stowed.kept, stowed.sizes, strict=True):
            if size != self.size:
                self._refuse_array(name_of(first + place), size)
                break
        self.entries.extend(first + place for place in stowed.kept)
        self.digests += stowed.digests
        self.grey &= stowed.grey
        self._processes.extend([stowed.process] * len(stowed.kept))
        counts = [height * width for height, width in stowed.sizes]
        self._pixel_counts.extend(counts)
        self._file_starts.extend(stowed.files)
        self._file_bytes.extend(stowed.file_bytes)
        self._pixel_starts.extend(stowed.pixels)
        self._sums.extend(stowed.sums)
        self._mask_bytes.extend(stowed.mask_bytes)
        self._class_pixels.extend(stowed.class_pixels)
        self._room -= sum(counts) * (self._stored + self._has_masks)
        if len(stowed.pixels) < len(stowed.kept) or self._room < 0:
            self._with_pixels = False
        if not (stowed.pixels or self._with_pixels or self._pixels_gone):  # none are on their way any more
            self._pixels_gone = True
            self._unlink("*.pixels.spool")

    def _refuse_array(self, name: str, size: tuple[int, int]) -> None:
        if self.wanted.pack == "array":
            assert self.size is not None
            raise DataError(
                f"an array pack needs pictures of one size: {self._first_name} is {self.size[1]} × {self.size[0]}, "
                f"{name} is {size[1]} × {size[0]}",
                do="data.prepare.image_size=SIDE, or data.prepare.pack=encoded",
            )
        self.size, self._with_pixels = None, False

    def finish(self) -> None:
        """Ends the collecting; from here on the pictures can be read."""
        if self._with_pixels:
            self._with_files = False
            self._unlink("*.files.spool")

    @property
    def areas(self) -> np.ndarray:
        """(N,) int64: pixels of each picture."""
        return np.frombuffer(self._pixel_counts, np.int64)

    def totals(self, rows: np.ndarray) -> tuple[int, list[int], list[int]]:
        """Pixels, sums per channel and sums of squares per channel of some of the pictures; exact."""
        sums = np.frombuffer(self._sums, np.int64).reshape(len(self.entries), 2, -1)[rows, :, : self.channels]
        total = sums.sum(axis=0).tolist()  # 64 bits hold the squares of 10^14 pixels
        return int(np.frombuffer(self._pixel_counts, np.int64)[rows].sum()), total[0], total[1]

    def pixels(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Blocks (n, H, W, C) of the pictures at `rows`, in that order."""
        assert self.size is not None
        shape = (*self.size, self._stored)
        for block in self._records(rows, slice(0, math.prod(shape))):
            yield block.reshape(-1, *shape)[..., : self.channels]

    def masks(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Blocks (n, H, W) of their masks, in that order."""
        assert self.size is not None
        for block in self._records(rows, slice(math.prod(self.size) * self._stored, None)):
            yield block.reshape(-1, *self.size)

    def _records(self, rows: np.ndarray, part: slice) -> Iterator[np.ndarray]:
        """Blocks (n, bytes) of a part of what is kept of each of the pictures: its pixels, then its mask."""
        assert self.size is not None
        record = math.prod(self.size) * (self._stored + self._has_masks)
        length = len(range(record)[part])
        processes = np.frombuffer(self._processes, np.int64)
        numbers = np.frombuffer(self._pixel_starts, np.int64) // record
        maps = {process: _mapped(_pixel_path(self.folder, process)).reshape(-1, record) for process in set(processes)}
        step = max(1, BLOCK_BYTES // length)
        for start in range(0, len(rows), step):
            chosen = rows[start : start + step]
            block = np.empty((len(chosen), length), np.uint8)
            for process, records in maps.items():
                own = np.flatnonzero(processes[chosen] == process)
                block[own] = records[numbers[chosen[own]], part]
            yield block

    def files(self, rows: np.ndarray) -> Iterator[memoryview]:
        """The picture files at `rows`, in that order."""
        maps = {process: _mapped(_file_path(self.folder, process)).data for process in set(self._processes)}
        for row in rows.tolist():
            start = self._file_starts[row]
            yield maps[self._processes[row]][start : start + self._file_bytes[row]]

    def mask_files(self, rows: np.ndarray) -> Iterator[memoryview]:
        """The mask files at `rows`, in that order."""
        maps = {process: _mapped(_file_path(self.folder, process)).data for process in set(self._processes)}
        for row in rows.tolist():
            start = self._file_starts[row] + self._file_bytes[row]
            yield maps[self._processes[row]][start : start + self._mask_bytes[row]]

    def remove(self) -> None:
        """Gives the room back."""
        self._unlink("*.spool")

    def _unlink(self, pattern: str) -> None:
        for path in self.folder.glob(pattern):
            path.unlink()


def _mapped(path: Path) -> np.ndarray:
    return np.asarray(np.memmap(path, np.uint8, "r"))
