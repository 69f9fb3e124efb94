"""Digits: pieces of ink are grouped into digits, and what is none is dropped: specks, edges, boxes, rings and lines."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from drawings import draw_paths, seven
from numpy.typing import NDArray
from papers import Points, rectangle

from tfmnist.photos.digits import MASK_SIDE, find_digits, group_pieces, label_pieces
from tfmnist.photos.ink import SIDE, find_ink

Mask = NDArray[np.float32]


def find(ink: NDArray[Any]) -> NDArray[np.int32]:
    """The digits of ink in [0, 1] on white paper, in the size of the ink."""
    picture = tf.image.resize(1 - 0.8 * ink[np.newaxis, ..., np.newaxis] * np.ones(3), [SIDE, SIDE], antialias=True)
    numbers = find_digits(*find_ink(picture), tf.constant([ink.shape], tf.float32) / max(ink.shape))
    assert numbers.dtype == tf.int32 and numbers.shape == (1, MASK_SIDE, MASK_SIDE)
    return tf.image.resize(tf.expand_dims(numbers, 3), ink.shape, "nearest").numpy()[0, ..., 0]


def label(*masks: Mask) -> tuple[NDArray[Any], NDArray[Any]]:
    """The pixels of masks no larger than MASK_SIDE, and what labels them."""
    stack = np.zeros([len(masks), MASK_SIDE, MASK_SIDE], np.float32)
    for page, mask in zip(stack, masks):
        page[: mask.shape[0], : mask.shape[1]] = mask
    pixels, first = label_pieces(tf.constant(stack))
    np.testing.assert_array_equal(pixels, np.argwhere(stack))
    return pixels.numpy(), first.numpy()


def test_pieces_are_labelled() -> None:
    mask = np.zeros([40, 40], np.float32)
    mask[1:39, 1] = mask[1, 1:39] = mask[1:39, 38] = 1  # three sides, connected at their ends
    mask[10, 10] = mask[11, 11] = 1  # diagonal
    mask[20:30, 20] = 1
    pixels, first = label(np.ones([3, 3], np.float32), mask)
    first = first[9:]  # those of the second mask
    labels = np.full(mask.shape, -1)
    labels[tuple(pixels[9:, 1:].T)] = first
    assert len(np.unique(first)) == 3
    assert len({labels[1, 1], labels[38, 1], labels[38, 38]}) == 1 and labels[10, 10] == labels[11, 11]
    assert len(label(np.zeros([4, 5], np.float32))[0]) == 0


def test_a_piece_is_labelled_whatever_its_shape() -> None:
    spiral = np.zeros([61, 61], np.float32)
    y, x = 30, 30
    for length in range(1, 60):
        dy, dx = ((0, 1), (1, 0), (0, -1), (-1, 0))[length % 4]
        for _ in range(length // 2 * 2):
            if 0 <= y < 61 and 0 <= x < 61:
                spiral[y, x] = 1
            y, x = y + dy, x + dx
    assert len(np.unique(label(spiral)[1])) == 1
    noise = (np.random.default_rng(0).random([80, 90]) < 0.3).astype(np.float32)
    _, first = label(noise)
    assert np.all(first <= np.arange(len(first)))


def grouped(draw: Callable[[Any], None]) -> NDArray[np.float32]:
    mask = np.zeros([MASK_SIDE, MASK_SIDE], np.float32)
    draw(mask)
    return group_pieces(*label_pieces(tf.constant(mask[np.newaxis])), tf.ones([1, 2])).numpy()[0]


def test_pieces_above_each_other_are_one_digit() -> None:
    def five(mask: Any) -> None:
        mask[40:70, 40:50] = mask[30:34, 44:60] = 1  # a body, and a bar of its own
        mask[20:80, 80:84] = 1

    groups = grouped(five)
    assert groups.max() == 2
    assert groups[50, 45] == groups[32, 58] == 1 and groups[50, 82] == 2


def test_pieces_that_begin_in_the_same_column_are_one_digit() -> None:
    def cut(mask: Any) -> None:
        mask[20:45, 50:56] = mask[50:80, 50:56] = 1  # a 1 whose stroke broke in two

    assert grouped(cut).max() == 1


def test_a_small_piece_joins_the_digit_near_it() -> None:
    def broken(mask: Any) -> None:
        mask[20:70, 40:46] = 1
        mask[72:80, 40:46] = 1
        mask[20:80, 80:84] = 1

    groups = grouped(broken)
    assert groups.max() == 2 and groups[75, 42] == groups[50, 42] == 1


def test_specks_and_edges_are_dropped() -> None:
    def dirty(mask: Any) -> None:
        mask[30:70, 50:56] = 1
        mask[5, 5] = 1  # dust
        mask[:, 123:] = 1  # the edge of the table
        mask[:10, :20] = 1  # a finger
        mask[90, :] = 1  # a ruling

    groups = grouped(dirty)
    assert groups.max() == 1
    assert np.array_equal(np.argwhere(groups)[[0, -1]], [[30, 50], [69, 55]])


def test_a_digit_that_touches_the_border_is_kept() -> None:
    def alone(mask: Any) -> None:
        mask[0:60, 50:58] = mask[56:60, 20:58] = 1

    assert grouped(alone).max() == 1


def ring(x: float, y: float, radius: float) -> Points:
    angles = np.linspace(0, 2 * np.pi, 100)
    return [(x + radius * np.cos(angle), y + radius * np.sin(angle)) for angle in angles]


@pytest.mark.parametrize(
    "paths",
    [
        [rectangle(20, 15, 100, 105)],
        [rectangle(20, 15, 100, 105, turn=4)],
        [ring(60, 60, 52)],
        [[(30, 108), (95, 106)]],  # an underline
        [[(-9, y), (130, y)] for y in (10, 40, 70, 100)],  # ruled paper
        [[(x, -9), (x, 130)] for x in (12, 110)] + [[(-9, y), (130, y)] for y in (8, 114)],  # squared paper
        [[(-9, 14), (130, 14)], [(10, -9), (10, 130)]],
    ],
)
def test_boxes_rings_and_lines_are_no_digits(paths: list[Points]) -> None:
    cover = seven()
    lines = draw_paths((120, 120), paths, 2.5)
    numbers = find(np.maximum(cover, lines))
    assert numbers.max() == 1 and np.mean(numbers[cover > 0.5] == 1) > 0.97
    away = (lines > 0.5) & (cover == 0) & (seven(pen=24) == 0)  # not where a stroke may be thicker by the line
    assert np.mean(numbers[away] == 1) < 0.02


def test_digits_are_numbered_from_left_to_right() -> None:
    numbers = find(np.concatenate([seven(), seven(), seven()], axis=1))
    assert set(np.unique(numbers)) == {0, 1, 2, 3}
    columns = [np.nonzero(numbers == number)[1] for number in (1, 2, 3)]
    assert all(left.max() < right.min() for left, right in pairwise(columns))


@pytest.mark.parametrize("shape", [(1, 1), (40, 50), (1, 900), (700, 3)])
def test_there_are_no_digits_without_ink(shape: tuple[int, int]) -> None:
    assert not find(np.zeros(shape)).any()


def test_hairlines_are_kept() -> None:
    ink = np.zeros([350, 500], np.float32)
    ink[75:275, 250] = 1
    numbers = find(ink)
    assert numbers.max() == 1 and np.all(numbers[76:274, 250] == 1)
    assert set(np.unique(numbers[:, :240])) == {0}
