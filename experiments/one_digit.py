"""Trains the network that tells one digit from two that touch, and from a digit that something crosses.

    python experiments/one_digit.py [--count 80000] [--epochs 16]

`predict` refuses such pictures instead of reading them as a digit (`tfmnist/photos/one_digit.py`). The pictures are
made here, of MNIST's training digits and of drawn ones: alone, sharp or soft, thin or thick; in pairs that touch;
underlined, struck through, in a box or ring that they touch. Writes `tfmnist/photos/one_digit.npz`.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

import tfmnist
from tfmnist.photos.ink import SIDE
from tfmnist.photos.normalize import ImageFormat, place
from tfmnist.photos.one_digit import CLASSES, LAYERS, WEIGHTS

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "photos"))

import drawings  # noqa: E402  # pyright: ignore[reportMissingImports]

EPSILON = 1e-3  # of batch normalisation
FORMAT = ImageFormat(28, 28, centred=True, dark_on_light=False)
CANVAS = (180, 320)
Ink = NDArray[np.float32]
Random = np.random.Generator


def draw_digit(random: Random, scans: NDArray[np.uint8]) -> Ink:
    """Ink of one digit, its height about 100 pixels, cropped: two thirds are scans, one third are drawn."""
    if random.random() < 0.65:
        image = Image.fromarray(scans[random.integers(len(scans))])
        side = int(random.integers(110, 150))
        wide = int(side * random.uniform(0.8, 1.15))
        image = image.resize((wide, side), Image.Resampling.BICUBIC)
        if random.random() < 0.25:
            filters: Any = [ImageFilter.MaxFilter(5), ImageFilter.MinFilter(5)]
            image = image.filter(random.choice(filters))
        ink: Any = np.asarray(image, np.float32) / 255
    else:
        height = random.uniform(85, 110)
        pen = random.uniform(2, 16)
        ink = drawings.write_digit(random, int(random.integers(10)), (150, 140), height, pen, turn=12.0)
    rows, columns = np.flatnonzero((ink > 0.4).any(1)), np.flatnonzero((ink > 0.4).any(0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) > 8 else draw_digit(random, scans)


def draw_one(random: Random, scans: NDArray[np.uint8]) -> Ink:
    ink = draw_digit(random, scans)
    if random.random() < 0.35:  # as from a scan of 8 to 14 pixels
        side = int(random.integers(8, 15))
        method = random.choice([Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.NEAREST])
        size = (max(3, side * ink.shape[1] // ink.shape[0]), side)
        scan = Image.fromarray(ink).resize(size, Image.Resampling.BOX)
        ink = np.clip(np.asarray(scan.resize(ink.shape[::-1], method)), 0, 1)
        ink = np.minimum(1, ink / np.quantile(ink[ink > 0.3 * ink.max()], 0.97))
    sheet = np.zeros(CANVAS, np.float32)
    sheet[20 : 20 + ink.shape[0], 60 : 60 + ink.shape[1]] = ink
    return sheet


def draw_pair(random: Random, scans: NDArray[np.uint8]) -> Ink:
    left, right = draw_digit(random, scans), draw_digit(random, scans)
    sheet = np.zeros(CANVAS, np.float32)
    top, second = (int(random.integers(8, 28)) for _ in range(2))
    sheet[top : top + len(left), 10 : 10 + left.shape[1]] = left
    touching = random.integers(4, 100)
    other = sheet
    for start in range(10 + left.shape[1] + 2, 10, -1):
        other = np.zeros(CANVAS, np.float32)
        stop = min(start + right.shape[1], CANVAS[1])
        other[second : second + len(right), start:stop] = right[:, : stop - start]
        if np.count_nonzero((sheet > 0.4) & (other > 0.4)) >= touching:
            return np.maximum(sheet, other)
    return np.maximum(sheet, other)


def draw_crossed(random: Random, scans: NDArray[np.uint8]) -> Ink:
    """A digit that lines, a box or a ring touch or cross."""
    sheet = Image.fromarray((draw_one(random, scans) * 255).astype(np.uint8))
    ink = np.asarray(sheet) > 100
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    top, bottom, left, right = (float(v) for v in (rows[0], rows[-1], columns[0], columns[-1]))
    tall, wide = bottom - top, right - left
    pen = ImageDraw.Draw(sheet)
    width, shade = int(random.integers(2, 12)), int(random.integers(140, 256))
    lower, upper = random.uniform(0.15, 0.6), random.uniform(0.15, 0.6)
    match random.integers(5) if wide > 0.35 * tall else 0:
        case 0 | 1:  # under, over or through it
            y = random.choice([bottom, bottom + width / 2, top + tall * random.uniform(0.2, 0.8)])
            x = (left - lower * tall, right + upper * tall)
            pen.line([(x[0], y + random.uniform(-4, 4)), (x[1], y + random.uniform(-4, 4))], fill=shade, width=width)
        case 2:  # beside or through it
            x = random.choice([left, right, left + wide * random.uniform(0.2, 0.8)])
            pen.line([(x, max(top - lower * tall, 0)), (x, bottom + upper * tall)], fill=shade, width=width)
        case 3:  # a box that it touches
            out = random.uniform(0, 0.25, 4) * tall
            out[random.integers(4)] = -2
            box = [left - out[0], max(top - out[1], 0), right + out[2], bottom + out[3]]
            pen.rectangle([min(box[0], box[2]), box[1], max(box[0], box[2]), box[3]], outline=shade, width=width)
        case _:  # a ring that it touches
            out = random.uniform(-0.05, 0.2) * tall
            x, y, r = (left + right) / 2 + random.uniform(-9, 9), (top + bottom) / 2, tall / 2 + out
            pen.ellipse([x - r, max(y - r, 0), x + r, y + r], outline=shade, width=width)
    return np.asarray(sheet, np.float32) / np.float32(255)


def make_examples(seed: int, count: int, scans: NDArray[np.uint8]) -> tfmnist.Split:
    """Images as `predict` shows them to a model, labelled by `CLASSES`."""
    ways = (draw_one, draw_pair, draw_crossed)
    labels = np.arange(count) % 7 % 4 % 3  # 3 of 7 are one digit, 2 pairs, 2 crossed
    unit = np.array(CANVAS, np.float32) / max(CANVAS)

    def to_images(sheets: tf.Tensor) -> tf.Tensor:
        squares = tf.squeeze(tf.image.resize(tf.expand_dims(sheets, 3), [SIDE, SIDE]), 3)
        return place(squares, tf.fill([tf.shape(sheets)[0], 1], 1.0) * unit, FORMAT)

    traced: Any = tf.function(to_images, input_signature=[tf.TensorSpec([None, *CANVAS], tf.float32)])
    images = np.empty([count, 28, 28], np.uint8)
    for start in range(0, count, 100):
        rows = range(start, min(start + 100, count))
        sheets = [ways[labels[row]](np.random.default_rng([seed, row]), scans) for row in rows]
        images[rows.start : rows.stop] = traced(np.stack(sheets)).numpy()
    return tfmnist.Split(images, labels)


def shift(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Shifts a batch of images by up to a pixel."""
    row, column = tf.unstack(tf.random.stateless_uniform([2], seed, 0, 3, tf.int32))
    return tf.pad(images, [[0, 0], [1, 1], [1, 1]])[:, row : row + 28, column : column + 28]


def fold(model: tfmnist.CNN) -> dict[str, NDArray[np.float16]]:
    """Returns kernels and biases, batch normalisation folded into them, by number of the layer."""
    arrays: dict[str, Any] = {name: variable.numpy() for name, variable in model.named_variables().items()}
    folded: dict[str, Any] = {}
    for number, name in enumerate(name for name in arrays if name.endswith("kernel")):
        kernel, bias = arrays[name], arrays.get(name.replace("kernel", "bias"), 0.0)
        norm = f"batch_norm_{number + 1}/"
        if norm + "scale" in arrays:
            factor = arrays[norm + "scale"] / np.sqrt(arrays[norm + "variance"] + EPSILON)
            kernel, bias = kernel * factor, arrays[norm + "offset"] - arrays[norm + "mean"] * factor
        folded[f"{number}_kernel"], folded[f"{number}_bias"] = np.float16(kernel), np.float16(bias)
    return folded


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=80_000)
    parser.add_argument("--epochs", type=int, default=16)
    arguments = parser.parse_args()
    digits = tfmnist.load("mnist", validation=5000)
    train = make_examples(0, arguments.count, digits.train.images)
    validation = make_examples(1, 6000, digits.validation.images)
    model = tfmnist.CNN(image_shape=(28, 28), layers=LAYERS, classes=len(CLASSES), seed=0)
    optimizer: Any = tfmnist.Adam(model.parameters, learning_rate=0.003)
    settings: Any = {"epochs": arguments.epochs, "batch_size": 128, "augment": shift, "average": 0.998}
    tfmnist.fit(model, train, validation=validation, optimizer=optimizer, **settings)
    np.savez_compressed(WEIGHTS, allow_pickle=False, **fold(model))
    guesses = np.asarray(model.logits(validation.images)).argmax(1)
    for label, status in enumerate(CLASSES):
        counts = np.bincount(guesses[validation.labels == label], minlength=len(CLASSES))
        print(f"{status.name}: taken for {dict(zip([s.name for s in CLASSES], counts.tolist()))}")


if __name__ == "__main__":
    main()
