"""Picture files: every kind of PNG and JPEG is read as Pillow means it, and what is broken or too large is refused."""

import io
import struct
import tracemalloc
import warnings
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_folders import chunk, encode_png, image
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tfmnist.system.pictures import JPEG, UnreadablePicture, check_picture, read_colour, read_grey

KINDS = [("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "L"), ("JPEG", "CMYK")]


def encode(array: npt.NDArray[Any], kind: str = "PNG", mode: str = "", **options: Any) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(file, kind, **options)
    return file.getvalue()


def complaint(data: bytes) -> str:
    reasons: set[str] = set()
    for read in (read_grey, lambda data: read_colour(data, 800), check_picture):
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
    grey = np.arange(35, dtype=np.uint8).reshape(5, 7)
    for mode in ("L", "P", "RGB"):
        data = encode(grey, "PNG", mode, transparency=(4, 4, 4) if mode == "RGB" else 4)
        for read in (read_grey(data), read_colour(data, 800)[..., 0]):
            np.testing.assert_array_equal(read, np.where(grey == 4, 255, grey))


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


@pytest.mark.parametrize("data", [b"\x89PNG", b"GIF89a" + bytes(30), b"not a picture", encode(image(), "TIFF")])
def test_another_kind_of_file_is_refused(data: bytes) -> None:
    assert complaint(data) == "not a PNG or JPEG picture"
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


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_cut_picture_is_refused(kind: str) -> None:
    whole = encode(image(shape=(28, 28)), kind)
    for length in range(1, len(whole) - 20, 7):  # the last bytes of a PNG only say that it ends
        assert complaint(whole[:length]).startswith(("damaged: ", "not a PNG or JPEG picture"))


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
