"""The pool of decoding processes."""

import os
import signal
import tempfile
from pathlib import Path

import numpy as np
import pytest

from striate.data import decoding
from striate.data.decoding import Decoded, Form, Refused, decode_chunks, decode_content, sensible_workers
from striate.data.sources.base import Unreadable
from striate.errors import DataError

PLAIN = {"image_size": None, "max_short_side": None}
FORM = Form(3, PLAIN, 1 << 20, pixels=True, file=True)


def decode_all(contents, form, workers, name_of):
    """Picture by picture what comes chunk by chunk."""
    with tempfile.TemporaryDirectory() as folder:
        for chunk in decode_chunks(contents, form, workers, name_of, list, Path(folder)):
            yield from chunk


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_contents(workers, picture, encoded, monkeypatch):
    monkeypatch.setattr(decoding, "CHUNK_PICTURES", 3)
    contents = [encoded(picture(i)) if i % 5 else b"broken" for i in range(40)]
    taken = []

    def giving():
        for number, content in enumerate(contents):
            taken.append(number)
            yield content

    seen = 0
    for number, found in enumerate(decode_all(giving(), lambda: FORM, workers, str)):
        if number % 5:
            assert np.array_equal(found.pixels, picture(number))
            assert found.file == contents[number]
        else:
            assert isinstance(found, Refused)
        assert taken[-1] - number <= 3 * (2 + 4)  # no more is read than is on its way
        seen += 1
    assert seen == 40


def test_a_killed_process_is_told(picture, encoded, monkeypatch):
    def giving():
        yield encoded(picture(0))
        import multiprocessing

        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
        for number in range(1, 9):
            yield encoded(picture(number))

    monkeypatch.setattr(decoding, "CHUNK_PICTURES", 1)
    with pytest.raises(DataError, match=r"a decoding process was killed at picture \d") as caught:
        list(decode_all(giving(), lambda: FORM, 2, "picture {}".format))
    assert "workers=1" in caught.value.do


def test_pixels_are_content_too(picture):
    grey, colour = picture(1, channels=1), picture(2)
    assert np.array_equal(decode_content(grey[..., 0], FORM).pixels, np.repeat(grey, 3, axis=2))
    assert decode_content(grey, Form(None, PLAIN, 1 << 20, True, False)).grey
    found = decode_content(colour, Form(1, PLAIN, 1 << 20, True, True))
    assert np.abs(found.pixels[..., 0] - colour @ [0.299, 0.587, 0.114]).max() <= 1
    assert found.file.startswith(b"\x89PNG")  # pixels are kept without loss
    for wrong in (colour.astype(np.float32), colour[None], colour[:, :0], np.zeros((3, 3, 4), np.uint8)):
        assert "expected uint8 pixels" in decode_content(wrong, FORM).reason
    assert decode_content(Unreadable("gone"), FORM).reason == "gone"


def test_equal_pixels_have_equal_digests_and_only_they(picture, encoded):
    pixels = picture(3)
    png, bmp, jpeg = (decode_content(encoded(pixels, kind), FORM) for kind in ("PNG", "BMP", "JPEG"))
    assert png.digest == bmp.digest != jpeg.digest
    assert png.content_digest != bmp.content_digest
    turned = decode_content(pixels.reshape(32, 24, 3), FORM)
    assert turned.digest != png.digest  # the same bytes in another shape


@pytest.mark.parametrize(
    ("format", "options", "starts"),
    [
        ("JPEG", {}, b"\xff\xd8"), ("PNG", {}, b"\x89PNG"), ("BMP", {}, b"\x89PNG"), ("WEBP", {}, b"\xff\xd8"),
        ("WEBP", {"lossless": True}, b"\x89PNG"),
    ],
)  # fmt: skip
def test_lossless_files_stay_lossless(format, options, starts, picture, encoded):
    data = encoded(picture(4), format, **options)
    found = decode_content(data, FORM)
    assert isinstance(found, Decoded)
    assert found.file.startswith(starts)
    assert (found.file == data) == (format in ("JPEG", "PNG"))
    shrunk = decode_content(data, Form(3, {"max_short_side": 12}, 1 << 20, True, True))
    assert shrunk.file.startswith(starts)
    assert shrunk.size == (12, 16)


def test_small_sets_are_decoded_without_processes():
    assert sensible_workers(100_000) == 1
    assert 1 <= sensible_workers(10**12) <= (os.cpu_count() or 1)
