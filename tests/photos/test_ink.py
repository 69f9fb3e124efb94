"""Ink: found on any paper, of any colour, dark or light, with its grey levels."""

import drawings
import numpy as np
import pytest
import tensorflow as tf
from drawings import seven
from numpy.typing import NDArray

from tfmnist.photos.ink import SIDE, find_ink, largest, opening, quantiles

Ink = NDArray[np.float32]


def find(picture: NDArray[np.floating]) -> Ink:
    """The ink of a picture in [0, 1]."""
    if picture.ndim == 2:
        picture = picture[..., np.newaxis] * np.ones(3)
    ink = find_ink(tf.image.resize(picture[np.newaxis], [SIDE, SIDE]))[0]
    assert ink.shape == (1, SIDE, SIDE) and ink.dtype == tf.float32
    assert tf.reduce_min(ink) >= 0 and tf.reduce_max(ink) <= 1
    return tf.image.resize(tf.expand_dims(ink, 3), picture.shape[:2], antialias=True).numpy()[0, ..., 0]


@pytest.mark.parametrize("pen", [2.0, 8.0, 20.0])
@pytest.mark.parametrize("least", [1.0, 0.5])
def test_dark_and_light_ink_are_found_on_even_and_on_shaded_paper(pen: float, least: float) -> None:
    cover = seven(pen=pen)
    light = drawings.shading(np.random.default_rng(0), (120, 120), least)
    for paper, pen_grey in ((0.9, 0.1), (0.1, 0.9)):
        grey = paper + (pen_grey - paper) * cover[..., np.newaxis] * np.ones(3, np.float32)
        ink = find(grey * light if paper > pen_grey else 1 - (1 - grey) * light)
        assert ink[cover == 1].mean() > 0.7 and ink[cover == 0].mean() < 0.035
        assert np.mean(ink[cover == 1] > 0.4) > 0.95 and np.mean(ink[cover == 0] > 0.4) < 0.02


def test_the_paper_inside_of_a_0_is_paper() -> None:
    cover = drawings.write_digit(np.random.default_rng(0), 0, (300, 300), 60, 5, (0.3, 0.6))
    ink = find(1 - cover)
    assert np.mean(ink[cover == 0] > 0.1) < 0.01 and ink[cover > 0.9].min() > 0.65


@pytest.mark.parametrize("pen", [(250, 220, 40), (120, 190, 245), (200, 30, 40), (180, 180, 180)])
def test_ink_of_any_colour_is_full_ink(pen: tuple[int, int, int]) -> None:
    cover = seven(SIDE, 20.0)
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


def test_pictures_of_a_batch_do_not_influence_each_other() -> None:
    pages = [seven(SIDE, 20), 0.2 + 0.3 * seven(SIDE, 8), np.full([SIDE, SIDE], 0.5)]
    pictures = tf.constant(np.stack(pages)[..., np.newaxis] * np.ones(3), tf.float32)
    together, noise = find_ink(pictures)
    assert noise.shape == (3, 1, 1)
    for number in range(3):
        np.testing.assert_allclose(find_ink(pictures[number : number + 1])[0][0], together[number], atol=1e-5)


def test_helpers_worked_out_on_paper() -> None:
    values = tf.reshape(tf.linspace(0.0, 1.0, 100), [1, 10, 10])
    found = quantiles(tf.concat([values, values / 2], 0), 0.05, 0.5, 0.93)
    np.testing.assert_allclose(tf.concat(found, -1)[:, 0], [[0.05, 0.5, 0.93], [0.025, 0.25, 0.465]], atol=0.02)
    ignored = tf.constant([[[9.0] * 50 + [0.25] * 3]])
    np.testing.assert_allclose(quantiles(ignored, 0.9)[0], [[[0.25]]], atol=1 / 128)
    point = np.zeros([1, 5, 8, 1], np.float32)
    point[0, 2, 1] = 1
    assert np.argwhere(largest(tf.constant(point), 1, 3))[:, 1:3].tolist() == [[2, 0], [2, 1], [2, 2]]
    wide = largest(tf.constant(point), 1, 5)
    assert np.argwhere(wide)[:, 1:3].tolist() == [[2, 0], [2, 1], [2, 2], [2, 3]]
    assert not tf.reduce_any(opening(wide, 3, 1) > 0) and np.array_equal(opening(wide, 1, 3), wide)
