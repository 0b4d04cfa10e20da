"""Decoding all pictures of a source on all cores: in order, and with bounded memory.

Chunks of contents go to a pool of processes and come back in the order in which they were sent, so that nothing
depends on how many processes there are or which is faster.
"""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

import cv2
import numpy as np

from striate.data.pictures import apply_geometry, encode, read_picture
from striate.data.sources.base import Content, Unreadable
from striate.errors import DataError

CHUNK_PICTURES = 256
CHUNK_BYTES = 4 << 20
BYTES_A_WORKER = 4 << 20  # a process costs about as much as decoding this much
SMALL_BYTES = 1 << 15  # up to here squares are summed faster than values are counted

_LEVELS = np.arange(256, dtype=np.int64)


@dataclass(frozen=True)
class Form:
    """What is wanted of each picture.

    Args:
        channels: 1, 3, or None: RGB, and whether it is grey.
        geometry: for `apply_geometry`.
        max_pixels: what declares more is refused.
        pixels: give the pixels.
        file: give a plain picture file.
    """

    channels: int | None
    geometry: dict[str, Any]
    max_pixels: int
    pixels: bool
    file: bool


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
        digest: SHA-256 of the decoded pixels, before the geometry: equal for equal pictures.
        size: (H, W) after the geometry.
        sums: per channel the sum of the pixels, then per channel the sum of their squares; exact.
        grey: R = G = B everywhere, or one channel.
        format: of the file, None where pixels were given.
        pixels: (H, W, C) uint8, if asked for.
        file: a plain grey or RGB picture file, if asked for: the original where it is one already.
    """

    content_digest: bytes
    digest: bytes
    size: tuple[int, int]
    sums: list[int]
    grey: bool
    format: str | None
    pixels: np.ndarray | None
    file: bytes | None


def content_digest(content: Content) -> bytes:
    """SHA-256 of what a source gave: of the file, of the pixels, or of the reason why there is neither."""
    if isinstance(content, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(content).data).digest()
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).digest()


def decode_content(content: Content, form: Form) -> Decoded | Refused:
    """One picture in the wanted form, or why there is none."""
    digest = content_digest(content)
    if isinstance(content, Unreadable):
        return Refused(digest, str(content))
    channels = form.channels or 3
    try:
        if isinstance(content, np.ndarray):
            image, format_name, plain, lossy = _with_channels(content, channels), None, False, False
        else:
            picture = read_picture(content, channels, max_pixels=form.max_pixels)
            image, format_name, plain, lossy = picture.pixels, picture.format, picture.plain, picture.lossy
    except DataError as error:
        return Refused(digest, error.what)
    shaped = apply_geometry(image, form.geometry)
    file = None
    if form.file:
        keep = plain and shaped is image
        file = content if keep else encode(shaped, lossy=lossy)
    return Decoded(
        content_digest=digest,
        digest=hashlib.sha256(b"%d %d %d " % image.shape + np.ascontiguousarray(image).data).digest(),
        size=shaped.shape[:2],
        sums=_sums(shaped),
        grey=form.channels == 1 or (form.channels is None and _is_grey(image)),
        format=format_name,
        pixels=shaped if form.pixels else None,
        file=file,  # type: ignore[arg-type]
    )


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


def _sums(image: np.ndarray) -> list[int]:
    channels = image.shape[2]
    if image.size < SMALL_BYTES:
        squares = cv2.multiply(image, image, dtype=cv2.CV_16U)
        return [int(total) for values in (image, squares) for total in cv2.sumElems(values)[:channels]]
    if image.shape[0] * image.shape[1] < 1 << 24:  # OpenCV counts in float32
        counts = [cv2.calcHist([image], [channel], None, [256], [0, 256]) for channel in range(channels)]
    else:
        counts = [np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(channels)]
    histograms = np.stack([count.ravel().astype(np.int64) for count in counts])
    return [*(histograms @ _LEVELS).tolist(), *(histograms @ _LEVELS**2).tolist()]


def decode_all(
    contents: Iterator[Content], form: Callable[[], Form], workers: int, name_of: Callable[[int], str]
) -> Generator[Decoded | Refused, None, None]:
    """Decodes contents in their order.

    Args:
        contents: of pictures.
        form: asked before each chunk is sent, since it may change on the way.
        workers: processes; at most one decodes in this process.
        name_of: the name of the i-th picture, for the message when a process dies.

    Yields:
        A decoded picture, or why it cannot be read.

    Raises:
        DataError: a decoding process was killed.
    """
    if workers <= 1:
        cv2.setNumThreads(0)
        for content in contents:
            yield decode_content(content, form())
        return
    pending: deque[tuple[int, Future[list[Decoded | Refused]]]] = deque()
    pool = ProcessPoolExecutor(workers, mp_context=_context(), initializer=_begin_work)
    first = 0
    try:
        for chunk in _chunks(contents):
            pending.append((first, pool.submit(_decode_chunk, chunk, form())))
            first += len(chunk)
            if len(pending) > workers + 2:
                yield from pending[0][1].result()
                pending.popleft()
        while pending:
            yield from pending[0][1].result()
            pending.popleft()
    except BrokenProcessPool as error:
        raise DataError(
            f"a decoding process was killed at {name_of(pending[0][0] if pending else first)} or a picture after it, "
            "likely for want of memory",
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


def sensible_workers(total_bytes: int) -> int:
    """One process a core, but none that would cost more than it brings; 1 decodes in this process."""
    return max(1, min(len(os.sched_getaffinity(0)), total_bytes // BYTES_A_WORKER))


def _chunks(contents: Iterator[Content]) -> Iterator[list[Content]]:
    chunk: list[Content] = []
    size = 0
    for content in contents:
        chunk.append(content)
        size += content.nbytes if isinstance(content, np.ndarray) else len(content)
        if len(chunk) >= CHUNK_PICTURES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _decode_chunk(chunk: list[Content], form: Form) -> list[Decoded | Refused]:
    return [decode_content(content, form) for content in chunk]


def _context() -> Any:
    # Not "fork": the caller may hold threads and locks of PyTorch, of which a fork would inherit the locks alone.
    if "forkserver" in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("forkserver")
    return multiprocessing.get_context("spawn")


def _begin_work() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    cv2.setNumThreads(0)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
