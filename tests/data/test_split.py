"""Splits: a view of a larger data set that indexes like an array, and copies only what it must."""

import gc
import threading
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import assert_holds, make

from tfmnist.data.idx import read_images, write_idx
from tfmnist.data.split import AllBut, Digits, Split, compact, count_labels, rows_where
from tfmnist.errors import InputError


@pytest.mark.parametrize("rows", [None, [], [0], [9, 3, 3, 0, 7]])
@pytest.mark.parametrize("mapped", [False, True])
def test_split(tmp_path: Path, rows: list[int] | None, mapped: bool) -> None:
    arrays = make(train=10)
    images, labels = arrays["x_train"], arrays["y_train"]
    if mapped:
        write_idx(tmp_path / "images", images)
        images = read_images(tmp_path / "images")
    split = Split(images, labels, None if rows is None else np.array(rows, np.int64))
    chosen = list(range(10)) if rows is None else rows
    assert len(split) == len(chosen) and split.image_shape == (5, 7)
    assert repr(split) == f"Split({len(chosen)} of 5 x 7)"
    assert_holds(split, arrays["x_train"][chosen], labels[chosen])
    assert split.images is split.images or rows is None
    assert len(split) == len(chosen) and split.image_shape == (5, 7)


@settings(deadline=None)
@given(data=st.data(), rows=st.none() | st.lists(st.integers(0, 9), min_size=1, max_size=12), whole=st.booleans())
def test_take_is_indexing(data: st.DataObject, rows: list[int] | None, whole: bool) -> None:
    arrays = make(train=10)
    split = Split(arrays["x_train"], arrays["y_train"], None if rows is None else np.array(rows, np.int64))
    if whole:
        assert split.images.shape == (len(split), 5, 7)
    shape = data.draw(st.lists(st.integers(0, 3), max_size=3))
    flat = data.draw(
        st.lists(st.integers(0, len(split) - 1), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))
    )
    positions = np.array(flat, np.int64).reshape(shape)
    images, labels = split.take(positions)
    assert images.shape == (*shape, 5, 7) and images.dtype == np.uint8 and labels.dtype == np.int64
    np.testing.assert_array_equal(images, split.images[positions])
    np.testing.assert_array_equal(labels, split.labels[positions])


def test_take_refuses_positions_out_of_range() -> None:
    arrays = make(train=10)
    for rows in (None, np.arange(4)):
        with pytest.raises(IndexError):
            Split(arrays["x_train"], arrays["y_train"], rows).take(np.array([10]))


def test_arrays_are_read_only_and_the_callers_are_not() -> None:
    arrays = make(train=10)
    images, labels, rows = arrays["x_train"], arrays["y_train"], np.arange(4)
    for split in (Split(images, labels), Split(images, labels, rows)):
        for array in (split.images, split.labels):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
    assert images.flags.writeable and labels.flags.writeable and rows.flags.writeable
    assert np.shares_memory(Split(images, labels).images, images)


def test_images_let_go_of_the_base() -> None:
    base = np.zeros([10, 2, 2], np.uint8)
    gone = weakref.ref(base)
    split = Split(base, np.arange(10), np.arange(5))
    del base
    assert len(split.take(np.arange(3))[0]) == 3 and gone() is not None
    assert split.images.shape == (5, 2, 2)
    gc.collect()
    assert gone() is None
    assert split.take(np.array([4]))[1].tolist() == [4]
    assert split.rows is not None and split.rows.tolist() == [0, 1, 2, 3, 4]


def test_take_while_another_thread_selects() -> None:
    images = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None], [200, 8, 8])
    wrong: list[int] = []

    def work(split: Split) -> None:
        for _ in range(20):
            pixels, labels = split.take(np.arange(100))
            wrong.extend(labels[pixels[:, 0, 0] != labels].tolist())

    for _ in range(20):
        split = Split(images, np.arange(200), np.arange(199, 99, -1))
        thread = threading.Thread(target=work, args=(split,))
        thread.start()
        assert split.images[0, 0, 0] == 199
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("images", "labels", "rows", "words"),
    [
        (np.zeros([6, 4], np.uint8), np.zeros(6, int), None, r"images are uint8 \[6, 4\], expected uint8 \[n, height"),
        (np.zeros([6, 4, 4]), np.zeros(6, int), None, r"images are float64 \[6, 4, 4\], expected uint8"),
        (np.zeros([6, 4, 4], np.uint8), np.zeros([6, 2], int), None, r"labels are int64 \[6, 2\], expected integers"),
        (np.zeros([6, 4, 4], np.uint8), np.zeros(6), None, r"labels are float64 \[6\], expected integers"),
        (np.zeros([6, 4, 4], np.uint8), np.zeros(5, int), None, "6 images but 5 labels"),
        (np.zeros([6, 4, 4], np.uint8), np.zeros(6, int), np.array([0, 6]), "rows range from 0 to 6, expected 0 to 5"),
        (np.zeros([6, 4, 4], np.uint8), np.zeros(6, int), np.array([-1]), "rows range from -1 to -1, expected 0 to 5"),
        (np.zeros([6, 4, 4], np.uint8), np.zeros(6, int), np.ones(6, bool), r"rows are bool \[6\], expected int64"),
    ],
)
def test_split_refuses(images: Any, labels: Any, rows: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Split(images, labels, rows)


def test_take_gathers_without_copying_the_base(tmp_path: Path) -> None:
    write_idx(tmp_path / "images", np.zeros([4000, 64, 64], np.uint8))
    split = Split(read_images(tmp_path / "images"), np.zeros(4000, np.int64), np.arange(0, 4000, 2))
    tracemalloc.start()
    split.take(np.arange(16).reshape(4, 4))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 64 * 64 + 100_000


# Rows without a table, and small labels


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_rows_are_those_of_the_mask(mask: list[bool]) -> None:
    rows, chosen = rows_where(np.array(mask)), np.flatnonzero(mask)
    if all(mask):
        assert rows is None
        return
    assert rows is not None and len(rows) == len(chosen)
    assert isinstance(rows, AllBut) == (2 * len(chosen) >= len(mask))
    assert rows[np.arange(len(chosen))].tolist() == chosen.tolist()
    images, labels = np.arange(len(mask), dtype=np.uint8)[:, None, None], np.arange(len(mask)) % 7
    split = Split(images, labels, rows)
    assert len(split) == len(chosen) and split.rows is not None and split.rows.tolist() == chosen.tolist()
    assert_holds(Split(images, labels, rows), images[chosen], labels[chosen])
    positions = np.random.default_rng(0).integers(-len(chosen), len(chosen), [3, 4]) if len(chosen) else chosen
    pixels, found = split.take(positions)
    assert (
        pixels[..., 0, 0].tolist() == chosen[positions].tolist()
        and found.tolist() == labels[chosen][positions].tolist()
    )
    with pytest.raises(IndexError):
        split.take(np.array([len(chosen)]))


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=30), st.integers(0, 9))
def test_the_digest_does_not_depend_on_how_validation_was_split_off(parts: list[int], seed: int) -> None:
    """Of training (0), validation (1) and other examples, in order or not."""
    images = np.random.default_rng(0).integers(0, 256, [len(parts), 2, 2], np.uint8)
    labels, test = np.arange(len(parts)) * 20, Split(images[:1], np.zeros(1, np.int64))
    of_part = np.array(parts)
    used = np.flatnonzero(of_part < 2)
    whole = Digits(Split(images[used], labels[used]), Split(images[:0], labels[:0]), test, ("a",), "").sha256
    random = np.random.default_rng(seed)
    for rows in (
        rows_where(of_part == 0),
        np.flatnonzero(of_part == 0),
        random.permutation(np.flatnonzero(of_part == 0)),
    ):
        if rows is None:
            continue
        train = Split(images, labels, rows)
        validation = Split(images, labels, random.permutation(np.flatnonzero(of_part == 1)))
        assert Digits(train, validation, test, ("a",), "").sha256 == whole


def test_labels_are_held_small() -> None:
    images = np.zeros([3, 2, 2], np.uint8)
    for labels, dtype in (([0, 1, 255], "u1"), ([0, 1, 256], "u2"), ([0, 1, -1], "i8"), ([0, 1, 2**40], "i8")):
        split = Split(images, np.array(labels))
        assert split.compact_labels.dtype == dtype and split.take(np.arange(3))[1].dtype == np.int64
        digest = split.sha256
        assert split.labels.tolist() == labels and split.labels.dtype == np.int64
        again = Split(images, split.labels)
        assert again.sha256 == digest
    assert compact(np.zeros(0, np.int64)).dtype == np.uint8


def test_labels_are_counted() -> None:
    assert count_labels(np.array([2, 0, 2], np.uint8)).tolist() == [1, 0, 2]
    assert count_labels(np.array([1], np.uint8), 3).tolist() == [0, 1, 0]
    assert count_labels(np.zeros(0, np.uint8)).tolist() == []
