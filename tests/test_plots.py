"""Figures: they render, at a sensible size, to the same bytes, for the odd cases too."""

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from tfmnist import plots
from tfmnist.training.metrics import Metrics, calibration, measure


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


def rendered(figure: Figure, folder: Path) -> bytes:
    """Saves a figure, checks that it is a PNG of sensible size and not blank, and returns its bytes."""
    path = folder / "figure.png"
    plots.save(figure, path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(content) < 600_000
    for word in (b"Software", b"tIME", b"Date"):
        assert word not in content
    pixels = imread(BytesIO(content), format="png")
    height, width = pixels.shape[:2]
    assert 300 <= width <= 2000
    assert 80 <= height <= 2200
    assert pixels[..., :3].min() < 0.5, "nothing is drawn"
    assert np.all(pixels[[0, -1], :, :3] == 1), "something is cut off above or below"
    assert np.all(pixels[:, [0, -1], :3] == 1), "something is cut off at a side"
    return content


@pytest.mark.parametrize(("epochs", "validation"), [(1, True), (1, False), (5, True), (60, False), (0, False)])
def test_learning_curves(epochs: int, validation: bool, tmp_path: Path) -> None:
    figure = plots.learning_curves(history(epochs, validation))
    rendered(figure, tmp_path)
    assert len(figure.axes[0].lines) == 1 + validation
    for axes in figure.axes:
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_a_loss_of_many_sizes_gets_a_logarithmic_axis() -> None:
    assert plots.learning_curves(history(5)).axes[0].get_yscale() == "log"
    assert plots.learning_curves(history(2)).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("classes", [2, 10, 40])
def test_figures_of_metrics(classes: int, tmp_path: Path) -> None:
    found, names = measured(classes), [f"class {index}" for index in range(classes)]
    confusion = plots.confusion(found.confusion, names)
    rendered(confusion, tmp_path)
    cells = {text.get_text() for text in confusion.axes[0].texts}
    expected = {f"{count:,}" for count in found.confusion.ravel().tolist() if count}
    assert cells == (expected if classes <= plots.MOST_CELLS else set())
    rendered(plots.per_class(found.recall, found.precision, found.confusion.sum(axis=1), names), tmp_path)
    rendered(plots.calibration_curve(found.calibration), tmp_path)


def test_confusion_without_mistakes_and_with_large_counts(tmp_path: Path) -> None:
    rendered(plots.confusion(np.diag([1_234_567] * 10), list("0123456789")), tmp_path)
    rendered(plots.confusion(np.array([[5, 1], [0, 4]]), ["a", "b"]), tmp_path)


def test_per_class_axis_says_where_it_begins(tmp_path: Path) -> None:
    figure = plots.per_class(np.array([0.98, 1.0, 0.0]), np.array([1.0, 0.97, 0.0]), np.array([50, 60, 0]), list("abc"))
    rendered(figure, tmp_path)
    assert figure.axes[0].get_xlim()[0] == 96
    assert "begins at 96" in figure.axes[0].get_xlabel()
    whole = plots.per_class(np.zeros(2), np.zeros(2), np.array([3, 4]), ["a", "b"])
    assert "begins" not in whole.axes[0].get_xlabel()


@pytest.mark.parametrize("count", [0, 1, 9, 60])
def test_mistakes(count: int, tmp_path: Path) -> None:
    random = np.random.default_rng(count)
    images = random.integers(256, size=[count, 28, 28]).astype(np.uint8)
    labels, sure = random.integers(10, size=count), np.linspace(1, 0.4, count)
    figure = plots.mistakes(images, labels, (labels + 1) % 10, sure, list("0123456789"))
    rendered(figure, tmp_path)
    assert len(figure.axes) == min(count, plots.MOST_PICTURES)
    if count == 0:
        assert "No mistakes" in figure.texts[0].get_text()


def test_a_confidence_is_not_rounded_up_to_certainty() -> None:
    pictures = np.zeros([2, 8, 8], np.uint8)
    figure = plots.mistakes(pictures, np.array([0, 1]), np.array([1, 0]), np.array([1.0, 0.99999]), ["a", "b"])
    assert [axes.get_title() for axes in figure.axes] == ["a → b\n100.0 %", "b → a\n99.9 %"]


@pytest.mark.parametrize("shape", [(1, 28, 28), (23, 28, 28), (4, 16, 40), (0, 28, 28)])
def test_image_row(shape: tuple[int, int, int], tmp_path: Path) -> None:
    figure = plots.image_row(np.full(shape, 100, np.uint8), [f"picture {index}" for index in range(shape[0])])
    assert len(figure.axes) == shape[0]
    if shape[0]:
        rendered(figure, tmp_path)


def test_calibration_of_nothing(tmp_path: Path) -> None:
    rendered(plots.calibration_curve(calibration(np.zeros([0], np.int64), np.zeros([0, 3]))), tmp_path)


def test_names_are_taken_literally(tmp_path: Path) -> None:
    found, names = measured(3), ["$x_", "漢字", "a very long name of a class"]
    rendered(plots.confusion(found.confusion, names), tmp_path)
    rendered(plots.per_class(found.recall, found.precision, found.confusion.sum(axis=1), names), tmp_path)
    picture = np.zeros([1, 8, 8], np.uint8)
    rendered(plots.mistakes(picture, np.array([0]), np.array([1]), np.array([0.5]), ["$x$", "$y"]), tmp_path)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    def draw() -> list[bytes]:
        found = measured(10)
        figures = [
            plots.learning_curves(history(5)),
            plots.confusion(found.confusion, list("0123456789")),
            plots.calibration_curve(found.calibration),
        ]
        return [rendered(figure, tmp_path) for figure in figures]

    assert draw() == draw()


def test_importing_is_cheap() -> None:
    code = "import sys, tfmnist.plots; print([name for name in ('matplotlib', 'tensorflow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
