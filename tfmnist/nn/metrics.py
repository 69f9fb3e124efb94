"""Exact classification metrics, in plain NumPy: examples are counted as integers, and every rate divides once."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def wilson_interval(correct: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Returns the score interval for the rate behind `correct` successes in `count` trials.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n) with p = correct/n. Unlike p ± z √(p(1-p)/n) it stays within
    [0, 1] and has a width at p = 0 and p = 1. Without trials it is (0.0, 1.0).

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    Args:
        correct: successes, 0 to `count`.
        count: trials, 0 or more.
        z: quantile of the normal distribution; the default gives 95 %.
    """
    assert 0 <= correct <= count, (correct, count)
    if count == 0:
        return 0.0, 1.0
    rate = correct / count
    middle = rate + z * z / (2 * count)
    half = z * sqrt(rate * (1 - rate) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    # At the ends the formula is exactly 0 or 1, which rounding could miss.
    low = 0.0 if correct == 0 else (middle - half) / scale
    high = 1.0 if correct == count else (middle + half) / scale
    return low, high


def confusion_matrix(labels: NDArray[np.integer], predictions: NDArray[np.integer], classes: int) -> Ints:
    """Counts the pairs of true and predicted class, both integers [n] in [0, classes).

    Returns int64 [classes, classes]; rows are the true, columns the predicted classes.
    """
    assert labels.shape == predictions.shape, (labels.shape, predictions.shape)
    pairs = labels.astype(np.int64) * classes + predictions.astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).astype(np.int64).reshape(classes, classes)


@dataclass(frozen=True, eq=False)
class Calibration:
    """How well the confidence of the predictions matches their accuracy.

    `edges` float64 [bins + 1] from 0 to 1, `counts` int64 [bins], mean `confidence` and `accuracy` float64 [bins]
    (0 where a bin is empty), and `error`, the expected calibration error in [0, 1].
    """

    edges: Floats
    counts: Ints
    confidence: Floats
    accuracy: Floats
    error: float


def calibration(labels: NDArray[np.integer], probabilities: NDArray[np.floating], bins: int = 15) -> Calibration:
    """Bins the predictions by confidence, the largest probability, and compares it with the accuracy.

    Bin b holds the confidences in (b/bins, (b+1)/bins]; error = Σ_b count_b/n · |accuracy_b - confidence_b|.

    Source: C. Guo et al., "On calibration of modern neural networks", ICML 2017, equations 2, 3 and 5.

    Args:
        labels: integers [n] in [0, C), the true classes.
        probabilities: floats [n, C] in [0, 1].
        bins: number of bins of equal width.
    """
    confidences: Floats = probabilities.max(axis=1, initial=0).astype(np.float64)
    correct = (probabilities.argmax(axis=1) == labels).astype(np.int64)
    edges = np.linspace(0.0, 1.0, bins + 1)
    bin_of = np.digitize(confidences, edges[1:-1], right=True)
    counts = np.bincount(bin_of, minlength=bins).astype(np.int64)
    confidence = _ratio(np.bincount(bin_of, weights=confidences, minlength=bins), counts)
    accuracy = _ratio(np.bincount(bin_of, weights=correct, minlength=bins), counts)
    error = float(np.sum(counts * np.abs(accuracy - confidence)) / max(len(confidences), 1))
    return Calibration(edges, counts, confidence, accuracy, error)


def fit_temperature(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> float:
    """Returns the temperature T, 0.01 to 100, that minimises the mean cross-entropy of softmax(log p / T).

    That mean is convex in b = 1/T, with the derivative E[Σ_c softmax(b log p)_c log p_c - log p_label], whose root is
    found by bisection.

    Source: C. Guo et al., "On calibration of modern neural networks", ICML 2017, section 4.2.

    Args:
        labels: integers [n] in [0, C), the true classes.
        probabilities: floats [n, C] in [0, 1], those of T = 1.
    """
    logs = _logs(probabilities)
    of_labels = logs[np.arange(len(labels)), labels].mean()
    low, high = -2.0, 2.0  # of log10 T
    for _ in range(40):
        middle = (low + high) / 2
        expected = (_shares(logs, 10**middle) * logs).sum(axis=1).mean()
        low, high = (low, middle) if expected < of_labels else (middle, high)
    return float(10 ** ((low + high) / 2))


def at_temperature(probabilities: NDArray[np.floating], temperature: float) -> Floats:
    """Returns softmax(log p / T), float64 [n, C], for probabilities [n, C]."""
    return _shares(_logs(probabilities), temperature)


def _shares(logs: Floats, temperature: float) -> Floats:
    """Returns softmax(logs / T) by row, for rows whose largest number is 0."""
    shares = np.exp(logs / temperature)
    return shares / shares.sum(axis=1, keepdims=True)


def _logs(probabilities: NDArray[np.floating]) -> Floats:
    """Returns log p, less the largest of each row."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), 1e-45))  # the smallest number above 0 in float32
    return logs - logs.max(axis=1, keepdims=True)


def find_threshold(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], accuracy: float = 0.9999
) -> tuple[float, float]:
    """Returns the lowest confidence from which on the answers reach an accuracy, and their share of all examples.

    The confidence is the largest probability. If no threshold reaches the accuracy, it is 1.0, and the share 0.0.

    Args:
        labels: integers [n] in [0, C), the true classes.
        probabilities: floats [n, C] in [0, 1].
        accuracy: of the examples whose confidence is at least the threshold, in [0, 1].
    """
    confidences = probabilities.max(axis=1, initial=0).astype(np.float64)
    order = np.argsort(-confidences, kind="stable")
    wrong = np.cumsum((probabilities.argmax(axis=1) != labels)[order])
    answered = np.arange(1, len(order) + 1)
    ends_tie = np.append(np.diff(confidences[order]) < 0, True)[: len(order)]
    reached = np.flatnonzero(ends_tie & (wrong <= (1 - accuracy) * answered))
    if not len(reached):
        return 1.0, 0.0
    last = int(reached[-1])
    return float(confidences[order[last]]), (last + 1) / len(order)


@dataclass(frozen=True)
class Recalibration:
    """What would make a model's confidence match its accuracy, found on examples that it was not trained on."""

    temperature: float  # to divide its logits by, in place of its own
    calibration_error: float  # at that temperature
    threshold: float  # confidence, at that temperature, from which on 99.99 % of the answers are right
    answered: float  # their share of all examples


def recalibrate(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], temperature: float = 1.0
) -> Recalibration:
    """Finds a model's best temperature, and the threshold that fits it.

    Args:
        labels: integers [n] in [0, C), the true classes.
        probabilities: floats [n, C] in [0, 1].
        temperature: of these probabilities.
    """
    factor = fit_temperature(labels, probabilities)
    fitted = at_temperature(probabilities, factor)
    threshold, answered = find_threshold(labels, fitted)
    return Recalibration(temperature * factor, calibration(labels, fitted).error, threshold, answered)


@dataclass(frozen=True, eq=False)
class Metrics:
    """The metrics of a classifier on a set of `count` examples of C classes.

    `accuracy` is correct/count in [0, 1] with its 95 % interval; `confusion` int64 [C, C] has the true classes as rows;
    `precision`, `recall` and `f1` are float64 [C] in [0, 1], and 0 where their denominator is 0.
    """

    count: int
    correct: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    loss: float
    confusion: Ints
    precision: Floats
    recall: Floats
    f1: Floats
    calibration: Calibration
    recalibration: Recalibration | None = None
    """What would improve the calibration, if that was measured."""

    def to_dict(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Returns the metrics as plain lists, ints and floats, ready for JSON."""
        assert len(class_names) == len(self.recall), (len(class_names), len(self.recall))
        columns = (self.confusion.sum(axis=1), self.precision, self.recall, self.f1)
        rows = zip(class_names, *(column.tolist() for column in columns), strict=True)
        keys = ("class", "count", "precision", "recall", "f1")
        return {
            "count": self.count,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "accuracy_ci95": list(self.accuracy_ci95),
            "loss": self.loss,
            "calibration_error": self.calibration.error,
            "per_class": [dict(zip(keys, (str(name), *numbers), strict=True)) for name, *numbers in rows],
            "confusion": self.confusion.tolist(),
            **({"recalibration": asdict(self.recalibration)} if self.recalibration else {}),
        }


def measure(labels: Ints, probabilities: NDArray[np.float32], loss: float) -> Metrics:
    """Measures predictions, the (first) classes of largest probability, against the true classes.

    With t[c] the examples of class c, p[c] the predictions of it and m = the confusion matrix: recall = m[c, c]/t[c],
    precision = m[c, c]/p[c], and f1 = 2 m[c, c]/(t[c] + p[c]), their harmonic mean.

    Args:
        labels: int64 [n] in [0, C); n may be 0.
        probabilities: float32 [n, C] in [0, 1].
        loss: the mean loss over the same examples, passed through.
    """
    count, classes = probabilities.shape
    confusion = confusion_matrix(labels, probabilities.argmax(axis=1), classes)
    hits, true, predicted = np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    correct = int(hits.sum())
    return Metrics(
        count=count,
        correct=correct,
        accuracy=correct / count if count else 0.0,
        accuracy_ci95=wilson_interval(correct, count),
        loss=float(loss),
        confusion=confusion,
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, true),
        f1=_ratio(2 * hits, true + predicted),
        calibration=calibration(labels, probabilities),
    )


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """Returns part / whole, and 0 where whole is 0."""
    return np.divide(part, whole, out=np.zeros(whole.shape, np.float64), where=whole != 0)
