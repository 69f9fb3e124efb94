"""Augmentation: each change alone, against what NumPy does to whole pixels; and what must hold for any."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tfmnist.data.augment import affine_transforms, augment_block
from tfmnist.recipe import Augment

Array = NDArray[Any]

ALL = Augment(rotate=15, scale=0.1, shear=10, shift=2)
NONE = {"rotate": 0.0, "scale_x": 0.0, "scale_y": 0.0, "shear": 0.0, "shift_x": 0.0, "shift_y": 0.0}


def pictures(*shape: int) -> Array:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def augment(images: Array, section: Augment, step: int = 0, seed: int = 1) -> Array:
    return augment_block(tf.constant(images), tf.constant(step, tf.int64), section, seed).numpy()


def transform(section: Augment, height: int = 5, width: int = 5, **draws: float) -> list[float]:
    row = tf.constant([list({**NONE, **draws}.values())])
    return affine_transforms(row, tf.constant(height), tf.constant(width), section).numpy()[0].tolist()


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Augments one picture with draws that the test chooses."""

    def run(image: Array, section: Augment, **draws: float) -> Array:
        row = tf.constant([list({**NONE, **draws}.values())])
        with monkeypatch.context() as patch:
            patch.setattr(tf.random, "stateless_uniform", lambda *_, **__: row)
            return augment(image[np.newaxis, np.newaxis], section)[0, 0]

    return run


def test_no_change_asked_for_leaves_every_image() -> None:
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


def test_scaling_grows_about_the_centre(forced: Any) -> None:
    image = np.zeros([9, 9], np.uint8)
    image[3:6, 3:6] = 200  # three pixels wide
    grown = forced(image, Augment(scale=0.9), scale_x=1.0, scale_y=1.0)
    np.testing.assert_array_equal(grown, grown[::-1, ::-1])
    assert grown[4, 4] == 200
    assert grown.sum() / 200 == pytest.approx((3 * 1.9) ** 2, rel=0.05)


def test_a_shear_slants_the_rows(forced: Any) -> None:
    image = pictures(5, 5)
    slanted = forced(image, Augment(shear=45), shear=1.0)
    for row in range(5):
        shift = row - 2  # from the middle row
        expected = np.zeros(5, np.uint8)
        kept = [column for column in range(5) if 0 <= column + shift < 5]
        expected[kept] = image[row, [column + shift for column in kept]]
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


def test_a_change_is_a_function_of_seed_and_step() -> None:
    images = pictures(1, 4, 12, 12)
    first = augment(images, ALL, step=3)
    np.testing.assert_array_equal(first, augment(images, ALL, step=3))
    for other in (augment(images, ALL, step=4), augment(images, ALL, step=3, seed=2)):
        assert not (first == other).all(axis=(0, 2, 3)).any()


def test_every_place_in_the_block_is_changed_in_its_own_way() -> None:
    images = np.broadcast_to(pictures(12, 12), [4, 5, 12, 12])
    changed = augment(np.ascontiguousarray(images), ALL)
    assert len({image.tobytes() for image in changed.reshape(20, 12, 12)}) == 20


def test_changes_do_not_depend_on_how_steps_are_grouped() -> None:
    images = pictures(5, 3, 12, 12)
    whole = augment(images, ALL, step=10)
    for cuts in ([0, 2, 5], [0, 1, 2, 3, 4, 5]):
        parts = [augment(images[a:b], ALL, step=10 + a) for a, b in pairwise(cuts)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_draws_fill_their_interval_evenly() -> None:
    image = np.zeros([1, 400, 1, 21], np.uint8)
    image[..., 10] = 255
    columns = np.arange(21)
    moved = augment(image, Augment(shift=8))[0, :, 0].astype(float)
    places = (moved * columns).sum(axis=1) / np.maximum(moved.sum(axis=1), 1) - 10
    seen = places[moved.sum(axis=1) > 64]  # the others have left the single row, up or down
    assert seen.size > 10
    assert np.abs(seen).max() <= 8.01
    assert seen.min() < -4 < 4 < seen.max()


@pytest.mark.parametrize("shape", [(1, 1, 5, 7), (3, 2, 28, 28), (2, 4, 1, 1)])
def test_shape_and_type_stay(shape: tuple[int, ...]) -> None:
    changed = augment(pictures(*shape), ALL)
    assert changed.shape == shape
    assert changed.dtype == np.uint8


def test_values_are_mixed_never_exceeded() -> None:
    images = np.full([2, 8, 28, 28], 255, np.uint8)
    changed = augment(images, ALL)
    assert (changed[:, :, 8:20, 8:20] == 255).all()  # an overflow would come out near 0
    gray = augment(np.full([2, 8, 28, 28], 100, np.uint8), ALL)
    assert gray.max() == 100


def test_the_ink_is_kept_about() -> None:
    images = np.zeros([2, 100, 28, 28], np.uint8)
    images[:, :, 10:18, 12:16] = 200
    changed = augment(images, ALL)
    assert changed.mean() == pytest.approx(images.mean(), rel=0.03)
    columns = changed.sum(axis=(0, 1, 2), dtype=float)
    assert (columns * np.arange(28)).sum() / columns.sum() == pytest.approx(13.5, abs=0.3)  # no drift to a side


def test_it_runs_inside_a_data_pipeline() -> None:
    images = pictures(3, 2, 12, 12)
    blocks = tf.data.Dataset.from_tensors((images, np.int64(7)))
    (changed,) = blocks.map(lambda block, step: augment_block(block, step, ALL, 1))
    np.testing.assert_array_equal(changed.numpy(), augment(images, ALL, step=7))
