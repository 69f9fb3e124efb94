"""Digits: components of ink are grouped into digits, and what is none is dropped."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from drawings import seven
from numpy.typing import NDArray

from tfmnist.photos.digits import add_margin, cut_edges, find_digits, group_components, label_components


def test_components_are_labelled() -> None:
    mask = np.zeros([40, 40], np.float32)
    mask[1:39, 1] = mask[1, 1:39] = mask[1:39, 38] = 1  # three sides, connected at their ends
    mask[10, 10] = mask[11, 11] = 1  # diagonal
    mask[20:30, 20] = 1
    labels = label_components(tf.constant(mask)).numpy()
    assert np.array_equal(labels >= 0, mask > 0) and set(np.unique(labels)) == {-1, 0, 1, 2}
    assert len({labels[1, 1], labels[38, 1], labels[38, 38]}) == 1 and labels[10, 10] == labels[11, 11]
    assert label_components(tf.zeros([4, 5])).numpy().max() == -1


def grouped(draw: Callable[[Any], None]) -> NDArray[np.int32]:
    mask = np.zeros([100, 120], np.float32)
    draw(mask)
    return group_components(label_components(tf.constant(mask))).numpy()


def test_components_above_each_other_are_one_digit() -> None:
    def five(mask: Any) -> None:
        mask[40:70, 40:50] = mask[30:34, 44:60] = 1  # a body, and a bar of its own
        mask[20:80, 80:84] = 1

    groups = grouped(five)
    assert groups.max() == 2
    assert groups[50, 45] == groups[32, 58] == 1 and groups[50, 82] == 2


def test_specks_and_edges_are_dropped() -> None:
    def dirty(mask: Any) -> None:
        mask[30:70, 50:56] = 1
        mask[5, 5] = 1  # dust
        mask[:, 115:] = 1  # the edge of the table
        mask[:10, :20] = 1  # a finger
        mask[90, :] = 1  # a ruling

    groups = grouped(dirty)
    assert groups.max() == 1
    assert np.array_equal(np.argwhere(groups)[[0, -1]], [[30, 50], [69, 55]])


def test_a_digit_that_touches_the_border_is_kept() -> None:
    def alone(mask: Any) -> None:
        mask[0:60, 50:58] = mask[56:60, 20:58] = 1

    assert grouped(alone).max() == 1


def test_a_margin_is_added_to_tight_crops_only() -> None:
    tight = np.pad(np.zeros([90, 20, 3], np.float32), [(3, 3), (3, 3), (0, 0)], constant_values=1)
    assert add_margin(tf.constant(tight)).shape == (96 + 48, 26 + 48, 3)
    assert np.all(add_margin(tf.constant(tight)).numpy()[0] == 1)
    loose = np.pad(tight, [(50, 50), (50, 50), (0, 0)], constant_values=1)
    np.testing.assert_array_equal(add_margin(tf.constant(loose)).numpy(), loose)


def test_what_is_around_the_paper_is_cut_off() -> None:
    page = np.pad(1 - seven()[..., np.newaxis] * np.ones(3, np.float32), [(20, 0), (40, 0), (0, 0)])
    cut = cut_edges(tf.constant(page)).numpy()
    assert 114 <= cut.shape[0] <= 120 and 114 <= cut.shape[1] <= 120 and cut[:, :20].min() == 1
    paper, unwritten = page[20:, 40:], np.pad(np.ones([50, 50, 3]), [(9, 0), (0, 0), (0, 0)])
    for whole in (paper, 1 - paper, np.zeros_like(page), unwritten):
        assert cut_edges(tf.constant(whole, tf.float32)).shape == whole.shape


def test_digits_are_numbered_from_left_to_right() -> None:
    page = 1 - np.concatenate([seven(), seven()], axis=1)
    ink, numbers = find_digits(tf.constant(np.repeat(page[..., np.newaxis], 3, axis=-1)))
    assert ink.shape == numbers.shape and set(np.unique(numbers)) == {0, 1, 2}
    columns = [np.nonzero(numbers.numpy() == number)[1] for number in (1, 2)]
    assert columns[0].max() < columns[1].min()
    assert not find_digits(tf.ones([40, 40, 3]))[1].numpy().any()
