"""Normalizing: whatever picture a digit comes in, it becomes what MNIST would have made of it."""

import io
import struct
import sys
import time
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).parent))

import drawings

from tfmnist.data.sources import load
from tfmnist.data.split import Digits
from tfmnist.nn.models import CNN
from tfmnist.nn.optimizers import Adam
from tfmnist.photos.decode import decode, read_orientation
from tfmnist.photos.digits import add_margin, cut_edges, group_components, label_components
from tfmnist.photos.ink import find_ink, is_ink_dark
from tfmnist.photos.normalize import (
    ImageFormat,
    centre,
    find_format,
    is_mnist_like,
    match_strokes,
    normalize,
    place_ink,
    split_digits,
    stroke_width,
)
from tfmnist.training.loop import fit

Image8 = NDArray[np.uint8]
MNIST = ImageFormat(28, 28, centred=True, dark_on_light=False)
PAPER = ImageFormat(28, 28, centred=True, dark_on_light=True)
SCALED = ImageFormat(20, 30, centred=False, dark_on_light=False)
encode = drawings.encode


@lru_cache
def traced(form: ImageFormat) -> Any:
    spec = tf.TensorSpec([None], tf.string)
    return tf.function(lambda contents: normalize(contents, form), input_signature=[spec], autograph=False)


def run(pictures: list[bytes], form: ImageFormat = MNIST) -> tuple[Image8, list[int]]:
    images, digits = traced(form)(tf.constant(pictures, tf.string, shape=[len(pictures)]))
    assert images.dtype == tf.uint8 and digits.dtype == tf.int64
    assert images.shape == (len(pictures), form.height, form.width)
    return images.numpy(), digits.numpy().tolist()


@pytest.fixture(scope="session")
def digits() -> Digits:
    return load("mnist", validation=0)


@pytest.fixture(scope="session")
def reader(digits: Digits) -> Callable[[Image8], NDArray[np.int64]]:
    """A small network, trained for a few seconds: 97 % of MNIST's test images."""
    model = CNN(image_shape=(28, 28), layers=["conv 8 5x5 /2", "conv 16 3x3 /2", "dense 64"], classes=10, seed=0)
    train = type(digits.train)(digits.train.images[:20_000], digits.train.labels[:20_000])
    fit(model, train, optimizer=Adam(model.parameters, learning_rate=0.002), epochs=3, batch_size=128)
    return lambda images: np.argmax(model.logits(images), axis=1)


def seven(size: int = 120, pen: float = 8.0, place: tuple[float, float] = (0.5, 0.5)) -> NDArray[np.float32]:
    """Ink of a 7, in [0, 1]."""
    return drawings.write_digit(np.random.default_rng(7), 7, (size, size), size * 0.6, pen, place, style=0)


def likeness(one: Image8, other: Image8) -> float:
    """The correlation of two images, where one may be a pixel off."""
    return max(
        float(np.corrcoef(np.roll(one, (y, x), (0, 1)).ravel(), other.ravel())[0, 1])
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    )


# What the training data looks like


def test_mnist_is_centred_on_dark_ground(digits: Digits) -> None:
    assert find_format(digits.train.images) == MNIST
    assert find_format(255 - digits.train.images) == PAPER
    assert np.mean(is_mnist_like(tf.constant(digits.test.images), MNIST).numpy()) >= 0.99


def test_what_fills_its_frame_is_not_centred() -> None:
    random = np.random.default_rng(0)
    assert not find_format(random.integers(0, 256, [50, 32, 32], dtype=np.uint8)).centred
    clothes = np.zeros([40, 28, 28], np.uint8)
    clothes[:, 1:27, 4:24] = random.integers(50, 256, [40, 26, 20])
    assert find_format(clothes) == ImageFormat(28, 28, centred=False, dark_on_light=False)
    assert find_format(255 - clothes).dark_on_light
    assert not find_format(np.zeros([0, 5, 6], np.uint8)).centred


def test_a_form_is_stored_in_json() -> None:
    assert (
        ImageFormat.from_dict(PAPER.to_dict()) == PAPER and ImageFormat(9, 8, True, False, 0.5).to_dict()["box"] == 0.5
    )


# What is in form already


@pytest.mark.parametrize("form", [MNIST, PAPER])
def test_mnist_is_left_as_it_is(digits: Digits, form: ImageFormat) -> None:
    images = digits.test.images[:100]
    wanted = 255 - images if form.dark_on_light else images
    for written in (images, 255 - images):
        found, counts = run([encode(image) for image in written], form)
        assert np.mean((found == wanted).all(axis=(1, 2))) >= 0.99
        assert set(counts) == {1}


def test_mnist_in_colour_and_with_alpha_is_left_as_it_is(digits: Digits) -> None:
    images = digits.test.images[:5]
    for mode in ("RGB", "LA", "RGBA", "P"):
        found, _ = run([encode(Image.fromarray(image).convert(mode)) for image in images])
        np.testing.assert_array_equal(found, images)
    np.testing.assert_array_equal(run([encode(image.astype(np.uint16) * 257) for image in images])[0], images)


def test_mnist_pasted_into_a_large_shaded_page_is_found_again(digits: Digits) -> None:
    random = np.random.default_rng(3)
    images = digits.test.images[:16]
    pages: list[bytes] = []
    for image in images:
        ink = np.asarray(Image.fromarray(image).resize((196, 196), Image.Resampling.BICUBIC), np.float32) / 255
        page = np.zeros([450, 600], np.float32)
        top, left = random.integers(10, 240), random.integers(10, 390)
        page[top : top + 196, left : left + 196] = ink
        shaded = drawings.lay(page, [220, 215, 205], [40, 40, 60]) * drawings.shading(random, (600, 450), 0.5)
        pages.append(encode(drawings.to_bytes(shaded + random.normal(0, 4, shaded.shape))))
    found, counts = run(pages)
    alike = [likeness(one, other) for one, other in zip(found, images)]
    assert set(counts) == {1} and np.median(alike) > 0.93 and min(alike) > 0.8


# Decoding


def test_kinds_of_png_are_decoded() -> None:
    grey = np.arange(0, 240, 10, dtype=np.uint8).reshape([4, 6])
    colour = np.stack([grey, 255 - grey, grey // 2], axis=-1)
    for picture in (
        Image.fromarray(colour),
        Image.fromarray(colour).convert("RGBA"),
        Image.fromarray(colour).quantize(64),
    ):
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
    found = decode(tf.constant(encode(rgba))).numpy()
    assert np.all(found[0] == paper) and abs(found - paper).max() == 1.0


def test_a_transparent_hole_gets_the_mean_colour() -> None:
    rgba = np.full([40, 40, 4], [200, 100, 50, 255], np.uint8)
    rgba[10:20, 10:20] = 0
    np.testing.assert_allclose(decode(tf.constant(encode(rgba))).numpy()[15, 15] * 255, [200, 100, 50], atol=0.1)


def photo(orientation: int | None, endian: str = "<") -> bytes:
    """A JPEG of 48x32, each quarter of a grey of its own, EXIF written by hand in either byte order."""
    quarters = np.kron(np.array([[0, 80], [160, 240]], np.uint8), np.ones([16, 24], np.uint8))
    exif = b""
    if orientation is not None:
        entry = struct.pack(endian + "HHIHH", 274, 3, 1, orientation, 0)
        make = struct.pack(endian + "HHI4s", 271, 2, 4, b"abc\0")
        tiff = (b"II" if endian == "<" else b"MM") + struct.pack(endian + "HIH", 42, 8, 2) + make + entry + b"\0" * 4
        exif = b"Exif\0\0" + tiff
    return encode(quarters, "JPEG", quality=95, exif=exif)


@pytest.mark.parametrize("endian", ["<", ">"])
def test_a_photo_is_turned_upright(endian: str) -> None:
    for orientation in range(1, 9):
        contents = photo(orientation, endian)
        assert int(read_orientation(tf.constant(contents))) == orientation
        upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(contents))))
        np.testing.assert_allclose(decode(tf.constant(contents)).numpy()[..., 0] * 255, upright, atol=6)


def test_exif_that_is_missing_or_broken_is_ignored() -> None:
    whole = photo(6)
    for contents in (photo(None), photo(0), photo(9), b"", JPEG := b"\xff\xd8\xff", JPEG + b"\xe1\xff\xffExif\0\0"):
        assert int(read_orientation(tf.constant(contents))) == 1
    random = np.random.default_rng(1)
    start = whole.index(b"Exif")
    for _ in range(60):
        broken = bytearray(whole)
        broken[start + int(random.integers(6, 40))] = int(random.integers(256))
        assert 1 <= int(read_orientation(tf.constant(bytes(broken)))) <= 8
    for length in range(0, start + 60, 5):
        assert 1 <= int(read_orientation(tf.constant(whole[:length]))) <= 8


def bomb(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 10**6)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(8001, 8000), (30_000, 30_000), (2**31 - 1, 2**31 - 1), (0, 5)])
def test_a_decompression_bomb_is_refused_at_once(size: tuple[int, int]) -> None:
    traced(MNIST)
    started = time.perf_counter()
    with pytest.raises(tf.errors.InvalidArgumentError, match="64 megapixels"):
        run([bomb(*size)])
    assert time.perf_counter() - started < 20  # to decode it would take gigabytes


def test_a_jpeg_that_says_it_is_huge_is_refused() -> None:
    contents = bytearray(photo(None))
    start = contents.index(b"\xff\xc0") + 5
    contents[start : start + 4] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(tf.errors.InvalidArgumentError, match="64 megapixels"):
        run([bytes(contents)])


@pytest.mark.parametrize("content", [b"", b"\x89PNG", b"GIF89a" + b"\0" * 40, b"no picture at all"])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a PNG or JPEG picture"):
        run([content])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_cut_picture_is_refused(kind: str) -> None:
    whole = encode(drawings.to_bytes(255 * seven()), kind)
    for length in (30, len(whole) // 2):
        with pytest.raises(tf.errors.InvalidArgumentError):
            run([whole[:length]])


# Ink


@pytest.mark.parametrize("pen", [2.0, 8.0, 20.0])
@pytest.mark.parametrize("least", [1.0, 0.5])
def test_the_polarity_is_found(pen: float, least: float) -> None:
    ink = seven(pen=pen)[..., np.newaxis] * np.ones(3, np.float32)
    light = drawings.shading(np.random.default_rng(0), (120, 120), least)
    assert bool(is_ink_dark(tf.constant((0.9 - 0.8 * ink) * light)))
    assert not bool(is_ink_dark(tf.constant((0.1 + 0.8 * ink) * light)))


def test_the_paper_inside_of_a_0_is_paper() -> None:
    ink = drawings.write_digit(np.random.default_rng(0), 0, (300, 300), 60, 5, (0.3, 0.6))[..., np.newaxis]
    assert bool(is_ink_dark(tf.constant(1 - ink * np.ones(3, np.float32))))


@pytest.mark.parametrize("pen", [(250, 220, 40), (120, 190, 245), (200, 30, 40), (180, 180, 180)])
def test_ink_of_any_colour_is_full_ink(pen: tuple[int, int, int]) -> None:
    cover = seven()
    ink, sure = find_ink(tf.constant(drawings.lay(cover, [252, 252, 250], pen) / 255))
    np.testing.assert_allclose(ink.numpy()[cover == 1], 1, atol=0.15)
    assert ink.numpy()[cover == 0].max() < 0.1 and sure.numpy()[cover == 1].all()


def blank_pictures() -> dict[str, bytes]:
    random = np.random.default_rng(5)
    pictures = {f"noise of {deviation}": random.normal(200, deviation, [200, 300]) for deviation in (2, 8, 25)}
    pictures["white"], pictures["black"] = np.full([50, 50], 255), np.zeros([28, 28])
    pictures["one pixel"], pictures["one row"] = np.zeros([1, 1]), np.full([1, 40], 90)
    for least in (0.8, 0.5, 0.3):
        light = drawings.shading(random, (300, 200), least)[..., 0]
        pictures[f"shading to {least}"] = 220 * light + random.normal(0, 3, light.shape)
    coarse = Image.fromarray(drawings.to_bytes(random.normal(128, 20, [24, 32])))
    pictures["texture"] = 70.0 + np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC))
    pictures["dust"] = np.full([400, 400], 230)
    pictures["dust"][100:104, 200:204] = 40
    pictures["ruled"] = np.full([420, 420], 250)
    pictures["ruled"][20::52] = 190
    found = {name: encode(drawings.to_bytes(values)) for name, values in pictures.items()}
    return found | {"transparent": encode(np.zeros([40, 40, 4], np.uint8))}


@pytest.mark.parametrize("form", [MNIST, PAPER])
def test_blank_paper_is_blank(form: ImageFormat) -> None:
    images, counts = run(list(blank_pictures().values()), form)
    assert dict(zip(blank_pictures(), counts)) == dict.fromkeys(blank_pictures(), 0)
    assert np.all(images == (255 if form.dark_on_light else 0))


def test_a_margin_is_added_to_tight_crops_only() -> None:
    tight = np.pad(np.zeros([90, 20, 3], np.float32), [(3, 3), (3, 3), (0, 0)], constant_values=1)
    assert add_margin(tf.constant(tight)).shape == (96 + 48, 26 + 48, 3)
    assert np.all(add_margin(tf.constant(tight)).numpy()[0] == 1)
    loose = np.pad(tight, [(50, 50), (50, 50), (0, 0)], constant_values=1)
    np.testing.assert_array_equal(add_margin(tf.constant(loose)).numpy(), loose)


def test_what_is_around_the_paper_is_cut_off() -> None:
    page = np.pad(1 - seven()[..., np.newaxis] * np.ones(3, np.float32), [(20, 0), (40, 0), (0, 0)])
    cut = cut_edges(tf.constant(page)).numpy()
    assert 114 <= cut.shape[0] <= 120 and 114 <= cut.shape[1] <= 120 and cut[:, :20].min() == 1
    for kept in (
        page[20:, 40:],
        1 - page[20:, 40:],
        np.zeros_like(page),
        np.pad(np.ones([50, 50, 3]), [(9, 0), (0, 0), (0, 0)]),
    ):
        assert cut_edges(tf.constant(kept, tf.float32)).shape == kept.shape


# Digits


def test_components_are_labelled() -> None:
    mask = np.zeros([40, 40], np.float32)
    mask[1:39, 1] = mask[1, 1:39] = mask[1:39, 38] = 1  # three sides, connected at their ends
    mask[10, 10] = mask[11, 11] = 1  # diagonal
    mask[20:30, 20] = 1
    labels = label_components(tf.constant(mask)).numpy()
    assert np.array_equal(labels >= 0, mask > 0) and set(np.unique(labels)) == {-1, 0, 1, 2}
    assert len({labels[1, 1], labels[38, 1], labels[38, 38]}) == 1 and labels[10, 10] == labels[11, 11]
    assert label_components(tf.zeros([4, 5])).numpy().max() == -1


def grouped(draw: Callable[[Any], None]) -> NDArray[np.int32]:
    mask = np.zeros([100, 120], np.float32)
    draw(mask)
    return group_components(label_components(tf.constant(mask))).numpy()


def test_components_above_each_other_are_one_digit() -> None:
    def five(mask: Any) -> None:
        mask[40:70, 40:50] = mask[30:34, 44:60] = 1  # a body, and a bar of its own
        mask[20:80, 80:84] = 1

    groups = grouped(five)
    assert groups.max() == 2
    assert groups[50, 45] == groups[32, 58] == 1 and groups[50, 82] == 2


def test_specks_and_edges_are_dropped() -> None:
    def dirty(mask: Any) -> None:
        mask[30:70, 50:56] = 1
        mask[5, 5] = 1  # dust
        mask[:, 115:] = 1  # the edge of the table
        mask[:10, :20] = 1  # a finger
        mask[90, :] = 1  # a ruling

    groups = grouped(dirty)
    assert groups.max() == 1
    assert np.array_equal(np.argwhere(groups)[[0, -1]], [[30, 50], [69, 55]])


def test_a_digit_that_touches_the_border_is_kept() -> None:
    def alone(mask: Any) -> None:
        mask[0:60, 50:58] = mask[56:60, 20:58] = 1

    assert grouped(alone).max() == 1


def row(text: str, random: np.random.Generator) -> bytes:
    """Digits side by side."""
    parts = [drawings.write_digit(random, int(digit), (110, 160), 110, 9, turn=3.0) for digit in text]
    sheet = np.pad(np.concatenate(parts, axis=1), 30)
    return encode(drawings.to_bytes(235 - 200 * sheet))


@pytest.mark.parametrize("text", ["10", "425", "90210", "7"])
def test_several_digits_are_counted_and_split(text: str, reader: Any) -> None:
    contents = row(text, np.random.default_rng(1))
    images = split_digits(contents, MNIST)
    assert images.dtype == np.uint8 and images.shape == (len(text), 28, 28)
    assert run([contents])[1] == [len(text)]
    right = sum(str(found) == wanted for found, wanted in zip(reader(images), text))
    assert right >= len(text) - 1
    np.testing.assert_array_equal(split_digits(tf.constant(contents), PAPER), 255 - images)


def test_a_picture_in_form_or_blank_is_split_too(digits: Digits) -> None:
    image = digits.test.images[0]
    np.testing.assert_array_equal(split_digits(encode(255 - image), MNIST), image[np.newaxis])
    assert split_digits(blank_pictures()["dust"], MNIST).shape == (0, 28, 28)
    assert split_digits(encode(image), SCALED).shape == (1, 20, 30)


# Placing


@pytest.mark.parametrize("size", [(300, 200), (30, 40), (8, 4), (500, 20)])
def test_ink_fits_the_box_and_is_centred(size: tuple[int, int]) -> None:
    ink = np.zeros([size[0] + 40, size[1] + 60], np.float32)
    ink[11 : 11 + size[0], 7 : 7 + size[1]] = 1
    image = place_ink(tf.constant(ink), MNIST)
    assert bool(is_mnist_like(image[tf.newaxis], MNIST)[0])
    assert image.numpy().max() >= 250


def test_other_sizes_and_boxes() -> None:
    image = place_ink(tf.ones([50, 30]), ImageFormat(64, 48, centred=True, dark_on_light=False, box=0.5)).numpy()
    rows, columns = np.nonzero(image.any(axis=1))[0], np.nonzero(image.any(axis=0))[0]
    assert image.shape == (64, 48) and 31 <= len(rows) <= 33 and 18 <= len(columns) <= 22
    assert abs(rows.mean() - 32) <= 1 and abs(columns.mean() - 24) <= 1


def test_nothing_is_placed_as_nothing() -> None:
    assert not place_ink(tf.zeros([9, 9]), MNIST).numpy().any()


@pytest.mark.parametrize("pen", [1.0, 2.0, 12.0, 30.0])
def test_strokes_become_as_wide_as_those_of_mnist(pen: float) -> None:
    image = place_ink(tf.constant(seven(400, pen)), MNIST)
    assert 1.8 <= float(stroke_width(tf.cast(image, tf.float32) / 255)) <= 3.5
    assert image.numpy().max() >= 200


def test_strokes_that_are_right_are_left() -> None:
    ink = tf.pad(tf.ones([80, 10]), [[12, 12], [12, 12]])
    np.testing.assert_array_equal(match_strokes(ink[12:-12, 12:-12], 4.0), ink)


def test_the_centre_of_mass_is_centred_unless_something_would_be_cut_off() -> None:
    ink = np.zeros([6, 6], np.float32)
    ink[5, 5] = 1
    assert centre(tf.constant(ink), [20, 20]).numpy()[10, 10] == 1
    assert centre(tf.constant(ink), [8, 8]).numpy()[5, 5] == 1


# The form that is scaled only


def test_pictures_are_scaled_whole() -> None:
    image = np.zeros([40, 40], np.uint8)
    image[:, :20] = 200
    image[0], image[-1], image[:, 0] = 0, 0, 0
    (found, small), counts = run([encode(image), encode(image[::8, ::8].copy())], SCALED)
    assert counts == [1, 1] and small.any()
    assert np.all(found[:, :5] == 0) and np.all(found[:, 25:] == 0) and np.all(found[2:-2, 7:14] == 200)


def test_the_ground_is_made_that_of_the_training_data() -> None:
    image = np.zeros([20, 30], np.uint8)
    image[5:15, 5:15] = 90
    light = ImageFormat(20, 30, centred=False, dark_on_light=True)
    for form, wanted in ((SCALED, image), (light, 255 - image)):
        found, counts = run([encode(image), encode(255 - image)], form)
        np.testing.assert_array_equal(found, [wanted, wanted])
        assert counts == [1, 1]
        found, counts = run([encode(np.full([9, 9], 130, np.uint8))], form)
        assert counts == [0] and np.all(found == (255 if form.dark_on_light else 0))


# In a SavedModel


@pytest.mark.parametrize("form", [MNIST, SCALED])
def test_no_pictures_are_no_images(form: ImageFormat) -> None:
    run([], form)


def test_it_is_saved_and_loaded_without_this_package(tmp_path: Path) -> None:
    module: Any = tf.Module()
    spec = tf.TensorSpec([None], tf.string, name="image_bytes")

    def answer(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images, count = normalize(image_bytes, MNIST)
        return {"images": images, "digits": count}

    module.answer = tf.function(answer, input_signature=[spec], autograph=False)
    tf.saved_model.save(module, str(tmp_path), signatures={"image_bytes": module.answer})
    loaded: Any = tf.saved_model.load(str(tmp_path))
    serve = loaded.signatures["image_bytes"]
    pictures = [encode(drawings.to_bytes(255 * (1 - seven()))), photo(6)]
    found = serve(image_bytes=tf.constant(pictures))
    images, counts = run(pictures)
    np.testing.assert_array_equal(found["images"], images)
    assert found["digits"].numpy().tolist() == counts
    assert serve(image_bytes=tf.zeros([0], tf.string))["images"].shape == (0, 28, 28)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (3000, 2), (3, 3), (40, 900)])
@pytest.mark.parametrize("form", [MNIST, SCALED])
def test_pictures_of_every_shape_have_an_image(size: tuple[int, int], form: ImageFormat) -> None:
    random = np.random.default_rng(2)
    sharp = np.where(random.random(size) < 0.2, 20, 240).astype(np.uint8)
    run([encode(sharp), encode(255 - sharp, "JPEG"), encode(random.integers(0, 256, [*size, 4], np.uint8))], form)


# Reading


@pytest.mark.parametrize("way", drawings.WAYS)
def test_drawings_are_read(way: str, reader: Any) -> None:
    drawn = list(drawings.draw_all(0, {way: drawings.WAYS[way]}))
    images, counts = run([drawing.contents for drawing in drawn])
    assert counts == [1] * 10
    assert np.sum(reader(images) == [drawing.digit for drawing in drawn]) >= 8


def test_a_photo_of_12_megapixels_is_read(reader: Any) -> None:
    drawn = [drawings.Drawing("photo", digit, drawings.photo(np.random.default_rng(digit), digit)) for digit in (2, 5)]
    images, counts = run([drawing.contents for drawing in drawn])
    assert counts == [1, 1] and reader(images).tolist() == [2, 5]
