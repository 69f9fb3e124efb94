"""The network of cnn-best with one thing changed, for `ablations.toml`: what did not make it into the package."""

from typing import Any

import numpy as np
import tensorflow as tf

import tfmnist
from tfmnist import nn


class Block(nn.Layer):
    """Two 3x3 convolutions with batch normalisation; with a shortcut, or with squeeze and excitation.

    Sources: He et al. 2016 (shortcuts), Hu et al. 2018 (squeeze and excitation, reduced to an eighth).
    """

    def __init__(self, shape, filters, *, shortcut, excite, seed, name):
        super().__init__(name, (*shape[:2], filters))
        options = {"bias": False, "seed": seed}
        self.conv_1 = nn.Conv2D(shape, filters, (3, 3), name="conv_1", **options)
        self.norm_1 = nn.BatchNorm(self.output_shape, name="norm_1")
        self.conv_2 = nn.Conv2D(self.output_shape, filters, (3, 3), name="conv_2", **options)
        self.norm_2 = nn.BatchNorm(self.output_shape, name="norm_2")
        self.shortcut, self.excite = shortcut, excite
        if shortcut and shape[-1] != filters:
            self.project = nn.Conv2D(shape, filters, (1, 1), name="project", **options)
        if excite:
            self.squeeze_1 = nn.Dense(filters, filters // 8, seed=seed, name="squeeze_1")
            self.squeeze_2 = nn.Dense(filters // 8, filters, seed=seed, name="squeeze_2")

    def forward(self, x, training, step):
        y = tf.nn.relu(self.norm_1.forward(self.conv_1.forward(x, training, step), training, step))
        y = self.norm_2.forward(self.conv_2.forward(y, training, step), training, step)
        if self.excite:
            share = tf.nn.relu(self.squeeze_1.forward(tf.reduce_mean(y, [1, 2]), training, step))
            y *= tf.sigmoid(self.squeeze_2.forward(share, training, step))[:, tf.newaxis, tf.newaxis]
        if self.shortcut:
            y += self.project.forward(x, training, step) if hasattr(self, "project") else x
        return tf.nn.relu(y)


class Whitened(nn.Layer):
    """A 5x5 convolution whose filters whiten the patches of the training images, and are not trained.

    Source: K. Jordan, "94 % on CIFAR-10 in 3.29 seconds on a single GPU", 2024, section 3.1.
    """

    def __init__(self, image_shape, *, name):
        super().__init__(name, (*image_shape, 32))
        images = tfmnist.load("mnist").train.images[:2000].astype(np.float32) / 255
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(images, ((0, 0), (2, 2), (2, 2))), (5, 5), (1, 2))
        patches = windows.reshape(-1, 25)
        values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / np.sqrt(values + 1e-2))[:, ::-1][:, :16].reshape(5, 5, 1, 16)
        self.kernel = tf.Variable(
            tf.constant(np.concatenate([filters, -filters], axis=-1), tf.float32), trainable=False
        )

    def forward(self, x, training, step):
        return tf.nn.relu(tf.nn.conv2d(x, tf.cast(self.kernel, x.dtype), 1, "SAME"))


class Best(nn.Network):
    def __init__(
        self,
        image_shape,
        classes,
        *,
        seed,
        shortcut: bool = False,
        excite: bool = False,
        whiten: bool = False,
        erase: float = 0.0,
        thicken: float = 0.0,
        shifts: int = 0,
    ):
        super().__init__(image_shape, classes, "best")
        self.grey = nn.AddChannel(image_shape)
        if whiten:
            self.stem, self.norm = Whitened(image_shape, name="stem"), None
        else:
            self.stem = nn.Conv2D((*image_shape, 1), 32, (5, 5), bias=False, seed=seed, name="stem")
            self.norm = nn.BatchNorm(self.stem.output_shape, name="norm")
        options = {"shortcut": shortcut, "excite": excite, "seed": seed}
        self.pool_1 = nn.Pool(self.stem.output_shape, 2, name="pool_1")
        self.block_1 = Block(self.pool_1.output_shape, 64, name="block_1", **options)
        self.pool_2 = nn.Pool(self.block_1.output_shape, 2, name="pool_2")
        self.block_2 = Block(self.pool_2.output_shape, 128, name="block_2", **options)
        self.head = nn.Dense(128, classes, seed=seed, name="logits")
        self.erase, self.thicken, self.shifts, self.seed = erase, thicken, shifts, seed

    def forward(self, images, training=False, step=None):
        if training and self.erase:
            images = erased(images, self.erase, tf.stack([tf.constant(self.seed, tf.int64), step]))
        if training and self.thicken:
            images = thickened(images, self.thicken, tf.stack([tf.constant(self.seed, tf.int64), step]))
        if training or not self.shifts:
            return self.logits_of(images, training, step)
        moves = [(0, 0), *((sign * self.shifts, 0) for sign in (1, -1)), *((0, sign * self.shifts) for sign in (1, -1))]
        each = [tf.nn.log_softmax(self.logits_of(tf.roll(images, move, (1, 2)), False, step)) for move in moves]
        return tf.reduce_logsumexp(tf.stack(each), axis=0)

    def logits_of(self, images, training, step):
        x = self.stem.forward(self.grey.forward(images, training, step), training, step)
        x = x if self.norm is None else tf.nn.relu(self.norm.forward(x, training, step))
        x = self.block_1.forward(self.pool_1.forward(x, training, step), training, step)
        x = self.pool_2.forward(x, training, step)
        x = tf.cast(self.block_2.forward(x, training, step), tf.float32)
        return self.head.forward(tf.reduce_max(x, [1, 2]), training, step)


def uniform(images, count, key):
    """Returns `count` numbers in [0, 1) per image, `[batch, count, 1, 1]`."""
    shape: Any = tf.stack([tf.shape(images)[0], count, 1, 1])
    return tf.random.stateless_uniform(shape, key, alg="philox")


def erased(images, largest, key):
    """A rectangle of 1 to `largest` pixels a side, anywhere in each image, becomes background (Zhong et al. 2020)."""
    height, width = (int(size) for size in images.shape[1:])
    draws = uniform(images, 4, key)
    y, x = tf.range(height, dtype=tf.float32)[:, tf.newaxis], tf.range(width, dtype=tf.float32)
    tall, wide = (0.5 + draws[:, side] * (largest - 1) / 2 for side in (2, 3))
    inside = (tf.abs(y - height * draws[:, 0]) < tall) & (tf.abs(x - width * draws[:, 1]) < wide)
    return tf.where(inside, tf.zeros_like(images), images)


def thickened(images, most, key):
    """Strokes become thicker or thinner: each image is mixed with its dilation or erosion by 3x3, by up to `most`."""
    amount = most * (2 * uniform(images, 1, key) - 1)
    x = tf.cast(images[..., tf.newaxis], tf.float32)
    wider, thinner = tf.nn.max_pool2d(x, 3, 1, "SAME"), -tf.nn.max_pool2d(-x, 3, 1, "SAME")
    changed = x + tf.where(amount > 0, amount * (wider - x), amount * (x - thinner))
    return tf.cast(changed[..., 0], images.dtype)
