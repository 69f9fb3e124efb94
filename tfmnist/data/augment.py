"""Augmentation: random affine and elastic changes of each image, for a whole block of images at once.

It runs in the `tf.data` stage while the previous block is trained on. The result is a function of (seed, step,
position in the batch), so it does not depend on how steps are grouped into blocks.
"""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfmnist import seeds


def augment_block(
    images: tf.Tensor,
    first_step: tf.Tensor,
    seed: int,
    *,
    rotate: float = 0.0,
    scale: float = 0.0,
    shear: float = 0.0,
    shift: float = 0.0,
    elastic: float = 0.0,
    elastic_width: float = 4.0,
    rows: slice = slice(None),
    batch: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns the block with every image rotated, scaled, sheared, shifted and distorted at random.

    All changes are one map from output to input pixels, resampled bilinearly once.

    Args:
        images: uint8 `[steps, batch, height, width]`.
        first_step: int64 scalar, number of the block's first step since the start of training.
        seed: the run's seed.
        rotate: largest angle in degrees; this and the next three are drawn uniformly from minus to plus the value.
        scale: largest fraction by which each axis independently grows or shrinks.
        shear: largest slant in degrees.
        shift: largest shift in pixels along each axis.
        elastic: root mean square in pixels of a random displacement that varies smoothly.
        elastic_width: standard deviation in pixels of the Gaussian that smooths the displacements.
        rows: of each whole batch, those that the images are.
        batch: int32 scalar, size of a whole batch, if the images are not all of it.

    Returns:
        uint8, the shape of `images`; pixels from outside are 0.
    """
    steps, own, height, width = tf.unstack(tf.shape(images))
    batch = own if batch is None else batch
    numbers = first_step + tf.range(tf.cast(steps, tf.int64))
    flat = tf.reshape(images, [-1, height, width])
    draws = _draw("augment", seed, numbers, [batch, 6], rows)
    transforms = affine_transforms(draws, height, width, rotate=rotate, scale=scale, shear=shear, shift=shift)
    if elastic:
        noise = _draw("elastic", seed, numbers, [batch, 2, height, width], rows)
        moved = sample(flat, transforms, elastic_fields(noise, elastic, elastic_width))
    else:
        moved = tf.raw_ops.ImageProjectiveTransformV3(
            images=tf.cast(tf.expand_dims(flat, -1), tf.float32),
            transforms=transforms,
            output_shape=[height, width],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )
    return tf.reshape(tf.cast(tf.round(moved), tf.uint8), tf.shape(images))


def _draw(name: str, seed: int, numbers: tf.Tensor, shape: Sequence[Any], rows: slice) -> tf.Tensor:
    """Returns float32 in [-1, 1): for each step the `rows` of `shape`, all of one axis; f(seed, name, step)."""
    key = tf.constant(seeds.key(seed, name), tf.int64)

    @tf.autograph.experimental.do_not_convert
    def draw(step: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, tf.stack([key, step]), -1.0, 1.0, alg="philox")[rows]

    draws = tf.map_fn(
        draw,
        numbers,
        fn_output_signature=tf.TensorSpec([None] * len(shape), tf.float32),
    )
    return tf.reshape(draws, tf.concat([[-1], tf.stack(shape)[1:]], axis=0))


def elastic_fields(noise: tf.Tensor, size: float, width: float) -> tf.Tensor:
    """Returns displacements in pixels, along x and along y, by smoothing noise (Simard, Steinkraus and Platt 2003).

    Both are float32 `[n, 2, height, width]`, the noise uniform in [-1, 1). The displacements' root mean square along
    each axis, uniform over the picture, is `size`; the standard deviation of the Gaussian that smooths is `width`.
    """
    variance_of_noise = 1 / 3
    smooth = noise
    for axis in (2, 3):
        position = tf.range(tf.cast(tf.shape(noise)[axis], tf.float32))
        kernel = tf.exp(-0.5 * tf.square((position[:, tf.newaxis] - position) / width))
        kernel /= tf.norm(kernel, axis=0)  # columns of length 1 keep the variance
        # over axis 2, which becomes the last: after both, the axes are in order
        smooth = tf.tensordot(smooth, kernel, axes=[[2], [0]])
    return (size / math.sqrt(variance_of_noise)) * smooth


# takes a third to a half of the time of its operations one by one; compiled in a tenth of a second
@tf.function(jit_compile=True, autograph=False, reduce_retracing=True)
def sample(images: tf.Tensor, transforms: tf.Tensor, fields: tf.Tensor) -> tf.Tensor:
    """Returns each image, uint8 `[n, height, width]`, seen through an affine map and a displacement of each pixel.

    `transforms` is float32 `[n, 8]`, from `affine_transforms`; `fields`, float32 `[n, 2, height, width]`, is added to
    the position that an output pixel comes from. The result, bilinearly resampled, is float32 in [0, 255], 0 outside.
    """
    count, height, width = tf.unstack(tf.shape(images))
    x = tf.range(tf.cast(width, tf.float32))
    y = tf.range(tf.cast(height, tf.float32))[:, tf.newaxis]
    a, b, c, d, e, f, *_ = (column[:, tf.newaxis, tf.newaxis] for column in tf.unstack(transforms, axis=1))
    from_x = tf.clip_by_value(a * x + b * y + c + fields[:, 0], -1.0, tf.cast(width, tf.float32))
    from_y = tf.clip_by_value(d * x + e * y + f + fields[:, 1], -1.0, tf.cast(height, tf.float32))
    left = tf.minimum(tf.cast(tf.floor(from_x), tf.int32) + 1, width)
    top = tf.minimum(tf.cast(tf.floor(from_y), tf.int32) + 1, height)
    right = from_x + 1.0 - tf.cast(left, tf.float32)  # weight of the right neighbour
    lower = from_y + 1.0 - tf.cast(top, tf.float32)
    # the four neighbours of a point as one 32-bit number, so that one gather does for four
    framed = tf.pad(images, [[0, 0], [1, 1], [1, 1]])
    corners = [framed[:, :-1, :-1], framed[:, :-1, 1:], framed[:, 1:, :-1], framed[:, 1:, 1:]]
    packed = tf.reshape(tf.bitcast(tf.stack(corners, axis=-1), tf.int32), [-1])
    first = tf.range(count)[:, tf.newaxis, tf.newaxis] * ((height + 1) * (width + 1))
    neighbours = tf.bitcast(tf.gather(packed, first + top * (width + 1) + left), tf.uint8)
    p, q, r, s = tf.unstack(tf.cast(neighbours, tf.float32), axis=-1)
    above, below = p + right * (q - p), r + right * (s - r)
    return above + lower * (below - above)


def affine_transforms(
    draws: tf.Tensor, height: tf.Tensor, width: tf.Tensor, *, rotate: float, scale: float, shear: float, shift: float
) -> tf.Tensor:
    """Returns transforms from output to input pixels, about the picture's centre, float32 `[n, 8]`.

    `draws` is float32 `[n, 6]` in [-1, 1]: rotation, scale of x and of y, shear, shift of x and of y.
    """
    turn, wider, taller, slanted, moved_x, moved_y = tf.unstack(draws, axis=1)
    angle = turn * (rotate * math.pi / 180)
    slant = tf.tan(slanted * (shear * math.pi / 180))
    scale_x, scale_y = 1.0 + wider * scale, 1.0 + taller * scale
    cosine, sine = tf.cos(angle), tf.sin(angle)
    # rows of R(angle) · [[1, slant], [0, 1]] · diag(1 / scale), which maps an output pixel to where it comes from
    a, b = cosine / scale_x, (cosine * slant - sine) / scale_y
    c, d = sine / scale_x, (sine * slant + cosine) / scale_y
    centre_x, centre_y = (tf.cast(width, tf.float32) - 1) / 2, (tf.cast(height, tf.float32) - 1) / 2
    from_x = centre_x - moved_x * shift
    from_y = centre_y - moved_y * shift
    zero = tf.zeros_like(a)
    return tf.stack(
        [a, b, from_x - a * centre_x - b * centre_y, c, d, from_y - c * centre_x - d * centre_y, zero, zero], axis=1
    )
