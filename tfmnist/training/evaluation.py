"""Evaluation: every example counted once, sums divided once."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist.data.batches import Examples, as_split
from tfmnist.data.split import Split
from tfmnist.errors import InputError
from tfmnist.nn.losses import LossFunction, Objective, find_loss, per_example, probabilities
from tfmnist.nn.metrics import Metrics, measure
from tfmnist.nn.models import CNN, MLP, as_network
from tfmnist.nn.runtime import check_runtime

_BATCH = 1000


class Classifier(Protocol):
    """A network, or an exported model."""

    image_shape: tuple[int, int]
    classes: int

    def logits(self, images: Any) -> tf.Tensor:
        """uint8 `[n, height, width]` to float32 `[n, classes]`."""
        ...


class Outputs(NamedTuple):
    """A model's metrics and predictions for a split."""

    metrics: Metrics
    probabilities: npt.NDArray[np.float32]  # [n, classes]
    extra: dict[str, float]
    """The means of further functions of logits and labels, by name."""


def evaluate(model: Classifier | tf.Module, split: Examples, loss: str | LossFunction = "cross_entropy") -> Metrics:
    """Measures a network or an exported model on a split.

    Args:
        model: a network, a plain `tf.Module` with a `forward`, or what `tfmnist.load_exported` returns.
        split: the examples, in any form that `tfmnist.fit` takes; a `tf.data.Dataset` must end.
        loss: the name of a loss, or a function `(logits, labels) -> [batch]`; without smoothing or penalties, which
            belong to training.

    Raises:
        InputError: the images' size is not the model's, or a label is beyond its classes.
    """
    check_runtime()
    examples = as_split(split)
    if isinstance(model, tf.Module):
        model = as_network(model, examples.image_shape)
        if not isinstance(model, MLP | CNN):
            model.check_forward()  # traces it again, since its attributes may have changed
    elif not hasattr(model, "logits"):
        raise InputError(f"the model is a {type(model).__name__}: expected a network, or what load_exported returns.")
    return outputs(model, examples, loss, temperature=getattr(model, "temperature", 1.0)).metrics


def outputs(
    model: Classifier,
    split: Split,
    loss: str | LossFunction | Objective = "cross_entropy",
    extra: Mapping[str, LossFunction] = MappingProxyType({}),
    *,
    temperature: float = 1.0,
) -> Outputs:
    """Like `evaluate`, with the probabilities at a temperature, and the means of further functions like the loss."""
    check_split(split, model)
    objective = find_loss(loss)
    functions = {"": objective.function, **extra}
    totals = dict.fromkeys(functions, 0.0)
    batches = [np.zeros((0, model.classes), np.float32)]
    for start in range(0, len(split), _BATCH):
        images, labels = split.take(np.arange(start, min(start + _BATCH, len(split))))
        logits = model.logits(images)
        for name, function in functions.items():
            values = per_example(function, logits, tf.constant(labels), name or objective.name)
            totals[name] += float(tf.reduce_sum(tf.cast(values, tf.float64)))
        batches.append(probabilities(objective.name, logits, temperature).numpy())
    means = {name: total / max(1, len(split)) for name, total in totals.items()}
    every = np.concatenate(batches)
    return Outputs(measure(split.labels, every, means.pop("")), every, means)


def check_split(split: Split, model: Classifier, name: str = "") -> None:
    """Raises an `InputError` if images or labels of a split, such as `training`, do not fit a model."""
    prefix = f"{name} " if name else ""
    (height, width), shape, classes = split.image_shape, model.image_shape, model.classes
    if (height, width) != shape:
        raise InputError(
            f"{prefix}images are {height}x{width} but the model takes {shape[0]}x{shape[1]}; use images of that size, "
            "or make a model for these."
        )
    labels = split.compact_labels
    beyond = labels[(labels < 0) | (labels >= classes)]
    if len(beyond):
        raise InputError(
            f"{prefix}label {beyond[0]} is beyond the model's {classes} classes, 0 to {classes - 1}; number the "
            "classes from 0, or make a model with more."
        )
