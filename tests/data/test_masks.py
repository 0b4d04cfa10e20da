"""What mask files say: class numbers, palettes, colours; what is refused and how."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from striate.data.masks import IGNORE, Labelling, class_pixels, coloured, overlaid, palette, read_mask, shape_mask
from striate.data.pictures import apply_geometry
from striate.errors import DataError

COLOURS = ((0, 0, 0), (128, 0, 0), (0, 128, 255))
BY_VALUE = Labelling(("a", "b", "c"), ((0, 0), (1, 1), (2, 2), (255, IGNORE)), COLOURS)
BY_COLOUR = Labelling(
    ("a", "b", "c"), tuple((r << 16 | g << 8 | b, k) for k, (r, g, b) in enumerate(COLOURS)), COLOURS, "colour"
)


@pytest.fixture(scope="module")
def mask():
    chance = np.random.default_rng(0)
    return np.array([0, 1, 2, IGNORE], np.uint8)[chance.integers(0, 4, (9, 13))]


def saved(image, format="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def with_palette(mask):
    image = Image.fromarray(mask, "P")
    image.putpalette(np.asarray(palette(256), np.uint8).tobytes())
    return image


@pytest.mark.parametrize("format", ["PNG", "BMP", "PPM", "WEBP"])
def test_grey_values_are_class_numbers(mask, format):
    data = saved(Image.fromarray(mask) if format != "WEBP" else Image.fromarray(mask).convert("RGB"), format,
                 **({"lossless": True} if format == "WEBP" else {}))  # fmt: skip
    assert np.array_equal(read_mask(data, BY_VALUE), mask)


def test_a_palette_is_read_by_its_indices(mask):
    assert np.array_equal(read_mask(saved(with_palette(mask)), BY_VALUE), mask)


def test_sixteen_bits_and_bilevel(mask):
    wide = Labelling(("a", "b", "c"), ((0, 0), (1_000, 1), (65_535, 2), (255, IGNORE)), COLOURS)
    values = np.array([0, 1_000, 65_535, 255], np.uint16)[np.minimum(mask, 3)]
    assert np.array_equal(read_mask(saved(Image.fromarray(values)), wide), mask)
    bits = mask == 1
    assert np.array_equal(read_mask(saved(Image.fromarray(bits)), BY_VALUE), bits.astype(np.uint8))


def grey_png(values, bits):
    """A grey PNG of 1, 2, 4 or 8 bits a sample, which Pillow does not write."""
    rows, columns = values.shape
    spread = np.unpackbits(values[..., None], axis=2)[..., 8 - bits :].reshape(rows, columns * bits)
    lines = b"".join(b"\0" + np.packbits(row).tobytes() for row in spread)
    header = struct.pack(">IIBBBBB", columns, rows, bits, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_samples_of_few_bits_are_the_numbers_that_stand_in_the_file(bits):
    count = min(1 << bits, 16)
    values = np.random.default_rng(2).integers(0, count, (7, 13)).astype(np.uint8)
    values[0, :2] = 0, count - 1
    labelling = Labelling(tuple(map(str, range(16))), tuple((code, code) for code in range(16)), ((0, 0, 0),) * 16)
    assert np.array_equal(read_mask(grey_png(values, bits), labelling), values)


@pytest.mark.parametrize("highest", [2, 11, 15, 300])
@pytest.mark.parametrize("plain", [False, True])
def test_a_greymap_of_any_greatest_value_keeps_its_numbers(highest, plain):
    values = np.array([[0, 1, 2], [2, 1, 0]])
    body = "\n".join(" ".join(map(str, row)) for row in values).encode()
    body = body if plain else values.astype(np.uint8 if highest < 256 else ">u2").tobytes()
    data = b"%s\n3 2\n%d\n%s" % (b"P2" if plain else b"P5", highest, body)
    assert read_mask(data, BY_VALUE).tolist() == values.tolist()


def test_values_may_be_any_and_several(mask):
    labelling = Labelling(("a", "b"), ((7, 0), (9, 0), (30, 1), (0, IGNORE)), COLOURS[:2], unknown="ignore")
    values = np.array([[7, 9, 30, 0, 200]], np.uint8)
    assert read_mask(saved(Image.fromarray(values)), labelling).tolist() == [[0, 0, 1, IGNORE, IGNORE]]


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
def test_colours_name_classes(mask, mode):
    labels = np.minimum(mask, 2)
    image = Image.fromarray(np.asarray(COLOURS, np.uint8)[labels])
    image = image.convert("RGBA") if mode == "RGBA" else image.quantize(8, dither=0) if mode == "P" else image
    assert np.array_equal(read_mask(saved(image), BY_COLOUR), labels)


@pytest.mark.parametrize(
    ("data", "labelling", "reason"),
    [
        (b"", BY_VALUE, "empty file"),
        (b"no picture", BY_VALUE, "not a mask of a format that is read (PNG, WEBP, BMP, PPM)"),
        (saved(Image.new("L", (4, 4)), "JPEG"), BY_VALUE, "JPEG is no format for masks"),
        (saved(Image.new("L", (4, 4), 7)), BY_VALUE, "the value 7 (first at row 0, column 0; 16 pixels have one)"),
        (saved(Image.new("RGB", (4, 4), (1, 2, 3))), BY_VALUE, "data.source.read_as=colour"),
        (saved(Image.new("RGB", (4, 4), (1, 2, 3))), BY_COLOUR, "the colour [1, 2, 3] (first at row 0, column 0"),
        (saved(Image.new("L", (400, 400)))[:60], BY_VALUE, "cannot be decoded"),
        (b"MATLAB 5.0 MAT-file, of nothing", BY_VALUE, "MATLAB"),
    ],
    ids=["empty", "foreign", "lossy", "unknown value", "colours", "unknown colour", "cut off", "matlab"],
)
def test_what_is_no_mask_is_refused_with_the_reason(data, labelling, reason):
    with pytest.raises(DataError) as refusal:
        read_mask(data, labelling)
    assert reason in refusal.value.what
    assert "\n" not in refusal.value.what


def test_too_large_masks_are_refused_before_they_are_decoded():
    with pytest.raises(DataError, match="too large"):
        read_mask(saved(Image.new("L", (400, 400))), BY_VALUE, max_pixels=100)


def test_a_matlab_mask_of_sbd(mask):
    io_module = pytest.importorskip("scipy.io")
    stream = io.BytesIO()
    io_module.savemat(stream, {"GTcls": {"Segmentation": mask, "Boundaries": 0}})
    assert np.array_equal(read_mask(stream.getvalue(), BY_VALUE), mask)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_geometry_moves_a_mask_as_its_picture_and_mixes_nothing(fit):
    chance = np.random.default_rng(1)
    blocks = chance.integers(0, 2, (6, 8)).astype(np.uint8)
    mask = np.repeat(np.repeat(blocks, 10, 0), 10, 1)
    geometry = {"image_size": [45, 50], "fit": fit, "interpolation": "bilinear"}
    shaped = shape_mask(mask, geometry)
    picture = apply_geometry(np.repeat(mask[..., None] * np.uint8(200), 3, 2), geometry)[..., 0]
    assert shaped.shape == (45, 50)
    assert set(np.unique(shaped)) <= {0, 1, IGNORE}
    assert (shaped == IGNORE).any() == (fit == "pad")
    seen = shaped != IGNORE
    exact = np.isin(picture, (0, 200)) & seen  # neither mixed nor padded
    assert exact.sum() > 0.5 * seen.sum()
    assert np.array_equal(picture[exact] > 100, shaped[exact] == 1)
    assert ((picture > 100) == (shaped == 1))[seen].mean() > 0.96
    assert (picture[~seen] == 0).all()


def test_counts_colours_and_overlays(mask):
    assert class_pixels(mask, 3) == [int((mask == label).sum()) for label in range(3)]
    picture = np.full((*mask.shape, 1), 100, np.uint8)
    over, flat = overlaid(picture, mask, COLOURS, 0.5), coloured(mask, COLOURS)
    for label, colour in enumerate(COLOURS):
        assert (flat[mask == label] == colour).all()
        assert (over[mask == label] == np.rint((100 + np.array(colour)) / 2)).all()
    assert (over[mask == IGNORE] == 100).all()
    assert (flat[mask == IGNORE] == 0).all()


def test_the_palette_is_that_of_pascal_voc():
    assert palette(6) == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128]]
    assert palette(16)[15] == [192, 128, 128]
    assert len({tuple(colour) for colour in palette(256)}) == 256
