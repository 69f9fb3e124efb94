"""Selection: which classes and which examples, exactly so many, by the key alone."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmnist.data.selection import choose_classes, keep_few, stratify
from tfmnist.errors import InputError

NAMES = ["ant", "bee", "cat", "dog"]


def labels_of(*counts: int) -> np.ndarray:
    """So many examples of class 0, 1, ..., in no order."""
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


# choose_classes


@pytest.mark.parametrize(
    ("only", "numbers"),
    [
        ([], [0, 1, 2, 3]),
        (["ant", "bee", "cat", "dog"], [0, 1, 2, 3]),
        (["dog", "bee"], [-1, 1, -1, 0]),
        (("cat",), [-1, -1, 0, -1]),
    ],
)
def test_classes_are_numbered_in_the_order_asked_for(only: list[str], numbers: list[int]) -> None:
    found = choose_classes(NAMES, only)
    assert found.tolist() == numbers and found.dtype == np.int64


@pytest.mark.parametrize(
    ("only", "words"),
    [
        (["cat", "be"], ["has 'be': no such class", "did you mean 'bee'?"]),
        (["zzzz"], ["has 'zzzz': no such class", "known: ant, bee, cat, dog"]),
        (["cat", "ant", "cat"], ["is ['cat', 'ant', 'cat']", "no class twice"]),
    ],
)
def test_classes_that_cannot_be_kept_are_named(only: list[str], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        choose_classes(NAMES, only)
    message = str(caught.value)
    assert message.startswith("recipe key 'data.only' ") and message.isprintable()
    assert all(word in message for word in words), message


# stratify


@settings(deadline=None, max_examples=150)
@given(
    counts=st.lists(st.integers(0, 30), min_size=2, max_size=8),
    fraction=st.floats(0, 0.9),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_split(counts: list[int], fraction: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = labels[np.random.default_rng(0).permutation(len(labels))]
    validation = int(fraction * len(labels))
    try:
        rest, drawn = stratify(labels, np.arange(len(labels)), validation, seed)
    except InputError as error:
        assert str(validation) in str(error) and min(count for count in counts if count) < 9
        return
    assert len(drawn) == validation and sorted([*rest, *drawn]) == list(range(len(labels)))
    assert np.all(np.diff(rest) > 0) and np.all(np.diff(drawn) > 0) and rest.dtype == drawn.dtype == np.int64
    got = np.bincount(labels[drawn], minlength=len(counts))
    exact = np.array(counts) * validation / max(1, len(labels))
    assert np.all(got >= np.floor(exact))
    if all(math.ceil(part) < count for part, count in zip(exact, counts, strict=True) if count):  # all can round up
        assert np.all(got - exact < 1)
    assert all(left > 0 for left, count in zip(np.array(counts) - got, counts, strict=True) if count)


def test_only_the_given_rows_are_drawn_from() -> None:
    labels = labels_of(30, 20, 10)
    rows = np.flatnonzero(labels != 1)
    stay, drawn = stratify(labels, rows, 8, random_key=3)
    assert sorted([*stay, *drawn]) == rows.tolist()
    assert np.bincount(labels[drawn], minlength=3).tolist() == [6, 0, 2]


def test_what_is_drawn_depends_on_the_key() -> None:
    labels = labels_of(40, 40)
    rows = np.arange(80)
    first, again, other = (stratify(labels, rows, 20, key)[1].tolist() for key in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("count", [-1, 4, 6, 5000])
def test_a_class_of_which_nothing_would_stay_is_an_error(count: int) -> None:
    labels = labels_of(3, 2, 1)
    words = (
        f"is {count}, expected 0 to 3: of 6 training examples, at least one in each of 3 .* to 0, for example, or to 0"
    )
    with pytest.raises(InputError, match=words):
        stratify(labels, np.arange(6), count, 1)
    assert np.bincount(labels[stratify(labels, np.arange(6), 3, 1)[0]]).tolist() == [1, 1, 1]


# keep_few


@settings(deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.data(), st.integers(0, 2**63 - 1))
def test_exactly_so_many_of_each_class_are_kept(counts: list[int], data: st.DataObject, key: int) -> None:
    labels = labels_of(*counts)
    few, rows, names = data.draw(st.integers(1, min(counts))), np.arange(len(labels)), "abcdef"[: len(counts)]
    few_rows = keep_few(labels, rows, few, key, names)
    assert np.bincount(labels[few_rows]).tolist() == [few] * len(counts)
    assert (np.diff(few_rows) > 0).all()
    assert few_rows.tolist() == keep_few(labels, rows, few, key, names).tolist()


def test_all_kept_is_all_and_another_key_keeps_others() -> None:
    labels, rows = labels_of(9, 9), np.arange(18)
    assert keep_few(labels, rows, 9, 1, NAMES[:2]).tolist() == rows.tolist()
    assert keep_few(labels, rows, 4, 1, NAMES[:2]).tolist() != keep_few(labels, rows, 4, 2, NAMES[:2]).tolist()


def test_few_are_kept_of_the_given_rows() -> None:
    labels = labels_of(9, 9)
    rows = np.flatnonzero(np.arange(18) % 3)
    assert set(keep_few(labels, rows, 3, 1, NAMES[:2])) <= set(rows)


@pytest.mark.parametrize(("counts", "name", "has"), [((9, 4, 2), "bee", 4), ((9, 9, 0), "cat", 0), ((9, 9), "cat", 0)])
def test_a_class_with_too_few_is_named(counts: tuple[int, ...], name: str, has: int) -> None:
    labels = labels_of(*counts)
    with pytest.raises(InputError) as caught:
        keep_few(labels, np.arange(len(labels)), 5, 1, NAMES[:3])
    assert str(caught.value) == (
        f"recipe key 'data.per_class' is 5: class {name!r} has {has} training examples; lower it, or data.validation."
    )
