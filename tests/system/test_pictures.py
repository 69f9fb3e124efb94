"""Pictures: a PNG or JPEG file is read whole or refused in one helpful line, and shown as it was meant."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tfmnist.errors import InputError
from tfmnist.photos.files import read_bytes, show_picture

Image8 = npt.NDArray[np.uint8]


def digit() -> Image8:
    """Something like a 1: a stroke of light ink of many greys, on black."""
    image = np.zeros([28, 28], np.uint8)
    image[4:24, 11:17] = np.random.default_rng(0).integers(60, 256, [20, 6])
    return image


def save(path: Path, image: npt.NDArray[Any], mode: str = "", **options: Any) -> Path:
    picture = Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def encoded(image: npt.NDArray[Any], kind: str, mode: str = "", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(buffer, kind, **options)
    return buffer.getvalue()


def huge_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def complaint(path: str | Path) -> str:
    messages: list[str] = []
    for read in (read_bytes, show_picture):
        with pytest.raises(InputError) as caught:
            read(path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1] and messages[0].isprintable() and messages[0].startswith(f"{path}: ")
    return messages[0]


# What is read


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_a_picture_is_read_as_it_lies_on_the_disk(tmp_path: Path, kind: str, mode: str) -> None:
    path = save(tmp_path / "dïgit 1", digit(), mode, format=kind)
    assert read_bytes(path) == read_bytes(str(path)) == path.read_bytes()


def test_the_kind_is_read_off_the_content_and_not_the_name(tmp_path: Path) -> None:
    read_bytes(save(tmp_path / "digit.txt", digit(), format="PNG"))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_a_grey_picture_is_shown_in_its_greys(tmp_path: Path, mode: str) -> None:
    path = save(tmp_path / "digit.png", digit(), mode)
    shown = show_picture(path)
    assert shown.dtype == np.uint8 and shown.shape == (28, 28, 3)
    for channel in range(3):
        np.testing.assert_array_equal(shown[..., channel], digit())
    np.testing.assert_array_equal(show_picture(path.read_bytes()), shown)


def test_16_bits_are_shown_as_8() -> None:
    deep = digit().astype(np.uint16) * 256 + np.random.default_rng(1).integers(0, 256, [28, 28], np.uint16)
    np.testing.assert_array_equal(show_picture(encoded(deep, "PNG"))[..., 0], digit())


def test_what_is_transparent_is_shown_white() -> None:
    ink = np.zeros([28, 28, 4], np.uint8)
    ink[..., 3] = digit()
    np.testing.assert_array_equal(show_picture(encoded(ink, "PNG"))[..., 1], 255 - digit())
    clear = Image.new("P", (3, 3))
    buffer = io.BytesIO()
    clear.save(buffer, "PNG", transparency=0)
    assert show_picture(buffer.getvalue()).min() == 255


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_large_picture_is_shown_small(kind: str) -> None:
    image = np.zeros([1200, 3000], np.uint8)
    image[:, :1500] = 200
    shown = show_picture(encoded(image, kind))
    assert shown.shape == (320, 800, 3)
    assert abs(int(shown[160, 100, 0]) - 200) < 4 and shown[160, 700, 0] < 4


def test_a_photo_is_shown_upright() -> None:
    image = np.zeros([16, 32], np.uint8)
    image[:8] = 255
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise: above goes to the right
    shown = show_picture(encoded(image, "JPEG", exif=exif.tobytes()))
    assert shown.shape == (32, 16, 3) and shown[:, 12:].min() > 240 and shown[:, :4].max() < 15


# What is not


@pytest.mark.parametrize("size", [(8001, 8000), (20_000, 20_000), (2**31 - 1, 2**31 - 1), (64_000_001, 1)])
def test_a_picture_that_says_it_is_huge_is_refused_unread(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(huge_png(*size))
    tracemalloc.start()
    assert "64 megapixels" in complaint(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("content", [b"\x89PNG", b"\xff\xd8\xff", b"not a picture at all\n" * 10])
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "digit.png"
    path.write_bytes(content)
    assert "not a PNG or JPEG picture" in complaint(path)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_another_kind_of_picture_is_refused(tmp_path: Path, kind: str) -> None:
    assert "not a PNG or JPEG picture" in complaint(save(tmp_path / "digit", digit(), format=kind))


def test_paths_that_are_no_file_are_refused(tmp_path: Path) -> None:
    assert "No such file" in complaint(tmp_path / "none.png")
    assert "directory" in complaint(tmp_path)
    (tmp_path / "file").touch()
    assert "empty" in complaint(tmp_path / "file")
    assert "cannot read" in complaint(tmp_path / "file" / "digit.png")
    with pytest.raises(InputError, match="null"):
        read_bytes("digit\0.png")


@pytest.mark.parametrize("name", ["digit.png", "digit.jpg"])
def test_a_cut_picture_is_refused(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, digit())
    whole = path.read_bytes()
    for length in range(1, len(whole) - 20, 7):  # the last bytes of a PNG say no more than that it ends
        path.write_bytes(whole[:length])
        complaint(path)


@settings(deadline=None)
@given(
    st.sampled_from([("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "L"), ("JPEG", "CMYK")]),
    st.dictionaries(st.integers(0, 10**6), st.integers(1, 255), max_size=4),
    st.integers(0, 60),
)
def test_a_damaged_picture_is_a_picture_or_an_input_error(
    form: tuple[str, str], changes: dict[int, int], cut: int
) -> None:
    data = bytearray(encoded(digit(), *form))
    for place, bits in changes.items():
        data[place % len(data)] ^= bits
    try:
        shown = show_picture(bytes(data[: len(data) - cut]))
    except InputError as error:
        assert str(error).startswith("picture: ") and str(error).isprintable()
    else:
        assert shown.dtype == np.uint8 and shown.ndim == 3 and shown.shape[2] == 3
