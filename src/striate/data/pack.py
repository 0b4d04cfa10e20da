"""Prepared pictures on disk, read by their place in a split.

An array pack holds, for each split, `SPLIT.images.npy` (N, H, W, C) uint8, `SPLIT.labels.npy` (N,) int64 and
`SPLIT.names.json`. An encoded pack holds picture files in Arrow IPC shards `SPLIT-NNNNN.arrow` with the columns `image`
(large_binary), `label` (int64) and `name` (string). Both are memory-mapped, and a pack may be larger than the memory.
`packing.py` writes them.

Pictures with masks have `SPLIT.masks.npy` (N, H, W) uint8 besides, or a fourth column `mask` (large_binary, PNG): class
numbers, 255 for pixels that do not count. Their label is the class of most pixels, -1 where none counts.
"""

import json
import mmap
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from striate.data.mapping import MappedFile
from striate.data.meta import Meta
from striate.data.pictures import decode_packed
from striate.errors import DataError, StorageError
from striate.storage import sha256_of

IMAGES, LABELS, NAMES, MASKS = "{}.images.npy", "{}.labels.npy", "{}.names.json", "{}.masks.npy"
SHARD = "{}-{:05d}.arrow"


class Pack(ABC):
    """One split of a prepared set. Can be pickled: a worker opens its own memory map.

    Args:
        folder: of the prepared set.
        split: "train", "val" or "test".
        channels: 1 or 3.

    Attributes:
        labels: (N,) int64.
    """

    labels: np.ndarray

    def __init__(self, folder: Path, split: str, channels: int):
        self.folder, self.split, self.channels = folder, split, channels
        self._open()

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> tuple[Path, str, int]:
        return self.folder, self.split, self.channels

    def __setstate__(self, state: tuple[Path, str, int]) -> None:
        self.folder, self.split, self.channels = state
        self._open()

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """The path of each raw picture within the raw data."""

    @abstractmethod
    def read(self, indices: np.ndarray) -> Any:
        """The pictures at some places of the split, as uint8.

        Args:
            indices: (B,) integers.

        Returns:
            An array pack gives one array (B, H, W, C), an encoded pack a list of B arrays (H, W, C).
        """

    @property
    @abstractmethod
    def has_masks(self) -> bool:
        """Whether every pixel has a label."""

    @abstractmethod
    def masks(self, indices: np.ndarray) -> Any:
        """The masks at some places of the split, as uint8: class numbers, 255 for pixels that do not count.

        Args:
            indices: (B,) integers.

        Returns:
            An array pack gives one array (B, H, W), an encoded pack a list of B arrays (H, W).
        """

    @abstractmethod
    def sizes(self) -> np.ndarray:
        """(N, 2): heights and widths; needs masks where pictures differ in size."""

    @abstractmethod
    def _open(self) -> None: ...


class _MappedArray:
    """An array of equal parts in an .npy file."""

    def __init__(self, path: Path, scattered: bool):
        with open(path, "rb") as stream:
            np.lib.format.read_magic(stream)
            shape, _, _ = np.lib.format.read_array_header_1_0(stream)
            self._offset = stream.tell()
        self._file = MappedFile(path, scattered=scattered)
        self.parts = self._file.content[self._offset :].reshape(shape)

    def take(self, indices: np.ndarray) -> np.ndarray:
        size = int(np.prod(self.parts.shape[1:]))
        if size > mmap.PAGESIZE:
            for start in (self._offset + indices * size).tolist():
                self._file.will_need(start, start + size)
        return np.take(self.parts, indices, axis=0)


class ArrayPack(Pack):
    """Pictures of one size; a batch is one indexing operation without work per sample."""

    def _open(self) -> None:
        scattered = self.split == "train"
        self._pictures = _MappedArray(self.folder / IMAGES.format(self.split), scattered)
        self._images = self._pictures.parts
        self.labels = np.load(self.folder / LABELS.format(self.split), allow_pickle=False)
        masks = self.folder / MASKS.format(self.split)
        self._masks = _MappedArray(masks, scattered) if masks.is_file() else None

    @cached_property
    def names(self) -> Sequence[str]:
        return json.loads((self.folder / NAMES.format(self.split)).read_text(encoding="utf-8"))

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self._pictures.take(indices)

    @property
    def has_masks(self) -> bool:
        return self._masks is not None

    def masks(self, indices: np.ndarray) -> np.ndarray:
        assert self._masks is not None
        return self._masks.take(indices)

    def sizes(self) -> np.ndarray:
        return np.tile(self._images.shape[1:3], (len(self), 1))


class _Files:
    """A column of files in Arrow record batches, as views of the memory map: nothing is copied."""

    def __init__(self) -> None:
        self._buffers: list[tuple[np.ndarray, np.ndarray]] = []  # offsets (n + 1,), bytes
        self._places: list[tuple[MappedFile, int]] = []  # where these bytes begin in which file

    def add(self, column: Any, file: MappedFile) -> None:
        _, offsets, content = column.buffers()
        self._buffers.append((np.frombuffer(offsets, np.int64), np.frombuffer(content, np.uint8)))
        self._places.append((file, content.address - file.content.ctypes.data))

    def __getitem__(self, place: tuple[int, int]) -> np.ndarray:
        batch, row = place
        offsets, content = self._buffers[batch]
        return content[offsets[row] : offsets[row + 1]]

    def will_need(self, place: tuple[int, int]) -> None:
        batch, row = place
        (file, base), (offsets, _) = self._places[batch], self._buffers[batch]
        file.will_need(base + int(offsets[row]), base + int(offsets[row + 1]))


class EncodedPack(Pack):
    """Pictures of any size, decoded when they are read."""

    def _open(self) -> None:
        import pyarrow as pa

        self._names: list[Any] = []
        self._images, self._masks = _Files(), _Files()
        self._with_masks = False
        labels: list[np.ndarray] = []
        for path in sorted(self.folder.glob(f"{self.split}-*.arrow")):
            file = MappedFile(path, scattered=self.split == "train")
            reader = pa.ipc.open_file(pa.py_buffer(file.content))
            for number in range(reader.num_record_batches):
                images, label, name, *masks = reader.get_batch(number).columns
                self._images.add(images, file)
                for column in masks:
                    self._masks.add(column, file)
                    self._with_masks = True
                labels.append(label.to_numpy())
                self._names.append(name)
        self.labels = np.concatenate(labels)
        self._starts = np.cumsum([0, *map(len, labels)])

    @property
    def names(self) -> Sequence[str]:
        return _Names(self._names, self._starts)

    @property
    def has_masks(self) -> bool:
        return self._with_masks

    def encoded(self, index: int) -> np.ndarray:
        """The file of a picture, (bytes,) uint8: a view of the memory map, nothing is copied."""
        return self._images[_locate(self._starts, index)]

    def read(self, indices: np.ndarray) -> list[np.ndarray]:
        for index in indices:  # the disk reads all of them while the first is decoded
            self._images.will_need(_locate(self._starts, int(index)))
        return [self._decode(int(index)) for index in indices]

    def masks(self, indices: np.ndarray) -> list[np.ndarray]:
        for index in indices:
            self._masks.will_need(_locate(self._starts, int(index)))
        return [self._decode_mask(int(index)) for index in indices]

    def sizes(self) -> np.ndarray:
        # Width and height stand in the 24 first bytes of a PNG, and masks are PNGs of their pictures' sizes.
        heads = (self._masks[_locate(self._starts, index)][16:24] for index in range(len(self)))
        return np.stack([head.view(">u4")[::-1] for head in heads]).astype(np.int64)

    def _decode(self, index: int) -> np.ndarray:
        image = decode_packed(self.encoded(index), self.channels)
        if image is None:
            self._refuse("picture", index)
        return image

    def _decode_mask(self, index: int) -> np.ndarray:
        mask = decode_packed(self._masks[_locate(self._starts, index)], 1)
        if mask is None:
            self._refuse("the mask of picture", index)
        return mask[:, :, 0]

    def _refuse(self, what: str, index: int) -> NoReturn:
        raise StorageError(
            f"{self.folder}: {what} {index} of {self.split} ({self.names[index]}) is damaged",
            do="remove the folder and prepare the set anew",
        )


class _Names(Sequence[str]):
    """Names in Arrow columns: a million of them as Python strings would cost 100 MB in each worker."""

    def __init__(self, columns: list[Any], starts: np.ndarray):
        self._columns, self._starts = columns, starts

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        batch, row = _locate(self._starts, index)
        return self._columns[batch][row].as_py()


def _locate(starts: np.ndarray, index: int) -> tuple[int, int]:
    length = int(starts[-1])
    if not -length <= index < length:
        raise IndexError(f"expected an index below {length}, got {index}")
    index %= length
    batch = int(np.searchsorted(starts, index, side="right")) - 1
    return batch, int(index - starts[batch])


def open_pack(folder: Path | str, split: str) -> Pack:
    """Opens one split of a prepared set.

    Raises:
        DataError: the set was not prepared or has no such split.
        StorageError: a file is missing or has not the size that the passport says.
    """
    folder = Path(folder)
    meta = Meta.load(folder)
    if split not in meta.counts:
        raise DataError(f"{meta.name} has no {split} split, only {', '.join(meta.splits)}", do="name one of these")
    for name in meta.files:
        if name.startswith(split):
            _check_size(folder, name, meta)
    return open_split(folder, split, meta)


def open_split(folder: Path, split: str, meta: Meta) -> Pack:
    """Opens one split under a given passport, which need not be written yet."""
    kind = ArrayPack if meta.pack == "array" else EncodedPack
    return kind(folder, split, meta.channels)


def verify_pack(folder: Path | str) -> Meta:
    """Reads every file of a prepared set and compares it with the passport, which is returned.

    Raises:
        DataError: the set was not prepared.
        StorageError: a file is missing or differs; the message names it.
    """
    folder = Path(folder)
    meta = Meta.load(folder)
    for name, facts in meta.files.items():
        _check_size(folder, name, meta)
        if sha256_of(folder / name) != facts["sha256"]:
            raise StorageError(
                f"{folder / name} is not what meta.json says: its SHA-256 differs",
                do=f"remove {folder} and prepare the set anew",
            )
    return meta


def _check_size(folder: Path, name: str, meta: Meta) -> None:
    path, expected = folder / name, meta.files[name]["bytes"]
    found = path.stat().st_size if path.is_file() else None
    if found != expected:
        state = "is missing" if found is None else f"has {found:,} bytes instead of {expected:,}"
        raise StorageError(f"{path} {state}", do=f"remove {folder} and prepare the set anew")
