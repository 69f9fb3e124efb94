"""Tells an image of one digit from two digits that touch, and from a digit that something crosses.

A network for MNIST was trained on single digits only, and would read each of these as one. So a second, small network,
`one_digit.npz`, was trained to tell them apart; `experiments/one_digit.py` makes its pictures and trains it.
"""

from functools import cache
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfmnist.photos.status import Status

WEIGHTS = Path(__file__).parent / "one_digit.npz"
CLASSES = (Status.READ, Status.TOUCHING, Status.CROSSED)
BENEFIT_OF_DOUBT = 1.0  # added to the logit of one digit
LAYERS = ("conv 16 5x5 /2", "conv 32 3x3 /2", "conv 48 3x3 /2", "dense 32")


def check(images: tf.Tensor) -> tf.Tensor:
    """Returns the status of images as in MNIST, uint8 `[n, 28, 28]`: READ for one digit; int64 `[n]`."""
    x = tf.expand_dims(tf.cast(images, tf.float32), 3) / 255.0
    *hidden, (kernel, bias) = _weights()
    for weights, shift in hidden:
        if weights.ndim == 4:
            x = tf.nn.relu(tf.nn.conv2d(x, weights, 2, "SAME") + shift)
        else:
            x = tf.nn.relu(tf.reshape(x, [-1, len(weights)]) @ weights + shift)
    logits = x @ kernel + bias + [BENEFIT_OF_DOUBT, 0.0, 0.0]
    return tf.gather(tf.constant(CLASSES, tf.int64), tf.argmax(logits, 1))


@cache
def _weights() -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    with np.load(WEIGHTS, allow_pickle=False) as file:
        arrays = [file[name].astype(np.float32) for name in sorted(file.files)]
    return list(zip(arrays[1::2], arrays[::2]))
