"""Normalizing: whatever picture a digit comes in, it becomes what MNIST would have made of it."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import drawings
import numpy as np
import pytest
import tensorflow as tf
from drawings import encode, quarters, seven
from numpy.typing import NDArray
from PIL import Image

from tfmnist.data.sources import load
from tfmnist.data.split import Digits
from tfmnist.nn.models import CNN
from tfmnist.nn.optimizers import Adam
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


@lru_cache
def traced(form: ImageFormat) -> Any:
    def answer(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images, digits = normalize(image_bytes, form)
        return {"images": images, "digits": digits}

    spec = tf.TensorSpec([None], tf.string, name="image_bytes")
    return tf.function(answer, input_signature=[spec], autograph=False)


def run(pictures: list[bytes], form: ImageFormat = MNIST) -> tuple[Image8, list[int]]:
    answer = traced(form)(tf.constant(pictures, tf.string, shape=[len(pictures)]))
    images, digits = answer["images"], answer["digits"]
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
    for form in (PAPER, ImageFormat(9, 8, True, False, 0.5)):
        assert ImageFormat.from_dict(form.to_dict()) == form and form.to_dict()["box"] == form.box


# What is in form already


@pytest.mark.parametrize("form", [MNIST, PAPER])
def test_mnist_is_left_as_it_is(digits: Digits, form: ImageFormat) -> None:
    images = digits.test.images[:25]
    expected = 255 - images if form.dark_on_light else images
    for written in (images, 255 - images):
        found, counts = run([encode(image) for image in written], form)
        assert np.mean((found == expected).all(axis=(1, 2))) >= 0.96
        assert set(counts) == {1}


def test_mnist_in_colour_and_with_alpha_is_left_as_it_is(digits: Digits) -> None:
    images = digits.test.images[:5]
    for mode in ("RGB", "LA", "RGBA", "P"):
        found, _ = run([encode(Image.fromarray(image).convert(mode)) for image in images])
        np.testing.assert_array_equal(found, images)
    np.testing.assert_array_equal(run([encode(image.astype(np.uint16) * 257) for image in images])[0], images)


def test_mnist_pasted_into_a_large_shaded_page_is_found_again(digits: Digits) -> None:
    random = np.random.default_rng(3)
    images = digits.test.images[:8]
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


# Blank pictures, and several digits


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
    right = sum(str(found) == expected for found, expected in zip(reader(images), text))
    assert right >= len(text) - 1


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
    assert counts == [1, 1] and small.any() and run([], SCALED)[1] == []
    assert np.all(found[:, :5] == 0) and np.all(found[:, 25:] == 0) and np.all(found[2:-2, 7:14] == 200)


def test_the_ground_is_made_that_of_the_training_data() -> None:
    image = np.zeros([20, 30], np.uint8)
    image[5:15, 5:15] = 90
    light = ImageFormat(20, 30, centred=False, dark_on_light=True)
    for form, expected in ((SCALED, image), (light, 255 - image)):
        found, counts = run([encode(image), encode(255 - image)], form)
        np.testing.assert_array_equal(found, [expected, expected])
        assert counts == [1, 1]
        found, counts = run([encode(np.full([9, 9], 130, np.uint8))], form)
        assert counts == [0] and np.all(found == (255 if form.dark_on_light else 0))


# In a SavedModel


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    module: Any = tf.Module()
    module.answer = traced(MNIST)
    tf.saved_model.save(module, str(tmp_path), signatures={"image_bytes": module.answer.get_concrete_function()})
    loaded: Any = tf.saved_model.load(str(tmp_path))
    serve = loaded.signatures["image_bytes"]
    pictures = [encode(drawings.to_bytes(255 * (1 - seven()))), quarters(6)]
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
    drawn = list(drawings.draw_all(0, {way: drawings.WAYS[way]}))[::2]
    images, counts = run([drawing.contents for drawing in drawn])
    assert counts == [1] * 5
    assert np.sum(reader(images) == [drawing.digit for drawing in drawn]) >= 4


def test_a_photo_of_12_megapixels_is_read(reader: Any) -> None:
    images, counts = run([drawings.photo(np.random.default_rng(5), 5)])
    assert counts == [1] and reader(images).tolist() == [5]
