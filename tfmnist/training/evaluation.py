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
    if split.image_shape != model.image_shape:
        raise InputError(
            f"images are {_size(split.image_shape)} but the model takes {_size(model.image_shape)}; "
            "evaluate it on images of that size."
        )
    if loss not in LOSSES:
        raise InputError(f"loss {loss!r} does not exist{did_you_mean(loss, LOSSES)}")
    beyond = split.labels[(split.labels < 0) | (split.labels >= model.classes)]
    if len(beyond):
        raise InputError(f"label {beyond[0]} is beyond the model's {model.classes} classes, 0 to {model.classes - 1}.")
    batches, total = [np.zeros((0, model.classes), np.float32)], 0.0
    for start in range(0, len(split), _BATCH):
        images, labels = split.take(np.arange(start, min(start + _BATCH, len(split))))
        logits = model.logits(images)
        total += float(tf.reduce_sum(tf.cast(LOSSES[loss](logits, tf.constant(labels)), tf.float64)))
        batches.append(probabilities(loss, logits).numpy())
    all_probabilities = np.concatenate(batches)
    return measure(split.labels, all_probabilities, total / max(1, len(split))), all_probabilities


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]}x{shape[1]}"
