"""Writing a split of a prepared set, in bounded memory and with the same bytes for the same pictures."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from striate.data.pack import IMAGES, LABELS, MASKS, NAMES, SHARD

SHARD_BYTES = 256 << 20
BATCH_BYTES = 16 << 20


def write_array_split(
    folder: Path,
    split: str,
    blocks: Iterable[np.ndarray],
    shape: tuple[int, int, int, int],
    labels: np.ndarray,
    names: Sequence[str],
    masks: Iterable[np.ndarray] | None = None,
) -> None:
    """Writes one split of an array pack.

    Args:
        folder: where to.
        split: "train", "val" or "test".
        blocks: consecutive pieces (n, H, W, C) uint8 of the pictures.
        shape: (N, H, W, C) of all pieces together.
        labels: (N,) int64.
        names: N paths of raw pictures.
        masks: consecutive pieces (n, H, W) uint8 of their masks, where they have any.
    """
    _write_blocks(folder / IMAGES.format(split), blocks, shape)
    if masks is not None:
        _write_blocks(folder / MASKS.format(split), masks, shape[:3])
    with open(folder / LABELS.format(split), "wb") as stream:
        np.lib.format.write_array(stream, np.asarray(labels, np.int64), version=(1, 0))
    (folder / NAMES.format(split)).write_text(json.dumps(list(names), ensure_ascii=False) + "\n", encoding="utf-8")


def _write_blocks(path: Path, blocks: Iterable[np.ndarray], shape: tuple[int, ...]) -> None:
    with open(path, "wb") as stream:
        # Not by a writable memory map: a full disk would kill the process there instead of raising.
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)
        written = 0
        for block in blocks:
            assert (block.dtype, block.shape[1:]) == (np.uint8, shape[1:])
            stream.write(np.ascontiguousarray(block).data)
            written += len(block)
        assert written == shape[0]


def write_encoded_split(
    folder: Path,
    split: str,
    files: Iterable[bytes | memoryview],
    labels: np.ndarray,
    names: Sequence[str],
    masks: Iterable[bytes | memoryview] | None = None,
) -> None:
    """Writes one split of an encoded pack as Arrow IPC shards of about `SHARD_BYTES`.

    Args:
        folder: where to.
        split: "train", "val" or "test".
        files: N plain grey or RGB picture files.
        labels: (N,) int64.
        names: N paths of raw pictures.
        masks: N mask files, where pictures have any.
    """
    import pyarrow as pa

    columns_of_all = [("image", pa.large_binary()), ("label", pa.int64()), ("name", pa.string())]
    schema = pa.schema([*columns_of_all, ("mask", pa.large_binary())] if masks is not None else columns_of_all)
    masks = None if masks is None else iter(masks)
    writer, shard, shard_bytes, start = None, 0, 0, 0
    try:
        for offsets, content in _batches(files):
            stop = start + len(offsets) - 1
            if writer is None or shard_bytes + len(content) > SHARD_BYTES:
                if writer is not None:
                    writer.close()
                writer = pa.ipc.new_file(str(folder / SHARD.format(split, shard)), schema)
                shard, shard_bytes = shard + 1, 0
            buffers = [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(content)]
            images = pa.LargeBinaryArray.from_buffers(pa.large_binary(), stop - start, buffers)
            columns = [images, pa.array(np.asarray(labels[start:stop], np.int64)), pa.array(list(names[start:stop]))]
            if masks is not None:
                columns.append(pa.array([bytes(mask) for mask in islice(masks, stop - start)], pa.large_binary()))
            writer.write_batch(pa.record_batch(columns, schema=schema))
            shard_bytes, start = shard_bytes + len(content), stop
    finally:
        if writer is not None:
            writer.close()
    assert start == len(labels)


def _batches(files: Iterable[bytes | memoryview]) -> Iterator[tuple[np.ndarray, bytearray]]:
    """Consecutive files joined to pieces of about BATCH_BYTES: offsets (n + 1,) int64 and their bytes."""
    offsets, content = [0], bytearray()
    for file in files:
        content += file
        offsets.append(len(content))
        if len(content) >= BATCH_BYTES:
            yield np.asarray(offsets, np.int64), content
            offsets, content = [0], bytearray()
    if len(offsets) > 1:
        yield np.asarray(offsets, np.int64), content
