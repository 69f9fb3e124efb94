"""Initial weights: the distributions of the papers, and the same bits from the same seed."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tfmnist import seeds
from tfmnist.errors import InputError
from tfmnist.nn.initializers import INITIALIZERS, find_initializer
from tfmnist.nn.layers import Conv2D, Dense


def draw(name: str, *, scale: float = 1.0, key: int = 3, shape: tuple[int, ...] = (200, 300)) -> NDArray[Any]:
    return find_initializer(name)(shape, shape[0], shape[1], scale, key).numpy()


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_he_has_variance_two_over_fan_in(scale: float) -> None:
    values = draw("he", scale=scale)
    assert values.dtype == np.float32
    assert values.shape == (200, 300)
    assert values.var() == pytest.approx(scale**2 * 2 / 200, rel=0.02)
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(values.size)


def test_he_of_a_convolution_counts_the_whole_window() -> None:
    kernel = Conv2D((28, 28, 16), 64, (5, 3), initializer="he").kernel.numpy()
    assert kernel.shape == (5, 3, 16, 64)
    assert kernel.var() == pytest.approx(2 / (5 * 3 * 16), rel=0.05)


def test_glorot_fills_its_interval() -> None:
    values, limit = draw("glorot"), math.sqrt(6 / 500)
    assert 0.999 * limit < np.abs(values).max() <= limit
    assert values.var() == pytest.approx(2 / 500, rel=0.02)  # limit² / 3


def test_glorot_of_a_convolution_counts_windows_on_both_sides() -> None:
    kernel = Conv2D((28, 28, 8), 32, (3, 3), initializer="glorot").kernel.numpy()
    limit = math.sqrt(6 / (9 * 8 + 9 * 32))
    assert 0.99 * limit < np.abs(kernel).max() <= limit


def test_normal_has_the_scale_as_deviation() -> None:
    values = draw("normal", scale=0.05)
    assert values.std() == pytest.approx(0.05, rel=0.02)
    within = np.mean(np.abs(values) < 0.05)
    assert within == pytest.approx(0.6827, abs=0.01)  # of a normal distribution


def test_uniform_has_the_scale_as_half_width() -> None:
    values = draw("uniform", scale=0.05)
    assert 0.0499 < values.max() <= 0.05
    assert -0.05 <= values.min() < -0.0499
    assert np.mean(np.abs(values) < 0.025) == pytest.approx(0.5, abs=0.01)


def test_zeros_is_zeros() -> None:
    assert not draw("zeros", scale=7.0).any()


def test_biases_start_at_zero() -> None:
    for layer in Dense(4, 3, initializer="normal"), Conv2D((4, 4, 2), 3, (3, 3), initializer="normal"):
        assert layer.bias is not None
        assert layer.bias.numpy().tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", INITIALIZERS)
def test_same_key_gives_the_same_bits(name: str) -> None:
    assert draw(name, key=7).tobytes() == draw(name, key=7).tobytes()


@pytest.mark.parametrize("name", [name for name in INITIALIZERS if name != "zeros"])
def test_another_key_gives_other_numbers(name: str) -> None:
    one, two = draw(name, key=seeds.key(0, "a")), draw(name, key=seeds.key(0, "b"))
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.02


def test_layers_draw_by_seed_and_name() -> None:
    one = Dense(20, 10, seed=1, name="dense_1").kernel.numpy()
    assert np.array_equal(one, Dense(20, 10, seed=1, name="dense_1").kernel.numpy())
    assert not np.isclose(one, Dense(20, 10, seed=2, name="dense_1").kernel.numpy()).any()
    assert not np.isclose(one, Dense(20, 10, seed=1, name="dense_2").kernel.numpy()).any()


def test_large_seeds_are_seeds_of_their_own() -> None:
    kernels = [Dense(4, 4, seed=seed).kernel.numpy() for seed in (0, 2**32, 2**63 - 1)]
    assert len({kernel.tobytes() for kernel in kernels}) == 3


def test_unknown_initializer_is_refused_with_a_suggestion() -> None:
    with pytest.raises(InputError, match=r"initializer 'glorrot' does not exist; did you mean 'glorot'\?"):
        find_initializer("glorrot")
    with pytest.raises(InputError, match="known: he, glorot, normal, uniform, zeros"):
        Dense(4, 4, initializer="xxxxxx")
