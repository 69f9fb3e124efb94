"""Seeds: named streams that are fixed for ever, so that an old run can be repeated."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmnist import seeds
from tfmnist.seeds import key, order_of, permutation

SEEDS = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize(
    ("seed", "name", "number"),
    [
        (0, "order", 1152760118607444429),
        (1, "dense_1/kernel", 533448487788902260),
        (2**63 - 1, "dropout", 1472907413912023845),
    ],
)
def test_keys_stay_what_they_are(seed: int, name: str, number: int) -> None:
    assert key(seed, name) == number


@pytest.mark.parametrize(
    ("seed", "epoch", "order"),
    [
        (0, 0, [8, 9, 4, 6, 0, 2, 7, 3, 5, 1]),
        (0, 1, [2, 4, 1, 6, 3, 0, 9, 5, 7, 8]),
        (7, 3, [8, 1, 6, 0, 3, 5, 2, 9, 7, 4]),
    ],
)
def test_orders_stay_what_they_are(seed: int, epoch: int, order: list[int]) -> None:
    assert permutation(seed, epoch, 10).tolist() == order


@settings(deadline=None)
@given(SEEDS, st.text())
def test_a_key_is_a_number_that_int64_holds(seed: int, name: str) -> None:
    assert 0 <= key(seed, name) < 2**63


def test_keys_differ_by_seed_and_by_name() -> None:
    names = ("order", "dropout_1", "dropout_2", "augment", "1/order", "")
    assert len({key(seed, name) for seed in range(100) for name in names}) == 100 * len(names)


@settings(deadline=None)
@given(SEEDS, st.integers(0, 2**32), st.integers(0, 500))
def test_an_order_has_every_example_once(seed: int, epoch: int, count: int) -> None:
    order = permutation(seed, epoch, count)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(count))


def test_orders_differ_by_seed_and_by_epoch() -> None:
    orders = {tuple(permutation(seed, epoch, 20).tolist()) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


def test_every_example_comes_early_and_late_alike() -> None:
    positions = np.array([np.argsort(permutation(0, epoch, 10)) for epoch in range(2_000)])
    # the mean of 2,000 uniform positions has standard deviation 0.064; this is more than five of them
    np.testing.assert_allclose(positions.mean(axis=0), 4.5, atol=0.35)


@pytest.mark.parametrize("most", [2**64 - 1, 50])
def test_sorting_is_stable(most: int) -> None:
    random = np.random.default_rng(0).integers(0, most, 5000, np.uint64, endpoint=True)
    order = seeds._stable_order(random)
    assert order.tolist() == np.argsort(random, kind="stable").tolist() and order.dtype == np.int64


# order_of


def test_few_examples_have_the_permutation_as_their_order() -> None:
    order = order_of(7, 3, 1000)
    assert order(0, 1000).tolist() == permutation(7, 3, 1000).tolist()
    assert order(20, 23).tolist() == permutation(7, 3, 1000)[20:23].tolist()


@pytest.fixture
def _without_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "_MOST_IN_TABLE", 0)


@pytest.mark.parametrize(
    ("seed", "epoch", "start", "rows"),
    [
        (0, 0, 0, [17852708, 206206, 1932501, 18022541]),
        (0, 1, 19_999_996, [19555416, 7524384, 12314721, 5697260]),
        (2**63 - 1, 7, 10_000_000, [3921371, 11042854, 14411276, 3513248]),
    ],
)
def test_computed_orders_stay_what_they_are(seed: int, epoch: int, start: int, rows: list[int]) -> None:
    found = order_of(seed, epoch, 20_000_000)(start, start + 4)
    assert found.tolist() == rows and found.dtype == np.int64


@pytest.mark.usefixtures("_without_table")
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 64, 65, 999, 1023, 1024, 1025, 99_991])
def test_a_computed_order_has_every_example_once(count: int) -> None:
    order = order_of(3, 1, count)
    cuts = np.linspace(0, count, 8).astype(int).tolist()
    rows = np.concatenate([order(start, stop) for start, stop in pairwise(cuts)])
    assert (np.bincount(rows, minlength=count) == 1).all() and len(rows) == count
    assert rows.tolist() == order(0, count).tolist()


@pytest.mark.usefixtures("_without_table")
def test_computed_orders_differ_by_seed_and_by_epoch() -> None:
    orders = {tuple(order_of(seed, epoch, 1000)(0, 20).tolist()) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


@pytest.mark.usefixtures("_without_table")
def test_a_computed_order_looks_random() -> None:
    count = 100_000
    rows, places = order_of(0, 0, count)(0, count), np.arange(count)
    # which hundredth of the examples comes in which hundredth of the epoch: chi-square of 99 x 99 degrees of freedom
    cells = np.bincount(places // 1000 * 100 + rows // 1000, minlength=10_000)
    chi_square = float(((cells - 10) ** 2 / 10).sum())
    assert abs(chi_square - 99**2) < 5 * (2 * 99**2) ** 0.5
    for one, other in ((places, rows), (rows[1:], rows[:-1]), (places % 2, rows % 2), (rows[::2], rows[1::2])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / len(one) ** 0.5
    steps = np.bincount(np.diff(rows) % 10, minlength=10) / count
    np.testing.assert_allclose(steps, 0.1, atol=0.005)


@pytest.mark.usefixtures("_without_table")
def test_every_example_comes_early_and_late_alike_in_computed_orders() -> None:
    positions = np.array([np.argsort(order_of(0, epoch, 50)(0, 50)) for epoch in range(2_000)])
    # the mean of 2,000 uniform positions has standard deviation 0.32; this is more than five of them
    np.testing.assert_allclose(positions.mean(axis=0), 24.5, atol=1.7)
