"""Selection: which classes and which examples, exactly so many, by the key alone."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmnist.data import selection
from tfmnist.data.selection import Mask, choose_classes, keep_few, relabel, stratify
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


# relabel


def test_examples_get_the_new_labels_of_their_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_CHUNK", 2)
    found = relabel(np.array([0, 3, 3, 1, 2], np.uint8), np.array([-1, 1, -1, 0]))
    assert found.tolist() == [-1, 0, 0, 1, -1] and found.dtype == np.int16


# stratify


def everything(labels: np.ndarray) -> Mask:
    return np.ones(len(labels), np.bool_)


def smallest(labels: np.ndarray, quota: np.ndarray, key: int) -> list[bool]:
    """Which examples are drawn, by sorting them all: of equal random numbers the first."""
    random = np.random.Philox(key=[key, 0]).random_raw(len(labels))
    drawn = np.zeros(len(labels), np.bool_)
    for label, count in enumerate(quota):
        rows = np.flatnonzero(labels == label)
        drawn[rows[np.argsort(random[rows], kind="stable")[:count]]] = True
    return drawn.tolist()


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
        drawn = stratify(labels, everything(labels), validation, seed)
    except InputError as error:
        assert str(validation) in str(error) and min(count for count in counts if count) < 9
        return
    assert drawn.sum() == validation and len(drawn) == len(labels) and drawn.dtype == np.bool_
    got = np.bincount(labels[drawn], minlength=len(counts))
    exact = np.array(counts) * validation / max(1, len(labels))
    assert np.all(got >= np.floor(exact))
    if all(math.ceil(part) < count for part, count in zip(exact, counts, strict=True) if count):  # all can round up
        assert np.all(got - exact < 1)
    assert drawn.tolist() == smallest(labels, got, seed)
    assert all(left > 0 for left, count in zip(np.array(counts) - got, counts, strict=True) if count)


def test_only_the_given_rows_are_drawn_from() -> None:
    labels = labels_of(30, 20, 10)
    drawn = stratify(labels, labels != 1, 8, random_key=3)
    assert np.bincount(labels[drawn], minlength=3).tolist() == [6, 0, 2]


def test_what_is_drawn_depends_on_the_key() -> None:
    labels = labels_of(40, 40)
    first, again, other = (stratify(labels, everything(labels), 20, key).tolist() for key in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("count", [-1, 4, 6, 5000])
def test_a_class_of_which_nothing_would_stay_is_an_error(count: int) -> None:
    labels = labels_of(3, 2, 1)
    words = (
        f"is {count}, expected 0 to 3: of 6 training examples, at least one in each of 3 .* to 0, for example, or to 0"
    )
    with pytest.raises(InputError, match=words):
        stratify(labels, everything(labels), count, 1)
    assert np.bincount(labels[~stratify(labels, everything(labels), 3, 1)]).tolist() == [1, 1, 1]


def test_large_sets_are_drawn_from_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.random.default_rng(1).integers(0, 3, 5000).astype(np.uint8)
    whole = stratify(labels, everything(labels), 2000, 7)
    monkeypatch.setattr(selection, "_CHUNK", 301)
    monkeypatch.setattr(selection, "_MOST_CELLS", 4)  # so that many are in the cell at the quota
    assert stratify(labels, everything(labels), 2000, 7).tolist() == whole.tolist()
    assert whole.tolist() == smallest(labels, np.bincount(labels[whole]), 7)


# keep_few


@settings(deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.data(), st.integers(0, 2**63 - 1))
def test_exactly_so_many_of_each_class_are_kept(counts: list[int], data: st.DataObject, key: int) -> None:
    labels = labels_of(*counts)
    few, names = data.draw(st.integers(1, min(counts))), "abcdef"[: len(counts)]
    drawn = keep_few(labels, everything(labels), few, key, names)
    assert np.bincount(labels[drawn]).tolist() == [few] * len(counts)
    assert drawn.tolist() == smallest(labels, np.full(len(counts), few), key)


def test_all_kept_is_all_and_another_key_keeps_others() -> None:
    labels, among = labels_of(9, 9), np.ones(18, np.bool_)
    assert keep_few(labels, among, 9, 1, NAMES[:2]).all()
    assert keep_few(labels, among, 4, 1, NAMES[:2]).tolist() != keep_few(labels, among, 4, 2, NAMES[:2]).tolist()


def test_few_are_kept_of_the_given_rows() -> None:
    labels = labels_of(9, 9)
    among = np.arange(18) % 3 > 0
    assert not keep_few(labels, among, 3, 1, NAMES[:2])[~among].any()


@pytest.mark.parametrize(("counts", "name", "has"), [((9, 4, 2), "bee", 4), ((9, 9, 0), "cat", 0), ((9, 9), "cat", 0)])
def test_a_class_with_too_few_is_named(counts: tuple[int, ...], name: str, has: int) -> None:
    labels = labels_of(*counts)
    with pytest.raises(InputError) as caught:
        keep_few(labels, everything(labels), 5, 1, NAMES[:3])
    assert str(caught.value) == (
        f"recipe key 'data.per_class' is 5: class {name!r} has {has} training examples; lower it, or data.validation."
    )
