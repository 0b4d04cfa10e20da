"""Decoding all pictures of a source on all cores: in order, and with bounded memory.

Chunks of contents go to a pool of processes and come back in the order in which they were sent, so that nothing
depends on how many processes there are or which is faster. Of files that lie there the path goes, and the process reads
them itself. What has no file of its own goes by files that are written over and over, which takes a fifth of the time
that a pipe takes; what was decoded is stowed away where it was decoded.
"""

import hashlib
import math
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, BufferedWriter
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import xxhash

from striate.allocation import keep_freed_memory
from striate.data.masks import Labelling, class_pixels, read_mask, shape_mask, to_classes
from striate.data.pictures import Picture, apply_geometry, encode, encode_mask, read_picture
from striate.data.sources.base import Content, OneContent, Pair, PictureFile, Unreadable
from striate.data.statistics import pixel_sums
from striate.errors import DataError

CHUNK_PICTURES = 256
CHUNK_BYTES = 4 << 20
BYTES_A_WORKER = 4 << 20  # a process costs about as much as decoding this much

Stowed = TypeVar("Stowed")


@dataclass(frozen=True)
class Form:
    """What is wanted of each picture.

    Args:
        channels: 1, 3, or None: RGB, and whether it is grey.
        geometry: for `apply_geometry`.
        max_pixels: what declares more is refused.
        pixels: give the pixels.
        file: give a plain picture file.
        pixel_bytes: give no pixels that are more than this.
        labelling: pictures come with masks, whose values mean this.
    """

    channels: int | None
    geometry: dict[str, Any]
    max_pixels: int
    pixels: bool
    file: bool
    pixel_bytes: int = 1 << 62
    labelling: Labelling | None = None


@dataclass(slots=True)
class Refused:
    """A picture that cannot be read.

    Args:
        content_digest: SHA-256 of the content.
        reason: why.
    """

    content_digest: bytes
    reason: str


@dataclass(slots=True)
class Decoded:
    """A picture in the wanted form.

    Args:
        content_digest: SHA-256 of the content that was read.
        digest: hash of the decoded pixels, before the geometry: equal for equal pictures.
        size: (H, W) after the geometry.
        sums: per channel the sum of the pixels, then per channel the sum of their squares; exact.
        grey: R = G = B everywhere, or one channel.
        format: of the file, None where pixels were given.
        pixels: (H, W, C) uint8, if asked for.
        file: a plain grey or RGB picture file, if asked for: the original where it is one already.
        mask: (H, W) uint8 of class numbers, where there are masks and pixels are asked for.
        mask_file: the same as a PNG, where files are asked for.
        class_pixels: pixels of each class, where there are masks.
    """

    content_digest: bytes
    digest: bytes
    size: tuple[int, int]
    sums: list[int]
    grey: bool
    format: str | None
    pixels: np.ndarray | None
    file: bytes | None
    mask: np.ndarray | None = None
    mask_file: bytes | None = None
    class_pixels: list[int] | None = None


def content_digest(content: Content) -> bytes:
    """SHA-256 of what a source gave: of the file, of the pixels, or of the reason why there is neither; of a pair, of
    these of both."""
    if isinstance(content, Pair):
        return hashlib.sha256(content_digest(content.picture) + content_digest(content.mask)).digest()
    if isinstance(content, PictureFile):
        content = content.read()
    if isinstance(content, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(content).data).digest()
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).digest()


def decode_content(content: Content, form: Form) -> Decoded | Refused:
    """One picture in the wanted form, or why there is none."""
    if isinstance(content, Pair):
        return _decode_pair(content, form)
    if isinstance(content, PictureFile):
        content = content.read()
    digest = content_digest(content)
    try:
        return _in_form(content, digest, _opened(content, form), form)
    except DataError as error:
        return Refused(digest, error.what)


def _decode_pair(pair: Pair, form: Form) -> Decoded | Refused:
    """A picture and its mask in the wanted form, or why there is none or they do not fit."""
    assert form.labelling is not None
    picture, mask = (content.read() if isinstance(content, PictureFile) else content for content in pair)
    digest = content_digest(Pair(picture, mask))
    try:
        opened = _opened(picture, form)
        labels = _read_mask(mask, form.labelling, form.max_pixels)
    except DataError as error:
        return Refused(digest, error.what)
    if labels.shape != opened.pixels.shape[:2]:
        (height, width), (rows, columns) = opened.pixels.shape[:2], labels.shape
        return Refused(digest, f"sizes differ: the picture is {width} × {height}, its mask {columns} × {rows}")
    decoded = _in_form(picture, digest, opened, form)
    shaped = np.ascontiguousarray(shape_mask(labels, form.geometry))
    decoded.class_pixels = class_pixels(shaped, len(form.labelling.classes))
    decoded.mask = None if decoded.pixels is None else shaped
    decoded.mask_file = encode_mask(shaped) if form.file else None
    return decoded


def _opened(content: OneContent, form: Form) -> Picture:
    """A picture as it is, before the geometry."""
    if isinstance(content, Unreadable):
        raise DataError(str(content))
    channels = form.channels or 3
    if isinstance(content, np.ndarray):
        return Picture(_with_channels(content, channels), "", plain=False, lossy=False)
    assert isinstance(content, bytes)
    return read_picture(content, channels, max_pixels=form.max_pixels)


def _in_form(content: OneContent, digest: bytes, picture: Picture, form: Form) -> Decoded:
    image = picture.pixels
    shaped = apply_geometry(image, form.geometry)
    file = None
    if form.file:
        keep = picture.plain and shaped is image
        file = content if keep else encode(shaped, lossy=picture.lossy)
    return Decoded(
        content_digest=digest,
        digest=_pixels_digest(image),
        size=shaped.shape[:2],
        sums=pixel_sums(shaped),
        grey=form.channels == 1 or (form.channels is None and _is_grey(image)),
        format=picture.format or None,
        pixels=shaped if form.pixels and shaped.nbytes <= form.pixel_bytes else None,
        file=file,  # type: ignore[arg-type]
    )


def _read_mask(content: OneContent, labelling: Labelling, max_pixels: int) -> np.ndarray:
    try:
        if isinstance(content, Unreadable):
            raise DataError(str(content))
        if isinstance(content, np.ndarray):
            return to_classes(content, labelling)
        assert isinstance(content, bytes)
        return read_mask(content, labelling, max_pixels=max_pixels)
    except DataError as error:
        raise DataError(f"its mask: {error.what}") from error


def _with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or not pixels.size:
        return _refuse(pixels)
    if pixels.shape[2] == channels:
        return np.ascontiguousarray(pixels)
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    from PIL import Image

    return np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]


def _refuse(pixels: np.ndarray) -> np.ndarray:
    raise DataError(f"expected uint8 pixels of 1 or 3 channels, got {pixels.dtype} of shape {pixels.shape}")


def _is_grey(image: np.ndarray) -> bool:
    # The first row settles it for nearly every colour picture.
    for part in (image[:1], image):
        red = part[..., 0].tobytes()
        if red != part[..., 1].tobytes() or red != part[..., 2].tobytes():
            return False
    return True


def _pixels_digest(image: np.ndarray) -> bytes:
    # 128 bits of the fastest strong hash: it serves within one preparation only, and SHA-256 would take half as long
    # as the decoder.
    height, width, channels = image.shape
    return xxhash.xxh3_128_digest(np.ascontiguousarray(image).data, seed=height << 32 | width << 2 | channels)


def decode_chunks(
    contents: Iterator[Content],
    form: Callable[[], Form],
    workers: int,
    name_of: Callable[[int], str],
    stow: Callable[[Iterator[Decoded | Refused]], Stowed],
    folder: Path,
) -> Generator[Stowed, None, None]:
    """Decodes contents in their order.

    Args:
        contents: of pictures.
        form: asked before each chunk is sent, since it may change on the way.
        workers: processes; at most one decodes in this process.
        name_of: the name of the i-th picture, for the message when a process dies.
        stow: called with the decoded pictures of each chunk where they were decoded; what it returns comes back.
        folder: for the files by which contents go to the processes, `*.spool`.

    Yields:
        What `stow` returned, chunk by chunk.

    Raises:
        DataError: a decoding process was killed.
    """
    if workers <= 1:
        cv2.setNumThreads(0)
        while held := list(_chunk(contents)):
            now = form()
            yield stow(decode_content(content, now) for content in held)
        return
    streams = [(folder / f"{number}.chunk.spool").open("wb") for number in range(workers + 3)]
    pool = ProcessPoolExecutor(workers, mp_context=_context(), initializer=_begin_work)
    pending: deque[tuple[int, BufferedWriter, Future[Stowed]]] = deque()
    try:
        yield from _through(pool, contents, form, stow, streams, pending)
    except BrokenProcessPool as error:
        first = name_of(pending[0][0] if pending else 0)
        raise DataError(
            f"a decoding process was killed at {first} or a picture after it, likely for want of memory",
            do="try fewer processes, data.prepare.workers=1, or a smaller data.prepare.max_pixels",
        ) from error
    finally:
        # On an interruption nobody waits for the chunks under way.
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        if pending:
            for process in processes:
                process.terminate()
        for process in processes:
            process.join()
        for stream in streams:
            stream.close()
            os.unlink(stream.name)


def _through(
    pool: ProcessPoolExecutor,
    contents: Iterator[Content],
    form: Callable[[], Form],
    stow: Callable[[Iterator[Decoded | Refused]], Stowed],
    streams: Sequence[BufferedWriter],
    pending: deque[tuple[int, BufferedWriter, Future[Stowed]]],
) -> Iterator[Stowed]:
    """Keeps the pool busy; `pending` holds what is under way: number of its first picture, file, result."""
    free, first = list(streams), 0
    while chunk := _write_chunk(free[-1], contents):
        stream = free.pop()
        with _undisturbed():
            pending.append((first, stream, pool.submit(_decode_chunk, stream.name, chunk, form(), stow)))
        first += len(chunk)
        if not free:
            yield pending[0][2].result()
            free.append(pending.popleft()[1])
    while pending:
        yield pending[0][2].result()
        pending.popleft()


def sensible_workers(total_bytes: int) -> int:
    """One process a core, but none that would cost more than it brings; 1 decodes in this process."""
    return max(1, min(len(os.sched_getaffinity(0)), total_bytes // BYTES_A_WORKER))


def _chunk(contents: Iterator[Content]) -> Iterator[Content]:
    """So many of the contents to come as make a chunk."""
    size = 0
    for count, content in enumerate(contents, 1):
        yield content
        size += _size(content)
        if count >= CHUNK_PICTURES or size >= CHUNK_BYTES:
            return


def _size(content: Content) -> int:
    if isinstance(content, Pair):
        return sum(map(_size, content))
    if isinstance(content, PictureFile):
        return content.size()
    return content.nbytes if isinstance(content, np.ndarray) else len(content)


_OnePlace = int | tuple[int, ...] | np.ndarray | PictureFile | Unreadable
"""In a file of contents the length of a picture file, or the shape of pixels; anything else is not in the file."""
_Place = _OnePlace | Pair
"""The same, or a pair of it."""


def _write_chunk(stream: BufferedWriter, contents: Iterator[Content]) -> list[_Place]:
    stream.seek(0)
    places: list[_Place] = [_write(stream, content) for content in _chunk(contents)]
    stream.flush()
    return places


def _write(stream: BufferedWriter, content: Content) -> Any:
    if isinstance(content, Pair):
        return Pair(*(_write(stream, one) for one in content))
    if isinstance(content, bytes):
        stream.write(content)
        return len(content)
    if isinstance(content, np.ndarray) and content.dtype == np.uint8:
        stream.write(np.ascontiguousarray(content).data)
        return content.shape
    return content


def _read_chunk(path: str, places: list[_Place]) -> Iterator[Content]:
    with open(path, "rb") as stream:
        for place in places:
            yield _read(stream, place)


def _read(stream: BufferedReader, place: Any) -> Any:
    if isinstance(place, Pair):
        return Pair(*(_read(stream, one) for one in place))
    if isinstance(place, int):
        return stream.read(place)
    if isinstance(place, tuple):
        return np.frombuffer(stream.read(math.prod(place)), np.uint8).reshape(place)
    return place


def _decode_chunk(
    path: str, places: list[_Place], form: Form, stow: Callable[[Iterator[Decoded | Refused]], Stowed]
) -> Stowed:
    return stow(decode_content(content, form) for content in _read_chunk(path, places))


def begin_imports() -> None:
    """Lets the process that decoding ones are forked from make their imports, while this one lists the raw data."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        _context().set_forkserver_preload([__name__])
        # What it forks takes Ctrl-C as it does, and is told of it by this process, not by the terminal.
        with _sigint(signal.SIG_IGN):
            forkserver.ensure_running()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits: the pool would forget a process that it is starting, which then misses what it is to begin with."""
    came: list[int] = []
    with _sigint(lambda number, frame: came.append(number)):
        yield
    if came:
        signal.raise_signal(signal.SIGINT)


@contextmanager
def _sigint(handler: Any) -> Iterator[None]:
    """Another handler of Ctrl-C for a while; only the main thread can have one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _context() -> Any:
    # Not "fork": the caller may hold threads and locks of PyTorch, of which a fork would inherit the locks alone.
    if "forkserver" in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("forkserver")
    return multiprocessing.get_context("spawn")


def _begin_work() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    cv2.setNumThreads(0)
    keep_freed_memory()
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
