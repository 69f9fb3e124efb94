"""Figures of pictures: they render, at a sensible size, and no text overlaps another, for the odd cases too."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from tfmnist.errors import InputError
from tfmnist.reports import pictures

Rendered = Callable[[Figure], bytes]


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


@pytest.mark.parametrize("count", [0, 1, 9, 60])
def test_mistakes(count: int, rendered: Rendered) -> None:
    random = np.random.default_rng(count)
    images = random.integers(256, size=[count, 28, 28]).astype(np.uint8)
    labels, sure = random.integers(10, size=count), np.linspace(1, 0.4, count)
    figure = pictures.mistakes(images, labels, (labels + 1) % 10, sure, list("0123456789"))
    rendered(figure)
    if count == 0:
        assert texts(figure) == ["No mistakes: every example was classified correctly."]
    else:
        assert len(texts(figure)) == 1 + min(count, pictures.MOST_PICTURES)
        assert len(figure.axes[0].images) == 1  # one pair of axes per picture would take seconds


def test_a_confidence_is_not_rounded_up_to_certainty(rendered: Rendered) -> None:
    images, names = np.zeros([2, 8, 8], np.uint8), ["a", "$b"]
    figure = pictures.mistakes(images, np.array([0, 1]), np.array([1, 0]), np.array([1.0, 0.99999]), names)
    assert texts(figure)[1:] == ["a → $b\n100.0 %", "$b → a\n99.9 %"]
    rendered(figure)


def test_long_names_of_mistakes_get_a_line_each(rendered: Rendered) -> None:
    images, labels = np.full([32, 28, 28], 90, np.uint8), np.arange(32) % 3
    names = ["T-shirt/top", "ankle boot", "a very long name of a class"]
    figure = pictures.mistakes(images, labels, (labels + 1) % 3, np.full(32, 0.5), names)
    rendered(figure)
    assert texts(figure)[1:3] == ["T-shirt/t…\n→ ankle boot\n50.0 %", "ankle boot\n→ a very lo…\n50.0 %"]
    apart(figure)


@pytest.mark.parametrize("shape", [(1, 28, 28), (23, 28, 28), (4, 16, 40), (3, 40, 4), (12, 300, 200), (0, 28, 28)])
@pytest.mark.parametrize("titled", [True, False])
def test_plot_images(shape: tuple[int, int, int], titled: bool, rendered: Rendered) -> None:
    titles = [f"picture {index}" for index in range(shape[0])] if titled else None
    figure = pictures.plot_images(np.full(shape, 100, np.uint8), titles)
    rendered(figure)
    if shape[0]:
        assert len(texts(figure)) == (shape[0] if titled else 0)
    else:
        assert texts(figure) == ["No pictures."]
    apart(figure)


def test_mosaic_layout() -> None:
    images = np.zeros([5, 2, 2], np.uint8)
    images[:, 0, 1] = 40 * np.arange(1, 6)  # the upper right quarter
    (canvas,) = pictures.plot_images(images, columns=3).axes[0].images
    pixels = np.asarray(canvas.get_array())
    assert np.unique(pixels[..., 0]).tolist() == [0, 40, 80, 120, 160, 200, 255]
    centres = {value: np.argwhere(pixels[..., 0] == value).mean(axis=0) for value in (40, 80, 120, 160, 200)}
    assert centres[40][0] == centres[80][0] == centres[120][0] < centres[160][0] == centres[200][0]
    assert centres[40][1] == centres[160][1] < centres[80][1] == centres[200][1] < centres[120][1]


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
def test_bad_images_are_refused(images: Any, titles: list[str] | None, columns: int, why: str) -> None:
    with pytest.raises(InputError, match=why):
        pictures.plot_images(images, titles, columns)


@pytest.mark.parametrize(("classes", "shape"), [(2, (28, 28)), (10, (5, 30)), (26, (28, 28)), (250, (30, 8))])
def test_contact_sheet(classes: int, shape: tuple[int, int], rendered: Rendered) -> None:
    images = [np.full([number % 14, *shape], 90, np.uint8) for number in range(classes)]
    names = [f"a long name of class {number}" if number == 1 else str(number) for number in range(classes)]
    figure = pictures.contact_sheet(images, names, "pictures")
    rendered(figure)
    apart(figure)
    assert len(texts(figure)) == 1 + min(classes, pictures.MOST_SHEET)
    assert texts(figure)[0] == ("pictures; the first 75 of 250 classes" if classes == 250 else "pictures")


@pytest.mark.parametrize("shape", [(1, 28, 28), (32, 5, 5), (64, 28, 28), (70, 3, 3), (10, 1, 1), (7, 20, 60)])
def test_first_weights(shape: tuple[int, int, int], rendered: Rendered) -> None:
    weights = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    figure = pictures.first_weights(weights, "dense_1, $x_")
    rendered(figure)
    assert texts(figure)[0] == "dense_1, $x_"
    assert len(figure.axes[0].images) == 2  # with the scale


def test_weights_are_white_at_zero_and_symmetric(rendered: Rendered) -> None:
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
    rendered(pictures.first_weights(np.zeros([3, 4, 4], np.float32), "all 0"))
    assert texts(pictures.first_weights(np.zeros([0, 4, 4], np.float32), "")) == ["No weights."]


@pytest.mark.parametrize("size", [(28, 28), (9, 30), (64, 20)])
def test_feature_maps(size: tuple[int, int], rendered: Rendered) -> None:
    random, (height, width) = np.random.default_rng(0), size
    picture = random.integers(256, size=size).astype(np.uint8)
    maps = {f"conv_{n}": random.normal(size=[8 * n, height // n, width // n]) for n in (1, 2, 3)}
    figure = pictures.feature_maps(picture, maps | {"silent": np.zeros([4, 2, 2])})
    rendered(figure)
    assert texts(figure)[1] == f"conv_1, {height} x {width}"
    assert len(figure.axes[0].images) == 5


@pytest.mark.parametrize("shape", [(3, 8, 28, 28), (1, 8, 10, 30), (2, 1, 40, 10), (0, 8, 28, 28)])
def test_augmented(shape: tuple[int, ...], rendered: Rendered) -> None:
    changed = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    figure = pictures.augmented(changed[:, 0], changed)
    rendered(figure)
    assert texts(figure) == (["original", "as training sees it"] if shape[0] else ["No pictures."])


@pytest.mark.parametrize(
    ("digits", "size"),
    [(0, (28, 28)), (1, (28, 28)), (1, (300, 1200)), (2, (900, 500)), (5, (300, 1200)), (12, (28, 28))],
)
def test_prediction(digits: int, size: tuple[int, int], rendered: Rendered) -> None:
    random = np.random.default_rng(0)
    photo = random.integers(100, 200, [*size, 1]).repeat(3, axis=2).astype(np.uint8)
    probabilities = random.dirichlet(np.full(10, 0.2), digits).astype(np.float32)
    figure = pictures.prediction(photo, np.full([digits, 28, 28], 60, np.uint8), probabilities, list("0123456789"))
    rendered(figure)
    bold = [text.get_text() for text in figure.axes[0].texts if float(text.get_fontsize()) > 12]
    assert bold == [str(best) for best in probabilities.argmax(axis=1)]
    assert ("no digit was found in it" in texts(figure)) == (digits == 0)
    apart(figure)


@pytest.mark.parametrize(("digits", "classes", "bars"), [(1, 2, 2), (1, 13, 10), (5, 12, 12), (5, 47, 10)])
def test_prediction_of_other_classes(digits: int, classes: int, bars: int, rendered: Rendered) -> None:
    names = [f"{index}: class of $ame" for index in range(classes)]
    probabilities = np.random.default_rng(classes).dirichlet(np.ones(classes), digits)
    figure = pictures.prediction(
        np.zeros([40, 30, 3], np.uint8), np.zeros([digits, 9, 12], np.uint8), probabilities, names
    )
    rendered(figure)
    apart(figure)
    widths = [patch.get_width() for patch in figure.axes[0].patches[bars : 2 * bars]]  # pyright: ignore
    shown = probabilities[0] if bars == classes else np.sort(probabilities[0])[::-1][:bars]
    np.testing.assert_allclose(np.array(widths) / widths[int(np.argmax(widths))], shown / shown.max(), rtol=1e-6)
