"""Augmentation: each change alone, against what NumPy does to whole pixels; and what must hold for any."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tfmnist.data.augment import affine_transforms, augment_block, elastic_fields, sample
from tfmnist.recipe import Augment

Array = NDArray[Any]

ALL = Augment(rotate=15, scale=0.1, shear=10, shift=2)
ELASTIC = Augment(elastic=2.0, elastic_width=3.0)
BOTH = ALL.model_copy(update={"elastic": 6.0, "elastic_width": 1.0})
NONE = {"rotate": 0.0, "scale_x": 0.0, "scale_y": 0.0, "shear": 0.0, "shift_x": 0.0, "shift_y": 0.0}


def affine(section: Augment) -> dict[str, float]:
    return section.model_dump(include={"rotate", "scale", "shear", "shift"})


def pictures(*shape: int) -> Array:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def augment(images: Array, section: Augment, step: int = 0, seed: int = 1) -> Array:
    return augment_block(tf.constant(images), tf.constant(step, tf.int64), seed, **section.model_dump()).numpy()


def transform(section: Augment, height: int = 5, width: int = 5, **draws: float) -> list[float]:
    row = tf.constant([list({**NONE, **draws}.values())])
    return affine_transforms(row, tf.constant(height), tf.constant(width), **affine(section)).numpy()[0].tolist()


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Augments one picture with draws that the test chooses."""

    def run(image: Array, section: Augment, **draws: float) -> Array:
        row = tf.constant([list({**NONE, **draws}.values())])
        with monkeypatch.context() as patch:
            patch.setattr(tf.random, "stateless_uniform", lambda *_, **__: row)
            return augment(image[np.newaxis, np.newaxis], section)[0, 0]

    return run


def test_no_change_leaves_every_image() -> None:
    images = pictures(2, 3, 7, 6)
    np.testing.assert_array_equal(augment(images, Augment()), images)


@pytest.mark.parametrize("size", [4, 5, 28])
def test_a_quarter_turn_is_that_of_numpy(forced: Any, size: int) -> None:
    image = pictures(size, size)
    np.testing.assert_array_equal(forced(image, Augment(rotate=90), rotate=1.0), np.rot90(image))  # to the left
    np.testing.assert_array_equal(forced(image, Augment(rotate=90), rotate=-1.0), np.rot90(image, -1))
    np.testing.assert_array_equal(forced(image, Augment(rotate=180), rotate=0.5), np.rot90(image))


def test_half_a_turn_fits_pictures_that_are_not_square(forced: Any) -> None:
    image = pictures(6, 9)
    np.testing.assert_array_equal(forced(image, Augment(rotate=180), rotate=1.0), image[::-1, ::-1])


def test_a_shift_moves_right_and_down_and_brings_in_zeros(forced: Any) -> None:
    image = pictures(6, 7)
    expected = np.zeros_like(image)
    expected[:-1, 2:] = image[1:, :-2]
    np.testing.assert_array_equal(forced(image, Augment(shift=2), shift_x=1.0, shift_y=-0.5), expected)
    expected = np.zeros_like(image)
    expected[3:, :] = image[:-3, :]
    np.testing.assert_array_equal(forced(image, Augment(shift=3), shift_y=1.0), expected)


def test_half_a_pixel_of_shift_is_the_mean_of_two(forced: Any) -> None:
    image = np.array([[0, 100, 200, 0]] * 3, np.uint8)
    np.testing.assert_array_equal(forced(image, Augment(shift=0.5), shift_x=-1.0), [[50, 150, 100, 0]] * 3)


def test_scaling_shrinks_each_axis_about_the_centre(forced: Any) -> None:
    image = pictures(5, 5)
    expected = np.zeros_like(image)
    expected[:, 1:4] = image[:, ::2]
    np.testing.assert_array_equal(forced(image, Augment(scale=0.5), scale_x=-1.0), expected)
    expected = np.zeros_like(image)
    expected[1:4] = image[::2]
    np.testing.assert_array_equal(forced(image, Augment(scale=0.5), scale_y=-1.0), expected)


def test_a_shear_slants_the_rows(forced: Any) -> None:
    image = pictures(5, 5)
    slanted = forced(image, Augment(shear=45), shear=1.0)
    for row in range(5):
        shift = row - 2  # from the middle row
        expected = np.zeros(5, np.uint8)
        inside = [column for column in range(5) if 0 <= column + shift < 5]
        expected[inside] = image[row, [column + shift for column in inside]]
        np.testing.assert_array_equal(slanted[row], expected)


def test_transforms_worked_out_on_paper() -> None:
    """a, b, c, d, e, f: output (x, y) comes from (a x + b y + c, d x + e y + f); the centre of 5 x 5 is (2, 2)."""
    some = Augment(rotate=90, scale=0.5, shear=45, shift=3)
    half = math.sqrt(0.5)
    assert transform(some) == pytest.approx([1, 0, 0, 0, 1, 0, 0, 0])
    assert transform(some, rotate=1) == pytest.approx([0, -1, 4, 1, 0, 0, 0, 0], abs=1e-6)
    assert transform(some, rotate=0.5) == pytest.approx([half, -half, 2, half, half, 2 - 4 * half, 0, 0], abs=1e-6)
    assert transform(some, scale_x=-1) == pytest.approx([2, 0, -2, 0, 1, 0, 0, 0])
    assert transform(some, scale_y=1) == pytest.approx([1, 0, 0, 0, 2 / 3, 2 / 3, 0, 0])
    assert transform(some, shear=-1) == pytest.approx([1, -1, 2, 0, 1, 0, 0, 0], abs=1e-6)
    assert transform(some, shift_x=1, shift_y=-1) == pytest.approx([1, 0, -3, 0, 1, 3, 0, 0])
    assert transform(some, height=3, width=7, rotate=1) == pytest.approx([0, -1, 4, 1, 0, -2, 0, 0], abs=1e-6)


def test_the_centre_stays_where_nothing_is_shifted() -> None:
    section = Augment(rotate=180, scale=0.9, shear=60)
    for draws in np.random.default_rng(0).uniform(-1, 1, [20, 4]):
        names = dict(zip(("rotate", "scale_x", "scale_y", "shear"), draws.tolist()))
        a, b, c, d, e, f, *_ = transform(section, 9, 5, **names)
        assert (a * 2 + b * 4 + c, d * 2 + e * 4 + f) == pytest.approx((2, 4), abs=1e-3)


def test_draws_fill_their_interval_evenly() -> None:
    image = np.zeros([1, 400, 1, 21], np.uint8)
    image[..., 10] = 255
    columns = np.arange(21)
    moved = augment(image, Augment(shift=8))[0, :, 0].astype(float)
    positions = (moved * columns).sum(axis=1) / np.maximum(moved.sum(axis=1), 1) - 10
    seen = positions[moved.sum(axis=1) > 64]  # the others have left the single row, up or down
    assert seen.size > 10
    assert np.abs(seen).max() <= 8.01
    assert seen.min() < -4 < 4 < seen.max()


def test_values_are_mixed_never_exceeded() -> None:
    images = np.full([2, 8, 28, 28], 255, np.uint8)
    changed = augment(images, ALL)
    assert (changed[:, :, 8:20, 8:20] == 255).all()  # an overflow would come out near 0


def test_the_ink_is_kept_about() -> None:
    images = np.zeros([2, 100, 28, 28], np.uint8)
    images[:, :, 10:18, 12:16] = 200
    changed = augment(images, ALL)
    assert changed.mean() == pytest.approx(images.mean(), rel=0.03)
    columns = changed.sum(axis=(0, 1, 2), dtype=float)
    assert (columns * np.arange(28)).sum() / columns.sum() == pytest.approx(13.5, abs=0.3)  # no drift to a side


# Elastic


def fields(count: int, height: int, width: int, size: float = 2.0, smooth: float = 3.0) -> Array:
    noise = np.random.default_rng(0).uniform(-1, 1, [count, 2, height, width]).astype(np.float32)
    return elastic_fields(tf.constant(noise), size, smooth).numpy()


def seen_through(images: Array, field: Array, section: Augment = ALL, **draws: float) -> Array:
    """Samples images through one affine map, the identity without draws, and one field for all."""
    count, height, width = images.shape
    transforms = tf.constant([transform(section, height, width, **draws)] * count)
    moved = np.broadcast_to(field, [count, 2, height, width]).astype(np.float32)
    return sample(tf.constant(images), transforms, tf.constant(moved)).numpy()


def constant(x: float, y: float, height: int, width: int) -> Array:
    return np.broadcast_to(np.array([x, y], np.float32)[:, None, None], [2, height, width])


@pytest.mark.parametrize("size", [0.5, 4.0])
@pytest.mark.parametrize("smooth", [0.3, 2.0, 20.0])
def test_displacements_have_their_size_everywhere(size: float, smooth: float) -> None:
    found = np.sqrt(np.mean(fields(3000, 6, 9, size, smooth) ** 2, axis=0))  # at the borders too
    assert found.shape == (2, 6, 9)
    np.testing.assert_allclose(found, size, rtol=0.06)


def test_smoothing_is_a_gaussian_with_columns_of_length_one() -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, [2, 2, 5, 8])
    expected = noise
    for axis, length in ((2, 5), (3, 8)):
        position = np.arange(length)
        kernel = np.exp(-0.5 * ((position[:, None] - position) / 1.5) ** 2)
        kernel /= np.sqrt((kernel**2).sum(axis=0))
        expected = np.moveaxis(np.moveaxis(expected, axis, -1) @ kernel, -1, axis)
    found = elastic_fields(tf.constant(noise, tf.float32), 2.0, 1.5)
    np.testing.assert_allclose(found, expected * 2 * math.sqrt(3), rtol=1e-4, atol=1e-5)


def test_sampling_without_a_field_is_the_projective_transform() -> None:
    images = pictures(40, 11, 16)
    draws = tf.constant(np.random.default_rng(1).uniform(-1, 1, [40, 6]), tf.float32)
    transforms = affine_transforms(draws, tf.constant(11), tf.constant(16), **affine(ALL))
    expected = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images[..., np.newaxis], tf.float32),
        transforms=transforms,
        output_shape=[11, 16],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    found = sample(tf.constant(images), transforms, tf.zeros([40, 2, 11, 16]))
    np.testing.assert_allclose(found, expected[..., 0], atol=0.01)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, 0), (-2, 0), (0, 3), (2, -1), (7, 0), (0, -50), (1000, 1000)])
def test_a_field_of_whole_pixels_shifts_and_brings_in_zeros(x: int, y: int) -> None:
    images = pictures(3, 5, 7)
    expected = np.zeros_like(images)
    for row in range(5):
        for column in range(7):
            if 0 <= row + y < 5 and 0 <= column + x < 7:
                expected[:, row, column] = images[:, row + y, column + x]
    np.testing.assert_array_equal(seen_through(images, constant(x, y, 5, 7)), expected)


def test_half_a_pixel_is_the_mean_of_two_and_of_four() -> None:
    images = np.array([[[0, 100, 40], [20, 60, 200]]], np.uint8)
    np.testing.assert_allclose(seen_through(images, constant(0.5, 0, 2, 3))[0], [[50, 70, 20], [40, 130, 100]])
    np.testing.assert_allclose(seen_through(images, constant(0, -0.5, 2, 3))[0], [[0, 50, 20], [10, 80, 120]])
    assert seen_through(images, constant(0.5, 0.5, 2, 3))[0, 0, 0] == 45  # the mean of 0, 100, 20, 60


def test_a_field_is_added_to_the_affine_map() -> None:
    image = pictures(1, 6, 6)
    turned = np.rot90(image[0])
    np.testing.assert_allclose(
        seen_through(image, constant(0, 0, 6, 6), Augment(rotate=90), rotate=1.0)[0], turned, atol=1e-2
    )
    moved = seen_through(image, constant(0, 1, 6, 6), Augment(rotate=90), rotate=1.0)[0]
    # the displacement is in pixels of the input: one row further down there is one column to the left in the turned one
    source = np.zeros([6, 6])
    source[:5] = image[0, 1:]
    np.testing.assert_allclose(moved, np.rot90(source), atol=1e-2)


def test_a_field_may_differ_from_image_to_image_and_point_to_point() -> None:
    images = pictures(2, 4, 5)
    field = np.zeros([2, 2, 4, 5], np.float32)
    field[1, 0, 2, 3] = -1.0  # of the second image, one point comes from its left neighbour
    expected = images.copy()
    expected[1, 2, 3] = images[1, 2, 2]
    np.testing.assert_array_equal(seen_through(images, field), expected)


def test_elastic_leaves_the_affine_draws_as_they_are() -> None:
    images = pictures(2, 3, 12, 9)
    barely = augment(images, ALL.model_copy(update={"elastic": 1e-6}))
    assert np.abs(barely.astype(int) - augment(images, ALL)).max() <= 1


# Any change


@pytest.mark.parametrize("section", [ALL, ELASTIC])
def test_a_change_is_a_function_of_seed_and_step(section: Augment) -> None:
    images = pictures(1, 4, 12, 12)
    first = augment(images, section, step=3)
    np.testing.assert_array_equal(first, augment(images, section, step=3))
    for other in (augment(images, section, step=4), augment(images, section, step=3, seed=2)):
        assert not (first == other).all(axis=(0, 2, 3)).any()


@pytest.mark.parametrize("section", [ALL, BOTH])
def test_changes_do_not_depend_on_how_steps_are_grouped(section: Augment) -> None:
    images = np.ascontiguousarray(np.broadcast_to(pictures(12, 9), [5, 3, 12, 9]))
    whole = augment(images, section, step=10)
    for cuts in ([0, 2, 5], [0, 1, 2, 3, 4, 5]):
        parts = [augment(images[a:b], section, step=10 + a) for a, b in pairwise(cuts)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert len({image.tobytes() for image in whole.reshape(15, 12, 9)}) == 15, "each in its own way"


@pytest.mark.parametrize("shape", [(1, 1, 5, 7), (3, 2, 28, 28), (2, 4, 1, 1), (2, 2, 3, 40)])
@pytest.mark.parametrize("section", [ALL, ELASTIC, BOTH])
def test_shape_type_and_range_stay(shape: tuple[int, ...], section: Augment) -> None:
    changed = augment(pictures(*shape), section)
    assert changed.shape == shape and changed.dtype == np.uint8
    assert augment(np.full(shape, 100, np.uint8), section).max() <= 100


def test_it_runs_inside_a_data_pipeline() -> None:
    images = pictures(3, 2, 12, 12)
    blocks = tf.data.Dataset.from_tensors((images, np.int64(7)))
    (changed,) = blocks.map(lambda block, step: augment_block(block, step, 1, **BOTH.model_dump()))
    np.testing.assert_array_equal(changed.numpy(), augment(images, BOTH, step=7))


def test_scaling_grows_about_the_centre(forced: Any) -> None:
    image = np.zeros([9, 9], np.uint8)
    image[3:6, 3:6] = 200  # three pixels wide
    grown = forced(image, Augment(scale=0.9), scale_x=1.0, scale_y=1.0)
    np.testing.assert_array_equal(grown, grown[::-1, ::-1])
    assert grown[4, 4] == 200
    assert grown.sum() / 200 == pytest.approx((3 * 1.9) ** 2, rel=0.05)


def test_displacements_are_as_often_positive_as_negative_and_differ_by_axis() -> None:
    found = fields(3000, 6, 9)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=0.2)
    assert abs(np.corrcoef(found[:, 0, 3, 4], found[:, 1, 3, 4])[0, 1]) < 0.1


def test_a_wider_gaussian_makes_neighbours_more_alike() -> None:
    rough = [
        np.abs(np.diff(fields(50, 28, 28, 1.0, width), axis=axis)).mean() for width in (1, 2, 4, 8) for axis in (2, 3)
    ]
    along_y, along_x = rough[0::2], rough[1::2]
    assert along_y == sorted(along_y, reverse=True) and along_x == sorted(along_x, reverse=True)
    assert along_x[-1] < along_x[0] / 4
    np.testing.assert_allclose(along_x, along_y, rtol=0.1)
