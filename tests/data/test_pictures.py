"""Pictures: every kind of PNG and JPEG becomes light ink on dark ground, and everything else one helpful line."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tfmnist.data.pictures import read_picture
from tfmnist.errors import InputError

Image8 = npt.NDArray[np.uint8]


def digit() -> Image8:
    """Something like a 1: a stroke of light ink of many greys, on black."""
    image = np.zeros([28, 28], np.uint8)
    image[4:24, 11:17] = np.random.default_rng(0).integers(60, 256, [20, 6])
    return image


def blocks() -> Image8:
    """8 x 8 blocks of one grey, which JPEG keeps nearly as they are; all of a border is black."""
    image = np.zeros([28, 28], np.uint8)
    image[8:16, 8:16], image[16:24, 8:16] = 255, 160
    return image


def save(path: Path, image: npt.NDArray[Any], mode: str = "", **options: Any) -> Path:
    picture = Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def complaint(path: str | Path, shape: tuple[int, int] = (28, 28)) -> str:
    with pytest.raises(InputError) as caught:
        read_picture(path, shape)
    message = str(caught.value)
    assert message.isprintable() and message.startswith(f"{path}: ")
    return message


def read(path: Path) -> Image8:
    found = read_picture(path, (28, 28))
    assert found.dtype == np.uint8 and found.shape == (28, 28)
    return found


# What is read


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_a_grey_picture_is_read_as_it_is(tmp_path: Path, mode: str) -> None:
    np.testing.assert_array_equal(read(save(tmp_path / "digit.png", digit(), mode)), digit())


def test_a_picture_of_one_bit_is_black_and_white(tmp_path: Path) -> None:
    ink = np.where(digit() > 0, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(read(save(tmp_path / "digit.png", ink, "1")), ink)


def test_16_bits_become_8(tmp_path: Path) -> None:
    deep = digit().astype(np.uint16) * 256 + np.random.default_rng(1).integers(0, 256, [28, 28], np.uint16)
    np.testing.assert_array_equal(read(save(tmp_path / "digit.png", deep)), digit())


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_is_read(tmp_path: Path, mode: str) -> None:
    found = read(save(tmp_path / "digit.jpg", blocks(), mode, quality=100))
    np.testing.assert_allclose(found.astype(int), blocks(), atol=3)


def test_colour_becomes_its_brightness(tmp_path: Path) -> None:
    colours = np.zeros([28, 28, 3], np.uint8)
    colours[10, 10], colours[10, 11], colours[10, 12] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    found = read(save(tmp_path / "digit.png", colours))
    np.testing.assert_allclose(found[10, 10:13].astype(int), [76, 150, 29], atol=1)  # of ITU-R BT.601


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA"])
def test_dark_ink_on_light_paper_is_inverted(tmp_path: Path, mode: str) -> None:
    np.testing.assert_array_equal(read(save(tmp_path / "digit.png", 255 - digit(), mode)), digit())


def test_dark_ink_of_16_bits_is_inverted(tmp_path: Path) -> None:
    paper = (255 - digit()).astype(np.uint16) * 257
    np.testing.assert_array_equal(read(save(tmp_path / "digit.png", paper)), digit())


def test_what_is_transparent_is_paper(tmp_path: Path) -> None:
    ink = np.zeros([28, 28, 4], np.uint8)
    ink[..., 3] = digit()  # black ink, as opaque as the digit is light
    np.testing.assert_array_equal(read(save(tmp_path / "digit.png", ink)), digit())


def test_ink_that_touches_the_border_does_not_invert(tmp_path: Path) -> None:
    image = digit()
    image[0, 5:20] = image[5:20, 0] = 255
    np.testing.assert_array_equal(read(save(tmp_path / "digit.png", image)), image)
    np.testing.assert_array_equal(read(save(tmp_path / "paper.png", 255 - image)), image)


def test_the_kind_is_read_off_the_content_and_not_the_name(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(save(tmp_path / "digit.txt", digit(), format="PNG")), digit())


def test_a_path_may_be_text_and_the_size_another(tmp_path: Path) -> None:
    image = np.zeros([20, 30], np.uint8)
    image[5:9, 3:7] = 200
    path = save(tmp_path / "dïgit 1.png", image)
    np.testing.assert_array_equal(read_picture(str(path), (20, 30)), image)


# What is not


def test_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    path = save(tmp_path / "digit.png", np.zeros([20, 30], np.uint8))
    message = complaint(path)
    assert "30x20 pixels" in message and "28x28" in message
    assert "the model takes 20x30" in complaint(path, (30, 20))


@pytest.mark.parametrize("side", [5_000, 10_000, 20_000, 2**31 - 1])
def test_a_picture_that_says_it_is_huge_is_refused_unread(tmp_path: Path, side: int) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    path = tmp_path / "huge.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    complaint(path)


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"\xff\xd8\xff", b"not a picture at all\n" * 10])
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
    assert "cannot read" in complaint(tmp_path / "file" / "digit.png")


@pytest.mark.parametrize("name", ["digit.png", "digit.jpg"])
def test_a_cut_picture_is_refused(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, digit())
    whole = path.read_bytes()
    for length in range(1, len(whole) - 20, 7):  # the last bytes of a PNG say no more than that it ends
        path.write_bytes(whole[:length])
        complaint(path)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures") / "digit"


def picture_bytes(scratch: Path, make: Callable[[], Image8], kind: str, mode: str) -> bytes:
    return save(scratch, make(), mode, format=kind).read_bytes()


@settings(deadline=None)
@given(
    st.sampled_from([("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "L"), ("JPEG", "CMYK")]),
    st.dictionaries(st.integers(0, 10**6), st.integers(1, 255), max_size=4),
    st.integers(0, 60),
)
def test_a_damaged_picture_is_a_picture_or_an_input_error(
    scratch: Path, form: tuple[str, str], changes: dict[int, int], cut: int
) -> None:
    data = bytearray(picture_bytes(scratch, digit, *form))
    for place, bits in changes.items():
        data[place % len(data)] ^= bits
    scratch.write_bytes(data[: len(data) - cut])
    try:
        read(scratch)
    except InputError as error:
        assert str(error).startswith(f"{scratch}: ") and str(error).isprintable()
