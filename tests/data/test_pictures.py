"""Decoding to one form, with Pillow, OpenCV or arithmetic as the oracle."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from striate.data.pictures import INTERPOLATIONS, apply_geometry, decode, decode_packed, encode, read_picture
from striate.errors import DataError

BT601 = np.array([0.299, 0.587, 0.114])


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None].astype(float) / 255
    return colour * share + 255 * (1 - share)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "PPM"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stored", [1, 3])
def test_formats_as_pillow_reads_them(format, channels, stored, picture, encoded):
    data = encoded(picture(1, channels=stored), format)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("L" if channels == 1 else "RGB"))
    found = decode(data, channels)
    assert found.dtype == np.uint8
    assert found.shape == (24, 32, channels)
    assert np.array_equal(found.squeeze(), expected)


def test_grey_is_the_luma_of_bt601(picture, encoded):
    pixels = picture(2)
    assert np.abs(decode(encoded(pixels), 1)[:, :, 0] - pixels @ BT601).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied(orientation, format, picture, encoded):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(3), format, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.array_equal(decode(data, 3), expected)
    assert decode(data, 3).shape[:2] == ((24, 32) if orientation < 5 else (32, 24))
    assert read_picture(data, 3).plain == (orientation == 1 and format != "WEBP")


def test_broken_metadata_are_no_reason_to_refuse(picture, encoded, recwarn):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture(3), "JPEG", exif=exif)
    place = data.index(b"Exif\0\0") + 6
    for broken in (b"XX", b"II*\0\xff\xff\xff\xff"):
        damaged = data[:place] + broken + data[place + len(broken) :]
        assert np.array_equal(decode(damaged, 3), np.asarray(Image.open(io.BytesIO(data))))
    assert not recwarn.list


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_white(mode, picture, encoded):
    alpha = picture(5, channels=1)[:, :, 0]
    colour = picture(4) if mode == "RGBA" else np.repeat(picture(4, channels=1), 3, axis=2)
    bands = [*np.moveaxis(colour, 2, 0), alpha] if mode == "RGBA" else [colour[:, :, 0], alpha]
    data = encoded(Image.merge(mode, [Image.fromarray(np.ascontiguousarray(band)) for band in bands]))
    assert np.abs(decode(data, 3) - over_white(colour, alpha)).max() <= 1
    assert np.abs(decode(data, 1)[..., 0] - over_white(colour, alpha) @ BT601).max() <= 2


def test_transparent_colours_become_white(picture, encoded):
    pixels = picture(6)
    pixels[3:9, 4:12] = (10, 20, 30)
    pixels[pixels.sum(axis=2) == 60] = (10, 20, 30)
    data = encoded(pixels, transparency=(10, 20, 30))
    hidden = (pixels == (10, 20, 30)).all(axis=2)
    assert hidden.any()
    assert np.array_equal(decode(data, 3), np.where(hidden[..., None], 255, pixels))
    grey = picture(6, channels=1)
    data = encoded(grey, transparency=int(grey[0, 0, 0]))
    assert np.array_equal(decode(data, 1), np.where(grey == grey[0, 0, 0], 255, grey))


def test_palette_with_and_without_alpha(picture, encoded):
    palette = Image.fromarray(picture(7)).quantize(16)
    expected = np.asarray(palette.convert("RGB"))
    assert np.array_equal(decode(encoded(palette), 3), expected)
    opacities = bytes(np.linspace(0, 255, 16).astype(np.uint8))
    data = encoded(palette, transparency=opacities)
    alpha = np.frombuffer(opacities, np.uint8)[np.asarray(palette)]
    assert np.abs(decode(data, 3) - over_white(expected, alpha)).max() <= 1


def test_cmyk(picture, encoded):
    data = encoded(Image.fromarray(picture(8)).convert("CMYK"), "JPEG")
    assert np.array_equal(decode(data, 3), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_sixteen_bits_keep_the_high_byte(encoded):
    values = np.random.default_rng(9).integers(0, 65536, (6, 7, 3), dtype=np.uint16)
    colour = cv2.imencode(".png", values)[1].tobytes()
    assert np.array_equal(decode(colour, 3), (values[..., ::-1] >> 8).astype(np.uint8))
    grey = cv2.imencode(".png", values[..., 0])[1].tobytes()
    assert np.array_equal(decode(grey, 1)[..., 0], (values[..., 0] >> 8).astype(np.uint8))
    assert np.array_equal(decode(grey, 3), np.repeat((values[..., :1] >> 8).astype(np.uint8), 3, axis=2))
    deep = b"P5 7 6 65535 " + values[..., 0].astype(">u2").tobytes()
    assert np.array_equal(decode(deep, 1)[..., 0], (values[..., 0] >> 8).astype(np.uint8))


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_animations_give_their_first_frame(format, picture, encoded):
    frames = [Image.fromarray(picture(seed)) for seed in (10, 11, 12)]
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 3
    assert np.array_equal(decode(data, 3), picture(10))
    assert not read_picture(data, 3).plain


def test_bilevel_and_tiny_pictures(picture, encoded):
    bits = Image.fromarray(picture(13, channels=1)[:, :, 0]).convert("1")
    assert set(np.unique(decode(encoded(bits), 1))) == {0, 255}
    assert decode(encoded(picture(14, 1, 1)), 3).shape == (1, 1, 3)
    assert decode(encoded(picture(14, 1, 5000)), 1).shape == (1, 5000, 1)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "PPM"])
def test_cut_files_are_refused(format, picture, encoded):
    data = encoded(picture(15, 64, 64), format)
    for share in (0.02, 0.3, 0.5, 0.9, 0.99):
        with pytest.raises(DataError) as caught:
            decode(data[: int(len(data) * share)], 3)
        assert "0x" not in caught.value.what  # no addresses: a report must not differ from run to run


def test_pillow_alone_would_take_half_a_jpeg_for_whole(picture, encoded):
    # Why every picture is decoded to its end: this is the check that many programs stop at.
    data = encoded(picture(16, 256, 256), "JPEG", quality=95)
    Image.open(io.BytesIO(data[: len(data) // 2])).verify()
    with pytest.raises(DataError, match="truncated"):
        decode(data[: len(data) // 2], 3)


def test_what_is_no_picture_is_named(picture, encoded):
    gif = encoded(picture(17), "GIF")
    tiff = encoded(picture(17), "TIFF")
    reasons = {
        b"": "empty file",
        gif: "GIF is not read",
        tiff: "TIFF is not read",
        b"Just text.\n" * 9: "not a picture",
    }
    for data, reason in reasons.items():
        with pytest.raises(DataError, match=reason):
            decode(data, 3)
    with pytest.raises(DataError, match="floating-point"):
        decode(b"Pf 2 2 -1.0\n" + np.zeros(4, np.float32).tobytes(), 3)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_bombs_are_refused_within_little_memory(tmp_path):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0))
    giant = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + png_chunk(b"IEND", b"")
    small = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200 << 20), 9))
    wordy = b"\x89PNG\r\n\x1a\n" + small + text + png_chunk(b"IDAT", zlib.compress(bytes(4))) + png_chunk(b"IEND", b"")
    declared = wordy[:33] + struct.pack(">I", 0x7FFFFFFF) + b"tEXtComment\0text"
    script = """
import resource, sys
from striate.data.pictures import decode
from striate.errors import DataError
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
for file in sys.argv[1:]:
    try:
        decode(open(file, "rb").read(), 3)
    except DataError as error:
        print(error.what)
"""
    files = []
    for number, data in enumerate((giant, wordy, declared)):
        files.append(tmp_path / str(number))
        files[-1].write_bytes(data)
    source = Path(__file__).resolve().parents[2] / "src"
    environment = {"PYTHONPATH": str(source), "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-c", script, *files], capture_output=True, text=True, env=environment, timeout=60
    )
    assert run.returncode == 0, run.stderr
    reasons = run.stdout.splitlines()
    assert len(reasons) == 3
    assert reasons[0].startswith("too large: ")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_files_give_pixels_or_a_data_error(data, picture, encoded):
    format = data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "PPM"]))
    sample = bytearray(encoded(picture(25, 9, 11), format))
    for _ in range(data.draw(st.integers(1, 6))):
        sample[data.draw(st.integers(0, len(sample) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode(bytes(sample), 3, max_pixels=1 << 20)
    except DataError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


JPEGS = [
    {"quality": quality, "subsampling": subsampling, "progressive": progressive}
    for quality in (30, 75, 95)
    for subsampling in (0, 1, 2)
    for progressive in (False, True)
]


@pytest.mark.parametrize("size", [(1, 1), (17, 23), (64, 48)])
@pytest.mark.parametrize("channels", [1, 3])
def test_plain_files_read_the_same_out_of_a_pack(size, channels, picture, encoded):
    """An encoded pack keeps plain files as they are and decodes them by OpenCV: to the bit what Pillow gives."""
    pixels = picture(18, *size)
    files = [encoded(pixels, "JPEG", **options) for options in JPEGS]
    files += [
        encoded(pixels[..., :1], "JPEG"),
        encoded(pixels[..., :1]),
        encoded(pixels),
        encoded(pixels, optimize=True),
    ]
    gamma = encoded(pixels)
    files.append(gamma[:33] + png_chunk(b"gAMA", struct.pack(">I", 100_000)) + gamma[33:])
    checked = 0
    for data in files:
        found = read_picture(data, channels)
        if found.plain:
            assert np.array_equal(decode_packed(np.frombuffer(data, np.uint8), channels), found.pixels)
            checked += 1
    assert checked == (2 if channels == 1 else len(files))


@pytest.mark.parametrize("channels", [1, 3])
def test_encoding(channels, picture):
    pixels = picture(19, channels=channels)
    assert np.array_equal(decode(encode(pixels, lossy=False), channels), pixels)
    lossy = encode(pixels, lossy=True)
    assert lossy.startswith(b"\xff\xd8")
    assert np.abs(decode(lossy, channels).astype(int) - pixels).max() < 12
    assert np.array_equal(decode_packed(np.frombuffer(lossy, np.uint8), channels), decode(lossy, channels))


def test_damaged_pack_content_is_none():
    assert decode_packed(np.zeros(10, np.uint8), 3) is None
    assert decode_packed(np.zeros(0, np.uint8), 3) is None


# geometry


def geometry(**changes):
    return {"image_size": None, "fit": "crop", "max_short_side": None, "interpolation": "bicubic", **changes}


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_crop_is_the_middle_square_resized(interpolation, picture):
    pixels = picture(20, 40, 60)
    expected = Image.fromarray(pixels[:, 10:50]).resize((16, 16), INTERPOLATIONS[interpolation])
    found = apply_geometry(pixels, geometry(image_size=[16, 16], interpolation=interpolation))
    assert np.array_equal(found, np.asarray(expected))


def test_pad_and_stretch(picture):
    pixels = picture(21, 40, 80)
    padded = apply_geometry(pixels, geometry(image_size=[32, 32], fit="pad"))
    inner = np.asarray(Image.fromarray(pixels).resize((32, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(padded[8:24], inner)
    assert not padded[:8].any()
    assert not padded[24:].any()
    stretched = apply_geometry(pixels, geometry(image_size=[20, 30], fit="stretch"))
    assert np.array_equal(stretched, np.asarray(Image.fromarray(pixels).resize((30, 20), Image.Resampling.BICUBIC)))


def test_short_side_is_limited(picture):
    assert apply_geometry(picture(22, 100, 333), geometry(max_short_side=50)).shape == (50, 166, 3)
    assert apply_geometry(picture(22, 333, 100), geometry(max_short_side=50)).shape == (166, 50, 3)
    small = picture(22, 50, 90)
    assert apply_geometry(small, geometry(max_short_side=50)) is small


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    fit=st.sampled_from(["crop", "pad", "stretch"]),
)
def test_any_picture_comes_to_any_size(height, width, size, fit):
    pixels = np.full((height, width, 3), 77, np.uint8)
    found = apply_geometry(pixels, geometry(image_size=list(size), fit=fit))
    assert found.shape == (*size, 3)
    assert (found == 77).all() or fit == "pad"
    again = apply_geometry(found, geometry(image_size=list(size), fit=fit))
    assert again is found


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_extreme_shapes_and_grey(fit, picture):
    assert apply_geometry(picture(23, 1, 5000), geometry(image_size=[224, 224], fit=fit)).shape == (224, 224, 3)
    grey = picture(24, 33, 47, channels=1)
    one = apply_geometry(grey, geometry(image_size=[20, 20], fit=fit))
    three = apply_geometry(np.repeat(grey, 3, axis=2), geometry(image_size=[20, 20], fit=fit))
    assert np.array_equal(np.repeat(one, 3, axis=2), three)
