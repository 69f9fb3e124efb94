"""Layers: each against NumPy, in both precisions, compiled or not; their gradients against central differences."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tfmnist.errors import InputError
from tfmnist.nn.layers import (
    ACTIVATIONS,
    Activation,
    AddChannel,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalPool,
    Layer,
    Noise,
    Pool,
)
from tfmnist.nn.losses import LOSSES
from tfmnist.nn.models import CNN, MLP, Network

Array = NDArray[Any]
STEP = tf.constant(3, tf.int64)


def some(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def run(layer: Layer, x: Array, training: bool = False, step: tf.Tensor | None = None) -> Array:
    return layer.forward(tf.constant(x), training, step).numpy()


def in_three_modes(function: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    return {
        "eager": function,
        "graph": tf.function(function, autograph=False),
        "xla": tf.function(function, autograph=False, jit_compile=True),
    }


def convolve(x: Array, kernel: Array, stride: int, padding: str) -> Array:
    """Cross-correlation with loops; SAME pads (all that is needed) // 2 zeros at the top and left, the rest below."""
    (n, height, width, _), (kh, kw, _, filters) = x.shape, kernel.shape
    if padding == "SAME":
        out_h, out_w = math.ceil(height / stride), math.ceil(width / stride)
        pad_h, pad_w = max((out_h - 1) * stride + kh - height, 0), max((out_w - 1) * stride + kw - width, 0)
        x = np.pad(x, ((0, 0), (pad_h // 2, pad_h - pad_h // 2), (pad_w // 2, pad_w - pad_w // 2), (0, 0)))
    else:
        out_h, out_w = (height - kh) // stride + 1, (width - kw) // stride + 1
    y = np.zeros([n, out_h, out_w, filters])
    for i in range(out_h):
        for j in range(out_w):
            window = x[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
            y[:, i, j] = np.einsum("nhwc,hwcf->nf", window, kernel)
    return y


def windows(x: Array, size: int) -> Array:
    """`[n, height, width, c]` to `[n, height // size, width // size, size², c]`; what is left over is cut off."""
    n, height, width, channels = x.shape
    h, w = height // size, width // size
    x = x[:, : h * size, : w * size].reshape(n, h, size, w, size, channels)
    return x.swapaxes(2, 3).reshape(n, h, w, size * size, channels)


def test_dense_is_a_product_and_a_sum() -> None:
    layer, x = Dense(5, 3, seed=1), some(4, 5)
    assert layer.bias is not None
    layer.bias.assign([1.0, -2.0, 0.5])
    np.testing.assert_allclose(run(layer, x), x @ layer.kernel.numpy() + [1.0, -2.0, 0.5], rtol=1e-5, atol=1e-6)


def test_layers_without_bias_have_a_kernel_only() -> None:
    dense, conv = Dense(5, 3, bias=False), Conv2D((4, 4, 2), 3, (3, 3), bias=False)
    x = some(2, 5)
    assert [len(layer.trainable_variables) for layer in (dense, conv)] == [1, 1]
    np.testing.assert_allclose(run(dense, x), x @ dense.kernel.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("size", "stride", "shape"),
    [((3, 3), 1, (5, 6, 2)), ((3, 2), 2, (7, 6, 3)), ((5, 5), 3, (8, 9, 1)), ((1, 1), 2, (5, 5, 2))],
)
def test_convolution_slides_its_kernel(
    size: tuple[int, int], stride: int, shape: tuple[int, int, int], padding: Literal["SAME", "VALID"]
) -> None:
    layer, x = Conv2D(shape, 4, size, stride=stride, padding=padding, seed=2), some(2, *shape)
    assert layer.bias is not None
    bias = np.array([0.5, 1.0, -1.0, 2.0])
    layer.bias.assign(bias)
    expected = convolve(x, layer.kernel.numpy(), stride, padding) + bias
    assert layer.output_shape == expected.shape[1:]
    np.testing.assert_allclose(run(layer, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_pooling_takes_the_largest_or_the_average_of_each_window(size: int) -> None:
    x = some(2, 7, 6, 3)
    np.testing.assert_array_equal(run(Pool((7, 6, 3), size), x), windows(x, size).max(axis=3))
    average = run(Pool((7, 6, 3), size, kind="average"), x)
    np.testing.assert_allclose(average, windows(x, size).mean(axis=3), rtol=1e-5, atol=1e-6)


def test_global_pooling_leaves_the_channels() -> None:
    x = some(2, 4, 5, 3)
    np.testing.assert_array_equal(run(GlobalPool((4, 5, 3)), x), x.max(axis=(1, 2)))
    average = run(GlobalPool((4, 5, 3), kind="average"), x)
    np.testing.assert_allclose(average, x.mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)


def test_flatten_keeps_the_order() -> None:
    x = some(2, 3, 4, 5)
    np.testing.assert_array_equal(run(Flatten((3, 4, 5)), x), x.reshape(2, 60))


@pytest.mark.parametrize("shape", [(8, 3), (4, 5, 6, 3)])
def test_batch_norm_in_training_normalises_by_the_batch(shape: tuple[int, ...]) -> None:
    layer, x = BatchNorm(shape[1:], epsilon=1e-3), 5 + 2 * some(*shape)
    layer.scale.assign([1.0, 2.0, 3.0])
    layer.offset.assign([0.0, -1.0, 1.0])
    axes = tuple(range(len(shape) - 1))
    mean, variance = x.mean(axis=axes), x.var(axis=axes)
    expected = (x - mean) / np.sqrt(variance + 1e-3) * [1.0, 2.0, 3.0] + [0.0, -1.0, 1.0]
    np.testing.assert_allclose(run(layer, x, training=True), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(8, 3), (4, 5, 6, 3)])
def test_batch_norm_averages_follow_the_batches(shape: tuple[int, ...]) -> None:
    layer, axes = BatchNorm(shape[1:], momentum=0.75), tuple(range(len(shape) - 1))
    mean, variance = np.zeros(3), np.ones(3)
    for seed in range(3):
        x = 5 + 2 * some(*shape, seed=seed)
        run(layer, x, training=True)
        mean = 0.75 * mean + 0.25 * x.mean(axis=axes)
        variance = 0.75 * variance + 0.25 * x.var(axis=axes, ddof=1)  # of the population, not of the batch
    np.testing.assert_allclose(layer.mean.numpy(), mean, rtol=1e-5)
    np.testing.assert_allclose(layer.variance.numpy(), variance, rtol=1e-4)


def test_batch_norm_in_evaluation_uses_the_averages_and_leaves_them() -> None:
    layer, x = BatchNorm((3,), epsilon=1e-3), some(4, 3)
    layer.mean.assign([1.0, 2.0, 3.0])
    layer.variance.assign([4.0, 1.0, 0.25])
    expected = (x - [1.0, 2.0, 3.0]) / np.sqrt(np.array([4.0, 1.0, 0.25]) + 1e-3)
    np.testing.assert_allclose(run(layer, x), expected, rtol=1e-5, atol=1e-5)
    assert layer.mean.numpy().tolist() == [1.0, 2.0, 3.0]
    assert layer.variance.numpy().tolist() == [4.0, 1.0, 0.25]


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_batch_norm_of_a_single_example_stays_finite(mode: str) -> None:
    layer = BatchNorm((3,), momentum=0.5)
    layer.offset.assign([0.0, 1.0, 2.0])
    train = in_three_modes(lambda x: layer.forward(x, True, None))[mode]
    np.testing.assert_allclose(train(tf.constant([[4.0, 5.0, 6.0]])), [[0.0, 1.0, 2.0]], atol=1e-5)
    np.testing.assert_allclose(layer.mean.numpy(), [2.0, 2.5, 3.0], rtol=1e-6)
    np.testing.assert_allclose(layer.variance.numpy(), [0.5, 0.5, 0.5], rtol=1e-6)  # the batch's variance is 0


def test_batch_norm_trains_scale_and_offset_only() -> None:
    names = [variable.name for variable in BatchNorm((3,), name="bn").trainable_variables]
    assert sorted(names) == ["bn/offset:0", "bn/scale:0"]


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
@pytest.mark.parametrize("shape", [(8, 3), (4, 5, 6, 3)])
def test_frozen_batch_norm_trains_as_it_evaluates(shape: tuple[int, ...], mode: str) -> None:
    layer, x = BatchNorm(shape[1:]), 5 + 2 * some(*shape)
    layer.mean.assign([1.0, 2.0, 3.0])
    layer.variance.assign([4.0, 1.0, 0.25])
    before = [variable.numpy() for variable in layer.variables]
    expected = run(layer, x)
    layer.frozen = True
    train = in_three_modes(lambda x: layer.forward(x, True, None))[mode]
    np.testing.assert_allclose(train(tf.constant(x)), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(run(layer, x), expected, rtol=1e-6)
    for variable, value in zip(layer.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_layers_are_not_frozen_at_first() -> None:
    assert not any(layer.frozen for layer, _ in LAYERS.values())


def test_activations_are_their_formulas() -> None:
    x = np.linspace(-6, 6, 101, dtype=np.float32)
    erf = np.array([math.erf(v / math.sqrt(2)) for v in x.astype(float)])
    formulas = {
        "relu": np.maximum(x, 0),
        "sigmoid": 1 / (1 + np.exp(-x.astype(np.float64))),
        "tanh": np.tanh(x.astype(np.float64)),
        "gelu": x * 0.5 * (1 + erf),
    }
    assert set(formulas) == set(ACTIVATIONS)
    for kind, expected in formulas.items():
        np.testing.assert_allclose(run(Activation(x.shape, kind), x), expected, rtol=1e-5, atol=1e-6, err_msg=kind)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations_are_finite_far_out(kind: str) -> None:
    with tf.GradientTape() as tape:
        x = tf.constant([-1e4, 0.0, 1e4])
        tape.watch(x)
        y = ACTIVATIONS[kind](x)
    assert np.isfinite(y.numpy()).all()
    gradient: Any = tape.gradient(y, x)
    assert np.isfinite(gradient.numpy()).all()


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    layer = Dropout((500,), 0.3, seed=1)
    y = run(layer, np.ones([200, 500], np.float32), training=True, step=STEP)
    assert np.mean(y == 0) == pytest.approx(0.3, abs=0.01)
    np.testing.assert_allclose(y[y != 0], 1 / 0.7, rtol=1e-6)
    assert y.mean() == pytest.approx(1.0, abs=0.01)


def test_dropout_in_evaluation_or_with_rate_zero_is_the_identity() -> None:
    x = some(3, 5)
    np.testing.assert_array_equal(run(Dropout((5,), 0.5), x), x)
    np.testing.assert_array_equal(run(Dropout((5,), 0.0), x, training=True), x)


def test_dropout_is_a_function_of_seed_name_and_step() -> None:
    x = np.ones([20, 50], np.float32)

    def mask(seed: int = 1, name: str = "dropout_1", step: int = 3) -> list[list[bool]]:
        layer = Dropout((50,), 0.5, seed=seed, name=name)
        return (run(layer, x, training=True, step=tf.constant(step, tf.int64)) != 0).tolist()

    assert mask() == mask()
    others = [mask(seed=2), mask(name="dropout_2"), mask(step=4), mask(step=3 + 2**32)]
    for other in others:
        assert 0.4 < np.mean(np.array(mask()) == np.array(other)) < 0.6


@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_dropout_drops_the_same_compiled(mode: str) -> None:
    layer = Dropout((51,), 0.4, seed=1)
    modes = in_three_modes(lambda x, step: layer.forward(x, True, step))
    x = tf.ones([20, 51])
    for step in (0, 7):
        plain, compiled = (modes[name](x, tf.constant(step, tf.int64)).numpy() for name in ("eager", mode))
        np.testing.assert_array_equal(plain != 0, compiled != 0)
        np.testing.assert_allclose(plain, compiled, rtol=1e-6)


@pytest.mark.parametrize("layer", [Dropout((5,), 0.5), Noise((5,), 0.5)])
def test_what_is_drawn_in_training_needs_the_step(layer: Layer) -> None:
    with pytest.raises(InputError, match=r"needs the step; pass step=optimizer\.step"):
        run(layer, some(3, 5), training=True)


def test_noise_has_its_deviation_and_is_a_function_of_seed_name_and_step() -> None:
    def added(seed: int = 1, name: str = "noise_1", step: int = 3) -> NDArray[np.float32]:
        layer = Noise((50,), 0.3, seed=seed, name=name)
        return run(layer, np.ones([200, 50], np.float32), training=True, step=tf.constant(step, tf.int64)) - 1

    assert added().mean() == pytest.approx(0.0, abs=0.01) and added().std() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_array_equal(added(), added())
    for other in (added(seed=2), added(name="noise_2"), added(step=4), added(step=3 + 2**32)):
        assert abs(np.corrcoef(added().ravel(), other.ravel())[0, 1]) < 0.05


def test_noise_in_evaluation_or_without_deviation_is_the_identity() -> None:
    x = some(3, 5)
    np.testing.assert_array_equal(run(Noise((5,), 0.5), x), x)
    np.testing.assert_array_equal(run(Noise((5,), 0.0), x, training=True), x)
    for deviation in (-0.1, math.inf, math.nan):
        with pytest.raises(InputError, match="deviation must be at least 0"):
            Noise((5,), deviation)


LAYERS: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "dense": (Dense(6, 3), (6,)),
    "conv": (Conv2D((6, 7, 2), 3, (3, 3), stride=2), (6, 7, 2)),
    "batch_norm of vectors": (BatchNorm((6,)), (6,)),
    "batch_norm of pictures": (BatchNorm((6, 7, 2)), (6, 7, 2)),
    "dropout": (Dropout((6,), 0.5), (6,)),
    "noise": (Noise((6,), 0.5), (6,)),
    "max": (Pool((6, 7, 2), 2), (6, 7, 2)),
    "average": (Pool((6, 7, 2), 3, kind="average"), (6, 7, 2)),
    "global max": (GlobalPool((6, 7, 2)), (6, 7, 2)),
    "global average": (GlobalPool((6, 7, 2), kind="average"), (6, 7, 2)),
    "flatten": (Flatten((6, 7, 2)), (6, 7, 2)),
    "grey": (AddChannel((6, 7)), (6, 7)),
    **{kind: (Activation((6,), kind), (6,)) for kind in ACTIVATIONS},
}


@pytest.mark.parametrize("kind", LAYERS)
def test_output_shape_is_the_shape_that_comes_out(kind: str) -> None:
    layer, shape = LAYERS[kind]
    for batch in (1, 3):
        for training in (True, False):
            y = run(layer, some(batch, *shape), training, STEP)
            assert y.shape == (batch, *layer.output_shape)
            assert y.dtype == np.float32


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_bfloat16_comes_out_as_bfloat16_close_to_float32(kind: str, training: bool) -> None:
    layer, shape = LAYERS[kind]
    x = tf.cast(tf.constant(some(8, *shape)), tf.bfloat16)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer.forward(x, training, STEP)
    gradient: Any = tape.gradient(
        y, [x, *layer.trainable_variables], unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    assert y.dtype == tf.bfloat16
    assert [g.dtype for g in gradient] == [tf.bfloat16] + [tf.float32] * len(layer.trainable_variables)
    assert all(variable.dtype == tf.float32 for variable in layer.variables)
    expected = layer.forward(tf.cast(x, tf.float32), training, STEP).numpy()
    np.testing.assert_allclose(tf.cast(y, tf.float32).numpy(), expected, rtol=0.02, atol=0.05)


def test_kernels_and_windows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="layer conv_1: a 5x3 kernel does not fit 4x4"):
        Conv2D((4, 4, 1), 2, (5, 3), padding="VALID", name="conv_1")
    with pytest.raises(InputError, match="layer max_2: a 3x3 window does not fit 2x8; remove a pooling layer"):
        Pool((2, 8, 1), 3, name="max_2")
    assert Conv2D((4, 4, 1), 2, (4, 4), padding="VALID").output_shape == (1, 1, 2)
    assert Conv2D((4, 4, 1), 2, (5, 5), padding="SAME").output_shape == (4, 4, 2)
    assert Pool((2, 8, 1), 2).output_shape == (1, 4, 1)


# The tape against central differences: every kind of layer, activation and loss, in float64 where there is one

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
        ["noise 0.3", "conv 3 3x3", "noise 0.2", "dense 5"],
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

    checked = [p for p in model.parameters if p.name != "dense_1/bias:0"]  # the mean is subtracted, so its slope is 0
    for by_tape, by_differences in slopes(value, [x, *checked], h=1e-2):
        assert by_tape == pytest.approx(by_differences, rel=1e-2, abs=1e-4)


def test_a_bias_before_batch_norm_has_no_slope() -> None:
    dense, norm = Dense(5, 6), BatchNorm((6,))
    assert dense.bias is not None
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(tf.tanh(through([dense, norm], tf.random.stateless_normal([4, 5], (1, 2)))))
    gradient: Any = tape.gradient(value, dense.bias)
    np.testing.assert_allclose(gradient, np.zeros(6), atol=1e-5)
