"""Normalizing in graph: a user's own picture, of any size, becomes an image like those a model was trained on.

MNIST's images were made from black and white scans: the ink's bounding box scaled without distortion to fit 20x20
pixels, with grey levels from anti-aliasing, then centred by its centre of mass in 28x28 (Y. LeCun, L. Bottou,
Y. Bengio, P. Haffner, "Gradient-Based Learning Applied to Document Recognition", Proc. IEEE 86(11), 1998, section
III.A). So it is here: the picture is decoded upright (`decode`), its ink found (`ink`), what is no digit dropped
(`digits`) and the digit placed; what is not one digit alone is refused (`one_digit`), and a `status` says why.

All of it is TensorFlow operations on plain tensors, no variables and no Python at run time: it is traced into the
exported SavedModel.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfmnist.photos import one_digit
from tfmnist.photos.decode import SIDE, decode
from tfmnist.photos.digits import find_digits
from tfmnist.photos.ink import enlarge, find_ink, largest, quantiles
from tfmnist.photos.status import Status

SMALLEST = 112  # pixels of the longer side: smaller pictures are enlarged
STROKE = 2.3  # width in 28x28 that thin strokes are brought to: MNIST's median is 2.6
THIN = 1.9  # MNIST's 2nd percentile
RAMP = (0.1, 0.85)  # the ink that becomes 0 and 1: edges become as steep as MNIST's


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


def are_digits(class_names: Sequence[str]) -> bool:
    """Returns whether all classes are digits, 0 to 9."""
    return set(class_names) <= set("0123456789")


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


def normalize(
    contents: tf.Tensor, image_format: ImageFormat, digits_only: bool = False
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Makes images as a model expects them from the bytes of n picture files, string `[n]`; n may be 0.

    A picture that has the format is left as it is. One that cannot be read does not keep the others from being read.

    Args:
        contents: PNG, JPEG, BMP or GIF files.
        image_format: of the images.
        digits_only: the classes are digits, so what is not one digit alone can be told.

    Returns:
        Images, uint8 `[n, height, width]`, all ground if there is nothing to show; int64 `[n]`, how many digits were
        found, the image having the ink of all; and int64 `[n]`, the `Status`.
    """

    @tf.autograph.experimental.do_not_convert
    def read(index: tf.Tensor, content: tf.Tensor) -> tuple[tf.Tensor, ...]:
        images, count, status = _read(content, image_format, digits_only, separate=False)
        return index, images[0], count, status

    # A graph has no exceptions, but a pipeline drops the elements that fail. Two in parallel, since each holds a
    # decoded picture in memory. The last element is one more, so that there is one if all others fail.
    count = tf.size(contents, tf.int64)
    ground = tf.fill([image_format.height, image_format.width], tf.constant(255 * image_format.dark_on_light, tf.uint8))
    zero = tf.zeros([], tf.int64)
    last = tf.data.Dataset.from_tensors((count, ground, zero, zero))
    pictures = tf.data.Dataset.from_tensor_slices((tf.range(count), contents))
    pictures = pictures.map(read, num_parallel_calls=2, deterministic=False).ignore_errors()
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    index, *outputs = pictures.concatenate(last).batch(count + 1).with_options(options).get_single_element()
    images, digits, status = (
        tf.tensor_scatter_nd_update(tf.repeat(damaged[tf.newaxis], count + 1, 0), index[:, tf.newaxis], output)[:-1]
        for damaged, output in zip((ground, zero, tf.constant(Status.DAMAGED, tf.int64)), outputs)
    )
    return images, digits, status


def split_digits(
    content: tf.Tensor | bytes, image_format: ImageFormat, digits_only: bool = False
) -> tuple[NDArray[np.uint8], Status]:
    """Makes an image of each digit in one picture file, from left to right.

    Returns:
        uint8 `[k, height, width]`, and the status: READ, or why not all are digits; k is 0 for a blank or unreadable
        picture, and 1 for any other if the format is not centred.
    """
    try:
        images, count, status = _splitter(image_format, digits_only)(tf.convert_to_tensor(content, tf.string))
    except tf.errors.OpError:
        return np.zeros([0, image_format.height, image_format.width], np.uint8), Status.DAMAGED
    return images.numpy()[: int(count)], Status(int(status))


@lru_cache(maxsize=8)
def _splitter(image_format: ImageFormat, digits_only: bool) -> Any:
    return tf.function(
        lambda content: _read(content, image_format, digits_only, separate=True),
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    )


def _read(
    content: tf.Tensor, image_format: ImageFormat, digits_only: bool, separate: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns images, uint8 `[k, height, width]`, how many digits there are, and the status, int64.

    There is one image of all digits; or with `separate`, one of each.
    """
    shape = [image_format.height, image_format.width]
    colours, damage = decode(content, max(SIDE, *shape))
    if image_format.centred:
        images, count, status = _read_centred(colours, image_format, digits_only, separate)
        images = 255 - images if image_format.dark_on_light else images
    else:
        image, count = scale_only(colours, image_format)
        images, status = image[tf.newaxis], tf.where(count > 0, tf.constant(Status.READ, tf.int64), Status.BLANK)
    status = tf.where(damage > 0, damage, status)
    return tf.ensure_shape(images, [None, *shape]), tf.cast(tf.where(damage > 0, 0, count), tf.int64), status


def _read_centred(
    colours: tf.Tensor, image_format: ImageFormat, digits_only: bool, separate: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    shape = [image_format.height, image_format.width]
    size = tf.shape(colours)[:2]
    # nothing but ink and ground, in the format or as its negative: left as it is
    grey = tf.cast(tf.round(tf.reduce_mean(colours, axis=-1) * 255.0), tf.uint8)
    exact = tf.cond(tf.reduce_all(size == shape), lambda: tf.reshape(grey, shape), lambda: tf.zeros(shape, tf.uint8))
    candidates = tf.stack([exact, 255 - exact])
    ready = tf.boolean_mask(candidates, is_mnist_like(candidates, image_format))[:1]

    def one(ink: tf.Tensor, digits: tf.Tensor, number: tf.Tensor | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        chosen = select(ink, digits, number)
        image = place(chosen, image_format)
        if not digits_only:
            return image, tf.constant(Status.READ, tf.int64)
        seen = image if shape == [28, 28] else place(chosen, ImageFormat(28, 28, centred=True, dark_on_light=False))
        return image, one_digit.check(seen)

    def find() -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        enlarged = -(-SMALLEST // tf.reduce_max(size))
        picture = tf.cond(enlarged > 1, lambda: enlarge(colours, size * enlarged), lambda: colours)
        ink, noise = find_ink(picture)
        digits = find_digits(ink, noise)
        count = tf.reduce_max(digits)
        if not separate:
            image, status = tf.cond(count > 0, lambda: one(ink, digits), lambda: (tf.zeros(shape, tf.uint8), blank))
            return image[tf.newaxis], count, tf.where(count <= 1, status, Status.SEVERAL)
        images, status = tf.map_fn(
            lambda number: one(ink, digits, number),
            tf.range(1, count + 1),
            fn_output_signature=(tf.TensorSpec(shape, tf.uint8), tf.TensorSpec([], tf.int64)),
        )
        return images, count, tf.reduce_max(tf.where(count > 0, tf.pad(status, [[0, 1]]), blank))

    blank = tf.constant(Status.BLANK, tf.int64)
    return tf.cond(tf.size(ready) > 0, lambda: (ready, 1, tf.constant(Status.READ, tf.int64)), find)


def scale_only(colours: tf.Tensor, image_format: ImageFormat) -> tuple[tf.Tensor, tf.Tensor]:
    """Scales a picture, float32 `[h, w, 3]` in [0, 1], without distortion, to the format's size and ground, in grey.

    Returns:
        uint8 `[height, width]`, and int32 1, or 0 if the picture is all one grey: then the image is all ground.
    """
    shape = [image_format.height, image_format.width]
    grey = tf.tensordot(colours, tf.constant([0.299, 0.587, 0.114]), 1)  # ITU-R BT.601
    border = tf.concat([grey[0], grey[-1], grey[:, 0], grey[:, -1]], axis=0)
    paper = quantiles(border[tf.newaxis])[2]
    flip = tf.not_equal(paper > 0.5, image_format.dark_on_light)
    grey, paper = tf.where(flip, 1.0 - grey, grey), tf.where(flip, 1.0 - paper, paper)
    size = tf.cast(tf.shape(grey), tf.float32)
    fitted = tf.maximum(tf.round(size * tf.reduce_min(shape / size)), 1.0)
    image = tf.raw_ops.ScaleAndTranslate(
        images=(grey - paper)[tf.newaxis, :, :, tf.newaxis],
        size=shape,
        scale=fitted / size,
        translation=tf.floor((shape - fitted) / 2),
        kernel_type="triangle",
    )
    has_ink = tf.reduce_max(grey) - tf.reduce_min(grey) > 8 / 255
    image = tf.where(has_ink, image + paper, 1.0 if image_format.dark_on_light else 0.0)
    image = tf.cast(tf.round(tf.clip_by_value(image, 0.0, 1.0) * 255.0), tf.uint8)
    return tf.reshape(image, shape), tf.cast(has_ink, tf.int32)


def select(ink: tf.Tensor, digits: tf.Tensor, number: tf.Tensor | None = None) -> tf.Tensor:
    """Returns the ink, float32 `[h, w]`, in the bounding box of one digit, or of all, and 0 elsewhere.

    In the box, only ink of other digits or of none is left out, by what `find_digits` returned: soft strokes stay.
    """
    inside = tf.cast(digits > 0 if number is None else tf.equal(digits, number), tf.float32)
    box = 1.0
    for axis in (0, 1):
        inked = tf.reduce_max(inside, 1 - axis, keepdims=True)
        box *= tf.cast((tf.cumsum(inked, axis) > 0) & (tf.cumsum(inked, axis, reverse=True) > 0), tf.float32)
    is_own = digits >= 0 if number is None else tf.equal(digits, 0) | (inside > 0)
    return tf.where(is_own, ink * box, 0.0)


def place(ink: tf.Tensor, image_format: ImageFormat) -> tf.Tensor:
    """Places ink, float32 `[h, w]` in [0, 1], in an image as in MNIST: scaled to fit the box, centred by its mass."""
    shape = [image_format.height, image_format.width]
    box = [round(image_format.box * side) for side in shape]
    unit = max(shape) / 28  # pixels of the image to one of MNIST's
    pixels = tf.where(ink > 0.2)
    values = tf.gather_nd(ink, pixels)[:, tf.newaxis]
    pixels = tf.cast(pixels, tf.float32)
    ink = ink[tf.newaxis, :, :, tf.newaxis]
    area = tf.reduce_sum(values)
    low, high = tf.reduce_min(pixels, 0), tf.reduce_max(pixels, 0) + 1.0
    scale = tf.reduce_min(box / (high - low))
    # thin strokes are thickened; a stroke's width is twice its area by the length of its outline
    width = 2.0 * area / (area + tf.reduce_sum(largest(-ink, 3, 3)))
    missing = tf.where(width * scale < THIN * unit, STROKE * unit / scale - width, 0.0)
    reach = tf.math.ceil(tf.clip_by_value(missing / 2, 0.0, 32.0))
    window = 2 * tf.cast(reach, tf.int32) + 1
    ink = largest(ink, window, window)
    low, size = low - reach, high - low + 2.0 * reach
    fitted = tf.maximum(tf.round(size * tf.reduce_min(box / size)), 1.0)
    scale = fitted / size
    middle = (tf.reduce_sum(pixels * values, 0) / area + 0.5 - low) * scale
    start = tf.clip_by_value(tf.round([side / 2 for side in shape] - middle), 0.0, shape - fitted)
    image = tf.raw_ops.ScaleAndTranslate(
        images=ink, size=shape, scale=scale, translation=start - low * scale, kernel_type="lanczos3"
    )
    image = tf.reshape((image - RAMP[0]) / (RAMP[1] - RAMP[0]), shape)
    return tf.cast(tf.round(tf.clip_by_value(image, 0.0, 1.0) * 255.0), tf.uint8)
