"""Picture files: every kind is read as Pillow means it, upright and on a ground that shows the ink, or refused."""

import io
import struct
import sys
import tracemalloc
import warnings
import zlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_folders import chunk, encode_png, image
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tfmnist.system.pictures import JPEG, PNG, UnreadablePicture, read_colour, read_grey, to_png

KINDS = [("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "L"), ("JPEG", "CMYK")]
KINDS += [("BMP", "L"), ("GIF", "P"), ("TIFF", "L"), ("TIFF", "RGBA"), ("WEBP", "RGB")]


def encode(array: npt.NDArray[Any], kind: str = "PNG", mode: str = "", **options: Any) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(file, kind, **options)
    return file.getvalue()


def complaint(data: bytes) -> str:
    reasons: set[str] = set()
    for read in (read_grey, lambda data: read_colour(data, 800), to_png):
        with pytest.raises(UnreadablePicture) as caught:
            read(data)
        reasons.add(str(caught.value))
    (reason,) = reasons
    assert reason.isprintable()
    return reason


# What is read


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_a_grey_picture_keeps_its_greys(mode: str) -> None:
    data = encode(image(), "PNG", mode)
    np.testing.assert_array_equal(read_grey(data), image())
    colour = read_colour(data, 800)
    assert colour.dtype == np.uint8 and colour.shape == (5, 7, 3)
    np.testing.assert_array_equal(colour, np.stack([image()] * 3, axis=-1))


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("PNG", "RGB", {}),
        ("JPEG", "RGB", {}),
        ("PNG", "P", {}),
        ("JPEG", "CMYK", {}),
        ("PNG", "1", {}),
        ("PNG", "P", {"bits": 4}),
    ],
)
def test_luminosity_is_pillows(kind: str, mode: str, options: dict[str, Any]) -> None:
    data = encode(image(shape=(5, 7, 3)), kind, mode, **options)
    with Image.open(io.BytesIO(data)) as opened:
        np.testing.assert_array_equal(read_grey(data), np.asarray(opened.convert("L")))


@pytest.mark.parametrize("clear", [None, 3 * 257])
def test_16_bits_become_8(clear: int | None) -> None:
    deep = image().astype(np.uint16) * 256 + image(1)
    deep[0, 0] = 3 * 257
    data = encode(deep)
    expected = (deep >> 8).astype(np.uint8)
    np.testing.assert_array_equal(read_colour(data, 800)[..., 0], expected)
    if clear is not None:  # which Pillow does not write for 16 bits
        at = data.index(b"IDAT") - 4
        data = data[:at] + chunk(b"tRNS", struct.pack(">H", clear)) + data[at:]
        expected[deep == clear] = 255
    np.testing.assert_array_equal(read_grey(data), expected)


def test_what_is_transparent_is_white() -> None:
    ink = np.zeros([5, 7, 4], np.uint8)
    ink[..., 3] = image()
    for transparent in (ink, np.stack([image(1) * 0, image()], axis=-1)):
        np.testing.assert_array_equal(read_grey(encode(transparent)), 255 - image())
        np.testing.assert_array_equal(read_colour(encode(transparent), 800)[..., 1], 255 - image())
    grey = np.arange(0, 245, 7).astype(np.uint8).reshape(5, 7)
    for mode in ("L", "P", "RGB"):
        data = encode(grey, "PNG", mode, transparency=(14, 14, 14) if mode == "RGB" else 14)
        for read in (read_grey(data), read_colour(data, 800)[..., 0]):
            np.testing.assert_array_equal(read, np.where(grey == 14, 255, grey))


@pytest.mark.parametrize(
    ("ink", "paper", "cover", "ground"),
    [
        (0, None, 0.1, 255),  # black ink alone
        (255, None, 0.1, 0),  # white ink alone
        (230, None, 0.7, 0),  # thick
        (120, None, 0.2, 255),
        (20, 250, 1.0, 255),  # a drawing whose edge is transparent
        (240, 10, 1.0, 0),  # the same, white on black
    ],
)
def test_the_ground_of_what_is_transparent(ink: int, paper: int | None, cover: float, ground: int) -> None:
    rows = np.zeros([40, 40], bool)
    rows[:, : int(40 * cover)] = True
    grey = np.full([40, 40], ink if paper is None else paper, np.uint8)
    alpha = np.where(rows, 255, 0).astype(np.uint8)
    if paper is not None:
        grey[10:30, 18:22] = ink
        alpha[0] = alpha[:, 0] = 0
    data = encode(np.stack([grey, grey, grey, alpha], axis=-1))
    expected = np.where(alpha == 255, grey, ground)
    np.testing.assert_array_equal(read_grey(data), expected)
    np.testing.assert_array_equal(read_colour(data, 800)[..., 1], expected)


def test_semi_transparent_ink() -> None:
    ink = np.full([5, 7, 4], 255, np.uint8)
    ink[..., 3] = image()
    np.testing.assert_array_equal(read_grey(encode(ink)), image())


@pytest.mark.parametrize("orientation", range(10))
def test_a_photo_is_turned_upright(orientation: int) -> None:
    stored = np.kron(np.array([[0, 80, 120], [160, 200, 250]], np.uint8), np.ones([8, 8], np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(stored, "JPEG", quality=100, exif=exif)
    upright = {
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.T,
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).T,
        8: np.rot90(stored),
    }.get(orientation, stored)
    for read in (read_grey(data), read_colour(data, 800)[..., 2]):
        assert read.shape == upright.shape
        np.testing.assert_allclose(read.astype(int), upright, atol=2)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("BMP", "L"), ("BMP", "1"), ("GIF", "P"), ("GIF", "L"), ("TIFF", "L"), ("TIFF", "1"), ("WEBP", "RGB")],
)
def test_other_formats(kind: str, mode: str) -> None:
    grey = np.where(image() > 99, 255, 0).astype(np.uint8) if mode == "1" else image()
    data = encode(grey, kind, mode, lossless=True)
    np.testing.assert_array_equal(read_grey(data), grey)
    np.testing.assert_array_equal(read_colour(data, 800)[..., 2], grey)
    to_png(data)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_the_first_of_several_frames(kind: str) -> None:
    frames = [Image.fromarray(np.full([6, 6], grey, np.uint8)) for grey in (40, 200)]
    file = io.BytesIO()
    frames[0].save(
        file, kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    np.testing.assert_array_equal(read_grey(file.getvalue()), np.full([6, 6], 40))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_any_format_is_turned_upright(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(image(), kind, exif=exif, lossless=True)
    np.testing.assert_array_equal(read_grey(data), np.rot90(image(), -1))


def test_orientation_in_a_text_chunk_and_damaged() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    raw = exif.tobytes()
    text = PngInfo()
    text.add_text("Raw profile type exif", f"\nexif\n{len(raw):8}\n{raw.hex()}\n")
    np.testing.assert_array_equal(read_grey(encode(image(), pnginfo=text)), image()[::-1, ::-1])
    np.testing.assert_array_equal(read_grey(encode(image(), exif=b"Exif\0\0nonsense")), image())


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_that_hold_8(kind: str) -> None:
    np.testing.assert_array_equal(read_grey(encode(image().astype(np.uint16), kind)), image())
    np.testing.assert_array_equal(read_colour(encode(image().astype(np.uint16), kind), 800)[..., 0], image())


def encode_deep(values: npt.NDArray[Any], colours: int) -> bytes:
    """A PNG of 16 bits per channel: `[height, width, channels]` in 0 to 65535."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", *values.shape[1::-1], 16, colours, 0, 0, 0)
    return PNG + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("opaque", [255, 65535])
def test_16_bits_in_colour_that_hold_8(opaque: int) -> None:
    colours = image(shape=(5, 7, 3)).astype(np.uint16)
    expected = read_grey(encode(colours.astype(np.uint8)))
    np.testing.assert_array_equal(read_grey(encode_deep(colours, 2)), expected)
    np.testing.assert_array_equal(read_grey(encode_deep(colours * 257, 2)), expected)
    alpha = np.full([5, 7, 1], opaque)
    np.testing.assert_array_equal(read_grey(encode_deep(np.concatenate([colours, alpha], -1), 6)), expected)
    black_ink = np.concatenate([colours * 0, image()[..., None] * np.uint16(257)], -1)
    np.testing.assert_array_equal(read_grey(encode_deep(black_ink, 6)), 255 - image())
    np.testing.assert_array_equal(read_grey(encode_deep(black_ink[..., 2:], 4)), 255 - image())


@pytest.mark.parametrize("top", [1.0, 255.0, 1e6, -1.0])
def test_floats_in_a_tiff(top: float) -> None:
    data = encode((image() / 255 * top).astype(np.float32), "TIFF")
    if top in (1.0, 255.0):
        np.testing.assert_array_equal(read_grey(data), image())
    else:
        with pytest.raises(UnreadablePicture, match="expected 0 to 65535: save it with 8 bits"):
            read_grey(data)


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("clear", [False, True])
def test_a_grey_png_of_few_bits(bits: int, clear: bool) -> None:
    levels = np.arange(40).reshape(5, 8) % 2**bits
    packed = np.packbits((levels[..., None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8).reshape(5, -1), axis=1)
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 5, bits, 0, 0, 0, 0))]
    parts += [chunk(b"tRNS", b"\0\1")] if clear else []
    parts += [chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in packed))), chunk(b"IEND", b"")]
    expected = levels * 255 // (2**bits - 1)
    if clear:
        expected = np.where(levels == 1, 255, expected)
    np.testing.assert_array_equal(read_grey(PNG + b"".join(parts)), expected)


def test_to_png_keeps_what_shows() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for data in (encode(image(), "TIFF", exif=exif), encode(image(), "WEBP", exif=exif, lossless=True)):
        png = to_png(data)
        assert png.startswith(PNG) and png[24] == 8
        np.testing.assert_array_equal(read_grey(png), read_grey(data))
    ink = np.full([5, 7, 4], 255, np.uint8)
    ink[..., 3] = image()
    with Image.open(io.BytesIO(to_png(encode(ink, "WEBP", lossless=True, exact=True)))) as opened:
        np.testing.assert_array_equal(np.asarray(opened), ink)
    assert read_grey(to_png(encode(np.zeros([60, 90], np.uint8)), side=30)).shape == (20, 30)


def test_heic_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"\0\0\0\x18ftypheic" + bytes(30)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert complaint(data) == "a HEIC picture, which needs the library pillow-heif: pip install pillow-heif"

    def opener(file: io.BytesIO) -> Any:
        assert file.getvalue() == data
        return Image.open(io.BytesIO(encode(image())))

    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(HeifImageFile=opener))
    np.testing.assert_array_equal(read_grey(data), image())


def test_chunks_beside_the_pixels() -> None:
    text = PngInfo()
    text.add_text("title", "a digit")
    np.testing.assert_array_equal(read_grey(encode(image(), pnginfo=text, dpi=(72, 72))), image())
    data = encode(image())
    at = data.index(b"IDAT") - 4
    pixels = data[at + 8 : data.index(b"IEND") - 8]
    parts = chunk(b"IDAT", pixels[:5]) + chunk(b"IDAT", pixels[5:]) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(read_grey(data[:at] + parts), image())


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_large_picture_is_shown_small(kind: str) -> None:
    picture = np.zeros([1200, 3000], np.uint8)
    picture[:, :1500] = 200
    shown = read_colour(encode(picture, kind), 800)
    assert shown.shape == (320, 800, 3)
    assert abs(int(shown[160, 100, 0]) - 200) < 4 and shown[160, 700, 0] < 4


# What is not


@pytest.mark.parametrize("size", [(8001, 8000), (20_000, 20_000), (2**31 - 1, 2**31 - 1), (64_000_001, 1)])
def test_a_huge_picture_is_refused_unread(size: tuple[int, int]) -> None:
    tracemalloc.start()
    reason = complaint(encode_png(*size))
    assert reason == f"{size[0]}x{size[1]} pixels, at most 64 megapixels are read: shrink it"
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_as_many_pixels_as_are_read() -> None:
    assert complaint(encode_png(8000, 8000)).startswith("damaged: ")


@pytest.mark.parametrize("data", [b"\x89PNG", b"GIF", b"not a picture", encode(image(), "PPM")])
def test_another_kind_of_file_is_refused(data: bytes) -> None:
    assert complaint(data) == "not a PNG, JPEG, BMP, GIF, TIFF or WebP picture"
    assert complaint(b"") == "the file is empty"


def damaged_pictures() -> dict[str, bytes]:
    png = encode(image())
    at = png.index(b"IDAT")
    filtered = image(shape=(5, 8))
    filtered[:, 0] = 5
    return {
        "signature": png[:8],
        "jpeg head": JPEG,
        "flipped": png[: at + 8] + bytes([png[at + 8] ^ 255]) + png[at + 9 :],
        "filter": png[: at - 4] + chunk(b"IDAT", zlib.compress(filtered.tobytes())) + chunk(b"IEND", b""),
    }


@pytest.mark.parametrize("kind", damaged_pictures())
def test_a_damaged_picture_is_refused(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert complaint(damaged_pictures()[kind]).startswith("damaged: ")


def test_a_picture_whose_palette_is_missing_is_damaged() -> None:
    png = encode(image())
    head = png.index(b"IHDR") + 4
    indices = bytearray(png[head : head + 13])
    indices[9] = 3  # its values are indices of a palette
    assert complaint(png[: head - 8] + chunk(b"IHDR", bytes(indices)) + png[head + 17 :]) == "damaged"


def test_a_huge_picture_of_any_format_is_refused() -> None:
    def complain(data: bytes) -> str:
        return complaint(data).removesuffix(" pixels, at most 64 megapixels are read: shrink it")

    bitmap = bytearray(encode(image(), "BMP"))
    bitmap[18:26] = struct.pack("<ii", 16001, 4000)
    assert complain(bytes(bitmap)) == "16001x4000"
    frame = b"," + struct.pack("<HHHHBB", 0, 0, 4, 4, 0, 8) + b"\0;"
    assert complain(b"GIF89a" + struct.pack("<HHBBB", 16001, 4000, 0, 0, 0) + frame) == "16001x4000"
    tags = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 322: 16_000, 323: 8_000, 324: 8, 325: 256}  # in one huge tile
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    assert complain(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(300)) == "16000x8000"
    file = io.BytesIO()
    Image.new("L", (16383, 4000)).save(file, "WEBP", lossless=True, method=0)
    assert complain(file.getvalue()) == "16383x4000"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"])
def test_a_cut_picture_is_refused(kind: str) -> None:
    whole = encode(image(shape=(28, 28)), kind)
    for length in range(1, len(whole) - 20, 7):  # the last bytes of a PNG only say that it ends
        assert complaint(whole[:length]).startswith(("damaged: ", "not a PNG, JPEG, BMP, GIF, TIFF or WebP picture"))


@settings(deadline=None)
@given(
    st.sampled_from(KINDS), st.dictionaries(st.integers(0, 10**6), st.integers(1, 255), max_size=4), st.integers(0, 60)
)
def test_any_damage_is_a_picture_or_unreadable(kind: tuple[str, str], changes: dict[int, int], cut: int) -> None:
    data = bytearray(encode(image(), *kind))
    for index, bits in changes.items():
        data[index % len(data)] ^= bits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            grey = read_grey(bytes(data[: len(data) - cut]))
        except UnreadablePicture as error:
            assert str(error).isprintable()
        else:
            assert grey.dtype == np.uint8 and grey.ndim == 2
            colour = read_colour(bytes(data[: len(data) - cut]), 800)
            assert colour.dtype == np.uint8 and colour.ndim == 3 and colour.shape[2] == 3
