"""Seeds: named streams that are fixed for ever, so that an old run can be repeated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmnist.seeds import key, permutation

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
