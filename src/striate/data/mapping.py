"""Files that are seen as memory: opening costs nothing, processes share the pages, the system may take them back."""

import mmap
from pathlib import Path

import numpy as np


class MappedFile:
    """A file as an array of bytes.

    Args:
        path: of the file.
        scattered: it is read in any order. The system then reads ahead nothing of itself: it would read megabytes for a
            picture of kilobytes, and throw out of memory what is needed again. `will_need` says what is to come.

    Attributes:
        content: (bytes,) uint8, read-only.
    """

    def __init__(self, path: Path, *, scattered: bool):
        with open(path, "rb") as stream:
            self._mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self.content = np.frombuffer(self._mapped, np.uint8)
        self._advises = scattered and hasattr(mmap, "MADV_RANDOM")  # Windows has no such thing
        if self._advises:
            self._mapped.madvise(mmap.MADV_RANDOM)

    def will_need(self, start: int, stop: int) -> None:
        """Lets the disk begin to read these bytes, without waiting for them."""
        first = start // mmap.PAGESIZE * mmap.PAGESIZE
        if self._advises and stop - first > mmap.PAGESIZE:
            self._mapped.madvise(mmap.MADV_WILLNEED, first, stop - first)
