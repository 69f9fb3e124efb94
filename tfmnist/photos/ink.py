"""Finding ink in graph: what is drawn on a picture, dark or light, of any colour, on paper that may be shaded."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

PAPER_SIDE = 96  # longer side of the small picture in which the paper is estimated
WIDEST = 29  # of its pixels: wider than any stroke, narrower than most shadows
MIN_CONTRAST = 0.07  # between ink and paper
SHADE = 0.3  # what differs less from the paper may be shade
MIN_RISE = 0.14  # of such ink, within five pixels of the small picture: shade rises slowly
IGNORED = -9.0
_BINS = 512


def graph_function(*signature: tf.TensorSpec) -> Callable[[Any], Any]:
    """Makes a function that a graph which calls it several times holds once."""
    return tf.function(input_signature=signature, autograph=False)


def find_ink(colours: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the ink of a picture, float32 `[h, w, 3]` in [0, 1].

    The paper's colour is estimated at every place, from the surroundings that no stroke fills; the ink is how far a
    pixel differs from it, so grey levels stay.

    Returns:
        float32 `[h, w]` in [0, 1], 1 for ink of full strength; and a float32 scalar, what exceeds the noise. The first
        is 0 everywhere if there is no ink.
    """
    size = tf.shape(colours)[:2]
    small = resize(colours, small_size(size))
    is_dark = is_ink_dark(small)
    colours, small = [tf.where(is_dark, 1.0 - picture, picture) for picture in (colours, small)]
    # ink is light from here on; a plane takes out light that falls off to one side
    plane = _slope(small) + tf.transpose(_slope(tf.transpose(small, [1, 0, 2])), [1, 0, 2])
    paper = largest(-largest((plane - small)[tf.newaxis], WIDEST, WIDEST), WIDEST, WIDEST)[0] + plane
    # reflectance: a shadow dims ink and paper alike
    room = tf.maximum(1.0 - tf.reduce_min(paper, axis=-1, keepdims=True), 0.25)
    paper = tf.nn.avg_pool2d(tf.concat([paper, room], -1)[tf.newaxis], 3, 1, "SAME")[0]
    rise = tf.reduce_max((small - paper[:, :, :3]) / paper[:, :, 3:], -1, keepdims=True)[tf.newaxis]
    rise = tf.reduce_max(largest(rise, 5, 5) + largest(-rise, 5, 5))
    paper, room = tf.split(enlarge(paper, size), [3, 1], axis=-1)
    difference = tf.reduce_max((colours - paper) / room, axis=-1)
    low, middle, _, _ = tf.unstack(quantiles(difference))
    noise = middle - low  # of which up to 40 % of the picture may be ink
    difference -= middle + 0.3 * noise
    floor = tf.maximum(MIN_CONTRAST, 3.5 * noise)
    contrast = quantiles(tf.where(difference > floor, difference, IGNORED))[3]
    contrast = tf.where((contrast > 1.3 * floor) & ((rise > MIN_RISE) | (contrast > SHADE)), contrast, 1e6)
    return tf.clip_by_value(difference / contrast, 0.0, 1.0), floor / contrast


def is_ink_dark(small: tf.Tensor) -> tf.Tensor:
    """Returns whether ink is darker than paper, a bool scalar: most of a picture, or of its border, is paper."""
    grey = tf.reduce_mean(small, -1)
    border = tf.concat([tf.reshape(part, [1, -1]) for part in (grey[:2], grey[-2:], grey[:, :2], grey[:, -2:])], 1)
    # the lighter of both: a frame or table round paper is dark, and so is a thick digit that fills the picture
    paper = tf.maximum(quantiles(grey)[2], quantiles(border)[2])
    margin = PAPER_SIDE // 4
    padded = tf.pad(grey - paper, [[margin, margin]] * 2)[:, :, tf.newaxis]
    around = enlarge(resize(padded, tf.constant([6, 6])), tf.shape(padded)[:2])  # the mean of the surroundings
    difference = padded - around
    return tf.reduce_sum(difference**3) < 0


@graph_function(tf.TensorSpec([None, None, 3]))
def _slope(picture: tf.Tensor) -> tf.Tensor:
    """Returns how light falls off from the first row to the last, float32 `[h, 1, 1]`: the median of differences."""
    grey = tf.reduce_mean(picture, -1)
    height = tf.shape(grey)[0]
    step = height // 8
    slope = quantiles(grey[step:] - grey[: height - step])[2] / tf.cast(tf.maximum(step, 1), tf.float32)
    return (slope * tf.range(tf.cast(height, tf.float32)))[:, tf.newaxis, tf.newaxis]


@graph_function(tf.TensorSpec([None, None]))
def quantiles(values: tf.Tensor) -> tf.Tensor:
    """Returns the 5, 30, 50 and 93 % quantiles of `[h, w]` values from -0.5 to 1.5, to 1/256: float32 `[4]`.

    Those below -0.5 are ignored.
    """
    reached = tf.cumsum(tf.histogram_fixed_width(values, [-0.5, 1.5], _BINS)[1:])
    ranks = tf.constant([0.05, 0.3, 0.5, 0.93]) * tf.cast(reached[-1], tf.float32)
    below = tf.reduce_sum(tf.cast(tf.cast(reached, tf.float32)[:, tf.newaxis] <= ranks, tf.float32), axis=0)
    return (below + 1.5) * (2 / _BINS) - 0.5


def small_size(size: tf.Tensor) -> tf.Tensor:
    """Returns the size, int32 `[2]`, of which the longer side is `PAPER_SIDE`."""
    scale = PAPER_SIDE / tf.reduce_max(size)
    return tf.maximum(tf.cast(tf.round(tf.cast(size, tf.float64) * scale), tf.int32), 1)


def enlarge(picture: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Enlarges a picture, float32 `[h, w, c]`, linearly."""
    return tf.raw_ops.ResizeBilinear(images=picture[tf.newaxis], size=size, half_pixel_centers=True)[0]


@graph_function(tf.TensorSpec([None, None, None]), tf.TensorSpec([2], tf.int32))
def resize(picture: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resizes a picture, float32 `[h, w, c]`, linearly, averaging where it shrinks."""
    scale = tf.cast(size, tf.float32) / tf.cast(tf.shape(picture)[:2], tf.float32)
    return tf.raw_ops.ScaleAndTranslate(
        images=picture[tf.newaxis], size=size, scale=scale, translation=[0.0, 0.0], kernel_type="triangle"
    )[0]


@graph_function(tf.TensorSpec([1, None, None, None]), tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.int32))
def largest(values: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Returns the largest value in a window round each pixel, float32 `[1, h, w, c]`."""
    shape = tf.shape(values)
    for window in (rows, columns):
        # Along the first axis, all else as channels, which is many times as fast; and the same turned.
        values = tf.reshape(values, tf.stack([1, shape[1], 1, -1]))
        ksize = tf.stack([1, window, 1, 1])
        values = tf.raw_ops.MaxPoolV2(input=values, ksize=ksize, strides=[1, 1, 1, 1], padding="SAME")
        values = tf.transpose(tf.reshape(values, shape), [0, 2, 1, 3])
        shape = tf.gather(shape, [0, 2, 1, 3])
    return tf.ensure_shape(values, [1, None, None, None])
