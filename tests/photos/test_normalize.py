"""Normalizing: whatever picture a digit comes in, it becomes what MNIST would have made of it, or has a status."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import drawings
import numpy as np
import papers
import pytest
import tensorflow as tf
from drawings import encode, quarters, seven
from numpy.typing import NDArray
from PIL import Image

from tfmnist.data.sources import load
from tfmnist.data.split import Digits
from tfmnist.nn.models import CNN
from tfmnist.nn.optimizers import Adam
from tfmnist.photos.digits import MASK_SIDE
from tfmnist.photos.ink import SIDE
from tfmnist.photos.normalize import (
    ImageFormat,
    are_digits,
    find_format,
    is_mnist_like,
    normalize,
    place,
    scale_only,
    select,
    split_digits,
)
from tfmnist.photos.status import Status
from tfmnist.training.loop import fit

Image8 = NDArray[np.uint8]
MNIST = ImageFormat(28, 28, centred=True, dark_on_light=False)
PAPER = ImageFormat(28, 28, centred=True, dark_on_light=True)
SCALED = ImageFormat(20, 30, centred=False, dark_on_light=False)


@lru_cache
def traced(form: ImageFormat, digits_only: bool = False) -> Any:
    def answer(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images, digits, status = normalize(image_bytes, form, digits_only)
        return {"images": images, "digits": digits, "status": status}

    spec = tf.TensorSpec([None], tf.string, name="image_bytes")
    return tf.function(answer, input_signature=[spec], autograph=False)


def run_all(
    pictures: list[bytes], form: ImageFormat = MNIST, digits_only: bool = False
) -> tuple[Image8, list[int], list[Status]]:
    answer = traced(form, digits_only)(tf.constant(pictures, tf.string, shape=[len(pictures)]))
    images, digits, status = answer["images"], answer["digits"], answer["status"]
    assert images.dtype == tf.uint8 and digits.dtype == status.dtype == tf.int64
    assert images.shape == (len(pictures), form.height, form.width)
    assert digits.shape == status.shape == (len(pictures),)
    return images.numpy(), digits.numpy().tolist(), [Status(value) for value in status.numpy()]


def run(pictures: list[bytes], form: ImageFormat = MNIST) -> tuple[Image8, list[int]]:
    """Images and numbers of digits; the status follows from the number."""
    images, digits, status = run_all(pictures, form)
    for number, reason in zip(digits, status):
        assert reason == (Status.BLANK, Status.READ, Status.SEVERAL)[min(number, 2)]
    return images, digits


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


def likeness(one: NDArray[Any], other: NDArray[Any]) -> float:
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


def test_only_digits_have_a_network_for_digits() -> None:
    assert are_digits(["3", "8"]) and not are_digits(["3", "b"]) and not are_digits(["10", "11"])


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
    images, status = split_digits(contents, MNIST)
    assert images.dtype == np.uint8 and images.shape == (len(text), 28, 28) and status == Status.READ
    assert run([contents])[1] == [len(text)]
    right = sum(str(found) == expected for found, expected in zip(reader(images), text))
    assert right >= len(text) - 1


def test_a_picture_in_form_blank_or_damaged_is_split_too(digits: Digits) -> None:
    image = digits.test.images[0]
    images, status = split_digits(encode(255 - image), MNIST)
    np.testing.assert_array_equal(images, image[np.newaxis])
    assert status == Status.READ
    images, status = split_digits(encode(image), SCALED)
    assert images.shape == (1, 20, 30) and status == Status.READ
    for content, reason in (
        (blank_pictures()["dust"], Status.BLANK),
        (b"a text", Status.NO_PICTURE),
        (encode(255 - image)[:150], Status.DAMAGED),
        (encode(image, "WEBP"), Status.WEBP),
    ):
        images, status = split_digits(content, MNIST)
        assert images.shape == (0, 28, 28) and status == reason


# Statuses


def paper(cover: NDArray[Any], kind: str = "PNG") -> bytes:
    return encode(drawings.to_bytes(240 - 200 * cover), kind)


@pytest.mark.parametrize("digits_only", [False, True])
@pytest.mark.parametrize("form", [MNIST, PAPER, SCALED])
def test_what_cannot_be_read_does_not_keep_the_others_from_being_read(form: ImageFormat, digits_only: bool) -> None:
    good, other = paper(seven()), paper(drawings.write_digit(np.random.default_rng(2), 3, (150, 130), 90, 9), "JPEG")
    two = paper(np.concatenate([seven(), seven()], axis=1))
    batch = [good, b"a text", other, good[:200], encode(np.full([50, 60], 200, np.uint8)), two, good]
    images, counts, status = run_all(batch, form, digits_only)
    several = [2, Status.SEVERAL] if form.centred else [1, Status.READ]
    assert counts == [1, 0, 1, 0, 0, several[0], 1]
    assert status == [0, Status.NO_PICTURE, 0, Status.DAMAGED, Status.BLANK, several[1], 0]
    for index in (0, 2, 5, 6):
        np.testing.assert_array_equal(images[index], run_all([batch[index]], form, digits_only)[0][0])
    assert np.all(images[[1, 3, 4]] == 255 * form.dark_on_light)
    np.testing.assert_array_equal(images[0], images[6])


@pytest.mark.parametrize("form", [MNIST, SCALED])
def test_batches_of_none_and_of_bad_ones_alone(form: ImageFormat) -> None:
    assert run_all([], form)[1:] == ([], [])
    bad = [b"", b"a text", encode(seven() > 0, "TIFF"), encode(seven() > 0, "WEBP"), b"\0\0\0\x18ftypheic", b"BM"]
    whole = [paper(seven(), kind) for kind in ("PNG", "JPEG", "BMP", "GIF")]
    bad += [content[: int(len(content) * part)] for content in whole for part in (0.75, 0.9)]
    images, counts, status = run_all(bad, form)
    assert not images.any() and counts == [0] * len(bad)
    expected = [Status.NO_PICTURE, Status.NO_PICTURE, Status.TIFF, Status.WEBP, Status.HEIC]
    assert status == expected + [Status.DAMAGED] * 9


def test_many_pictures_keep_their_order() -> None:
    random = np.random.default_rng(0)
    pictures = [paper(drawings.write_digit(random, n % 10, (80, 80 + n), 50, 6)) for n in range(12)]
    batch = [content for picture in pictures for content in (picture, picture[:99], b"x")]
    images, counts, _ = run_all(batch)
    assert counts == [1, 0, 0] * 12
    np.testing.assert_array_equal(images[::3], run_all(pictures)[0])


# Placing


def put(ink: NDArray[Any], form: ImageFormat = MNIST) -> Image8:
    square = tf.image.resize(ink[np.newaxis, ..., np.newaxis], [SIDE, SIDE], antialias=True)[..., 0]
    square /= tf.reduce_max(square)
    return place(square, tf.constant([ink.shape], tf.float32) / max(ink.shape), form).numpy()[0]


@pytest.mark.parametrize("size", [(300, 200), (30, 40), (8, 4), (500, 20)])
def test_ink_fits_the_box_and_is_centred(size: tuple[int, int]) -> None:
    ink = np.zeros([size[0] + 40, size[1] + 60], np.float32)
    ink[11 : 11 + size[0], 7 : 7 + size[1]] = 1
    image = put(ink)
    rows, columns = (np.nonzero((image > 64).any(axis=axis))[0] for axis in (1, 0))
    assert 19 <= max(len(rows), len(columns)) <= (20 if max(size) > 20 else 22) and image.max() >= 250
    middle = [np.average(np.arange(28) + 0.5, weights=image.sum(axis=axis)) for axis in (1, 0)]
    np.testing.assert_allclose(middle, 14, atol=1)


def test_other_sizes_and_boxes() -> None:
    image = put(np.ones([50, 30]), ImageFormat(64, 48, centred=True, dark_on_light=False, box=0.5))
    rows, columns = np.nonzero(image.any(axis=1))[0], np.nonzero(image.any(axis=0))[0]
    assert image.shape == (64, 48) and 31 <= len(rows) <= 34 and 18 <= len(columns) <= 22
    assert abs(rows.mean() - 32) <= 1.5 and abs(columns.mean() - 24) <= 1.5


@pytest.mark.parametrize("pen", [1.0, 2.0, 12.0, 30.0])
def test_strokes_become_as_wide_as_those_of_mnist(pen: float) -> None:
    image = put(seven(400, pen)) / 255
    inner = -np.max([np.roll(-image, shift, (0, 1)) for shift in np.ndindex(3, 3)], axis=0)
    width = 2 * image.sum() / (image.sum() - inner.sum())
    assert 1.8 <= width <= 3.6 and image.max() >= 0.8


def test_strokes_that_are_right_are_left() -> None:
    ink = np.zeros([104, 104], np.float32)
    ink[12:92, 47:59] = 1
    image = put(ink) / 255
    assert image.sum() == pytest.approx(20 * 3, rel=0.05)


def test_only_the_box_of_the_digit_is_selected() -> None:
    ink = tf.fill([1, SIDE, SIDE], 0.25)
    digits = np.zeros([1, MASK_SIDE, MASK_SIDE], np.int32)
    digits[0, 2:5, 1:4], digits[0, 2:6, 6:8], digits[0, 3, 5] = 1, 2, -1
    first = select(ink, tf.constant(digits == 1), tf.constant((digits != 1) & (digits != 0))).numpy()[0]
    assert np.argwhere(first)[[0, -1]].tolist() == [[4, 2], [9, 7]] and first.sum() == 36 * 0.25
    both = select(ink, tf.constant(digits > 0), tf.constant(digits < 0)).numpy()[0]
    assert np.argwhere(both)[[0, -1]].tolist() == [[4, 2], [11, 15]] and not both[6:8, 10:12].any()
    digits[:] = 0
    digits[0, 1, 2:5] = digits[0, 6, 2:5] = 1  # a stroke that is faint in between
    assert select(ink, tf.constant(digits > 0), tf.constant(digits < 0)).numpy().sum() == 6 * 3 * 4 * 0.25


def test_a_soft_digit_keeps_its_grey_levels_and_its_loops(digits: Digits) -> None:
    """Scans of 8x8 pixels, enlarged: they look as if they were just fitted into 20x20 and centred."""
    alike: list[float] = []
    for image in digits.test.images[np.isin(digits.test.labels, [6, 8, 9])][:12]:
        tiny = Image.fromarray(image[4:24, 4:24]).resize((8, 8), Image.Resampling.BOX)
        soft = np.asarray(tiny.resize((160, 160), Image.Resampling.BICUBIC), np.float32) / 255
        page = np.pad(soft, 40)
        found = run([paper(page)])[0][0]
        rows, columns = (np.nonzero((page > 0.25).any(axis=axis))[0] for axis in (1, 0))
        cut = Image.fromarray(page[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        scale = 20 / max(cut.size)
        fitted = np.asarray(cut.resize((round(cut.width * scale), round(cut.height * scale)), Image.Resampling.BOX))
        plain = np.zeros([28, 28])
        y, x = (
            np.average(np.arange(n) + 0.5, weights=fitted.sum(axis=1 - axis)) for axis, n in enumerate(fitted.shape)
        )
        top, left = (min(max(round(14 - middle), 0), 28 - n) for middle, n in zip((y, x), fitted.shape))
        plain[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
        alike.append(likeness(found, plain))
        assert np.mean((found > 0) & (found < 255)) > 0.08  # neither black nor white
    assert min(alike) > 0.9, alike


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


def test_scaling_keeps_the_proportions() -> None:
    picture = np.full([30, 10, 3], 0.9, np.float32)
    picture[10:20, 4:6] = 0.1
    image, count = scale_only(tf.constant(picture), SCALED)
    assert image.shape == (20, 30) and int(count) == 1
    rows, columns = np.nonzero(image.numpy() > 60)
    assert 6 <= np.ptp(rows) + 1 <= 8 and np.ptp(columns) + 1 <= 3


# In a SavedModel


def test_it_is_saved_and_loaded(tmp_path: Path) -> None:
    module: Any = tf.Module()
    module.answer = traced(MNIST)
    tf.saved_model.save(module, str(tmp_path), signatures={"image_bytes": module.answer.get_concrete_function()})
    loaded: Any = tf.saved_model.load(str(tmp_path))
    serve = loaded.signatures["image_bytes"]
    pictures = [encode(drawings.to_bytes(255 * (1 - seven()))), b"a text", quarters(6), paper(seven())[:100]]
    found = serve(image_bytes=tf.constant(pictures))
    images, counts, status = run_all(pictures)
    np.testing.assert_array_equal(found["images"], images)
    assert found["digits"].numpy().tolist() == counts and found["status"].numpy().tolist() == status
    assert status == [Status.READ, Status.NO_PICTURE, status[2], Status.DAMAGED]
    assert serve(image_bytes=tf.zeros([0], tf.string))["images"].shape == (0, 28, 28)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (3000, 2), (3, 3), (40, 900)])
@pytest.mark.parametrize("form", [MNIST, SCALED])
def test_pictures_of_every_shape_have_an_image(size: tuple[int, int], form: ImageFormat) -> None:
    random = np.random.default_rng(2)
    sharp = np.where(random.random(size) < 0.2, 20, 240).astype(np.uint8)
    pictures = [encode(sharp), encode(255 - sharp, "JPEG"), encode(random.integers(0, 256, [*size, 4], np.uint8))]
    pictures += [encode(sharp, "BMP"), encode(sharp, "GIF")]
    status = run_all(pictures, form, digits_only=True)[2]
    assert Status.DAMAGED not in status and Status.TOO_LARGE not in status


# Reading


@pytest.mark.parametrize("way", drawings.WAYS)
def test_drawings_are_read(way: str, reader: Any) -> None:
    drawn = list(drawings.draw_all(0, {way: drawings.WAYS[way]}))[::2]
    images, counts = run([drawing.contents for drawing in drawn])
    assert counts == [1] * 5
    assert np.sum(reader(images) == [drawing.digit for drawing in drawn]) >= 4


@pytest.mark.parametrize("way", [way for way in papers.PAPER_WAYS if way not in (*papers.PAIRS, "clean")])
def test_papers_are_read_or_refused(way: str, reader: Any) -> None:
    """Of ten drawings in boxes and rings, on lines, on tables, at most one is wrong without a word."""
    drawn = list(papers.draw_papers(0, [way]))
    images, _, status = run_all([drawing.contents for drawing in drawn], digits_only=True)
    read = np.array(status) == Status.READ
    right = reader(images) == [drawing.digit for drawing in drawn]
    assert np.sum(read & ~right) <= 1, [(d.digit, s.name) for d, s in zip(drawn, status)]
    assert set(status) <= {Status.READ, Status.BLANK, Status.SEVERAL, Status.TOUCHING, Status.CROSSED}


def test_digits_that_touch_are_never_read_as_one() -> None:
    drawn = list(papers.draw_papers(0, ["touching"]))
    _, counts, status = run_all([drawing.contents for drawing in drawn], digits_only=True)
    assert all(number != Status.READ for number in status) and status.count(Status.TOUCHING) >= 8
    images, why = split_digits(drawn[0].contents, MNIST, digits_only=True)
    assert why == Status.TOUCHING or len(images) == 2
    assert run_all([drawn[0].contents])[2] == [Status.READ if counts[0] == 1 else Status.SEVERAL]  # letters may be wide


def test_digits_that_stand_apart_are_two() -> None:
    drawn = list(papers.draw_papers(0, ["apart"]))
    assert run_all([drawing.contents for drawing in drawn])[1].count(2) >= 9


def test_a_photo_of_12_megapixels_is_read(reader: Any) -> None:
    images, counts = run([drawings.photo(np.random.default_rng(5), 5)])
    assert counts == [1] and reader(images).tolist() == [5]
