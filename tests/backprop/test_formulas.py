"""The formulas: against numbers worked out by hand, and against central differences of the loss."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tfmnist.backprop import formulas as backprop
from tfmnist.backprop.formulas import ACTIVATIONS, LOSSES, Gradients, central_differences, forward, gradients, loss
from tfmnist.errors import InputError

Array = NDArray[np.float64]
STEP = 2.0**-15


class Network:
    """Random weights, images and labels."""

    def __init__(self, widths: list[int], examples: int, *, bias: bool = True, seed: int = 0):
        random = np.random.default_rng(seed)
        pairs = list(pairwise(widths))
        self.kernels = [random.normal(size=pair) / np.sqrt(pair[0]) for pair in pairs]
        self.biases: list[Array | None] = [random.normal(size=units) if bias else None for _, units in pairs]
        self.images = random.uniform(size=(examples, widths[0]))
        self.labels = random.integers(0, widths[-1], examples)

    def gradients(self, **options: Any) -> Gradients:
        return gradients(self.images, self.labels, self.kernels, self.biases, **options)

    def differences(self, **options: Any) -> list[Array]:
        """For every kernel, then every bias: central differences of all entries."""

        def by(arrays: list[Any], number: int) -> Callable[[Array], float]:
            def value(array: Array) -> float:
                original, arrays[number] = arrays[number], array
                result = loss(self.images, self.labels, self.kernels, self.biases, **options)
                arrays[number] = original
                return result

            return value

        return [
            central_differences(by(arrays, number), array, np.arange(array.size), STEP).reshape(array.shape)
            for arrays in (self.kernels, self.biases)
            for number, array in enumerate(arrays)
            if array is not None
        ]

    def has_kinks(self, activation: str) -> bool:
        Z, _ = forward(self.images, self.kernels, self.biases, activation)
        return activation == "relu" and any(np.abs(Z[l]).min() < 1e-3 for l in list(Z)[:-1])  # noqa: E741

    def check(self, **options: Any) -> None:
        result = self.gradients(**options)
        assert result.loss == loss(self.images, self.labels, self.kernels, self.biases, **options)
        slopes = [*result.kernels, *(bias for bias in result.biases if bias is not None)]
        for slope, difference in zip(slopes, self.differences(**options), strict=True):
            np.testing.assert_allclose(slope, difference, rtol=0, atol=1e-7 * max(1e-3, np.abs(slope).max()))


# By hand


class ByHand:
    """2 pixels, 2 hidden ReLU, 2 classes; two images, both of class 0. All logits are 0.

    x = (1, 2): Z_1 = (1·1 + 2·0.5 - 1, -1·1 + 2·0.5 + 0.5) = (1, 0.5); A_1 = (1, 0.5)
                Z_2 = (-1·1 - 2·0.5 + 2, 1·1 + 2·0.5 - 2) = (0, 0)
    x = (0, 1): Z_1 = (0.5 - 1, 0.5 + 0.5) = (-0.5, 1); A_1 = (0, 1)
                Z_2 = (-2 + 2, 2 - 2) = (0, 0)

    Quadratic: σ = 0.5 and σ′ = 0.25 everywhere, so J = ½ (0.5² + 0.5²) = 0.25, and for both images
    δ_2 = ½ (0.5 - 1, 0.5 - 0) 0.25 = (-0.0625, 0.0625)
    W_2ᵀ δ_2 = (-1·-0.0625 + 1·0.0625, -2·-0.0625 + 2·0.0625) = (0.125, 0.25)
    δ_1 = (0.125, 0.25) for the first image, (0, 0.25) for the second, whose first ReLU is off
    """

    images = np.array([[1.0, 2.0], [0.0, 1.0]])
    labels = np.array([0, 0])
    kernels = (np.array([[1.0, -1.0], [0.5, 0.5]]), np.array([[-1.0, 1.0], [-2.0, 2.0]]))
    biases = (np.array([-1.0, 0.5]), np.array([2.0, -2.0]))
    slopes = (
        [[0.125, 0.25], [0.25, 0.75]],  # rows: 1·(0.125, 0.25) + 0·(0, 0.25);  2·(0.125, 0.25) + 1·(0, 0.25)
        [[-0.0625, 0.0625], [-0.09375, 0.09375]],  # rows: 1 δ_2 + 0 δ_2;  0.5 δ_2 + 1 δ_2
        [0.125, 0.5],  # (0.125 + 0, 0.25 + 0.25)
        [-0.125, 0.125],  # 2 δ_2
    )

    def check(self, value: float, factor: float, **options: Any) -> None:
        result = gradients(self.images, self.labels, self.kernels, self.biases, activation="relu", **options)
        assert result.loss == pytest.approx(value, rel=1e-15)
        slopes: list[Any] = [*result.kernels, *result.biases]
        for slope, expected in zip(slopes, self.slopes, strict=True):
            np.testing.assert_allclose(slope, factor * np.array(expected), rtol=1e-15)


def test_forward_by_hand() -> None:
    Z, A = forward(ByHand.images, ByHand.kernels, ByHand.biases, "relu")
    assert {l: z.tolist() for l, z in Z.items()} == {1: [[1, -0.5], [0.5, 1]], 2: [[0, 0], [0, 0]]}  # noqa: E741
    assert {l: a.tolist() for l, a in A.items()} == {0: [[1, 0], [2, 1]], 1: [[1, 0], [0.5, 1]]}  # noqa: E741


def test_quadratic_by_hand() -> None:
    ByHand().check(0.25, 1.0, loss="quadratic")


def test_cross_entropy_by_hand() -> None:
    """softmax = (0.5, 0.5), so δ_2 = ½ (-0.5, 0.5): four times that of the quadratic loss, and so all the rest."""
    ByHand().check(np.log(2), 4.0, loss="cross_entropy")


def test_label_smoothing_by_hand() -> None:
    """Q = (0.75, 0.25), so δ_2 = ½ (-0.25, 0.25); and -0.75 log 0.5 - 0.25 log 0.5 = log 2 as before."""
    ByHand().check(np.log(2), 2.0, loss="cross_entropy", label_smoothing=0.5)


def test_penalties_by_hand() -> None:
    """Σ|w| = 3 + 6 and Σ w² = 2.5 + 10; the kernels' gradients gain l1 sign(w) + l2 w, the biases' nothing."""
    given = ByHand.images, ByHand.labels, ByHand.kernels, ByHand.biases
    bare = gradients(*given, activation="relu", loss="quadratic")
    full = gradients(*given, activation="relu", loss="quadratic", l1=0.1, l2=0.01)
    assert full.loss == pytest.approx(0.25 + 0.9 + 0.0625)
    np.testing.assert_allclose(full.kernels[0] - bare.kernels[0], [[0.11, -0.11], [0.105, 0.105]])
    np.testing.assert_allclose(full.kernels[1] - bare.kernels[1], [[-0.11, 0.11], [-0.12, 0.12]])
    assert [bias.tolist() for bias in full.biases if bias is not None] == [[0.125, 0.5], [-0.125, 0.125]]


# Against differences


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [[], [5], [6, 5, 4]], ids=str)
def test_every_activation_and_loss(hidden: list[int], activation: str, kind: str) -> None:
    Network([7, *hidden, 3], 4, seed=3).check(activation=activation, loss=kind)


def test_no_biases_and_a_batch_of_one() -> None:
    network = Network([7, 5, 3], 1, bias=False)
    network.check(activation="tanh", loss="cross_entropy")
    assert network.gradients(activation="tanh", loss="cross_entropy").biases == [None, None]


def test_biases_in_some_layers() -> None:
    network = Network([7, 5, 3], 4)
    network.biases[0] = None
    network.check(activation="sigmoid", loss="quadratic")
    assert [bias is None for bias in network.gradients(activation="sigmoid", loss="quadratic").biases] == [True, False]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    widths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    classes=st.integers(2, 4),
    examples=st.integers(1, 5),
    bias=st.booleans(),
    activation=st.sampled_from(list(ACTIVATIONS)),
    kind=st.sampled_from(LOSSES),
    penalties=st.sampled_from([(0.0, 0.0), (0.0, 0.1), (0.03, 0.0), (0.03, 0.1)]),
    smoothing=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 1000),
)
def test_random_networks(
    widths: list[int],
    classes: int,
    examples: int,
    bias: bool,
    activation: str,
    kind: str,
    penalties: tuple[float, float],
    smoothing: float,
    seed: int,
) -> None:
    network = Network([*widths, classes], examples, bias=bias, seed=seed)
    assume(not network.has_kinks(activation))
    assume(not penalties[0] or all(np.abs(kernel).min() > STEP for kernel in network.kernels))
    network.check(
        activation=activation,
        loss=kind,
        label_smoothing=smoothing if kind == "cross_entropy" else 0.0,
        l1=penalties[0],
        l2=penalties[1],
    )


def test_a_division_by_m_at_every_layer_is_wrong() -> None:
    """δ_l = (1/m) (W_{l+1}ᵀ δ_{l+1}) ⊙ σ′(Z_l) is too small by m in the last hidden layer, by m² in the one before."""
    m, network = 4, Network([7, 6, 5, 3], 4)
    Z, A = forward(network.images, network.kernels, network.biases, "sigmoid")
    W = {l: kernel.T for l, kernel in enumerate(network.kernels, start=1)}  # noqa: E741
    Y = np.eye(3)[:, network.labels]
    delta = {3: (backprop.sigmoid(Z[3]) - Y) * backprop.sigmoid_slope(Z[3]) / m}
    for l in (2, 1):  # noqa: E741
        delta[l] = (W[l + 1].T @ delta[l + 1]) * backprop.sigmoid_slope(Z[l]) / m
    repeated = [(delta[l] @ A[l - 1].T).T for l in (1, 2, 3)]  # noqa: E741

    options = {"activation": "sigmoid", "loss": "quadratic"}
    once, differences = network.gradients(**options).kernels, network.differences(**options)
    for number, factor in enumerate([m**2, m, 1]):
        np.testing.assert_allclose(once[number], differences[number], rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(repeated[number], differences[number] / factor, rtol=1e-5, atol=1e-9)


def test_central_differences_leave_the_array_alone() -> None:
    array = np.arange(6.0).reshape(2, 3).T  # in Fortran order; indices are in C order
    before = array.copy()
    result = central_differences(lambda x: float((x**2).sum()), array, [0, 1, 4], 2.0**-10)
    np.testing.assert_array_equal(result, 2 * before.ravel()[[0, 1, 4]])
    np.testing.assert_array_equal(array, before)
    assert central_differences(lambda x: 0.0, array, [], 0.1).shape == (0,)


# At the extremes


@pytest.mark.parametrize("size", [40.0, 800.0, 1e6, 1e300])
@pytest.mark.parametrize("kind", LOSSES)
def test_extreme_logits(kind: str, size: float) -> None:
    """A right and a wrong answer, both as sure as can be."""
    images, kernels = np.array([[1.0], [1.0]]), [np.array([[size, -size]])]
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        result = gradients(images, np.array([0, 1]), kernels, None, activation="relu", loss=kind)
    assert result.loss == pytest.approx(size if kind == "cross_entropy" else 0.5)
    expected = [[0.5, -0.5]] if kind == "cross_entropy" else [[0.0, 0.0]]
    np.testing.assert_allclose(result.kernels[0], expected, atol=1e-15)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_extreme_hidden_layers(activation: str) -> None:
    images, labels = np.array([[1e4, -1e4]]), np.array([1])
    kernels = [np.array([[1.0, -1.0], [0.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])]
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        result = gradients(images, labels, kernels, None, activation=activation, loss="cross_entropy")
    assert np.isfinite(result.loss)
    assert all(np.isfinite(kernel).all() for kernel in result.kernels)


def test_slope_of_the_sigmoid_keeps_its_digits() -> None:
    """σ′(40) ≈ exp(-40), where 1 - σ(40) rounds to 0."""
    np.testing.assert_allclose(backprop.sigmoid_slope(np.array([-40.0, 40.0])), np.exp(-40.0), rtol=1e-14)


# Errors


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"activation": "gelu"}, r"activation 'gelu': the formulas are written out for relu, sigmoid, tanh; use one"),
        ({"activation": "tahn"}, r"did you mean 'tanh'\?"),
        ({"loss": "hinge"}, r"loss 'hinge': the formulas are written out for cross_entropy and quadratic"),
        ({"label_smoothing": 1.0}, r"label_smoothing is 1.0: expected 0 or more, and less than 1"),
        ({"loss": "quadratic", "label_smoothing": 0.1}, r"label_smoothing is 0.1: expected 0 for the quadratic loss"),
        ({"images": np.zeros((2, 28, 28))}, r"images have shape \[2, 28, 28\]: .* images.reshape\(len\(images\), -1\)"),
        ({"images": np.zeros((0, 2))}, r"images have shape \[0, 2\]: expected \[m, pixels\], m at least 1"),
        ({"images": np.zeros((2, 3))}, r"kernel 1: shape \[2, 2\], expected \[3, 2\], one row per pixel; transpose"),
        ({"labels": np.array([0])}, r"labels: shape \[1\], expected \[2\], one per image"),
        ({"labels": np.array([0, 2])}, r"label 2 does not fit 2 classes: expected integers, 0 to 1"),
        ({"labels": np.array([0, -1])}, r"label -1 does not fit"),
        ({"labels": np.array([0.0, 1.0])}, r"label 0.0 does not fit"),
        ({"kernels": []}, r"0 kernels and 2 biases: give one kernel per layer, at least that of the logits"),
        (
            {"kernels": [ByHand.kernels[0], np.zeros((3, 2))]},
            r"kernel 2: .* \[2, 2\], one row per unit of kernel 1",
        ),
        ({"biases": [None]}, r"2 kernels and 1 biases"),
        ({"biases": [None, np.zeros(3)]}, r"bias 2: shape \[3\], expected \[2\]"),
    ],
)
@pytest.mark.parametrize("function", [gradients, loss])
def test_errors_of_one_line(function: Callable[..., Any], changes: dict[str, Any], text: str) -> None:
    arguments: dict[str, Any] = {name: getattr(ByHand, name) for name in ("images", "labels", "kernels", "biases")}
    arguments |= {"activation": "relu", "loss": "cross_entropy", **changes}
    with pytest.raises(InputError, match=text) as caught:
        function(**arguments)
    assert "\n" not in str(caught.value)
