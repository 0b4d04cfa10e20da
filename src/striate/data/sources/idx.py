"""The MNIST family: pictures and labels in IDX files (http://yann.lecun.com/exdb/mnist), plain or gzipped."""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from striate.data.download import download, remove_if_empty, writable_folder
from striate.data.sources.base import Content, Entry, Inventory, RawFile, Source, raw_file
from striate.errors import ConfigurationError, DataError
from striate.messages import say

STANDARD_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
MAX_BYTES = 4 << 30


class IdxSource(Source):
    """Pictures and labels in pairs of IDX files of unsigned bytes.

    Each file may be gzipped (NAME.gz). It is looked for in `root`, then in `search`; a set that is not there as a whole
    is downloaded into `root` from `urls`.

    Args:
        root: the folder of the files, and where downloads go.
        classes: names of the classes; label i is `classes[i]`.
        files: split → (pictures, labels) without ".gz"; null for the names of MNIST.
        sha256: file name without ".gz" → SHA-256 of its content when it is not compressed: gzip's own bytes differ from
            one packer to the next. Files that are not named are not checked.
        search: further folders in which a system may have the files.
        urls: addresses to which NAME.gz is appended.
        timeout: seconds without a byte after which a download is tried again.
        hint: how to get the files, for the message when they are missing.
    """

    def __init__(
        self,
        root: str,
        classes: Sequence[str],
        files: Mapping[str, Sequence[str]] | None = None,
        sha256: Mapping[str, str] | None = None,
        search: Sequence[str] = (),
        urls: Sequence[str] = (),
        timeout: float = 20.0,
        hint: str | None = None,
    ):
        super().__init__(root, hint)
        self.classes = tuple(str(name) for name in classes)
        self.files = {split: tuple(pair) for split, pair in (files or STANDARD_FILES).items()}
        if set(self.files) - {"train", "val", "test"} or "train" not in self.files:
            raise ConfigurationError(
                f"data.source.files has {', '.join(self.files)}; it needs train, and may have val, test"
            )
        if any(len(pair) != 2 for pair in self.files.values()):
            raise ConfigurationError("data.source.files needs two names for each split: pictures and labels")
        self.sha256 = {name: str(digest).lower() for name, digest in (sha256 or {}).items()}
        self.folders = [self.root, *(Path(folder).expanduser() for folder in search)]
        self.urls, self.timeout = tuple(urls), timeout

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "classes": self.classes, "files": self.files}

    def missing(self) -> str | None:
        return next((str(self.root / name) for name in self._names() if self._find(name) is None), None)

    def fetch(self) -> None:
        if self.available():
            return
        if not self.urls:
            super().fetch()
        folder = writable_folder(self.root)
        say(f"downloading {', '.join(self._names())} into {folder}")
        try:
            for name in self._names():
                if self._find(name) is None:
                    addresses = [f"{url.rstrip('/')}/{name}.gz" for url in self.urls]
                    path = folder / f"{name}.gz"
                    download(addresses, path, partial(self._file_fault, name), timeout=self.timeout)
        finally:
            remove_if_empty(folder)

    def listing(self) -> list[RawFile]:
        return sorted(raw_file(path, path.parent) for path in map(self._found, self._names()))

    def scan(self) -> Inventory:
        entries = []
        for split, (images, labels) in self.files.items():
            count = self._header(images, 3)[0]
            values = self._load(labels, 1)
            if len(values) != count:
                raise DataError(f"{self._found(images)} has {count} pictures but {labels} has {len(values)} labels")
            wrong = np.flatnonzero(values >= len(self.classes))
            if len(wrong):
                raise DataError(
                    f"{self._found(labels)}: label {values[wrong[0]]} at place {wrong[0]} is out of range",
                    do=f"expected 0 to {len(self.classes) - 1}: data.source.classes names {len(self.classes)} classes",
                )
            entries += [
                Entry(f"{split}/{i:06d}", self.classes[label], split) for i, label in enumerate(values.tolist())
            ]
        return Inventory(self.classes, entries)

    def read(self, inventory: Inventory) -> Iterator[Content]:
        for images, _ in self.files.values():
            yield from self._load(images, 3)

    def _names(self) -> list[str]:
        return [name for pair in self.files.values() for name in pair]

    def _find(self, name: str) -> Path | None:
        candidates = (folder / file for folder in self.folders for file in (name, f"{name}.gz"))
        return next((path for path in candidates if path.is_file()), None)

    def _found(self, name: str) -> Path:
        path = self._find(name)
        if path is None:
            raise DataError(f"there is no {self.root / name}", do=self.hint)
        return path

    def _file_fault(self, name: str, path: Path) -> str | None:
        """What is wrong with a file, or None."""
        try:
            return self._fault(_content(path), name)
        except (OSError, EOFError, zlib.error) as error:
            return f"it cannot be unpacked ({' '.join(str(error).split())})"

    def _fault(self, content: bytes, name: str) -> str | None:
        if (expected := self.sha256.get(name)) is None:
            return None
        found = hashlib.sha256(content).hexdigest()
        return None if expected == found else f"the SHA-256 of its content is {found}, expected {expected}"

    def _header(self, name: str, dimensions: int) -> tuple[int, ...]:
        path = self._found(name)
        try:
            with _open(path) as stream:
                head = stream.read(4 + 4 * dimensions)
            zero, kind, axes = struct.unpack(">HBB", head[:4])
            shape = struct.unpack(f">{dimensions}I", head[4:])
        except (struct.error, OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} is not an IDX file", do=self.hint) from error
        if (zero, kind, axes) != (0, 8, dimensions):
            raise DataError(f"{path} is not an IDX file of unsigned bytes with {dimensions} dimension(s)", do=self.hint)
        return shape

    def _load(self, name: str, dimensions: int) -> np.ndarray:
        path, shape = self._found(name), self._header(name, dimensions)
        try:
            content = _content(path)
            fault = self._fault(content, name)
        except (OSError, EOFError, zlib.error) as error:
            fault = f"it cannot be unpacked ({' '.join(str(error).split())})"
        if fault is not None:
            raise DataError(f"{path} is refused: {fault}", do="remove it and get it anew")
        offset = 4 + 4 * dimensions
        size = 1
        for side in shape:
            size *= side
        if len(content) - offset != size:
            raise DataError(f"{path} has {len(content) - offset:,} bytes of data, its header says {size:,}")
        return np.frombuffer(content, np.uint8, offset=offset).reshape(shape)


def _open(path: Path):
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")


def _content(path: Path) -> bytes:
    with open(path, "rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if zipped else open(path, "rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise EOFError(f"it unpacks to more than {MAX_BYTES:,} bytes")
    return content
