"""Decoded pictures on their way into a pack: kept on disk by arrival, so that the raw data are read once and the memory
stays bounded, although splits are known only when the last picture has been seen.

The spool lies in the unfinished pack and needs about as much room as the pack itself until that is written.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from striate.data.decoding import Decoded, Form
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
    """

    pack: str
    channels: int | None
    geometry: dict
    max_pixels: int


class Spool:
    """Pictures by arrival.

    Attributes:
        entries: for each picture its place in the inventory.
        digests: 32 bytes for each.
        size: (H, W) of all, or None where they differ.
        grey: all are.
    """

    def __init__(self, folder: Path, wanted: Wanted):
        self.wanted = wanted
        self.entries, self.digests = array("q"), bytearray()
        self.size: tuple[int, int] | None = None
        self.grey = True
        self._pixel_counts, self._sums = array("q"), array("q")
        self._with_pixels, self._with_files = wanted.pack != "encoded", wanted.pack != "array"
        self._pixel_path, self._file_path = folder / "pixels.spool", folder / "files.spool"
        self._pixels, self._files = (path.open("wb", buffering=1 << 20) for path in (self._pixel_path, self._file_path))
        self._ends = array("q", [0])
        self._first_name = ""

    @property
    def form(self) -> Form:
        """What is still wanted of the pictures to come."""
        wanted = self.wanted
        return Form(wanted.channels, wanted.geometry, wanted.max_pixels, self._with_pixels, self._with_files)

    @property
    def pack(self) -> str:
        """What it has become: "array" or "encoded"."""
        return "array" if self._with_pixels else "encoded"

    @property
    def channels(self) -> int:
        return self.wanted.channels or (1 if self.grey else 3)

    def add(self, place: int, name: str, picture: Decoded) -> None:
        """Keeps a picture.

        Raises:
            DataError: its size differs from the others' where an array is asked for.
        """
        if not self.entries:
            self.size, self._first_name = picture.size, name
        elif picture.size != self.size:
            self._refuse_array(name, picture.size)
        self.entries.append(place)
        self.digests += picture.digest
        self.grey &= picture.grey
        self._pixel_counts.append(picture.size[0] * picture.size[1])
        self._sums.extend(picture.sums)
        if self._with_pixels and picture.pixels is not None:
            self._pixels.write(picture.pixels.data)
            if self.wanted.pack == "auto" and self._pixels.tell() > ARRAY_BYTES:
                self._give_up_pixels()
        if self._with_files and picture.file is not None:
            self._files.write(picture.file)
            self._ends.append(self._files.tell())

    def _refuse_array(self, name: str, size: tuple[int, int]) -> None:
        if self.wanted.pack == "array":
            assert self.size is not None
            raise DataError(
                f"an array pack needs pictures of one size: {self._first_name} is {self.size[1]} × {self.size[0]}, "
                f"{name} is {size[1]} × {size[0]}",
                do="data.prepare.image_size=SIDE, or data.prepare.pack=encoded",
            )
        self.size = None
        if self._with_pixels:
            self._give_up_pixels()

    def _give_up_pixels(self) -> None:
        self._with_pixels = False
        self._pixels.seek(0)
        self._pixels.truncate()

    def finish(self) -> None:
        """Ends the collecting; from here on the pictures can be read."""
        self._pixels.close()
        self._files.close()
        if self._with_pixels:
            self._with_files = False

    def totals(self, rows: np.ndarray) -> tuple[int, list[int], list[int]]:
        """Pixels, sums per channel and sums of squares per channel of some of the pictures; exact."""
        sums = np.frombuffer(self._sums, np.int64).reshape(len(self.entries), 2, -1)[rows, :, : self.channels]
        total = sums.sum(axis=0).tolist()  # 64 bits hold the squares of 10^14 pixels
        return int(np.frombuffer(self._pixel_counts, np.int64)[rows].sum()), total[0], total[1]

    def pixels(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Blocks (n, H, W, C) of the pictures at `rows`, in that order."""
        assert self.size is not None
        stored = self.wanted.channels or 3
        shape = (len(self.entries), *self.size, stored)
        pictures = np.asarray(np.memmap(self._pixel_path, np.uint8, "r", shape=shape))
        step = max(1, BLOCK_BYTES // (self.size[0] * self.size[1] * stored))
        for start in range(0, len(rows), step):
            yield pictures[rows[start : start + step]][..., : self.channels]

    def files(self, rows: np.ndarray) -> Iterator[memoryview]:
        """The picture files at `rows`, in that order."""
        content = memoryview(np.memmap(self._file_path, np.uint8, "r").data)
        for row in rows.tolist():
            yield content[self._ends[row] : self._ends[row + 1]]

    def remove(self) -> None:
        """Gives the room back."""
        for stream, path in ((self._pixels, self._pixel_path), (self._files, self._file_path)):
            stream.close()
            path.unlink(missing_ok=True)
