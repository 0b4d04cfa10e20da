"""Which JPEG files need no careful reader: judged by their structure, in microseconds.

Pillow knows what is odd about a file and refuses what is cut off, but its way through a header takes longer than the
decoding of a small picture. OpenCV holds the same decoder, yet takes cut and misbuilt files for whole. A file that
passes here holds nothing on which the two could differ; all others are for Pillow to judge.
"""

import re
from typing import NamedTuple

_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended sequential, progressive; all with Huffman coding
_HUFFMAN, _END, _SCAN, _QUANTISATION, _RESTARTS, _COMMENT = 0xC4, 0xD9, 0xDA, 0xDB, 0xDD, 0xFE
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")  # within coded data: neither an escaped byte nor a restart


class Frame(NamedTuple):
    """What the header declares."""

    height: int
    width: int
    channels: int


class _Header(NamedTuple):
    content: bytes
    frame: Frame
    one_scan: bool


_last = _Header(b"none", Frame(0, 0, 0), True)


def plain_frame(data: bytes) -> Frame | None:
    """The frame of a file that every sound decoder reads alike, else None.

    Args:
        data: the whole file.

    Returns:
        None for what is no JPEG, is cut off, has more or less than one picture of 8 bits in grey or YCbCr, may be
        turned (EXIF, XMP), or has segments that are rare or misbuilt.
    """
    global _last
    # The small files of one set mostly have one header.
    if not data.startswith(_last.content):
        header = _read_header(data)
        if header is None:
            return None
        _last = header
    return _last.frame if _ends_well(data, _last) else None


def _read_header(data: bytes) -> _Header | None:
    if not data.startswith(b"\xff\xd8"):
        return None
    frame: Frame | None = None
    seen: set[int] = set()
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind = data[at + 1]
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if end > len(data):
            return None
        segment = data[at + 4 : end]
        if kind in _FRAMES and frame is None:
            frame = _frame(segment)
            if frame is None:
                return None
        elif kind == _SCAN:
            if frame is None or not {_HUFFMAN, _QUANTISATION} <= seen or not segment:
                return None
            return _Header(data[:end], frame, _FRAMES[-1] not in seen and segment[0] == frame.channels)
        elif not _is_usual(kind, segment):
            return None
        seen.add(kind)
        at = end
    return None


def _frame(segment: bytes) -> Frame | None:
    if len(segment) < 6 or segment[0] != 8 or segment[5] not in (1, 3) or len(segment) != 6 + 3 * segment[5]:
        return None
    frame = Frame(int.from_bytes(segment[1:3]), int.from_bytes(segment[3:5]), segment[5])
    return frame if frame.height and frame.width else None


def _is_usual(kind: int, segment: bytes) -> bool:
    """Whether a segment of the header is one that Pillow passes over without a word."""
    if kind == _QUANTISATION:  # of 8 bits
        return len(segment) % 65 == 0 and all(table < 16 for table in segment[::65])
    if kind == 0xE0:
        return not segment.startswith(b"JFIF") or len(segment) >= 14
    if kind == 0xE2:  # a colour profile, but not a file of several pictures
        return segment.startswith(b"ICC_PROFILE\0") and len(segment) >= 14
    if kind == 0xEE:  # Adobe's, if it says YCbCr
        return segment.startswith(b"Adobe") and len(segment) == 12 and segment[11] == 1
    return kind in (_HUFFMAN, _RESTARTS, _COMMENT)


def _ends_well(data: bytes, header: _Header) -> bool:
    """Whether after the header there are scans and their tables only, then the mark of the end, then nothing."""
    at = len(header.content)
    while (found := _MARKER.search(data, at)) is not None:
        at = found.start()
        if data[at + 1] == _END:
            return at + 2 == len(data)
        # OpenCV does not look at what follows the last row of a single scan.
        if header.one_scan or data[at + 1] not in (_HUFFMAN, _SCAN, _RESTARTS):
            return False
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return False
