"""Tape, formula and central differences: that they agree, and that the check says so when they do not."""

from dataclasses import replace
from math import isnan, log
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tfmnist.backprop import check as gradient_check
from tfmnist.backprop import formulas as backprop
from tfmnist.backprop.check import Comparison, check_gradients
from tfmnist.errors import InputError
from tfmnist.nn.layers import Activation, Dense
from tfmnist.nn.losses import LOSSES
from tfmnist.nn.models import CNN, MLP
from tfmnist.recipe import Loss


def batch(
    shape: tuple[int, int] = (4, 5), classes: int = 3, count: int = 6
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Random pictures, half of their pixels blank."""
    random = np.random.default_rng(count)
    images = random.integers(0, 256, (count, *shape), np.uint8) * random.integers(0, 2, (count, *shape), np.uint8)
    return images, random.integers(0, classes, count)


def moved(model: MLP) -> MLP:
    """Gives the biases, which start at 0, values."""
    for number, layer in enumerate(model.layers):
        if isinstance(layer, Dense) and layer.bias is not None:
            layer.bias.assign(np.random.default_rng(number).normal(scale=0.1, size=layer.output_shape))
    return model


@pytest.mark.parametrize(
    ("model", "loss", "count"),
    [
        (MLP((4, 5), [], 3), Loss(), 6),
        (MLP((4, 5), [], 3), Loss(kind="quadratic", l2=0.1), 6),
        (MLP((28, 28), [30], 10, activation="sigmoid", initializer="glorot"), Loss(kind="quadratic"), 10),
        (MLP((4, 5), [8], 3), Loss(label_smoothing=0.1), 6),
        (MLP((4, 5), [8], 3), Loss(kind="naive_cross_entropy"), 6),
        (MLP((4, 5), [8], 3, activation="tanh"), Loss(l1=0.01, l2=0.1), 6),
        (MLP((4, 5), [8, 7, 6], 3), Loss(), 6),
        (MLP((4, 5), [8, 7, 6], 3, activation="sigmoid"), Loss(label_smoothing=0.3), 6),
        (MLP((4, 5), [8], 3, activation="tanh", bias=False), Loss(kind="quadratic"), 1),
        (MLP((9, 3), [5], 3, activation="sigmoid"), Loss(), 6),
    ],
)
def test_the_three_agree(model: MLP, loss: Loss, count: int) -> None:
    images, labels = batch(model.image_shape, model.classes, count)
    rows = check_gradients(moved(model), images, labels, loss, samples=12)
    assert [row.name for row in rows] == list(model.named_variables())
    for row, variable in zip(rows, model.named_variables().values()):
        assert row.shape == tuple(variable.shape)
        assert row.checked + row.kinks == min(12, int(np.prod(row.shape)))
        assert row.checked > 0
        assert row.largest > 1e-5
        assert row.tape_formula < 1e-12
        assert row.tape_difference < 1e-6
        assert row.formula_difference < 1e-6
        assert row.resolution < 1e-6
        assert row.entry is not None
        assert row.entry.tape == pytest.approx(row.entry.difference, rel=1e-6)
        assert row.entry.formula == pytest.approx(row.entry.difference, rel=1e-6)
        assert row.kinks or abs(row.entry.tape) == pytest.approx(row.largest, rel=1e-12)


def test_numbers_by_hand() -> None:
    """Weights of 0, one white pixel, two classes: J = log 2, ∂J/∂z = (0.5, 0.5) - (1, 0)."""
    model = MLP((1, 1), [], 2, initializer="zeros")
    kernel, bias = check_gradients(model, np.array([[[255]]], np.uint8), np.array([0]), Loss())
    assert kernel.entry is not None
    assert (kernel.name, kernel.shape, kernel.entry.index) == ("logits/kernel", (1, 2), (0, 0))
    assert kernel.largest == bias.largest == pytest.approx(0.5)
    assert kernel.entry.tape == pytest.approx(-0.5)
    assert kernel.resolution == pytest.approx(2.0**-52 * log(2) / gradient_check.STEP / 0.5)


def test_the_model_is_left_as_it_is() -> None:
    model = moved(MLP((4, 5), [8], 3))
    before = model.sha256(), list(map(id, model.parameters)), [dict(vars(layer)) for layer in model.layers]
    check_gradients(model, *batch(), Loss(), samples=2)
    assert before[:2] == (model.sha256(), list(map(id, model.parameters)))
    for layer, attributes in zip(model.layers, before[2], strict=True):
        assert all(value is attributes[name] for name, value in vars(layer).items())


def test_a_seed_decides_the_sample_and_the_largest_entry_is_in_it() -> None:
    model, (images, labels) = moved(MLP((4, 5), [8], 3, activation="tanh")), batch()

    def run(**options: Any) -> list[Comparison]:
        return check_gradients(model, images, labels, Loss(), **options)

    assert run(samples=5, seed=1) == run(samples=5, seed=1)
    assert run(samples=5, seed=1) != run(samples=5, seed=2)
    for row in run(samples=1):
        assert row.checked == 1
        assert row.entry is not None
        assert abs(row.entry.tape) == pytest.approx(row.largest, rel=1e-12)


# Where there is no derivative


def test_a_relu_at_its_kink_is_left_out() -> None:
    """A black picture and biases of 0: all ReLUs are at 0, and each bias switches its own."""
    images, labels = np.zeros((2, 4, 5), np.uint8), np.array([0, 1])
    rows = {row.name: row for row in check_gradients(MLP((4, 5), [8], 3), images, labels, Loss(), samples=20)}
    row = rows["dense_1/bias"]
    assert (row.checked, row.kinks, row.entry) == (0, 8, None)
    assert isnan(row.tape_difference)
    assert isnan(row.formula_difference)
    assert row.tape_formula == 0.0
    row = rows["dense_1/kernel"]  # no pixel is lit, so nothing moves
    assert (row.largest, row.checked, row.kinks) == (0.0, 20, 0)
    assert row.tape_formula == row.tape_difference == row.formula_difference == 0.0


def test_a_weight_of_zero_under_l1_is_left_out() -> None:
    model = MLP((2, 3), [], 3)
    layer = model.layers[-1]
    assert isinstance(layer, Dense)
    layer.kernel.assign(tf.tensor_scatter_nd_update(layer.kernel, [[0, 0], [0, 1]], [0.0, 1e-6]))
    kernel, bias = check_gradients(model, *batch((2, 3)), Loss(l1=0.1), samples=20)
    assert (kernel.checked, kernel.kinks) == (16, 2)
    assert (bias.checked, bias.kinks) == (3, 0)
    assert kernel.tape_difference < 1e-6


# What is wrong is seen


def test_a_wrong_formula_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = backprop.gradients

    def wrong(*arguments: Any, **options: Any) -> backprop.Gradients:
        correct = right(*arguments, **options)
        return replace(correct, kernels=[correct.kernels[0] / 6, *correct.kernels[1:]])

    monkeypatch.setattr(backprop, "gradients", wrong)
    first, *others = check_gradients(moved(MLP((4, 5), [8], 3, activation="tanh")), *batch(), Loss(), samples=12)
    assert first.tape_formula == pytest.approx(5 / 6)
    assert first.formula_difference == pytest.approx(5 / 6)
    assert first.tape_difference < 1e-6
    assert all(row.tape_formula < 1e-12 for row in others)


def test_a_wrong_derivative_on_the_tape_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = LOSSES["quadratic"]

    def doubled(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        value = right(logits, labels)
        return 2 * value - tf.stop_gradient(value)

    monkeypatch.setitem(LOSSES, "quadratic", doubled)
    for row in check_gradients(
        moved(MLP((4, 5), [8], 3, activation="tanh")), *batch(), Loss(kind="quadratic"), samples=12
    ):
        assert row.tape_formula == pytest.approx(0.5)
        assert row.tape_difference == pytest.approx(0.5)
        assert row.formula_difference < 1e-6


def test_a_gradient_that_is_not_a_number_is_seen() -> None:
    model = MLP((4, 5), [], 3, init_scale=1e4)
    for row in check_gradients(model, *batch(), Loss(kind="naive_cross_entropy"), samples=12):
        assert not row.tape_formula < 1e-6
        assert not row.tape_difference < 1e-6


# Errors


def with_mixed_activations() -> MLP:
    model = MLP((4, 5), [8, 8], 3, activation="tanh")
    model.layers[2] = Activation((8,), "relu", name="relu_1")
    return model


def without_an_activation() -> MLP:
    model = MLP((4, 5), [8], 3)
    del model.layers[2]
    return model


def diverged() -> MLP:
    model = MLP((4, 5), [8], 3)
    model.parameters[0].assign(tf.fill([20, 8], float("nan")))
    return model


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (
            CNN((4, 5), ["conv 2 3x3"], 3),
            r"the model is a CNN of grey, .*: the formulas cover an MLP with one",
        ),
        (MLP((4, 5), [8], 3, activation="gelu"), r"MLP of flatten, dense_1, gelu_1, logits: the formulas cover"),
        (MLP((4, 5), [8], 3, batch_norm=True), r"batch_norm_1, relu_1, logits: .* no batch normalisation"),
        (MLP((4, 5), [8], 3, dropout=0.5), r"dropout_1, logits: .* no dropout; choose such a model"),
        (with_mixed_activations(), r"dense_1, relu_1, dense_2, tanh_2, logits: the formulas cover"),
        (without_an_activation(), r"flatten, dense_1, logits: the formulas cover"),
        (diverged(), r"variable dense_1/kernel is not finite everywhere"),
    ],
)
def test_models_beyond_the_formulas(model: Any, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        check_gradients(model, *batch(), Loss())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("images", "labels", "samples", "text"),
    [
        (np.zeros((2, 5, 4), np.uint8), [0, 1], 50, r"images are uint8 \[2, 5, 4\]: expected uint8 \[m, 4, 5\]"),
        (np.zeros((2, 4, 5)), [0, 1], 50, r"images are float64 \[2, 4, 5\]: .* give them as they are stored"),
        (np.zeros((0, 4, 5), np.uint8), [], 50, r"images are uint8 \[0, 4, 5\]: .* m at least 1"),
        (np.zeros((2, 4, 5), np.uint8), [0], 50, r"labels: shape \[1\], expected \[2\]"),
        (np.zeros((2, 4, 5), np.uint8), [0.0, 1.0], 50, r"label 0.0 does not fit 3 classes: expected integers"),
        (np.zeros((2, 4, 5), np.uint8), [0, 3], 50, r"label 3 does not fit 3 classes: expected integers, 0 to 2"),
        (np.zeros((2, 4, 5), np.uint8), [0, 1], 0, r"samples is 0: expected at least 1"),
    ],
)
def test_batches_that_do_not_fit(images: Any, labels: list[Any], samples: int, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        check_gradients(MLP((4, 5), [8], 3), images, np.array(labels), Loss(), samples=samples)
    assert "\n" not in str(caught.value)
