"""Losses: against float64 sums written out here, at the extremes too, with the gradients that calculus gives."""

import re
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tfmnist.errors import InputError
from tfmnist.nn.losses import (
    LOSSES,
    Objective,
    cross_entropy,
    find_loss,
    naive_cross_entropy,
    penalty,
    per_example,
    probabilities,
    quadratic,
    scores,
)

Array = NDArray[Any]

LOGITS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32) * 3
LABELS = np.array([0, 3, 1, 1, 2])
ONE_HOT = np.eye(4)[LABELS]


def log_softmax(logits: Array) -> Array:
    z = logits.astype(np.float64)
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def gradient(kind: str, logits: Array, labels: Array, **options: float) -> Array:
    with tf.GradientTape() as tape:
        z = tf.constant(logits)
        tape.watch(z)
        value = tf.reduce_sum(LOSSES[kind](z, tf.constant(labels), **options))
    result: Any = tape.gradient(value, z)
    return result.numpy()


def test_cross_entropy_is_minus_the_log_of_the_softmax() -> None:
    loss = cross_entropy(tf.constant(LOGITS), tf.constant(LABELS)).numpy()
    assert loss.dtype == np.float32
    assert loss.shape == (5,)
    np.testing.assert_allclose(loss, -log_softmax(LOGITS)[np.arange(5), LABELS], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.1, 0.5, 0.9])
def test_label_smoothing_spreads_a_share_over_all_classes(smoothing: float) -> None:
    loss = cross_entropy(tf.constant(LOGITS), tf.constant(LABELS), smoothing)
    targets = (1 - smoothing) * ONE_HOT + smoothing / 4
    np.testing.assert_allclose(loss, -(targets * log_softmax(LOGITS)).sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_cross_entropy_of_huge_logits_is_finite(mode: str) -> None:
    logits = np.array([[1e4, -1e4, 0.0], [1e30, 0.0, 0.0], [-1e30, -1e30, -1e30]], np.float32)
    labels = np.array([1, 0, 2])
    function: Any = cross_entropy
    if mode != "eager":
        function = tf.function(cross_entropy, jit_compile=mode == "xla")
    np.testing.assert_allclose(function(tf.constant(logits), tf.constant(labels)), [2e4, 0.0, np.log(3)], rtol=1e-6)
    assert np.isfinite(gradient("cross_entropy", logits, labels)).all()


def test_gradient_of_cross_entropy_is_softmax_minus_target() -> None:
    softmax = np.exp(log_softmax(LOGITS))
    np.testing.assert_allclose(gradient("cross_entropy", LOGITS, LABELS), softmax - ONE_HOT, atol=1e-6)
    smooth = gradient("cross_entropy", LOGITS, LABELS, label_smoothing=0.2)
    np.testing.assert_allclose(smooth, softmax - (0.8 * ONE_HOT + 0.05), atol=1e-6)


def test_quadratic_is_half_the_squared_error_of_the_sigmoids() -> None:
    loss = quadratic(tf.constant(LOGITS), tf.constant(LABELS))
    np.testing.assert_allclose(loss, 0.5 * ((sigmoid(LOGITS) - ONE_HOT) ** 2).sum(axis=1), rtol=1e-5)


def test_gradient_of_quadratic_has_the_slope_of_the_sigmoid() -> None:
    s = sigmoid(LOGITS)
    np.testing.assert_allclose(gradient("quadratic", LOGITS, LABELS), (s - ONE_HOT) * s * (1 - s), atol=1e-6)


def test_naive_cross_entropy_is_cross_entropy_where_it_is_finite() -> None:
    logits = np.concatenate([LOGITS, [[80.0, 0, 0, 0]]]).astype(np.float32)
    labels = np.array([*LABELS, 1])
    loss = naive_cross_entropy(tf.constant(logits), tf.constant(labels))
    assert loss.dtype == tf.float32 and loss.shape == (6,)
    np.testing.assert_allclose(loss, cross_entropy(tf.constant(logits), tf.constant(labels)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        gradient("naive_cross_entropy", LOGITS, LABELS), np.exp(log_softmax(LOGITS)) - ONE_HOT, atol=1e-5
    )


@pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
def test_naive_cross_entropy_is_nan_where_a_probability_rounds_to_zero(mode: str) -> None:
    # of the label itself, of other classes, and of none
    logits = np.array([[200.0, 0, 0, 0], [0, 200.0, 190.0, 180.0], [3.0, 0, 0, 0]], np.float32)
    labels = np.array([1, 1, 0])

    def step(z: tf.Tensor) -> Any:
        # with the gradient, as in training: in a graph of the loss alone TensorFlow would put in log_softmax
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss = naive_cross_entropy(z, tf.constant(labels))
        return loss, tape.gradient(loss, z)

    function: Any = step if mode == "eager" else tf.function(step, jit_compile=mode == "xla")
    loss, slope = function(tf.constant(logits))
    assert np.isnan(loss).tolist() == [True, True, False]
    assert np.isnan(slope).all(axis=1).tolist() == [True, True, False]
    assert np.isfinite(cross_entropy(tf.constant(logits), tf.constant(labels))).all()


def test_losses_and_penalty_are_float64_for_float64() -> None:
    logits = LOGITS.astype(np.float64)
    for kind, loss in LOSSES.items():
        value = loss(tf.constant(logits), tf.constant(LABELS))
        assert value.dtype == tf.float64, kind
    exact = -log_softmax(logits)[np.arange(5), LABELS]
    for kind in ("cross_entropy", "naive_cross_entropy"):
        np.testing.assert_allclose(LOSSES[kind](tf.constant(logits), tf.constant(LABELS)), exact, rtol=1e-13)
    weights = np.array([[0.1, -0.2], [1 / 3, 0.0]])
    value = penalty([tf.Variable(tf.constant(weights))], 0.1, 0.2)
    assert value.dtype == tf.float64
    assert float(value) == pytest.approx(0.1 * np.abs(weights).sum() + 0.1 * (weights**2).sum(), rel=1e-14)
    assert penalty([], 0.1, 0.2).dtype == tf.float32


def test_penalty_is_the_sum_over_all_kernels() -> None:
    kernels = [tf.Variable(tf.constant(w)) for w in ([[1.0, -2.0], [0.0, 3.0]], [[-0.5]])]
    assert float(penalty(kernels, 0.0, 0.0)) == 0.0
    assert float(penalty(kernels, 0.1, 0.0)) == pytest.approx(0.1 * 6.5)
    assert float(penalty(kernels, 0.0, 0.2)) == pytest.approx(0.1 * 14.25)
    assert float(penalty(kernels, 0.1, 0.2)) == pytest.approx(0.1 * 6.5 + 0.1 * 14.25)
    assert float(penalty([], 0.1, 0.2)) == 0.0


def test_gradient_of_the_penalty_is_sign_and_weight() -> None:
    weights = np.array([[1.5, -2.0], [0.0, 3.0]], np.float32)
    kernel = tf.Variable(tf.constant(weights))

    def slope(l1: float, l2: float) -> Array:
        with tf.GradientTape() as tape:
            value = penalty([kernel], l1, l2)
        result: Any = tape.gradient(value, kernel)
        return result.numpy()

    np.testing.assert_allclose(slope(0.1, 0.0), 0.1 * np.sign(weights), rtol=1e-6)
    np.testing.assert_allclose(slope(0.0, 0.2), 0.2 * weights, rtol=1e-6)
    np.testing.assert_allclose(slope(0.1, 0.2), 0.1 * np.sign(weights) + 0.2 * weights, rtol=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
def test_the_mean_loss_is_the_mean_and_the_penalties(kind: str) -> None:
    logits, labels = tf.constant(LOGITS), tf.constant(LABELS)
    kernels = [tf.Variable(tf.constant([[1.0, -2.0], [0.0, 3.0]]))]
    mean = float(tf.reduce_mean(LOSSES[kind](logits, labels)))
    assert float(find_loss(kind).mean(logits, labels, kernels)) == mean
    penalised = float(find_loss(kind, l1=0.1, l2=0.2).mean(logits, labels, kernels))
    assert penalised == pytest.approx(mean + 0.1 * 6 + 0.1 * 14)
    smooth = find_loss(kind, 0.2).mean(logits, labels, [])
    expected = tf.reduce_mean(cross_entropy(logits, labels, 0.2)) if kind == "cross_entropy" else mean
    assert float(smooth) == float(expected)


def test_probabilities_of_cross_entropy_are_the_softmax() -> None:
    np.testing.assert_allclose(
        probabilities("cross_entropy", tf.constant(LOGITS)), np.exp(log_softmax(LOGITS)), rtol=1e-5
    )


def test_probabilities_of_quadratic_are_shares_of_the_sigmoids() -> None:
    s = sigmoid(LOGITS)
    np.testing.assert_allclose(
        probabilities("quadratic", tf.constant(LOGITS)), s / s.sum(axis=1, keepdims=True), rtol=1e-5
    )


@pytest.mark.parametrize("kind", LOSSES)
def test_probabilities_sum_to_one_at_the_extremes(kind: str) -> None:
    logits = tf.constant([[-1e4, -1e4, -1e4], [-200.0, -201.0, -300.0], [1e4, 1e4, -1e4], [0.0, 0.0, 0.0]])
    rows = probabilities(kind, logits).numpy()
    assert np.isfinite(rows).all()
    assert (rows >= 0).all()
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(rows[1], np.exp([0, -1, -100]) / np.exp([0, -1, -100]).sum(), rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 3.0])
def test_logits_are_divided_by_the_temperature(kind: str, temperature: float) -> None:
    z = np.log(sigmoid(LOGITS)) if kind == "quadratic" else LOGITS
    numbers = scores(kind, tf.constant(LOGITS), temperature)
    np.testing.assert_allclose(numbers, z / temperature, rtol=1e-5, atol=1e-6)
    shares = probabilities(kind, tf.constant(LOGITS), temperature)
    np.testing.assert_allclose(shares, np.exp(log_softmax(z / temperature)), rtol=1e-5)
    if temperature == 1.0:
        np.testing.assert_array_equal(scores(kind, tf.constant(LOGITS)), numbers)


def test_an_objective_penalises_only_on_request() -> None:
    kernels, logits = [tf.Variable(tf.constant([[1.0, -2.0]]))], tf.constant(LOGITS)
    mean = float(tf.reduce_mean(cross_entropy(logits, tf.constant(LABELS))))
    assert float(Objective().mean(logits, tf.constant(LABELS), kernels)) == mean
    assert float(find_loss(Objective(l1=0.5)).mean(logits, tf.constant(LABELS), kernels)) == pytest.approx(mean + 1.5)


def test_a_loss_must_return_one_number_per_example() -> None:
    logits, labels = tf.constant(LOGITS), tf.constant(LABELS)

    def computed(values: Any) -> Any:
        return per_example(lambda logits, labels: values, logits, labels, "mine")

    given = computed(np.arange(5))
    assert given.dtype == tf.float32 and given.numpy().tolist() == [0, 1, 2, 3, 4]
    for values in (3.0, np.zeros([5, 1]), np.zeros([4]), np.zeros([6]), np.zeros([1, 5])):
        shape = re.escape(str(list(np.shape(values))))
        with pytest.raises(InputError, match=rf"mine returns shape {shape}, expected \[batch\]: one number"):
            computed(values)
    with pytest.raises(InputError, match="mine returns None"):
        computed(None)


def test_the_shape_of_a_loss_may_be_unknown_in_a_graph() -> None:
    def compute(logits: tf.Tensor, labels: tf.Tensor) -> Any:
        outside = lambda logits, labels: tf.py_function(lambda z, y: z[:, 0], [logits, labels], tf.float32)  # noqa: E731
        assert outside(logits, labels).shape.rank is None
        return per_example(outside, logits, labels, "mine")

    graph: Any = tf.function(compute, [tf.TensorSpec([None, 4]), tf.TensorSpec([None], tf.int64)])
    assert graph.get_concrete_function().structured_outputs.shape.as_list() == [None]
    np.testing.assert_array_equal(graph(LOGITS, LABELS), LOGITS[:, 0])


def test_a_function_of_the_users_is_not_taken_for_ours_of_that_name() -> None:
    def theirs(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return cross_entropy(logits, labels)

    theirs.__name__ = "quadratic"
    assert find_loss(quadratic).name == "quadratic"
    name = find_loss(theirs).name
    assert name == f"{__name__}:quadratic"
    logits = tf.constant([[3.0, 1.0, -2.0]])
    np.testing.assert_allclose(probabilities(name, logits), tf.nn.softmax(logits))
