"""Metrics: goldens computed by hand, and what must hold for any predictions."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tfmnist.nn.metrics import (
    at_temperature,
    calibration,
    confusion_matrix,
    find_threshold,
    fit_temperature,
    measure,
    recalibrate,
    wilson_interval,
)


def one_hot(predictions: list[int], classes: int) -> NDArray[np.float32]:
    return np.eye(classes, dtype=np.float32)[np.array(predictions, np.int64)]


@pytest.mark.parametrize(
    ("correct", "count", "low", "high"),
    [
        (9_800, 10_000, 0.977066, 0.982565),
        (0, 10, 0.0, 0.277533),  # z² / (n + z²)
        (10, 10, 0.722467, 1.0),  # n / (n + z²)
        (5, 10, 0.236593, 0.763407),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_interval_is_the_published_one(correct: int, count: int, low: float, high: float) -> None:
    assert wilson_interval(correct, count) == pytest.approx((low, high), abs=1e-6)


def test_wilson_interval_is_exact_at_the_ends() -> None:
    for count in (1, 3, 10, 10_000, 1_234_567):
        assert wilson_interval(0, count)[0] == 0.0
        assert wilson_interval(count, count)[1] == 1.0


@given(st.integers(1, 10**6).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_wilson_interval_contains_the_rate(pair: tuple[int, int]) -> None:
    low, high = wilson_interval(*pair)
    assert 0.0 <= low <= pair[0] / pair[1] <= high <= 1.0


def test_confusion_matrix_has_the_true_classes_as_rows() -> None:
    result = confusion_matrix(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 2, 1, 2, 2, 0], np.uint8), classes=4)
    assert result.dtype == np.int64
    assert result.tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]


def test_precision_recall_and_f1_by_hand() -> None:
    # True 0 0 0 1 1 2, predicted 0 0 1 1 0 1; class 2 is never predicted, class 3 is neither there nor predicted.
    labels = np.array([0, 0, 0, 1, 1, 2])
    result = measure(labels, one_hot([0, 0, 1, 1, 0, 1], 4), loss=0.5)
    assert (result.count, result.correct, result.accuracy, result.loss) == (6, 3, 0.5, 0.5)
    assert result.precision == pytest.approx([2 / 3, 1 / 3, 0, 0])
    assert result.recall == pytest.approx([2 / 3, 1 / 2, 0, 0])
    assert result.f1 == pytest.approx([2 / 3, 2 / 5, 0, 0])
    assert result.accuracy_ci95 == wilson_interval(3, 6)


def test_calibration_by_hand() -> None:
    # Confidences 0.9 (right), 0.7 (wrong), 0.6 (right), 0.5 (right), in bins (0.4, 0.6] and so on.
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.5, 0.5]])
    result = calibration(np.array([0, 1, 1, 0]), probabilities, bins=5)
    assert result.edges == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert result.counts.dtype == np.int64
    assert result.counts.tolist() == [0, 0, 2, 1, 1]
    assert result.confidence == pytest.approx([0, 0, 0.55, 0.7, 0.9])
    assert result.accuracy == pytest.approx([0, 0, 1, 0, 1])
    assert result.error == pytest.approx((2 * 0.45 + 0.7 + 0.1) / 4)


def test_calibration_has_fifteen_bins_and_counts_a_single_example() -> None:
    result = calibration(np.array([1]), np.array([[0.25, 0.75]]))
    assert len(result.counts) == 15 and len(result.edges) == 16
    assert result.error == pytest.approx(0.25)


def test_temperatures_of_probabilities_that_are_zero_are_finite() -> None:
    shares = at_temperature(np.array([[1.0, 0.0], [0.5, 0.5]], np.float32), 2.0)
    np.testing.assert_allclose(shares, [[1.0, 0.0], [0.5, 0.5]], atol=1e-20)
    assert 0 < shares[0, 1] < 1e-20, "as the smallest number above 0"
    better = recalibrate(np.array([0, 1]), np.array([[1.0, 0.0], [0.0, 1.0]], np.float32))
    assert better.temperature == pytest.approx(fit_temperature(np.array([0, 1]), np.eye(2)))


def test_the_best_temperature_is_the_one_of_the_odds() -> None:
    # three of four are right at odds of 9 to 1; at odds of 3 to 1 they are calibrated: 9^(1/T) = 3
    probabilities = np.array([[0.9, 0.1]] * 4)
    labels = np.array([0, 0, 0, 1])
    assert fit_temperature(labels, probabilities) == pytest.approx(2.0)
    np.testing.assert_allclose(at_temperature(probabilities, 2.0), [[0.75, 0.25]] * 4)
    better = recalibrate(labels, probabilities, temperature=1.5)
    assert better.temperature == pytest.approx(3.0) and better.calibration_error == pytest.approx(0.0, abs=1e-9)
    assert fit_temperature(np.zeros(4, int), probabilities) == pytest.approx(0.01)  # all right: as sure as can be


def test_a_threshold_reaches_an_accuracy_with_the_most_answers() -> None:
    confidences = np.array([0.99, 0.9, 0.9, 0.8, 0.7, 0.6])
    probabilities = np.stack([confidences, 1 - confidences], axis=1)

    def wrong_at(*rows: int) -> NDArray[np.int64]:
        return np.isin(np.arange(6), rows).astype(np.int64)

    assert find_threshold(wrong_at(), probabilities) == (0.6, 1.0)
    assert find_threshold(wrong_at(4), probabilities) == (0.8, 4 / 6)
    assert find_threshold(wrong_at(1), probabilities) == (0.99, 1 / 6)  # of two as confident, one is wrong
    assert find_threshold(wrong_at(3), probabilities, accuracy=0.8) == (0.6, 1.0)
    assert find_threshold(wrong_at(0), probabilities) == (1.0, 0.0)
    others = probabilities[:, ::-1]  # whose predictions are class 1
    assert find_threshold(1 - wrong_at(4), others) == (0.8, 4 / 6)
    assert find_threshold(wrong_at(2), probabilities) == (0.99, 1 / 6), "a tie is answered whole or not at all"


def test_no_examples_are_no_error() -> None:
    result = measure(np.zeros([0], np.int64), np.zeros([0, 3], np.float32), loss=0.0)
    assert (result.count, result.accuracy, result.accuracy_ci95) == (0, 0.0, (0.0, 1.0))
    assert result.confusion.tolist() == [[0] * 3] * 3
    assert result.calibration.error == 0.0
    json.dumps(result.to_dict(["a", "b", "c"]), allow_nan=False)


def test_to_dict_is_plain_json() -> None:
    result = measure(np.array([0, 1, 1]), one_hot([0, 1, 0], 2), loss=0.25)
    numbers: dict[str, Any] = json.loads(json.dumps(result.to_dict(["no", "yes"]), allow_nan=False))
    assert list(numbers) == [
        *("count", "correct", "accuracy", "accuracy_ci95", "loss", "calibration_error", "per_class", "confusion")
    ]
    assert numbers["confusion"] == [[1, 0], [1, 1]]
    assert numbers["per_class"][1] == {"class": "yes", "count": 2, "precision": 1, "recall": 0.5, "f1": 2 / 3}


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_counts_add_up(count: int, classes: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(classes, 0.3), size=count).astype(np.float32)
    labels = random.integers(classes, size=count)
    result = measure(labels, probabilities, loss=1.0)
    assert result.confusion.sum() == result.count == result.calibration.counts.sum() == count
    assert np.trace(result.confusion) == result.correct == np.sum(probabilities.argmax(axis=1) == labels)
    assert result.accuracy_ci95[0] <= result.accuracy <= result.accuracy_ci95[1]
    assert 0 <= result.calibration.error <= 1
    for rates in (result.precision, result.recall, result.f1):
        assert rates.dtype == np.float64
        assert np.all((rates >= 0) & (rates <= 1))
