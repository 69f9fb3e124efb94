"""The tape against central differences: for every kind of layer, activation and loss, in float64 where there is one."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfmnist.nn.layers import ACTIVATIONS, BatchNorm, Dense, Layer
from tfmnist.nn.losses import LOSSES
from tfmnist.nn.models import CNN, MLP, Network

Loss = Callable[[], tf.Tensor]
LABELS = tf.constant([0, 2, 1, 2])


def in_float64(model: Network) -> Network:
    """Replaces all variables of the layers; they compute in the dtype of what comes in."""
    for layer in model.layers:
        for name, value in list(vars(layer).items()):
            if isinstance(value, tf.Variable):
                setattr(layer, name, tf.Variable(tf.cast(value, tf.float64), name=value.name.removesuffix(":0")))
    return model


def through(layers: Sequence[Layer], x: tf.Tensor) -> tf.Tensor:
    """The layers one by one, without the part of `Network.forward` that is about the batch."""
    for layer in layers:
        x = layer.forward(x, True, tf.constant(5, tf.int64))
    return x


def images(model: Network, dtype: Any) -> tf.Variable:
    return tf.Variable(tf.constant(np.random.default_rng(1).uniform(size=(4, *model.image_shape)), dtype))


def slopes(loss: Loss, variables: Sequence[tf.Variable], h: float) -> list[tuple[float, float]]:
    """For each variable, the derivative along a random direction: by the tape, and by central differences."""
    with tf.GradientTape() as tape:
        value = loss()
    gradients: Any = tape.gradient(value, variables)
    random, pairs = np.random.default_rng(2), []
    for variable, gradient in zip(variables, gradients, strict=True):
        start = variable.numpy()
        direction = tf.constant(random.normal(size=start.shape), variable.dtype)
        direction /= tf.norm(direction)
        values = []
        for side in (h, -h):
            variable.assign(start + side * direction)
            values.append(float(loss()))
        variable.assign(start)
        pairs.append((float(tf.reduce_sum(gradient * direction)), (values[0] - values[1]) / (2 * h)))
    return pairs


def check_float64(model: Network, loss: str, **options: float) -> None:
    model = in_float64(model)
    x = images(model, tf.float64)

    def value() -> tf.Tensor:
        return tf.reduce_mean(LOSSES[loss](through(model.layers, x), LABELS, **options))

    for by_tape, by_differences in slopes(value, [x, *model.parameters], h=1e-6):
        assert by_tape == pytest.approx(by_differences, rel=1e-6, abs=1e-9)
        assert by_tape != 0.0


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_mlp_with_every_activation_and_loss(activation: str, loss: str) -> None:
    check_float64(MLP((3, 4), [6, 5], 3, activation=activation), loss)


@pytest.mark.parametrize(
    "layers",
    [
        ["conv 3 3x3"],
        ["conv 3 3x2 /2 valid", "conv 4 2x2"],
        ["conv 3 3x3", "max 2", "dense 4"],
        ["conv 3 3x3", "average 2", "flatten"],
        ["conv 3 3x3", "global max"],
        ["conv 3 3x3", "global average"],
        ["conv 3 3x3", "dropout 0.4", "dense 5", "dropout 0.4"],
    ],
    ids=" ".join,
)
def test_cnn_with_every_layer(layers: list[str]) -> None:
    check_float64(CNN((7, 6), layers, 3, activation="tanh", batch_norm=False), "cross_entropy")


def test_softmax_regression_with_label_smoothing() -> None:
    check_float64(MLP((3, 4), [], 3), "cross_entropy", label_smoothing=0.2)


def test_dropout_of_dense_layers() -> None:
    check_float64(MLP((3, 4), [9], 3, activation="gelu", dropout=0.3), "quadratic")


@pytest.mark.parametrize(
    "model",
    [
        MLP((3, 4), [6], 3, activation="tanh", batch_norm=True),
        CNN((6, 5), ["conv 3 3x3", "global average"], 3, activation="tanh", batch_norm=True),
    ],
    ids=["vectors", "pictures"],
)
def test_batch_norm(model: Network) -> None:
    """In float32, as the operation has no float64: longer steps, less of them in common."""
    x = images(model, tf.float32)
    for variable in model.parameters:  # away from the scales of 1 and the offsets of 0
        variable.assign_add(tf.random.stateless_normal(tf.shape(variable), (3, 4), stddev=0.3))

    def value() -> tf.Tensor:
        logits = model.forward(tf.convert_to_tensor(x), True, tf.constant(5, tf.int64))
        return tf.reduce_mean(LOSSES["cross_entropy"](logits, LABELS))

    kept = [p for p in model.parameters if p.name != "dense_1/bias:0"]  # the mean is subtracted, so its slope is 0
    for by_tape, by_differences in slopes(value, [x, *kept], h=1e-2):
        assert by_tape == pytest.approx(by_differences, rel=1e-2, abs=1e-4)


def test_a_bias_before_batch_norm_has_no_slope() -> None:
    dense, norm = Dense(5, 6), BatchNorm((6,))
    assert dense.bias is not None
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(tf.tanh(through([dense, norm], tf.random.stateless_normal([4, 5], (1, 2)))))
    gradient: Any = tape.gradient(value, dense.bias)
    np.testing.assert_allclose(gradient, np.zeros(6), atol=1e-5)
