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

from tfmnist.errors import InputError
from tfmnist.nn.metrics import Metrics, calibration, measure
from tfmnist.reports import charts, pictures, style


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
    style.save(figure, path)
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


def texts(figure: Figure) -> list[str]:
    """The texts of a figure that is one page of pictures."""
    return [text.get_text() for text in figure.axes[0].texts]


def apart(figure: Figure) -> None:
    """Checks that no two texts of a page overlap, and that none leaves it."""
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    for number, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
        for other in boxes[:number]:
            assert not (
                min(box.x1, other.x1) > max(box.x0, other.x0) + 1 and min(box.y1, other.y1) > max(box.y0, other.y0) + 1
            ), figure.axes[0].texts[number].get_text()


@pytest.mark.parametrize(("epochs", "validation"), [(1, True), (1, False), (5, True), (60, False), (0, False)])
def test_learning_curves(epochs: int, validation: bool, tmp_path: Path) -> None:
    figure = charts.learning_curves(history(epochs, validation))
    rendered(figure, tmp_path)
    assert len(figure.axes[0].lines) == 1 + validation
    for axes in figure.axes:
        assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_a_loss_of_many_sizes_gets_a_logarithmic_axis() -> None:
    assert charts.learning_curves(history(5)).axes[0].get_yscale() == "log"
    assert charts.learning_curves(history(2)).axes[0].get_yscale() == "linear"


@pytest.mark.parametrize("classes", [2, 10, 40])
def test_figures_of_metrics(classes: int, tmp_path: Path) -> None:
    found, names = measured(classes), [f"class {index}" for index in range(classes)]
    confusion = charts.confusion(found.confusion, names)
    rendered(confusion, tmp_path)
    cells = {text.get_text() for text in confusion.axes[0].texts}
    expected = {f"{count:,}" for count in found.confusion.ravel().tolist() if count}
    assert cells == (expected if classes <= charts.MOST_CELLS else set())
    rendered(charts.per_class(found.recall, found.precision, found.confusion.sum(axis=1), names), tmp_path)
    rendered(charts.calibration_curve(found.calibration), tmp_path)


def test_confusion_without_mistakes_and_with_large_counts(tmp_path: Path) -> None:
    rendered(charts.confusion(np.diag([1_234_567] * 10), list("0123456789")), tmp_path)
    rendered(charts.confusion(np.array([[5, 1], [0, 4]]), ["a", "b"]), tmp_path)


def test_per_class_axis_says_where_it_begins(tmp_path: Path) -> None:
    figure = charts.per_class(
        np.array([0.98, 1.0, 0.0]), np.array([1.0, 0.97, 0.0]), np.array([50, 60, 0]), list("abc")
    )
    rendered(figure, tmp_path)
    assert figure.axes[0].get_xlim()[0] == 96
    assert "begins at 96" in figure.axes[0].get_xlabel()
    whole = charts.per_class(np.zeros(2), np.zeros(2), np.array([3, 4]), ["a", "b"])
    assert "begins" not in whole.axes[0].get_xlabel()


@pytest.mark.parametrize("count", [0, 1, 9, 60])
def test_mistakes(count: int, tmp_path: Path) -> None:
    random = np.random.default_rng(count)
    images = random.integers(256, size=[count, 28, 28]).astype(np.uint8)
    labels, sure = random.integers(10, size=count), np.linspace(1, 0.4, count)
    figure = pictures.mistakes(images, labels, (labels + 1) % 10, sure, list("0123456789"))
    rendered(figure, tmp_path)
    if count == 0:
        assert texts(figure) == ["No mistakes: every example was right."]
    else:
        assert len(texts(figure)) == 1 + min(count, pictures.MOST_PICTURES)
        assert len(figure.axes[0].images) == 1  # an axes a picture would take seconds to draw


def test_a_confidence_is_not_rounded_up_to_certainty() -> None:
    pictures = np.zeros([2, 8, 8], np.uint8)
    figure = pictures.mistakes(pictures, np.array([0, 1]), np.array([1, 0]), np.array([1.0, 0.99999]), ["a", "b"])
    assert texts(figure)[1:] == ["a → b\n100.0 %", "b → a\n99.9 %"]


def test_long_names_of_mistakes_get_a_line_each(tmp_path: Path) -> None:
    images, labels = np.full([32, 28, 28], 90, np.uint8), np.arange(32) % 3
    names = ["T-shirt/top", "ankle boot", "a very long name of a class"]
    figure = pictures.mistakes(images, labels, (labels + 1) % 3, np.full(32, 0.5), names)
    rendered(figure, tmp_path)
    assert texts(figure)[1:3] == ["T-shirt/t…\n→ ankle boot\n50.0 %", "ankle boot\n→ a very lo…\n50.0 %"]
    apart(figure)


@pytest.mark.parametrize("shape", [(1, 28, 28), (23, 28, 28), (4, 16, 40), (3, 40, 4), (12, 300, 200), (0, 28, 28)])
@pytest.mark.parametrize("titled", [True, False])
def test_plot_images(shape: tuple[int, int, int], titled: bool, tmp_path: Path) -> None:
    titles = [f"picture {index}" for index in range(shape[0])] if titled else None
    figure = pictures.plot_images(np.full(shape, 100, np.uint8), titles)
    rendered(figure, tmp_path)
    if shape[0]:
        assert len(texts(figure)) == (shape[0] if titled else 0)
    else:
        assert texts(figure) == ["No pictures."]
    apart(figure)


def test_every_image_of_a_mosaic_is_in_its_place(tmp_path: Path) -> None:
    images = np.zeros([5, 2, 2], np.uint8)
    images[:, 0, 1] = 40 * np.arange(1, 6)  # the upper right quarter
    (canvas,) = pictures.plot_images(images, columns=3).axes[0].images
    pixels = np.asarray(canvas.get_array())
    assert np.unique(pixels[..., 0]).tolist() == [0, 40, 80, 120, 160, 200, 255]
    places = {value: np.argwhere(pixels[..., 0] == value).mean(axis=0) for value in (40, 80, 120, 160, 200)}
    assert places[40][0] == places[80][0] == places[120][0] < places[160][0] == places[200][0]
    assert places[40][1] == places[160][1] < places[80][1] == places[200][1] < places[120][1]


@pytest.mark.parametrize(
    ("images", "titles", "columns", "why"),
    [
        (np.zeros([2, 8, 8], np.float32), None, 10, "float32 \\[2, 8, 8\\], expected uint8"),
        (np.zeros([8, 8], np.uint8), None, 10, "uint8 \\[8, 8\\], expected"),
        (np.zeros([2, 8, 8], np.uint8), ["a"], 10, "2 images but 1 titles"),
        (np.zeros([2, 8, 8], np.uint8), None, 0, "columns is 0"),
        (np.zeros([2001, 8, 8], np.uint8), None, 10, "more than 200 rows"),
    ],
)
def test_images_that_cannot_be_drawn_are_refused(images: Any, titles: list[str] | None, columns: int, why: str) -> None:
    with pytest.raises(InputError, match=why):
        pictures.plot_images(images, titles, columns)


@pytest.mark.parametrize("shape", [(1, 28, 28), (32, 5, 5), (64, 28, 28), (70, 3, 3), (10, 1, 1), (7, 20, 60)])
def test_first_weights(shape: tuple[int, int, int], tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    figure = pictures.first_weights(weights, "dense_1, $x_")
    rendered(figure, tmp_path)
    assert texts(figure)[0] == "dense_1, $x_"
    assert len(figure.axes[0].images) == 2  # with the scale


def test_weights_are_white_at_nought_and_alike_to_either_side(tmp_path: Path) -> None:
    def color(weight: float) -> list[int]:
        weights = np.zeros([3, 2, 2], np.float32)
        weights[0], weights[1], weights[2] = -2.0, 2.0, weight
        drawn = np.asarray(pictures.first_weights(weights, "").axes[0].images[1].get_array())
        return drawn[drawn.shape[0] // 2, -drawn.shape[1] // 6].tolist()

    assert min(color(0.0)) >= 250
    for weight in (0.5, 1.0, 2.0):
        red, _, blue = color(weight)
        assert red > blue + 20, "orange"
        red, _, blue = color(-weight)
        assert blue > red + 20, "blue"
    rendered(pictures.first_weights(np.zeros([3, 4, 4], np.float32), "all 0"), tmp_path)
    assert texts(pictures.first_weights(np.zeros([0, 4, 4], np.float32), "")) == ["No weights."]


@pytest.mark.parametrize("size", [(28, 28), (9, 30), (64, 20)])
def test_feature_maps(size: tuple[int, int], tmp_path: Path) -> None:
    random, (height, width) = np.random.default_rng(0), size
    picture = random.integers(256, size=size).astype(np.uint8)
    maps = {f"conv_{n}": random.normal(size=[8 * n, height // n, width // n]) for n in (1, 2, 3)}
    figure = pictures.feature_maps(picture, maps | {"silent": np.zeros([4, 2, 2])})
    rendered(figure, tmp_path)
    assert texts(figure)[1] == f"conv_1, {height} x {width}"
    assert len(figure.axes[0].images) == 5


@pytest.mark.parametrize("shape", [(3, 8, 28, 28), (1, 8, 10, 30), (2, 1, 40, 10), (0, 8, 28, 28)])
def test_augmented(shape: tuple[int, ...], tmp_path: Path) -> None:
    changed = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    figure = pictures.augmented(changed[:, 0], changed)
    rendered(figure, tmp_path)
    assert texts(figure) == (["original", "as training sees it"] if shape[0] else ["No pictures."])


@pytest.mark.parametrize("digits", [0, 1, 2, 5, 12])
@pytest.mark.parametrize("size", [(28, 28), (300, 1200), (900, 500)])
def test_prediction(digits: int, size: tuple[int, int], tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    photo = random.integers(100, 200, [*size, 1]).repeat(3, axis=2).astype(np.uint8)
    shares = random.dirichlet(np.full(10, 0.2), digits).astype(np.float32)
    figure = pictures.prediction(photo, np.full([digits, 28, 28], 60, np.uint8), shares, list("0123456789"))
    rendered(figure, tmp_path)
    bold = [text.get_text() for text in figure.axes[0].texts if float(text.get_fontsize()) > 12]
    assert bold == [str(best) for best in shares.argmax(axis=1)]
    assert ("no digit was found in it" in texts(figure)) == (digits == 0)
    apart(figure)


@pytest.mark.parametrize("digits", [1, 5])
@pytest.mark.parametrize(("classes", "bars"), [(2, 2), (12, 12), (13, 10), (47, 10)])
def test_prediction_of_other_classes(digits: int, classes: int, bars: int, tmp_path: Path) -> None:
    names = [f"{index}: class of $ame" for index in range(classes)]
    shares = np.random.default_rng(classes).dirichlet(np.ones(classes), digits)
    figure = pictures.prediction(np.zeros([40, 30, 3], np.uint8), np.zeros([digits, 9, 12], np.uint8), shares, names)
    rendered(figure, tmp_path)
    apart(figure)
    widths = [patch.get_width() for patch in figure.axes[0].patches[bars : 2 * bars]]  # pyright: ignore
    shown = shares[0] if bars == classes else np.sort(shares[0])[::-1][:bars]
    np.testing.assert_allclose(np.array(widths) / widths[int(np.argmax(widths))], shown / shown.max(), rtol=1e-6)


def test_calibration_of_nothing(tmp_path: Path) -> None:
    rendered(charts.calibration_curve(calibration(np.zeros([0], np.int64), np.zeros([0, 3]))), tmp_path)


def test_names_are_taken_literally(tmp_path: Path) -> None:
    found, names = measured(3), ["$x_", "漢字", "a very long name of a class"]
    rendered(charts.confusion(found.confusion, names), tmp_path)
    rendered(charts.per_class(found.recall, found.precision, found.confusion.sum(axis=1), names), tmp_path)
    picture = np.zeros([1, 8, 8], np.uint8)
    rendered(pictures.mistakes(picture, np.array([0]), np.array([1]), np.array([0.5]), ["$x$", "$y"]), tmp_path)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    def draw() -> list[bytes]:
        found = measured(10)
        figures = [
            charts.learning_curves(history(5)),
            charts.confusion(found.confusion, list("0123456789")),
            charts.calibration_curve(found.calibration),
        ]
        return [rendered(figure, tmp_path) for figure in figures]

    assert draw() == draw()


def test_importing_is_cheap() -> None:
    code = "import sys, tfmnist.reports; print([name for name in ('matplotlib', 'tensorflow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
