"""Normalizing in graph: a user's own picture, any PNG or JPEG, becomes an image like those a model was trained on.

MNIST's images were made from black and white scans: the ink's bounding box scaled without distortion to fit 20x20
pixels, with grey levels from anti-aliasing, then centred by its centre of mass in 28x28 (Y. LeCun, L. Bottou,
Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86(11), 1998, section
III.A). Here the scan comes first: the picture is decoded and turned upright, its background evened, its ink found, and
what is not part of a digit dropped.

All of it is TensorFlow operations on plain tensors, no variables and no Python at run time: it is traced into the
exported SavedModel.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfmnist.photos.decode import WORK_SIDE, decode, resize, to_batch, to_plane
from tfmnist.photos.digits import find_digits
from tfmnist.photos.ink import gradient, quantiles

STROKE = 2.3  # width in 28x28 that thin strokes are brought to: MNIST's median is 2.6, measured by `stroke_width`
THIN, THICK = 1.9, 4.2  # MNIST's 2nd and 97th percentile


@dataclass(frozen=True)
class ImageFormat:
    """What the images that a model was trained on look like."""

    height: int  # of an image, in pixels
    width: int
    centred: bool  # the ink is scaled to fit a box and centred by its mass, as in MNIST; otherwise it is only scaled
    dark_on_light: bool  # dark ink on a light ground, instead of MNIST's light ink on black
    box: float = 20 / 28  # the fraction of the sides that the ink fits; used only if `centred`

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as they stand in files, `dark_on_light` as `light_ground`."""
        return {"light_ground" if key == "dark_on_light" else key: value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "ImageFormat":
        """Returns the format from what `to_dict` returned."""
        return cls(**{"dark_on_light" if key == "light_ground" else key: value for key, value in fields.items()})


def find_format(images: NDArray[np.uint8]) -> ImageFormat:
    """Returns what training images, uint8 `[n, height, width]`, look like, from at most 1,000 of them, evenly spread.

    They are `dark_on_light` if the border's median is over 127, and `centred` if at least 90 % are like MNIST's.
    """
    count, height, width = images.shape
    sample = images[np.linspace(0, count - 1, min(count, 1000)).astype(int)] if count else images
    border = np.concatenate([sample[:, 0], sample[:, -1], sample[:, :, 0], sample[:, :, -1]], axis=1)
    light = bool(count and np.median(border) > 127)
    image_format = ImageFormat(height, width, centred=True, dark_on_light=light)
    ink = 255 - sample if light else sample
    centred = bool(count) and float(np.mean(is_mnist_like(tf.constant(ink), image_format).numpy())) >= 0.9
    return ImageFormat(height, width, centred=centred, dark_on_light=light)


def is_mnist_like(ink: tf.Tensor, image_format: ImageFormat) -> tf.Tensor:
    """Returns which images, uint8 `[n, height, width]`, 0 for ground, are scaled and centred as in MNIST: bool `[n]`.

    What is not exactly 0 has a bounding box no larger than the format's box, within a pixel of it along one side at
    least, and its centre of mass is within a pixel of the image's centre. (1.2 % of MNIST's images do touch the
    border: the box, not the border, is what they have in common.)
    """
    values = tf.cast(ink, tf.float32)
    mass = tf.reduce_sum(values, axis=[1, 2])
    fits, near, central = [], [], []
    for size, axis in ((image_format.height, 1), (image_format.width, 2)):
        profile = tf.reduce_sum(values, axis=3 - axis)  # [n, size]
        positions = tf.range(size, dtype=tf.float32)
        inked = profile > 0
        end, start = tf.where(inked, positions + 1, 0), tf.where(inked, positions, size)
        extent = tf.reduce_max(end, 1) - tf.reduce_min(start, 1)
        box = round(image_format.box * size)
        fits.append(extent <= box)
        near.append(extent >= box - 1)
        centre = tf.math.divide_no_nan(tf.linalg.matvec(profile, positions), mass)
        central.append(tf.abs(centre - size / 2) <= 1.0)
    return (mass > 0) & fits[0] & fits[1] & (near[0] | near[1]) & central[0] & central[1]


def normalize(contents: tf.Tensor, image_format: ImageFormat) -> tuple[tf.Tensor, tf.Tensor]:
    """Makes images as a model expects them from the bytes of n picture files, string `[n]`; n may be 0.

    Returns:
        uint8 `[n, height, width]`, and int64 `[n]`: how many digits were found. 0 is a blank picture, its image all
        ground; if there are several, the image has the ink of all. A picture that has the format is left as it is.

    Raises:
        tf.errors.InvalidArgumentError: not a PNG or JPEG, damaged, or of over 64 megapixels.
    """

    def one(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        images, count = _images(content, image_format, separate=False)
        return images[0], count

    shape = [image_format.height, image_format.width]
    signature = (tf.TensorSpec(shape, tf.uint8), tf.TensorSpec([], tf.int64))
    # few iterations in parallel, since each holds a decoded picture in memory
    return tf.map_fn(one, contents, fn_output_signature=signature, parallel_iterations=2)


def split_digits(contents: tf.Tensor | bytes, image_format: ImageFormat) -> NDArray[np.uint8]:
    """Makes an image of each digit in one picture, the bytes of a PNG or JPEG, from left to right.

    Returns:
        uint8 `[k, height, width]`; k is 0 for a blank picture, and 1 for any other if the format is not centred.

    Raises:
        tf.errors.InvalidArgumentError: as `normalize`.
    """
    return _splitter(image_format)(tf.convert_to_tensor(contents, tf.string)).numpy()


@lru_cache(maxsize=8)
def _splitter(image_format: ImageFormat) -> Any:
    def split(content: tf.Tensor) -> tf.Tensor:
        images, count = _images(content, image_format, separate=True)
        return images[: tf.cast(count, tf.int32)]

    return tf.function(split, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def _images(content: tf.Tensor, image_format: ImageFormat, separate: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns uint8 `[k, height, width]`, k at least 1, and how many digits there are, int64."""
    colours = decode(content, max(WORK_SIDE, image_format.height, image_format.width))
    if not image_format.centred:
        image, count = scale_only(colours, image_format)
        return image[tf.newaxis], count
    grey = tf.cast(tf.round(tf.reduce_mean(colours, axis=-1) * 255.0), tf.uint8)
    shape = [image_format.height, image_format.width]
    same_size = tf.reduce_all(tf.equal(tf.shape(grey), shape))
    # nothing but ink and ground, in the format or as its negative: the candidates to be left as they are
    exact = tf.cond(same_size, lambda: tf.reshape(grey, shape), lambda: tf.zeros(shape, tf.uint8))
    candidates = tf.stack([exact, 255 - exact])
    ready = is_mnist_like(candidates, image_format) & same_size

    def leave() -> tuple[tf.Tensor, tf.Tensor]:
        return tf.boolean_mask(candidates, ready)[:1], tf.constant(1, tf.int64)

    def make() -> tuple[tf.Tensor, tf.Tensor]:
        ink, groups = find_digits(colours)
        count = tf.reduce_max(groups)
        if separate:
            images = tf.map_fn(
                lambda number: place_ink(tf.where(groups == number, ink, 0.0), image_format),
                tf.range(1, tf.maximum(count, 1) + 1),
                fn_output_signature=tf.TensorSpec(shape, tf.uint8),
            )
        else:
            images = place_ink(tf.where(groups > 0, ink, 0.0), image_format)[tf.newaxis]
        return images, tf.cast(count, tf.int64)

    images, count = tf.cond(tf.reduce_any(ready), leave, make)
    images = tf.ensure_shape(images, [None, *shape])
    return (255 - images if image_format.dark_on_light else images), count


def scale_only(colours: tf.Tensor, image_format: ImageFormat) -> tuple[tf.Tensor, tf.Tensor]:
    """Scales a picture, float32 `[h, w, 3]` in [0, 1], without distortion, to the format's size and ground, in grey.

    Returns:
        uint8 `[height, width]`, and int64 1, or 0 if the picture is all one grey: then the image is all ground.
    """
    shape = [image_format.height, image_format.width]
    grey = tf.tensordot(colours, tf.constant([0.299, 0.587, 0.114]), 1)  # ITU-R BT.601
    border = tf.concat([grey[0], grey[-1], grey[:, 0], grey[:, -1]], axis=0)
    paper = quantiles(border, [0.5])[0]
    flip = tf.not_equal(paper > 0.5, image_format.dark_on_light)
    grey, paper = tf.where(flip, 1.0 - grey, grey), tf.where(flip, 1.0 - paper, paper)
    small = scale_to_fit(grey, shape)
    before = (shape - tf.shape(small)) // 2
    image = tf.pad(small - paper, tf.stack([before, shape - tf.shape(small) - before], axis=1)) + paper
    has_ink = tf.reduce_max(grey) - tf.reduce_min(grey) > 8 / 255
    image = tf.where(has_ink, image, 1.0 if image_format.dark_on_light else 0.0)
    image = tf.cast(tf.round(tf.clip_by_value(image, 0.0, 1.0) * 255.0), tf.uint8)
    return tf.ensure_shape(image, shape), tf.cast(has_ink, tf.int64)


def stroke_width(ink: tf.Tensor) -> tf.Tensor:
    """Returns the mean width of strokes in pixels, float32: twice the area by the outline's length, Σ |gradient|.

    `ink` is float32 `[h, w]` in [0, 1], its strokes at 1; without ink, the width is 0.
    """
    return 2 * tf.math.divide_no_nan(tf.reduce_sum(ink), tf.reduce_sum(gradient(tf.pad(ink, [[1, 1], [1, 1]]))))


def place_ink(ink: tf.Tensor, image_format: ImageFormat) -> tf.Tensor:
    """Places ink, float32 `[h, w]` in [0, 1], in an image as in MNIST: scaled to fit the box, centred by its mass.

    First it is scaled to an image four times as large, in which strokes that would be far thinner or thicker than
    MNIST's are thickened or thinned.

    Returns:
        uint8 `[height, width]`, 0 for the ground even if the format is dark on light.
    """
    shape = [image_format.height, image_format.width]
    finer = max(1, round(112 / max(shape)))
    box = [round(image_format.box * side) for side in shape]
    large_box = [side * finer for side in box]
    unit = finer * max(shape) / 28  # pixels of the large image to one of MNIST's

    def make() -> tf.Tensor:
        large = scale_to_fit(_widen_hairlines(crop(ink), large_box), large_box)
        small = scale_to_fit(crop(match_strokes(large, unit)), box)
        return centre(tf.clip_by_value(small, 0.0, 1.0), shape)

    image = tf.cond(tf.reduce_any(ink > 0.5), make, lambda: tf.zeros(shape))
    return tf.cast(tf.round(tf.ensure_shape(image, shape) * 255.0), tf.uint8)


def crop(ink: tf.Tensor) -> tf.Tensor:
    """Crops an image to its ink, which is over 0.5: float32 `[h, w]` to `[h', w']`; there must be some ink."""
    ink = tf.ensure_shape(ink, [None, None])
    pixels = tf.where(ink > 0.5)
    (top, left), (bottom, right) = tf.unstack(tf.reduce_min(pixels, 0)), tf.unstack(tf.reduce_max(pixels, 0) + 1)
    return ink[top:bottom, left:right]


def _fit(ink: tf.Tensor, box: list[int]) -> tuple[tf.Tensor, tf.Tensor]:
    size = tf.cast(tf.shape(ink), tf.float32)
    scale = tf.reduce_min(tf.constant(box, tf.float32) / size)
    return scale, tf.maximum(tf.cast(tf.round(size * scale), tf.int32), 1)


def scale_to_fit(ink: tf.Tensor, box: list[int]) -> tf.Tensor:
    """Scales an image, float32 `[h, w]`, to the largest size that fits a box, without distortion."""
    scale, size = _fit(ink, box)
    values = tf.expand_dims(ink, -1)
    return tf.cond(scale < 1, lambda: resize(values, size, "area"), lambda: resize(values, size, "bilinear"))[..., 0]


def _widen_hairlines(ink: tf.Tensor, box: list[int]) -> tf.Tensor:
    """Widens strokes that would be less than 1.5 pixels wide in the box, by a square pen."""
    scale, _ = _fit(ink, box)
    missing = tf.maximum(1.5 / scale - stroke_width(ink), 0.0)
    reach = tf.cast(tf.math.ceil(tf.minimum(missing, 64.0) / 2), tf.int32)

    def widen() -> tf.Tensor:
        values = to_batch(tf.pad(ink, tf.stack([[reach, reach], [reach, reach]])))
        for window in (tf.stack([1, 2 * reach + 1, 1, 1]), tf.stack([1, 1, 2 * reach + 1, 1])):
            values = tf.raw_ops.MaxPoolV2(input=values, ksize=window, strides=[1, 1, 1, 1], padding="SAME")
        return to_plane(values)

    return tf.cond(reach > 0, widen, lambda: ink)


def match_strokes(ink: tf.Tensor, unit: float) -> tf.Tensor:
    """Thickens strokes that are far thinner than MNIST's, and thins those that are far thicker, by a round pen.

    `ink` is float32 `[h, w]` in [0, 1], filling its frame; `unit` of its pixels are one of MNIST's 28. The result has a
    margin.
    """
    side = tf.cast(tf.reduce_max(tf.shape(ink)), tf.float32)
    width = stroke_width(ink)
    # thickening by d makes the ink d larger too, which is then scaled back to the box
    target = tf.clip_by_value(width, THIN * unit, THICK * unit)
    target = tf.where(width < THIN * unit, STROKE * unit, target)
    change = (target - width) / (1.0 - target / side)
    change = tf.clip_by_value(change, -0.3 * width, STROKE * unit * 1.5)
    margin = int(3 * unit)
    padded = tf.pad(ink, [[margin, margin], [margin, margin]])
    return tf.cond(
        change > 0.5,
        lambda: _dilate(padded, change / 2),
        lambda: tf.cond(change < -0.5, lambda: 1.0 - _dilate(1.0 - padded, -change / 2), lambda: padded),
    )


def _dilate(ink: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
    """The largest value under a disc with soft edges."""
    reach = tf.math.ceil(radius)
    offsets = tf.range(-reach, reach + 1)
    distance = tf.sqrt(tf.square(offsets[:, tf.newaxis]) + tf.square(offsets))
    disc = tf.clip_by_value(radius + 0.5 - distance, 0.0, 1.0) - 1.0
    disc = tf.where(distance > 0, disc, 0.0)
    dilated = tf.nn.dilation2d(to_batch(ink), tf.expand_dims(disc, -1), [1, 1, 1, 1], "SAME", "NHWC", [1, 1, 1, 1])
    return tf.clip_by_value(to_plane(dilated), 0.0, 1.0)


def centre(ink: tf.Tensor, shape: list[int]) -> tf.Tensor:
    """Pads an image, float32 `[h, w]`, to a larger shape by whole pixels: its mass centred, nothing cut off."""
    mass = tf.reduce_sum(ink)
    before = []
    for axis, side in enumerate(shape):
        length = tf.shape(ink)[axis]
        positions = tf.range(tf.cast(length, tf.float32))
        middle = tf.reduce_sum(tf.reduce_sum(ink, axis=1 - axis) * positions) / mass
        start = tf.cast(tf.round(side / 2 - middle), tf.int32)
        before.append(tf.clip_by_value(start, 0, side - length))
    after = [side - tf.shape(ink)[axis] - before[axis] for axis, side in enumerate(shape)]
    return tf.pad(ink, tf.stack([[before[0], after[0]], [before[1], after[1]]]))
