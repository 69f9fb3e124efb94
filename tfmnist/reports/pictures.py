"""Figures made of pictures: data sets, digits, mistakes, weights, feature maps, augmented examples, predictions.

All pictures of a figure are drawn in one pair of axes whose units are inches: one pair per picture would take seconds.
"""

# Matplotlib's stubs leave most keyword arguments untyped.
# pyright: reportUnknownMemberType=false

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tfmnist.errors import InputError
from tfmnist.reports.style import BLUE, DPI, INK, LIGHT, QUIET, VERMILION, WIDTH, Bytes, Floats, Ints, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

MOST_PICTURES = 40  # in the figure of mistakes
MOST_SHEET = 75  # classes on a contact sheet
MOST_UNITS = 64  # in the figure of the first weights
MOST_BARS = 12  # most classes for which every probability has a bar; of more, only the ten most likely have one

_Pair = tuple[float, float]


def mistakes(
    images: NDArray[np.uint8], labels: Ints, predictions: Ints, confidences: Floats, class_names: Sequence[str]
) -> "Figure":
    """Draws misclassified pictures, at most 40, in the order given: the most confident first.

    Args:
        images: uint8 [m, H, W]; m may be 0.
        labels, predictions: integers [m] in [0, C), the true and the predicted classes.
        confidences: floats [m] in [0, 1], the probability of the prediction.
    """
    if not len(images):
        return _notice("No mistakes: every example was classified correctly.")
    names = [shorten(name, 10) for name in class_names]
    brief = max(map(len, names)) <= 2
    arrow = " → " if brief else "\n→ "
    triples = list(zip(labels.tolist(), predictions.tolist(), confidences.tolist(), strict=True))[:MOST_PICTURES]
    titles = [f"{names[a]}{arrow}{names[b]}\n{_confidence(c)}" for a, b, c in triples]
    heading = "true class → predicted class, confidence in it"
    return _pictures(images[:MOST_PICTURES], titles, 8 if brief else 6, heading)


def plot_images(images: Bytes, titles: Sequence[str] | None = None, columns: int = 10) -> "Figure":
    """Draws grey pictures, row by row, each under its title.

    Args:
        images: uint8 [m, H, W] with 0 for black.
        titles: one per picture, or None; long ones are cut.
        columns: pictures per row.

    Raises:
        InputError: another type or shape, another number of titles, or more than 200 rows.
    """
    if images.ndim != 3 or images.dtype != np.uint8:
        raise InputError(f"images are {images.dtype} {list(images.shape)}, expected uint8 [n, height, width].")
    if titles is not None and len(titles) != len(images):
        raise InputError(f"{len(images)} images but {len(titles)} titles, expected one title for each image.")
    if columns < 1:
        raise InputError(f"columns is {columns}, expected at least 1.")
    if len(images) > 200 * columns:
        raise InputError(f"{len(images):,} images in {columns} columns are more than 200 rows; draw fewer at a time.")
    if not images.size:
        return _notice("No pictures.")
    return _pictures(images, None if titles is None else list(map(str, titles)), min(len(images), columns))


def contact_sheet(images: Sequence[Bytes], class_names: Sequence[str], heading: str) -> "Figure":
    """Draws a few pictures of each class beside its name, in up to three columns of classes.

    Args:
        images: for each class uint8 [m, H, W], of which the first 12 are drawn, fewer if there are many classes.
        class_names: as many; the first 75 classes are drawn.
    """
    count = min(len(class_names), MOST_SHEET)
    columns = min(1 + (count - 1) // 20, 3)
    most, longest = {1: (12, 16), 2: (5, 12), 3: (3, 8)}[columns]
    names = [shorten(name, longest) for name in class_names[:count]]
    rows, wide = math.ceil(count / columns), WIDTH / columns
    named = 0.095 * max(map(len, names)) + 0.1  # inches
    pitch = (wide - _MARGIN - named) / most
    size = _inside(images[0].shape[1:], pitch - _GAP, pitch - _GAP)
    down = max(size[1] + _GAP, 0.22)
    figure, axes = _page(WIDTH, 0.42 + rows * down + 0.06)
    more = f"; the first {count} of {len(class_names)} classes" if count < len(class_names) else ""
    axes.text(_MARGIN, 0.22, heading + more, **_NOTE)
    for index, name in enumerate(names):
        left, top = index // rows * wide + _MARGIN + named, 0.42 + index % rows * down
        axes.text(left - 0.1, top + size[1] / 2, name, ha="right", **_STRONG)
        if len(some := images[index][:most]):
            _mosaic(axes, _grey(some), most, (left, top), size, (pitch, down), framed=True)
    return figure


def first_weights(weights: Floats, title: str) -> "Figure":
    """Draws the weights from the pixels to each unit of the first layer, all on one scale with white for 0.

    Args:
        weights: floats [k, h, w], one image per unit; the first 64 are drawn. The 0.5 % farthest from 0 get the colours
            at the ends of the scale.
        title: names the layer.
    """
    from matplotlib.colors import LinearSegmentedColormap

    weights = weights[:MOST_UNITS]
    if not weights.size:
        return _notice("No weights.")
    limit = float(np.quantile(np.abs(weights), 0.995)) or 1.0
    # the blue end is the darker one, so that a print in grey still shows the signs
    colors = LinearSegmentedColormap.from_list("weights", ["#00263d", BLUE, "#ffffff", "#f0a060", "#b34700"])
    columns = min(8 if len(weights) <= 32 else 12, len(weights))
    size, step = _cell(weights, columns)
    figure, axes = _page(WIDTH, 0.5 + math.ceil(len(weights) / columns) * step[1])
    axes.text(_MARGIN, 0.24, title, **_HEADING)
    left, right = WIDTH - 1.95, WIDTH - 0.75  # of the scale
    scale = _tint(np.linspace(-limit, limit, 256)[np.newaxis], colors, -limit, limit)
    axes.imshow(scale, extent=(left, right, 0.31, 0.17), aspect="auto")
    for x, side, label in ((left - 0.08, "right", f"≤ −{limit:.2g}"), (right + 0.08, "left", f"≥ {limit:.2g}")):
        axes.text(x, 0.24, label, ha=side, **_NOTE)
    axes.text((left + right) / 2, 0.24, "0", ha="center", **_NOTE)
    _mosaic(axes, _tint(weights, colors, -limit, limit), columns, (_MARGIN, 0.42), size, step, framed=True)
    return figure


def feature_maps(picture: Bytes, maps: Mapping[str, Floats]) -> "Figure":
    """Draws a picture and, layer by layer, the outputs of the network for it: one small image per channel.

    Args:
        picture: uint8 [H, W].
        maps: layer name to floats [k, h, w]; the first 16 channels are drawn, all of a layer on one scale.
    """
    from matplotlib import colormaps

    blocks = {"the picture": _grey(picture[np.newaxis])}
    for name, layer in maps.items():
        low, high = (float(np.quantile(layer, fraction)) for fraction in (0.0, 0.995))
        blocks[name] = _tint(layer[:16], colormaps["cividis"], low, high)
    cells = [_cell(images, 8) for images in blocks.values()]
    tall = [0.42 + math.ceil(len(images) / 8) * step[1] for images, (_, step) in zip(blocks.values(), cells)]
    figure, axes = _page(WIDTH, sum(tall) + 0.08)
    for (name, images), (size, step), top in zip(blocks.items(), cells, np.cumsum([0, *tall]).tolist()):
        axes.text(_MARGIN, top + 0.24, f"{name}, {images.shape[1]} x {images.shape[2]}", **_HEADING)
        _mosaic(axes, images, 8, (_MARGIN, top + 0.42), size, step)
    return figure


def augmented(originals: Bytes, changed: Bytes) -> "Figure":
    """Draws pictures, each beside random versions of it.

    Args:
        originals: uint8 [r, H, W].
        changed: uint8 [r, c, H, W].
    """
    if not changed.size:
        return _notice("No pictures.")
    rows, columns, gap = *changed.shape[:2], 0.2
    size, step = _cell(originals, 1 + columns, gap)
    figure, axes = _page(WIDTH, 0.5 + rows * step[1])
    right = _MARGIN + step[0] + gap
    axes.text(_MARGIN, 0.24, "original", **_NOTE)
    axes.text(right, 0.24, "as training sees it", **_NOTE)
    _mosaic(axes, _grey(originals), 1, (_MARGIN, 0.42), size, step)
    _mosaic(axes, _grey(changed.reshape(-1, *changed.shape[2:])), columns, (right, 0.42), size, step)
    return figure


def prediction(picture: Bytes, seen: Bytes, probabilities: Floats, class_names: Sequence[str]) -> "Figure":
    """Draws a picture, each digit as the model saw it, and the probabilities of its classes.

    Args:
        picture: uint8 [h, w, 3], of any size.
        seen: uint8 [k, H, W], the digits from left to right.
        probabilities: floats [k, C] in [0, 1].
        class_names: C names; of more than 12 classes, the ten most likely are drawn, the most likely first.
    """
    names, below = [shorten(name, 12) for name in class_names], 0.62  # inches below a digit, for its class
    bars = len(names) if len(names) <= MOST_BARS else 10
    if len(seen) == 1:  # side by side
        shown, digit = _inside(picture.shape[:2], 2.5, 2.7), _inside(seen.shape[1:], 1.2, 1.6)
        height = max(shown[1], digit[1] + below, bars * _BAR)
        figure, axes = _page(WIDTH, height + 0.56)
        middle = _MARGIN + max(shown[0], 1.2) + 0.9
        left, row = middle + 0.95, min(height / bars, 1.3 * _BAR)
        _mosaic(axes, picture[np.newaxis], 1, (_MARGIN, 0.42), shown, shown)
        _digit(axes, seen[0], names, probabilities[0], (middle, 0.42), digit)
        _bars(axes, names, probabilities[0], bars, (left, 0.42), (min(WIDTH - _MARGIN - left, 3.2), row))
        for x, side, text in (
            (_MARGIN, "left", "the picture"),
            (middle, "center", "what the model saw"),
            (left, "left", "probabilities"),
        ):
            axes.text(x, 0.22, text, ha=side, **_NOTE)
        return figure
    most = 6 if max(map(len, names)) <= 3 else 4  # per row
    rows = math.ceil(len(seen) / most)
    columns = math.ceil(len(seen) / rows) if rows else 1
    inner = WIDTH - 2 * _MARGIN
    shown, pitch = _inside(picture.shape[:2], inner, 2.6), min(inner / columns, 1.9)
    digit = _inside(seen.shape[1:], min(pitch - 0.15, 1.0), 1.4)
    first, tall = shown[1] + 0.85, digit[1] + below + bars * _BAR + 0.25
    figure, axes = _page(WIDTH, first + rows * tall)
    _mosaic(axes, picture[np.newaxis], 1, ((WIDTH - shown[0]) / 2, 0.42), shown, shown)
    label = "what the model saw, and its probabilities" if rows else "no digit was found in it"
    for y, text in ((0.22, "the picture"), (first - 0.2, label)):
        axes.text(WIDTH / 2, y, text, ha="center", **_NOTE)
    for index, (image, of_digit) in enumerate(zip(seen, probabilities, strict=True)):
        left, top = (WIDTH - columns * pitch) / 2 + index % columns * pitch, first + index // columns * tall
        _digit(axes, image, names, of_digit, (left + pitch / 2, top), digit)
        _bars(axes, names, of_digit, bars, (left + 0.08, top + digit[1] + below), (pitch - 0.16, _BAR))
    return figure


_MARGIN, _GAP, _BAR = 0.12, 0.06, 0.2  # inches: around a page, between its images, from a bar to the next
_HEADING: dict[str, Any] = {"fontsize": 11, "weight": "bold", "color": INK, "va": "center", "parse_math": False}
_NOTE: dict[str, Any] = {"fontsize": 10, "color": QUIET, "va": "center", "parse_math": False}
_STRONG: dict[str, Any] = {**_NOTE, "color": INK, "weight": "bold"}
_ANSWER: dict[str, Any] = {**_HEADING, "fontsize": 14}
_CHOSEN: dict[str, Any] = {**_NOTE, "color": VERMILION}


def _notice(text: str) -> "Figure":
    figure, axes = _page(WIDTH, 1.0)
    axes.text(WIDTH / 2, 0.5, text, ha="center", **_NOTE)
    return figure


def _page(width: float, height: float) -> tuple["Figure", "Axes"]:
    """Returns a figure filled by one pair of axes, whose units are inches from its upper left corner."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def _cell(images: NDArray[Any], columns: int, gap: float = 0.0) -> tuple[_Pair, _Pair]:
    """Returns the sizes in inches of each of some images, [m, h, w], and of its cell, with `columns` on a page."""
    pitch = min((WIDTH - 2 * _MARGIN - gap + _GAP) / columns, 1.3)
    size = _inside(images.shape[1:3], pitch - _GAP, 1.5 * pitch)
    return size, (pitch, size[1] + _GAP)


def _inside(shape: Sequence[int], width: float, height: float) -> _Pair:
    """Returns the largest width and height, in inches, of an image of `shape`, height and width, inside a box."""
    scale = min(height / shape[0], width / shape[1])
    return max(scale * shape[1], 0.02), max(scale * shape[0], 0.02)


def _grey(images: Bytes) -> Bytes:
    """Repeats grey values, uint8 [m, h, w], along a new last axis, [m, h, w, 3]."""
    return np.repeat(images[..., np.newaxis], 3, axis=-1)


def _tint(values: Floats, colors: "Colormap", low: float, high: float) -> Bytes:
    """Maps floats [...] from [low, high] to colours, uint8 [..., 3]."""
    return colors((values - low) / (high - low or 1.0), bytes=True)[..., :3]


def _mosaic(
    axes: "Axes", images: Bytes, columns: int, corner: _Pair, size: _Pair, step: _Pair, framed: bool = False
) -> None:
    """Draws images, uint8 [m, h, w, 3], as one picture on a page, each at its size in whole dots.

    Args:
        corner, size, step: x and y in inches: where the first image begins, the size of each, the distance from one to
            the next.
        framed: draws a thin line around each, which may be white like the page.
    """
    from PIL import Image

    (left, top), (width, height), (across, down) = (
        (round(DPI * x) or 1, round(DPI * y) or 1) for x, y in (corner, size, step)
    )
    rows = math.ceil(len(images) / columns)
    canvas = np.full([(rows - 1) * down + height, (columns - 1) * across + width, 3], 255, np.uint8)
    for index, image in enumerate(images):
        y, x = index // columns * down, index % columns * across
        # the mean when shrinking, the nearest pixel when enlarging
        drawn = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))
        if framed:
            drawn[[0, -1]] = drawn[:, [0, -1]] = 0xB0
        canvas[y : y + height, x : x + width] = drawn
    right, bottom = left + canvas.shape[1], top + canvas.shape[0]
    extent = (left / DPI, right / DPI, bottom / DPI, top / DPI)
    axes.imshow(canvas, extent=extent, aspect="auto", interpolation="nearest")


def _pictures(images: Bytes, titles: list[str] | None, columns: int, heading: str = "") -> "Figure":
    """Draws grey images with a title above each; all titles must have as many lines as the first."""
    lines = [line for title in titles or [] for line in title.split("\n")]
    pitch = (WIDTH - 2 * _MARGIN + _GAP) / max(columns, 5)
    font = min(max(72 * (pitch - _GAP) / (0.6 * max(map(len, lines), default=1)), 7), 10)  # points
    fit = max(int(72 * (pitch - _GAP) / (0.6 * font)), 1)
    above = (1 + titles[0].count("\n")) * 1.2 * font / 72 + 0.08 if titles else 0.0
    size = _inside(images.shape[1:3], 0.9 * (pitch - _GAP) if titles else pitch - _GAP, 2 * pitch)
    step = (pitch, above + size[1] + (0.1 if titles else _GAP))
    top, width = 0.4 if heading else _MARGIN, max(2 * _MARGIN + columns * pitch - _GAP, 3.0)
    figure, axes = _page(width, top + math.ceil(len(images) / columns) * step[1] + 0.05)
    if heading:
        axes.text(_MARGIN, 0.2, heading, **_NOTE)
    left = (width - columns * pitch + _GAP) / 2 + (pitch - _GAP) / 2  # middle of the first
    for index, title in enumerate(titles or []):
        x, y = left + index % columns * pitch, top + index // columns * step[1] + above - 0.05
        text = "\n".join(shorten(line, fit) for line in title.split("\n"))
        axes.text(x, y, text, ha="center", va="bottom", fontsize=font, color=INK, linespacing=1.1, parse_math=False)
    _mosaic(axes, _grey(images), columns, (left - size[0] / 2, top + above), size, step)
    return figure


def _digit(axes: "Axes", image: Bytes, names: Sequence[str], probabilities: Floats, top: _Pair, size: _Pair) -> None:
    """Draws a digit, uint8 [H, W], below the point `top`, and under it the predicted class and its confidence."""
    x, y = top
    _mosaic(axes, _grey(image[np.newaxis]), 1, (x - size[0] / 2, y), size, size)
    best = int(probabilities.argmax())
    axes.text(x, y + size[1] + 0.19, names[best], ha="center", **_ANSWER)
    axes.text(x, y + size[1] + 0.42, _confidence(float(probabilities[best])), ha="center", **_CHOSEN)


def _bars(axes: "Axes", names: Sequence[str], probabilities: Floats, count: int, corner: _Pair, size: _Pair) -> None:
    """Draws probabilities, floats [C], as `count` bars, those of the most likely classes if there are more.

    Args:
        corner, size: x and y in inches: the upper left corner of all bars with their names, and the size of one.
    """
    (left, top), (width, row), best = corner, size, int(probabilities.argmax())
    order = range(count) if count == len(names) else np.argsort(-probabilities, kind="stable")[:count].tolist()
    start = left + 0.06 + 0.085 * max(len(names[index]) for index in order)
    whole, rows = max(left + width - start, 0.1), top + row * (np.arange(count) + 0.5)
    colors = [VERMILION if index == best else BLUE for index in order]
    axes.barh(rows, whole, 0.72 * row, left=start, color=LIGHT)
    axes.barh(rows, whole * probabilities[list(order)], 0.72 * row, left=start, color=colors)
    for y, index in zip(rows, order):
        axes.text(start - 0.06, y, names[index], ha="right", **(_STRONG if index == best else _NOTE))


def _confidence(probability: float) -> str:
    return f"{math.floor(1000 * probability) / 10:.1f} %"  # rounded down: only a confidence of 1 is 100 %
