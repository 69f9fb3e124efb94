"""Decoding in graph: every kind of PNG, JPEG, BMP and GIF becomes an upright picture; what is too large is refused."""

import io
import resource
import struct
import time
import zlib
from typing import Any

import drawings
import numpy as np
import pytest
import tensorflow as tf
from drawings import encode, quarters, seven
from numpy.typing import NDArray
from picture_folders import chunk, encode_png
from PIL import Image, ImageOps

from tfmnist.photos.decode import decode, read_orientation
from tfmnist.photos.status import Status
from tfmnist.system.pictures import JPEG, PNG

GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape([4, 6])
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)
decode_in_graph = tf.function(decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def read(content: bytes) -> NDArray[np.uint8]:
    """The picture."""
    picture, status = decode_in_graph(tf.constant(content))
    assert picture.dtype == tf.uint8 and picture.shape[2] == 3
    assert status.dtype == tf.int64 and int(status) == Status.READ
    return picture.numpy()


def refusal(content: bytes) -> Status:
    picture, status = decode_in_graph(tf.constant(content))
    assert picture.shape == (1, 1, 3)
    return Status(int(status))


def pack_png(values: NDArray[Any], bits: int, palette: bytes = b"") -> bytes:
    """A PNG of 1, 2, 4 or 8 bits per pixel: grey, or with a palette."""
    rows = [np.unpackbits(row.astype(np.uint8)[:, np.newaxis], axis=1)[:, 8 - bits :].ravel() for row in values]
    data = zlib.compress(b"".join(b"\0" + np.packbits(row).tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 3 if palette else 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"PLTE", palette), (b"IDAT", data), (b"IEND", b"")]
    return PNG + b"".join(chunk(kind, content) for kind, content in chunks if content or kind == b"IEND")


# Kinds


def test_kinds_of_png_are_decoded() -> None:
    rgb = Image.fromarray(COLOUR)
    for picture in (rgb, rgb.convert("RGBA"), rgb.quantize(64)):
        np.testing.assert_allclose(read(encode(picture)), COLOUR, atol=4)
    opaque = np.stack([GREY, np.full_like(GREY, 255)], axis=-1)
    for values in (GREY, GREY.astype(np.uint16) * 257, GREY.astype(np.uint16), opaque):
        np.testing.assert_allclose(read(encode(values))[..., 1], GREY, atol=1e-3)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_of_few_bits(bits: int) -> None:
    most = 2**bits - 1
    values = np.random.default_rng(bits).integers(0, most + 1, [9, 13])
    greys = np.round(np.linspace(0, 255, most + 1)).astype(np.uint8)
    np.testing.assert_allclose(read(pack_png(values, bits))[..., 0], greys[values], atol=1e-3)
    colours = np.random.default_rng(0).integers(0, 256, [most + 1, 3]).astype(np.uint8)
    np.testing.assert_allclose(read(pack_png(values, bits, colours.tobytes())), colours[values], atol=1e-3)


@pytest.mark.parametrize("kind", ["BMP", "GIF"])
def test_bmp_and_gif_of_grey_and_colour(kind: str) -> None:
    np.testing.assert_allclose(read(encode(GREY, kind))[..., 1], GREY, atol=1e-3)
    few = Image.fromarray(COLOUR).quantize(64)
    np.testing.assert_allclose(read(encode(few, kind)), np.asarray(few.convert("RGB")), atol=1e-3)


def test_a_bmp_is_read_through_its_palette() -> None:
    values = np.eye(7, 10, dtype=np.uint8)
    picture = Image.fromarray(values)
    picture.putpalette([255, 255, 255, 10, 20, 200])  # white is 0, ink is 1
    expected = np.where(values[..., np.newaxis] > 0, [10, 20, 200], 255)
    np.testing.assert_allclose(read(encode(picture, "BMP")), expected, atol=1e-3)


@pytest.mark.parametrize("bits", [24, 32])
@pytest.mark.parametrize("top_down", [False, True])
def test_bmp_of_24_and_32_bits_and_either_order_of_rows(bits: int, top_down: bool) -> None:
    picture = Image.fromarray(COLOUR).convert("RGB" if bits == 24 else "RGBA")
    data = bytearray(encode(picture, "BMP"))
    if top_down:
        start, stride = struct.unpack_from("<I", data, 10)[0], -(-COLOUR.shape[1] * bits // 32) * 4
        rows = [bytes(data[start + stride * row : start + stride * (row + 1)]) for row in range(len(COLOUR))]
        data[start : start + stride * len(rows)] = b"".join(rows[::-1])
        struct.pack_into("<i", data, 22, -len(COLOUR))
    np.testing.assert_allclose(read(bytes(data)), COLOUR, atol=1e-3)


@pytest.mark.parametrize("interlace", [0, 1])
def test_the_first_frame_of_a_gif_is_read(interlace: int) -> None:
    first, *others = (Image.fromarray(np.roll(GREY, number)) for number in range(3))
    data = encode(first, "GIF", save_all=True, append_images=others, interlace=interlace)
    np.testing.assert_allclose(read(data)[..., 2], GREY, atol=1e-3)


def test_a_large_picture_is_shrunk() -> None:
    image = np.zeros([1500, 3000], np.uint8)
    image[:, 1500:] = 250
    for kind in ("PNG", "JPEG", "BMP", "GIF"):
        small = read(encode(image, kind))
        assert small.shape == (256, 512, 3)
        assert small[:, :254].max() < 5 and abs(small[:, 258:].min() - 250) < 5


# Transparency


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("colour, paper", [(0, 255), (255, 0)])
def test_around_a_transparent_drawing_is_paper_that_contrasts(mode: str, colour: int, paper: int) -> None:
    values = np.full([60, 60, len(mode)], colour, np.uint8)
    values[..., -1] = drawings.to_bytes(255 * seven(60, 5))
    picture = read(encode(values))
    assert np.all(picture[0] == paper) and abs(picture.astype(int) - paper).max() == 255


def test_a_transparent_hole_gets_the_mean_colour() -> None:
    rgba = np.full([40, 40, 4], [200, 100, 50, 255], np.uint8)
    rgba[10:20, 10:20] = 0
    np.testing.assert_allclose(read(encode(rgba))[15, 15], [200, 100, 50], atol=0.6)


# Orientation


def png_quarters(orientation: int, endian: str) -> bytes:
    """The picture of `quarters` as a PNG, its EXIF data in a chunk before the pixels."""
    jpeg = quarters(orientation, endian)
    exif = jpeg[jpeg.index(b"Exif\0\0") + 6 :][: 8 + 2 + 2 * 12 + 4]
    png = encode(Image.open(io.BytesIO(jpeg)).convert("L"))
    at = png.index(b"IDAT") - 4
    return png[:at] + chunk(b"eXIf", exif) + png[at:]


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_photo_is_turned_upright(kind: str, endian: str) -> None:
    for orientation in range(1, 9):
        content = quarters(orientation, endian) if kind == "JPEG" else png_quarters(orientation, endian)
        assert int(read_orientation(tf.constant(content), 3 if kind == "JPEG" else 0)) == orientation
        upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
        np.testing.assert_allclose(read(content)[..., 0], upright, atol=6)


def test_exif_that_is_missing_or_broken_is_ignored() -> None:
    whole = quarters(6)
    for content in (quarters(None), quarters(0), quarters(9), b"", JPEG, JPEG + b"\xe1\xff\xffExif\0\0"):
        assert int(read_orientation(tf.constant(content))) == 1
    random = np.random.default_rng(1)
    start = whole.index(b"Exif")
    for _ in range(30):
        broken = bytearray(whole)
        broken[start + int(random.integers(6, 40))] = int(random.integers(256))
        assert 1 <= int(read_orientation(tf.constant(bytes(broken)))) <= 8
    for length in range(0, start + 60, 5):
        assert 1 <= int(read_orientation(tf.constant(whole[:length]))) <= 8


# What is refused


@pytest.mark.parametrize("size", [(8001, 8000), (30_000, 30_000), (2**31 - 1, 2**31 - 1), (2**32 - 1, 1)])
def test_a_decompression_bomb_is_refused_at_once(size: tuple[int, int]) -> None:
    started = time.perf_counter()
    assert refusal(encode_png(*size, b"\0" * 10**6, colour=6)) == Status.TOO_LARGE
    assert time.perf_counter() - started < 20  # to decode it would take gigabytes


def test_a_picture_that_says_it_is_huge_is_refused() -> None:
    jpeg, bmp = bytearray(quarters(None)), bytearray(encode(GREY, "BMP"))
    struct.pack_into(">HH", jpeg, jpeg.index(b"\xff\xc0") + 5, 65_000, 65_000)
    assert refusal(bytes(jpeg)) == Status.TOO_LARGE
    for size in ((65_000, 65_000), (65_000, -65_000), (2**31 - 1, 2), (3, -(2**31))):
        struct.pack_into("<ii", bmp, 18, *size)
        assert refusal(bytes(bmp)) == Status.TOO_LARGE
    for size in ((0, 9), (9, 0)):
        struct.pack_into("<ii", bmp, 18, *size)
        assert refusal(bytes(bmp)) == Status.DAMAGED


def png_of(*chunks: bytes, size: tuple[int, int] = (28, 28)) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0))
    return PNG + head + b"".join(chunks) + chunk(b"IEND", b"")


def claim(kind: bytes, length: int) -> bytes:
    """An empty chunk that claims a length."""
    return struct.pack(">I", length) + chunk(kind, b"")[4:]


def packed_zeros(megabytes: int) -> bytes:
    pack = zlib.compressobj(9)
    return b"".join([*(pack.compress(bytes(2**20)) for _ in range(megabytes)), pack.flush()])


@pytest.mark.parametrize(
    "content",
    [
        png_of(claim(b"IDAT", 2**31 - 1)),
        png_of(claim(b"tEXt", 2**31 - 1)),
        png_of(claim(b"IDAT", 2**32 - 1)),
        png_of(chunk(b"IDAT", packed_zeros(500))),
        png_of(chunk(b"IDAT", packed_zeros(500)[:250_000]), chunk(b"IDAT", packed_zeros(500)[250_000:])),
        png_of(chunk(b"IDAT", zlib.compress(bytes(28 * 29))), *[chunk(b"tEXt", b"")] * 20_000),
    ],
    ids=[
        "data beyond the end",
        "text beyond the end",
        "beyond 2 GB",
        "500 MB",
        "500 MB in two chunks",
        "20,000 chunks",
    ],
)
def test_a_png_that_would_cost_more_than_its_picture_is_refused_before_it_is_decoded(content: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(content) == Status.DAMAGED
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


def test_a_png_wider_than_its_decoder_reads_is_too_large() -> None:
    assert refusal(png_of(chunk(b"IDAT", packed_zeros(64)), size=(64_000_000, 1))) == Status.TOO_LARGE


def test_a_png_may_hold_other_chunks_many_pieces_and_data_after_its_end() -> None:
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in GREY), 0)
    pieces = [chunk(b"IDAT", data[i : i + 1]) for i in range(len(data))]
    content = png_of(chunk(b"tEXt", b"a\0b"), *pieces, chunk(b"tEXt", bytes(10**5)), size=(6, 4))
    np.testing.assert_array_equal(read(content + b"more")[..., 0], GREY)
    noise = np.random.default_rng(0).integers(0, 256, [99, 77, 3], np.uint8)
    np.testing.assert_array_equal(read(encode(Image.fromarray(noise))), noise)


def test_a_progressive_jpeg_of_too_many_scans_is_refused() -> None:
    content = encode(Image.fromarray(np.tile(COLOUR, [20, 20, 1])), "JPEG", progressive=True)
    assert read(content).shape == (80, 120, 3)
    last = content.rindex(b"\xff\xda")
    assert refusal(content[:-2] + content[last:-2] * 100 + content[-2:]) == Status.DAMAGED


def gif(*sizes: tuple[int, int]) -> bytes:
    """A GIF of blank frames; of very large ones only the beginning."""
    frames: list[bytes] = []
    for width, height in sizes:
        whole = encode(Image.new("L", (width, height) if width * height < 10**7 else (9, 9)), "GIF")
        start = 13 + (6 << (whole[10] & 7) if whole[10] > 127 else 0)
        start = whole.index(b",", start)
        frames.append(struct.pack("<BHHHH", 0x2C, 0, 0, width, height) + whole[start + 9 : -1])
    return b"GIF89a" + struct.pack("<HHBBB", 9, 9, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + b"".join(frames) + b";"


def test_a_gif_of_several_frames_is_read() -> None:
    assert read(gif((30, 20), (20, 10))).shape == (20, 30, 3)


@pytest.mark.parametrize(
    "sizes", [[(1000, 1000)] * 65, [(60_000, 60_000)], [(1, 1)] * 20_000, [(20_000, 1), (1, 20_000)]]
)
def test_a_gif_whose_frames_are_too_large_together_is_refused(sizes: list[tuple[int, int]]) -> None:
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(gif(*sizes)) == Status.TOO_LARGE
    assert time.perf_counter() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", Status.NO_PICTURE),
        (b"\x89PNG", Status.NO_PICTURE),
        (b"no picture at all", Status.NO_PICTURE),
        (b"%PDF-1.4\n" + b"\0" * 99, Status.NO_PICTURE),
        (b"\0" * 4, Status.NO_PICTURE),
        (encode(GREY, "WEBP"), Status.WEBP),
        (encode(GREY, "TIFF"), Status.TIFF),
        (encode(Image.fromarray(GREY), "TIFF", big_tiff=False).replace(b"II*\0", b"MM\0*"), Status.TIFF),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", Status.HEIC),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", Status.HEIC),
    ],
)
def test_what_cannot_be_decoded_is_named(content: bytes, status: Status) -> None:
    assert refusal(content) == status


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
def test_a_cut_picture_is_refused(kind: str) -> None:
    """By an error, which `normalize` turns into a status; a GIF may lack even its first frame."""
    whole = encode(drawings.to_bytes(255 * seven()), kind)
    for length in (30, len(whole) // 2):
        try:
            status = refusal(whole[:length])
        except tf.errors.OpError:
            status = Status.DAMAGED
        assert status == Status.DAMAGED or (kind, length, status) == ("GIF", 30, Status.TOO_LARGE)
