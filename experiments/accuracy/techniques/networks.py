"""The network of cnn-best with one thing changed, for `ablations.toml`: what did not make it into the package."""

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
    """A 5x5 convolution of stride 2 whose filters whiten the patches of the training images, and are not trained.

    Source: K. Jordan, "94 % on CIFAR-10 in 3.29 seconds on a single GPU", 2024, section 3.1.
    """

    def __init__(self, image_shape, *, name):
        super().__init__(name, (image_shape[0] // 2, image_shape[1] // 2, 32))
        images = tfmnist.load("mnist").train.images[:2000].astype(np.float32) / 255
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(images, ((0, 0), (2, 2), (2, 2))), (5, 5), (1, 2))
        patches = windows[:, ::2, ::2].reshape(-1, 25)
        values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / np.sqrt(values + 1e-2))[:, ::-1][:, :16].reshape(5, 5, 1, 16)
        self.kernel = tf.Variable(
            tf.constant(np.concatenate([filters, -filters], axis=-1), tf.float32), trainable=False
        )

    def forward(self, x, training, step):
        return tf.nn.relu(tf.nn.conv2d(x, tf.cast(self.kernel, x.dtype), 2, "SAME"))


class Best(nn.Network):
    def __init__(self, image_shape, classes, *, seed, shortcut=False, excite=False, whiten=False, both_pools=False):
        super().__init__(image_shape, classes, "best")
        self.grey = nn.AddChannel(image_shape)
        if whiten:
            self.stem, self.norm = Whitened(image_shape, name="stem"), None
        else:
            self.stem = nn.Conv2D((*image_shape, 1), 32, (5, 5), stride=2, bias=False, seed=seed, name="stem")
            self.norm = nn.BatchNorm(self.stem.output_shape, name="norm")
        options = {"shortcut": shortcut, "excite": excite, "seed": seed}
        self.block_1 = Block(self.stem.output_shape, 64, name="block_1", **options)
        self.pool = nn.Pool(self.block_1.output_shape, 2)
        self.block_2 = Block(self.pool.output_shape, 128, name="block_2", **options)
        self.both_pools = both_pools
        self.head = nn.Dense(256 if both_pools else 128, classes, seed=seed, name="logits")

    def forward(self, images, training=False, step=None):
        x = self.stem.forward(self.grey.forward(images, training, step), training, step)
        x = x if self.norm is None else tf.nn.relu(self.norm.forward(x, training, step))
        x = self.pool.forward(self.block_1.forward(x, training, step), training, step)
        x = tf.cast(self.block_2.forward(x, training, step), tf.float32)
        pooled = [tf.reduce_max(x, [1, 2]), *([tf.reduce_mean(x, [1, 2])] if self.both_pools else [])]
        return self.head.forward(tf.concat(pooled, axis=1), training, step)


def make(
    image_shape,
    classes,
    *,
    seed,
    shortcut: bool = False,
    excite: bool = False,
    whiten: bool = False,
    both_pools: bool = False,
):
    return Best(image_shape, classes, seed=seed, shortcut=shortcut, excite=excite, whiten=whiten, both_pools=both_pools)
