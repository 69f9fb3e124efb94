"""Ink: found on any paper, of any colour, dark or light."""

import drawings
import numpy as np
import pytest
import tensorflow as tf
from drawings import seven

from tfmnist.photos.ink import find_ink, gradient, is_ink_dark, measure_noise, quantiles


@pytest.mark.parametrize("pen", [2.0, 8.0, 20.0])
@pytest.mark.parametrize("least", [1.0, 0.5])
def test_the_polarity_is_found(pen: float, least: float) -> None:
    ink = seven(pen=pen)[..., np.newaxis] * np.ones(3, np.float32)
    light = drawings.shading(np.random.default_rng(0), (120, 120), least)
    assert bool(is_ink_dark(tf.constant((0.9 - 0.8 * ink) * light)))
    assert not bool(is_ink_dark(tf.constant((0.1 + 0.8 * ink) * light)))


def test_the_paper_inside_of_a_0_is_paper() -> None:
    ink = drawings.write_digit(np.random.default_rng(0), 0, (300, 300), 60, 5, (0.3, 0.6))[..., np.newaxis]
    assert bool(is_ink_dark(tf.constant(1 - ink * np.ones(3, np.float32))))


@pytest.mark.parametrize("pen", [(250, 220, 40), (120, 190, 245), (200, 30, 40), (180, 180, 180)])
def test_ink_of_any_colour_is_full_ink(pen: tuple[int, int, int]) -> None:
    cover = seven()
    ink, sure = find_ink(tf.constant(drawings.lay(cover, [252, 252, 250], pen) / 255))
    np.testing.assert_allclose(ink.numpy()[cover == 1], 1, atol=0.15)
    assert ink.numpy()[cover == 0].max() < 0.1 and sure.numpy()[cover == 1].all()


def test_quantiles_noise_and_gradient_worked_out_on_paper() -> None:
    np.testing.assert_array_equal(quantiles(tf.range(101.0), [0.25, 0.5]), [25, 50])
    differences, spread = measure_noise(tf.ones([9, 9]))
    assert float(spread) == 0 and not differences.numpy().any()
    np.testing.assert_array_equal(gradient(tf.constant([[0.0, 0.0, 1.0, 1.0]])), [[0, 0.5, 0.5, 0.5]])
