"""Ink: found on any paper, of any colour, dark or light, with its grey levels."""

import drawings
import numpy as np
import pytest
import tensorflow as tf
from drawings import seven
from numpy.typing import NDArray

from tfmnist.photos.ink import find_ink, largest, quantiles, resize

Ink = NDArray[np.float32]


def find(picture: NDArray[np.floating]) -> Ink:
    """The ink of a picture in [0, 1]."""
    if picture.ndim == 2:
        picture = picture[..., np.newaxis] * np.ones(3)
    ink = find_ink(tf.constant(picture, tf.float32))[0].numpy()
    assert ink.shape == picture.shape[:2] and ink.dtype == np.float32
    assert ink.min() >= 0 and ink.max() <= 1
    return ink


@pytest.mark.parametrize("pen", [2.0, 8.0, 20.0])
@pytest.mark.parametrize("least", [1.0, 0.5])
def test_dark_and_light_ink_are_found_on_even_and_on_shaded_paper(pen: float, least: float) -> None:
    cover = seven(pen=pen)
    light = drawings.shading(np.random.default_rng(0), (120, 120), least)
    for paper, pen_grey in ((0.9, 0.1), (0.1, 0.9)):
        grey = paper + (pen_grey - paper) * cover[..., np.newaxis] * np.ones(3, np.float32)
        ink = find(grey * light if paper > pen_grey else 1 - (1 - grey) * light)
        assert ink[cover == 1].mean() > 0.7 and ink[cover == 0].mean() < 0.02
        assert np.mean(ink[cover == 1] > 0.4) > 0.95 and np.mean(ink[cover == 0] > 0.4) < 0.02


def test_the_paper_inside_of_a_0_is_paper() -> None:
    cover = drawings.write_digit(np.random.default_rng(0), 0, (300, 300), 60, 5, (0.3, 0.6))
    ink = find(1 - cover)
    assert np.mean(ink[cover == 0] > 0.1) < 0.01 and ink[cover > 0.9].min() > 0.8


@pytest.mark.parametrize("pen", [(250, 220, 40), (120, 190, 245), (200, 30, 40), (180, 180, 180)])
def test_ink_of_any_colour_is_full_ink(pen: tuple[int, int, int]) -> None:
    cover = seven()
    ink = find(drawings.lay(cover, [252, 252, 250], pen) / 255)
    np.testing.assert_allclose(ink[cover == 1], 1, atol=0.15)
    assert ink[cover == 0].max() < 0.1


def test_grey_levels_stay() -> None:
    """A stroke that fades to a third is neither erased nor blackened there."""
    fade = np.linspace(1, 1 / 3, 120)[:, np.newaxis]
    cover = np.zeros([120, 120])
    cover[20:100, 52:60] = 1
    ink = find(0.9 - 0.6 * cover * fade)
    stroke = ink[22:98, 54:58]
    expected = np.minimum(stroke.mean() / fade[22:98].mean() * fade[22:98], 1)
    np.testing.assert_allclose(stroke, np.repeat(expected, 4, axis=1), atol=0.08)
    assert stroke[0].min() > 0.95 and stroke[-1].max() < 0.55


@pytest.mark.parametrize("grey", [0.0, 0.4, 1.0])
def test_there_is_no_ink_on_blank_paper(grey: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, [80, 120])
    for picture in (np.full([80, 120], grey), np.clip(grey + noise, 0, 1)):
        assert find(picture).max() < 0.05


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (300, 2), (3, 3)])
def test_pictures_of_every_shape(shape: tuple[int, int]) -> None:
    find(np.random.default_rng(0).random(shape))


def test_helpers_worked_out_on_paper() -> None:
    np.testing.assert_allclose(quantiles(tf.linspace(0.0, 1.0, 101)[tf.newaxis]), [0.05, 0.3, 0.5, 0.93], atol=0.02)
    ignored = tf.constant([[-9.0] * 50 + [0.25] * 3])
    np.testing.assert_allclose(quantiles(ignored), [0.25] * 4, atol=1 / 128)
    values = np.zeros([5, 6], np.float32)
    values[2, 1] = 1
    wide = largest(tf.constant(values[np.newaxis, :, :, np.newaxis]), 1, 3).numpy()[0, :, :, 0]
    assert np.argwhere(wide).tolist() == [[2, 0], [2, 1], [2, 2]]
    stripes = tf.constant(np.tile([[[0.0], [1.0]]], [8, 10, 1]), tf.float32)
    half = resize(stripes, tf.constant([4, 10])).numpy()
    assert half.shape == (4, 10, 1)
    np.testing.assert_allclose(half[:, 1:-1], 0.5, atol=1e-5)
