"""What raw data look like to `prepare`: pictures that are listed first and read once, in order."""

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from striate.data.masks import Labelling
from striate.data.pictures import MAX_FILE_BYTES
from striate.errors import DataError


class RawFile(NamedTuple):
    """A file of the raw data as the file system shows it; `path` is relative to the root."""

    path: str
    size: int
    mtime_ns: int


class Entry(NamedTuple):
    """A picture that is known and not yet read.

    `name` is its path within the raw data, `split` "train", "val", "test" or None where the raw data have no splits.
    Where pictures have masks, `class_name` is empty.
    """

    name: str
    class_name: str
    split: str | None


class Foreign(NamedTuple):
    """Files that are not pictures of the set, told by kind: "*.txt", how many, and why they are passed over."""

    name: str
    files: int
    reason: str


@dataclass
class Inventory:
    """What a source holds.

    Args:
        classes: names in the order of their labels.
        entries: the pictures, in the order in which `Source.read` gives their contents.
        foreign: what is passed over.
        labelling: what the values of masks mean; None where each picture has one class.
        masks: paths of the masks of the entries, where there are masks.
    """

    classes: tuple[str, ...]
    entries: list[Entry]
    foreign: list[Foreign] = field(default_factory=list)
    labelling: Labelling | None = None
    masks: list[str] = field(default_factory=list)


class Unreadable(str):
    """The reason why the bytes of a picture could not be had, in place of its content."""

    __slots__ = ()


class PictureFile(str):
    """The path of a picture file, in place of its bytes: whoever decodes it reads it, on a core of its own."""

    __slots__ = ()

    def read(self) -> bytes | Unreadable:
        """The bytes of the file, or why they cannot be had."""
        try:
            with open(self, "rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                return too_large(size) if size > MAX_FILE_BYTES else stream.read()
        except OSError as error:
            return Unreadable(f"cannot be read: {error.strerror}")

    def size(self) -> int:
        """Bytes of the file; 0 where there is none."""
        try:
            return os.path.getsize(self)
        except OSError:
            return 0


OneContent = bytes | np.ndarray | PictureFile | Unreadable
"""A picture file or its path, or its pixels as (H, W) or (H, W, C) uint8, or why there is neither."""


class Pair(NamedTuple):
    """A picture with its mask; the mask as a file, or as (H, W) uint8 of class numbers and 255."""

    picture: OneContent
    mask: OneContent


Content = OneContent | Pair
"""A picture, or a picture with its mask."""


class Source(ABC):
    """Raw pictures with their classes.

    Args:
        root: the folder or file where they lie.
        hint: how to get them, for the message when they are missing.
    """

    def __init__(self, root: str, hint: str | None = None):
        self.root, self.hint = Path(root).expanduser(), hint

    def missing(self) -> str | None:
        """The path that is not there, or None when the raw data can be read."""
        return None if self.root.exists() else str(self.root)

    def available(self) -> bool:
        """Whether the raw data can be read."""
        return self.missing() is None

    def fetch(self) -> None:
        """Gets missing raw data, where the source knows how.

        Raises:
            DataError: it does not know or did not succeed; the message says what to do.
        """
        if (path := self.missing()) is not None:
            raise DataError(
                f"there are no raw data at {path}", do=self.hint or "say where they are: data.root=FOLDER_OR_ARCHIVE"
            )

    def describe(self) -> dict[str, Any]:
        """The settings that shape what is read, as plain data; not the root, which may move."""
        return {"source": type(self).__name__}

    @abstractmethod
    def listing(self) -> list[RawFile]:
        """All files of the raw data, sorted; found without opening any."""

    @abstractmethod
    def scan(self) -> Inventory:
        """What there is, without decoding a picture.

        Raises:
            DataError: the raw data are not laid out in a way that this source understands.
        """

    @abstractmethod
    def read(self, inventory: Inventory) -> Iterator[Content]:
        """The contents of `inventory.entries`, in their order."""


def raw_file(path: Path | str, root: Path) -> RawFile:
    """A file as `listing` reports it."""
    facts = os.stat(path)
    return RawFile(printable(os.path.relpath(path, root)), facts.st_size, facts.st_mtime_ns)


def raw_files(root: Path) -> list[RawFile]:
    """All files below a folder as `listing` reports them, sorted."""
    found = []
    for folder, _, names in os.walk(root):
        # Once a folder and not once a file: asking for each file's path would take half of the time.
        above = "" if folder == str(root) else os.path.relpath(folder, root) + os.sep
        for name in names:
            try:
                facts = os.stat(os.path.join(folder, name))
            except OSError:  # a link that leads nowhere
                continue
            if stat.S_ISREG(facts.st_mode):
                found.append(RawFile(printable(above + name), facts.st_size, facts.st_mtime_ns))
    return sorted(found)


def too_large(size: int) -> Unreadable:
    """Why a file of so many bytes is not read."""
    return Unreadable(f"file of {size:,} bytes; at most {MAX_FILE_BYTES:,} are read")


def legible(name: str) -> str:
    """A name for the screen: on one line, without what would command the terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name)


def printable(name: str) -> str:
    """A file name as valid Unicode: bytes that are not are written as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
