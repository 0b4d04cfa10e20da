"""The quick way for JPEGs, with Pillow as the judge: the same pixels to the bit, and nothing that Pillow refuses."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from striate.data import pictures
from striate.data.jpeg import plain_frame
from striate.data.pictures import Picture, _read_plain_jpeg, read_picture
from striate.errors import DataError

LIMIT = 1 << 20
KINDS = {
    "usual": {},
    "optimised": {"optimize": True},
    "progressive": {"progressive": True},
    "fine": {"quality": 95, "subsampling": 0},
    "half": {"quality": 50, "subsampling": 1},
    "restarts": {"restart_marker_blocks": 2},
    "restarts in rows": {"progressive": True, "restart_marker_rows": 1},
    "comment with an end": {"comment": b"a\xff\xd9b"},
    "profile": {"icc_profile": bytes(range(256)) * 400},  # two segments
}


def segment(kind: int, content: bytes) -> bytes:
    return bytes([0xFF, kind]) + (len(content) + 2).to_bytes(2) + content


def after_start(data: bytes, insertion: bytes) -> bytes:
    return data[:2] + insertion + data[2:]


@pytest.fixture
def by_pillow(monkeypatch):
    """What the careful way says: a picture, or the reason why there is none."""

    def read(data: bytes, channels: int) -> Picture | str:
        with monkeypatch.context() as patch:
            patch.setattr(pictures, "_read_plain_jpeg", lambda *_: None)
            try:
                return read_picture(data, channels, max_pixels=LIMIT)
            except DataError as error:
                return error.what

    return read


def assert_agrees(data: bytes, channels: int, by_pillow) -> bool:
    """Compares the two ways; returns whether the quick one took the file."""
    quick = _read_plain_jpeg(data, channels, LIMIT)
    if quick is None:
        return False
    careful = by_pillow(data, channels)
    assert isinstance(careful, Picture), careful
    assert np.array_equal(quick.pixels, careful.pixels)
    assert (quick.format, quick.plain, quick.lossy) == (careful.format, careful.plain, careful.lossy)
    return True


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (17, 23), (48, 64)])
@pytest.mark.parametrize("stored", [1, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_plain_files_go_the_quick_way(kind, size, stored, channels, picture, encoded, by_pillow):
    data = encoded(picture(1, *size, channels=stored), "JPEG", **KINDS[kind])
    assert plain_frame(data) == (*size, stored)
    assert assert_agrees(data, channels, by_pillow)


def test_tables_of_their_own_and_files_of_other_encoders(picture, encoded, by_pillow):
    tables = [list(range(1, 65)), list(range(200, 264))]  # the second needs 16 bits
    assert plain_frame(encoded(picture(2), "JPEG", qtables=tables)) is None
    assert assert_agrees(encoded(picture(2), "JPEG", qtables=[tables[0], tables[0]]), 3, by_pillow)
    for factor in (cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440):
        data = cv2.imencode(".jpg", picture(2, 37, 51), [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor])[1].tobytes()
        assert assert_agrees(data, 3, by_pillow)


def test_a_header_that_was_just_seen_does_not_vouch_for_the_rest(picture, encoded):
    first, second = (encoded(picture(seed), "JPEG") for seed in (3, 4))
    assert plain_frame(first) == plain_frame(second) == (24, 32, 3)
    assert plain_frame(second[:-2]) is None
    assert plain_frame(second + b"\0") is None


def test_what_may_be_turned_or_is_odd_goes_to_pillow(picture, encoded, by_pillow):
    data = encoded(picture(5), "JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6
    thumbnail = segment(0xE1, b"Exif\0\0" + encoded(picture(6), "JPEG"))  # has an end of its own
    odd = {
        "EXIF": encoded(picture(5), "JPEG", exif=exif),
        "thumbnail": after_start(data, thumbnail),
        "XMP": after_start(data, segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0tiff:Orientation="6"')),
        "CMYK": encoded(Image.fromarray(picture(5)).convert("CMYK"), "JPEG"),
        "RGB": encoded(picture(5), "JPEG", keep_rgb=True),
        "fill bytes": after_start(data, b"\xff\xff"),
        "two pictures": data + data,
        "MPO": encoded(picture(5), "MPO", save_all=True, append_images=[Image.fromarray(picture(6))]),
        "arithmetic": data.replace(b"\xff\xc0", b"\xff\xc9", 1),
        "12 bits": data.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc1\x00\x11\x0c", 1),
        "no height": data.replace(b"\xff\xc0\x00\x11\x08\x00\x18", b"\xff\xc0\x00\x11\x08\x00\x00", 1),
        "short JFIF": after_start(data, segment(0xE0, b"JFIF\0")),
        "short profile": after_start(data, segment(0xE2, b"ICC_PROFILE\0")),
        "short Photoshop": after_start(data, segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04")),
    }
    for name, content in odd.items():
        assert content != data, name
        assert plain_frame(content) is None, name
    assert isinstance(by_pillow(odd["short Photoshop"], 3), str)  # OpenCV would take it
    with pytest.raises(DataError, match="too large"):
        read_picture(data, 3, max_pixels=24 * 32 - 1)


@pytest.mark.parametrize("kind", ["usual", "progressive", "restarts"])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_a_cut_at_any_place_is_judged_as_pillow_does(kind, end, picture, encoded, by_pillow):
    data = encoded(picture(7, 40, 56), "JPEG", **KINDS[kind])
    taken = 0
    for place in range(2, len(data) - 2):
        taken += assert_agrees(data[:place] + end, 3, by_pillow)
    # Without the mark of its end no cut file passes; with one, decoders fill up what is missing, and agree how.
    assert (taken > 0) == bool(end)


@pytest.mark.parametrize("kind", ["usual", "progressive"])
@pytest.mark.parametrize(
    "garbage",
    [b"\xff\xe5\xff\xff", b"\xff\xc4\x10\x00", b"\xff\xc4\x00\x03\x00", b"\xff\xda\x00\x08", b"\xff\xd3", b"\xff\xd8"],
)
def test_markers_where_none_should_be(kind, garbage, picture, encoded, by_pillow):
    data = encoded(picture(8, 40, 56), "JPEG", **KINDS[kind])
    for place in range(2, len(data), 7):
        assert_agrees(data[:place] + garbage + data[place:], 3, by_pillow)
    assert_agrees(data[:-2] + garbage + data[-2:], 3, by_pillow)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_the_quick_way_never_takes_what_pillow_refuses(data, picture, encoded):
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    sample = bytearray(encoded(picture(9, 21, 35, channels=data.draw(st.sampled_from([1, 3]))), "JPEG", **KINDS[kind]))
    start = data.draw(st.sampled_from([0, len(sample) // 2]))
    for _ in range(data.draw(st.integers(1, 4))):
        sample[data.draw(st.integers(start, len(sample) - 1))] = data.draw(
            st.sampled_from([0, 1, 0xC4, 0xD9, 0xDA, 255])
        )
    quick = _read_plain_jpeg(bytes(sample), 3, LIMIT)
    if quick is not None:
        image = Image.open(io.BytesIO(bytes(sample)))
        assert np.array_equal(quick.pixels, np.asarray(image.convert("RGB")))
