"""Figures of numbers: they render, at a sensible size, to the same bytes, for the odd cases too."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from tfmnist.nn.metrics import Metrics, calibration, measure
from tfmnist.reports import charts

Rendered = Callable[[Figure], bytes]


def history(epochs: int, validation: bool = True) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "step": 100 * epoch,
            "loss": 0.5 / epoch**2,
            "accuracy": 1 - 0.1 / epoch,
            "validation_loss": 0.6 / epoch if validation else None,
            "validation_accuracy": 1 - 0.12 / epoch if validation else None,
            "learning_rate": 0.001 / epoch,
            "seconds": 1.5,
            "images_per_second": 40_000.0,
        }
        for epoch in range(1, epochs + 1)
    ]


def measured(classes: int, count: int = 600) -> Metrics:
    random = np.random.default_rng(classes)
    labels = random.integers(classes, size=count)
    probabilities = random.dirichlet(np.full(classes, 0.05), size=count)
    probabilities[np.arange(count), labels] += random.uniform(0, 3, size=count)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return measure(labels, probabilities.astype(np.float32), loss=0.1)


@pytest.mark.parametrize(("epochs", "validation"), [(1, True), (1, False), (5, True), (60, False), (0, False)])
def test_learning_curves(epochs: int, validation: bool, rendered: Rendered) -> None:
    figure = charts.learning_curves(history(epochs, validation))
    rendered(figure)
    assert len(figure.axes[0].lines) == 1 + validation
    for axes in figure.axes:
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_a_loss_of_many_sizes_gets_a_logarithmic_axis() -> None:
    assert charts.learning_curves(history(5)).axes[0].get_yscale() == "log"
    assert charts.learning_curves(history(2)).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("classes", [2, 10, 40])
def test_figures_of_metrics(classes: int, rendered: Rendered) -> None:
    found, names = measured(classes), [f"class {index}" for index in range(classes)]
    confusion = charts.confusion(found.confusion, names)
    rendered(confusion)
    cells = {text.get_text() for text in confusion.axes[0].texts}
    expected = {f"{count:,}" for count in found.confusion.ravel().tolist() if count}
    assert cells == (expected if classes <= charts.MOST_CELLS else set())
    rendered(charts.per_class(found.recall, found.precision, found.confusion.sum(axis=1), names))
    rendered(charts.calibration_curve(found.calibration))


def test_confusion_without_mistakes_and_with_large_counts(rendered: Rendered) -> None:
    rendered(charts.confusion(np.diag([1_234_567] * 10), list("0123456789")))
    rendered(charts.confusion(np.array([[5, 1], [0, 4]]), ["a", "b"]))


def test_per_class_axis_says_where_it_begins(rendered: Rendered) -> None:
    figure = charts.per_class(
        np.array([0.98, 1.0, 0.0]), np.array([1.0, 0.97, 0.0]), np.array([50, 60, 0]), list("abc")
    )
    rendered(figure)
    assert figure.axes[0].get_xlim()[0] == 96
    assert "begins at 96" in figure.axes[0].get_xlabel()
    whole = charts.per_class(np.zeros(2), np.zeros(2), np.array([3, 4]), ["a", "b"])
    assert "begins" not in whole.axes[0].get_xlabel()


def test_calibration_of_nothing(rendered: Rendered) -> None:
    rendered(charts.calibration_curve(calibration(np.zeros([0], np.int64), np.zeros([0, 3]))))


def test_names_are_taken_literally(rendered: Rendered) -> None:
    found, names = measured(3), ["$x_", "漢字", "a very long name of a class"]
    rendered(charts.confusion(found.confusion, names))
    rendered(charts.per_class(found.recall, found.precision, found.confusion.sum(axis=1), names))


def test_the_same_input_gives_the_same_bytes(rendered: Rendered) -> None:
    assert rendered(charts.learning_curves(history(3))) == rendered(charts.learning_curves(history(3)))
