"""Decoding in graph: every kind of PNG and JPEG becomes an upright picture on paper; what is too large is refused."""

import io
import struct
import time

import drawings
import numpy as np
import pytest
import tensorflow as tf
from drawings import encode, quarters, seven
from picture_folders import encode_png
from PIL import Image, ImageOps

from tfmnist.photos.decode import decode, read_orientation
from tfmnist.system.pictures import JPEG


def test_kinds_of_png_are_decoded() -> None:
    grey = np.arange(0, 240, 10, dtype=np.uint8).reshape([4, 6])
    colour = np.stack([grey, 255 - grey, grey // 2], axis=-1)
    rgb = Image.fromarray(colour)
    for picture in (rgb, rgb.convert("RGBA"), rgb.quantize(64)):
        np.testing.assert_allclose(decode(tf.constant(encode(picture))).numpy() * 255, colour, atol=4)
    for values in (grey, grey.astype(np.uint16) * 257):
        np.testing.assert_allclose(decode(tf.constant(encode(values))).numpy()[..., 1] * 255, grey, atol=1e-4)


def test_a_large_picture_is_shrunk() -> None:
    image = np.zeros([1500, 3000], np.uint8)
    image[:, 1500:] = 250
    for kind in ("PNG", "JPEG"):
        small = decode(tf.constant(encode(image, kind))).numpy()
        assert small.shape == (256, 512, 3)
        assert small[:, :254].max() < 0.02 and abs(small[:, 258:].min() - 250 / 255) < 0.02


@pytest.mark.parametrize("colour, paper", [(0, 1.0), (255, 0.0)])
def test_around_a_transparent_drawing_is_paper_that_contrasts(colour: int, paper: float) -> None:
    rgba = np.full([60, 60, 4], colour, np.uint8)
    rgba[..., 3] = drawings.to_bytes(255 * seven(60, 5))
    picture = decode(tf.constant(encode(rgba))).numpy()
    assert np.all(picture[0] == paper) and abs(picture - paper).max() == 1.0


def test_a_transparent_hole_gets_the_mean_colour() -> None:
    rgba = np.full([40, 40, 4], [200, 100, 50, 255], np.uint8)
    rgba[10:20, 10:20] = 0
    np.testing.assert_allclose(decode(tf.constant(encode(rgba))).numpy()[15, 15] * 255, [200, 100, 50], atol=0.1)


@pytest.mark.parametrize("endian", ["<", ">"])
def test_a_photo_is_turned_upright(endian: str) -> None:
    for orientation in range(1, 9):
        contents = quarters(orientation, endian)
        assert int(read_orientation(tf.constant(contents))) == orientation
        upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(contents))))
        np.testing.assert_allclose(decode(tf.constant(contents)).numpy()[..., 0] * 255, upright, atol=6)


def test_exif_that_is_missing_or_broken_is_ignored() -> None:
    whole = quarters(6)
    for contents in (quarters(None), quarters(0), quarters(9), b"", JPEG, JPEG + b"\xe1\xff\xffExif\0\0"):
        assert int(read_orientation(tf.constant(contents))) == 1
    random = np.random.default_rng(1)
    start = whole.index(b"Exif")
    for _ in range(30):
        broken = bytearray(whole)
        broken[start + int(random.integers(6, 40))] = int(random.integers(256))
        assert 1 <= int(read_orientation(tf.constant(bytes(broken)))) <= 8
    for length in range(0, start + 60, 5):
        assert 1 <= int(read_orientation(tf.constant(whole[:length]))) <= 8


@pytest.mark.parametrize("size", [(8001, 8000), (30_000, 30_000), (2**31 - 1, 2**31 - 1), (0, 5)])
def test_a_decompression_bomb_is_refused_at_once(size: tuple[int, int]) -> None:
    started = time.perf_counter()
    with pytest.raises(tf.errors.InvalidArgumentError, match="64 megapixels"):
        decode(tf.constant(encode_png(*size, b"\0" * 10**6, colour=6)))
    assert time.perf_counter() - started < 20  # to decode it would take gigabytes


def test_a_jpeg_that_says_it_is_huge_is_refused() -> None:
    contents = bytearray(quarters(None))
    start = contents.index(b"\xff\xc0") + 5
    contents[start : start + 4] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(tf.errors.InvalidArgumentError, match="64 megapixels"):
        decode(tf.constant(bytes(contents)))


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"GIF89a" + b"\0" * 40, b"no picture at all"])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a PNG or JPEG picture"):
        decode(tf.constant(content))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_cut_picture_is_refused(kind: str) -> None:
    whole = encode(drawings.to_bytes(255 * seven()), kind)
    for length in (30, len(whole) // 2):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(tf.constant(whole[:length]))
