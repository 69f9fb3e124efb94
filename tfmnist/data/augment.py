"""Augmentation: a random affine change of each image, for a whole block of images at once.

It runs in the `tf.data` stage, beside the training of the block before. What a picture becomes is a function of
(seed, step, place in the batch), so it does not depend on how steps are grouped into blocks.
"""

import math

import tensorflow as tf

from tfmnist import seeds
from tfmnist.recipe import Augment


def augment_block(images: tf.Tensor, first_step: tf.Tensor, section: Augment, seed: int) -> tf.Tensor:
    """Returns the block with every image rotated, scaled, sheared and shifted at random, bilinearly resampled.

    Args:
        images: uint8 `[steps, batch, height, width]`.
        first_step: int64 scalar, number of the block's first step since the start of training.
        section: the largest changes; each is drawn uniformly from minus to plus it.
        seed: the run's seed.

    Returns:
        uint8, the shape of `images`; what comes in from outside is 0.
    """
    steps, batch, height, width = tf.unstack(tf.shape(images))
    key = tf.constant(seeds.key(seed, "augment"), tf.int64)
    numbers = first_step + tf.range(tf.cast(steps, tf.int64))
    draws = tf.map_fn(
        lambda step: tf.random.stateless_uniform([batch, 6], tf.stack([key, step]), -1.0, 1.0, alg="philox"),
        numbers,
        fn_output_signature=tf.TensorSpec([None, 6], tf.float32),
    )
    transforms = affine_transforms(tf.reshape(draws, [-1, 6]), height, width, section)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(tf.reshape(images, [-1, height, width, 1]), tf.float32),
        transforms=transforms,
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.reshape(tf.cast(tf.round(moved), tf.uint8), tf.shape(images))


def affine_transforms(draws: tf.Tensor, height: tf.Tensor, width: tf.Tensor, section: Augment) -> tf.Tensor:
    """Returns `[n, 8]` transforms from output to input pixels, about the picture's centre.

    Args:
        draws: float32 `[n, 6]` in [-1, 1]: rotation, scale of x and of y, shear, shift of x and of y.
        height: int32 scalar.
        width: int32 scalar.
        section: the largest changes.
    """
    rotate, scale_x, scale_y, shear, shift_x, shift_y = tf.unstack(draws, axis=1)
    angle = rotate * (section.rotate * math.pi / 180)
    slant = tf.tan(shear * (section.shear * math.pi / 180))
    scale_x, scale_y = 1.0 + scale_x * section.scale, 1.0 + scale_y * section.scale
    cosine, sine = tf.cos(angle), tf.sin(angle)
    # rows of R(angle) · [[1, slant], [0, 1]] · diag(1 / scale), which maps an output pixel to where it comes from
    a, b = cosine / scale_x, (cosine * slant - sine) / scale_y
    c, d = sine / scale_x, (sine * slant + cosine) / scale_y
    centre_x, centre_y = (tf.cast(width, tf.float32) - 1) / 2, (tf.cast(height, tf.float32) - 1) / 2
    from_x = centre_x - shift_x * section.shift
    from_y = centre_y - shift_y * section.shift
    zero = tf.zeros_like(a)
    return tf.stack(
        [a, b, from_x - a * centre_x - b * centre_y, c, d, from_y - c * centre_x - d * centre_y, zero, zero], axis=1
    )
