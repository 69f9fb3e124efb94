"""Evaluation: every example counted once, sums divided once."""

from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfmnist.data.split import Split
from tfmnist.errors import InputError, did_you_mean
from tfmnist.nn.losses import LOSSES, probabilities
from tfmnist.nn.metrics import Metrics, measure

_BATCH = 1000


class Classifier(Protocol):
    """A network, or an exported model."""

    image_shape: tuple[int, int]
    classes: int

    def logits(self, images: Any) -> tf.Tensor:
        """uint8 `[n, height, width]` to float32 `[n, classes]`."""
        ...


def evaluate(model: Classifier, split: Split, loss: str = "cross_entropy") -> Metrics:
    """Measures a network or an exported model on a split.

    Args:
        model: `tfmnist.MLP`, `tfmnist.CNN`, or what `tfmnist.load_exported` returns.
        split: images and labels.
        loss: `cross_entropy` or `quadratic`; without smoothing or penalties, which belong to training.

    Raises:
        InputError: the images' size is not the model's, or a label is beyond its classes.
    """
    return outputs(model, split, loss)[0]


def outputs(model: Classifier, split: Split, loss: str = "cross_entropy") -> tuple[Metrics, np.ndarray]:
    """Like `evaluate`, with the probabilities: float32 `[n, classes]`."""
    check_split(split, model)
    if loss not in LOSSES:
        raise InputError(f"loss {loss!r} does not exist{did_you_mean(loss, LOSSES)}")
    batches, total = [np.zeros((0, model.classes), np.float32)], 0.0
    for start in range(0, len(split), _BATCH):
        images, labels = split.take(np.arange(start, min(start + _BATCH, len(split))))
        logits = model.logits(images)
        total += float(tf.reduce_sum(tf.cast(LOSSES[loss](logits, tf.constant(labels)), tf.float64)))
        batches.append(probabilities(loss, logits).numpy())
    all_probabilities = np.concatenate(batches)
    return measure(split.labels, all_probabilities, total / max(1, len(split))), all_probabilities


def check_split(split: Split, model: Classifier, name: str = "") -> None:
    """Raises an `InputError` if images or labels of a split, such as `training`, do not fit a model."""
    prefix = f"{name} " if name else ""
    (height, width), shape, classes = split.image_shape, model.image_shape, model.classes
    if (height, width) != shape:
        raise InputError(
            f"{prefix}images are {height}x{width} but the model takes {shape[0]}x{shape[1]}; use images of that size, "
            "or make a model for these."
        )
    beyond = split.labels[(split.labels < 0) | (split.labels >= classes)]
    if len(beyond):
        raise InputError(
            f"{prefix}label {beyond[0]} is beyond the model's {classes} classes, 0 to {classes - 1}; number the "
            "classes from 0, or make a model with more."
        )
