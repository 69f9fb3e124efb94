"""Figures of numbers: learning curves, confusion matrix, recall and precision, calibration."""

# Matplotlib's stubs leave most keyword arguments untyped.
# pyright: reportUnknownMemberType=false

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfmnist.nn.metrics import Calibration, wilson_interval
from tfmnist.reports import style
from tfmnist.reports.style import Floats, Ints, dress, make_axes, make_figure, name_rows, shorten, whole_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CELLS = 30  # most classes for which every count is printed


def learning_curves(history: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draws loss, accuracy and learning rate by epoch.

    Args:
        history: one row per epoch with `epoch`, `loss`, `accuracy` in [0, 1], `validation_loss`, `validation_accuracy`
            and `learning_rate`; a value may be None, as those of validation are without a validation set.
    """
    from matplotlib.ticker import MaxNLocator

    figure = make_figure(style.WIDTH, 4.7)
    panels = figure.subplot_mosaic([["loss", "accuracy"], ["rate", "rate"]], height_ratios=[4, 1])
    epochs = _column(history, "epoch")
    losses = _finite(np.concatenate([_column(history, "loss"), _column(history, "validation_loss")]))
    logarithmic = losses.size and losses.min() > 0 and losses.max() > 10 * losses.min()
    line: dict[str, Any] = style.LINE | {"markevery": math.ceil(len(epochs) / 25) or 1}
    titles = {"loss": "Loss (logarithmic axis)" if logarithmic else "Loss", "accuracy": "Accuracy, %"}
    for key, title in titles.items():
        axes, unit = panels[key], 100 if key == "accuracy" else 1
        dress(axes, title, "epoch")
        training, validation = unit * _column(history, key), unit * _column(history, f"validation_{key}")
        axes.plot(epochs, training, color=style.BLUE, linestyle="-", marker="o", label="training", **line)
        if _finite(validation).size:
            axes.plot(epochs, validation, color=style.VERMILION, linestyle="--", marker="D", label="validation", **line)
        axes.legend(**style.LEGEND)
    if logarithmic:
        _logarithmic(panels["loss"], "{x:g}", subs=(1.0, 2.0, 5.0))
    bottom, top = panels["accuracy"].get_ylim()
    panels["accuracy"].set_ylim(bottom, min(top, 100 + 0.04 * (100 - bottom)) if bottom < 100 else top)
    below, rates = panels["rate"], _column(history, "learning_rate")
    dress(below, "Learning rate at the end of the epoch", "epoch")
    below.plot(epochs, rates, color=style.GREEN, linestyle="-", marker="s", **line)
    below.set_ylim(0, 1.25 * float(_finite(rates).max(initial=0)) or 1.0)
    below.yaxis.set_major_locator(MaxNLocator(3))
    for axes in panels.values():
        whole_ticks(axes)
    return figure


def confusion(matrix: Ints, class_names: Sequence[str]) -> "Figure":
    """Draws a confusion matrix whose colours show the mistakes only, so that the diagonal does not drown them.

    Up to 30 classes, every count but 0 is printed; of more, names are thinned out and only colours show the counts.

    Args:
        matrix: integers [C, C] of counts; rows are the true, columns the predicted classes, of C names.
    """
    from matplotlib import colormaps, colors, ticker

    classes, diagonal = len(matrix), np.eye(len(matrix), dtype=bool)
    wrong = np.where(diagonal, 0, matrix)
    most = int(wrong.max(initial=2))
    side = min(max(4.2, 0.52 * classes), 11 if classes <= MOST_CELLS else 8)
    title = f"Confusion: {wrong.sum():,} mistakes in {matrix.sum():,} examples"
    figure, axes = make_axes(side + 0.7, title, "predicted class", "true class", width=side + 1.6)
    axes.grid(visible=False)
    blues = colors.ListedColormap(colormaps["Blues"](np.linspace(0.18, 1.0, 256)))
    blues = blues.with_extremes(bad=style.LIGHT, under="white")  # the diagonal and 0
    drawn = axes.imshow(np.ma.masked_where(diagonal, matrix), cmap=blues, vmin=1, vmax=most, interpolation="nearest")
    bar = figure.colorbar(drawn, ax=axes, shrink=0.6, aspect=25, ticks=ticker.MaxNLocator(5, integer=True))
    bar.set_label("mistakes (grey: correct)", fontsize=10, color=style.QUIET)
    bar.ax.tick_params(labelsize=10, color=style.LIGHT, labelcolor=style.QUIET)
    bar.ax.spines[:].set_visible(False)
    every = 1 if classes <= MOST_CELLS else math.ceil(classes / 20)
    ticks = list(range(0, classes, every))
    names = [shorten(class_names[tick]) for tick in ticks]
    cell = 72 * 0.85 * side / classes  # its width in points
    fits = 7 * max(map(len, names), default=0) < cell * every
    slanted: dict[str, Any] = {} if fits else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(ticks, names, fontsize=10, parse_math=False, **slanted)
    axes.set_yticks(ticks, names, fontsize=10, parse_math=False)
    axes.tick_params(length=0, labelcolor=style.INK)
    axes.spines[:].set(visible=True, color=style.LIGHT)
    if classes > MOST_CELLS:
        return figure
    for lines in (axes.hlines, axes.vlines):
        lines(np.arange(1, classes) - 0.5, -0.5, classes - 0.5, color=style.LIGHT, linewidth=0.8)
    for row, column in np.argwhere(matrix != 0).tolist():
        count = int(matrix[row, column])
        size, weight = min(10.0, cell / (0.68 * len(f"{count:,}"))), "bold" if row == column else "normal"
        color = "white" if row != column and count > 0.5 * most else style.INK
        axes.text(column, row, f"{count:,}", ha="center", va="center", size=size, weight=weight, color=color)
    return figure


def per_class(recall: Floats, precision: Floats, counts: Ints, class_names: Sequence[str]) -> "Figure":
    """Draws recall and precision of every class as two dots on a line, zoomed in on their range.

    Dots, because bars on an axis that doesn't begin at 0 would mislead. Classes without examples have no dots.

    Args:
        recall, precision: floats [C] in [0, 1].
        counts: integers [C], examples per class.
    """
    classes, rows = len(counts), np.arange(len(counts))
    recalls, precisions = (np.where(counts > 0, 100.0 * values, np.nan) for values in (recall, precision))
    lowest = float(_finite(np.concatenate([recalls, precisions])).min(initial=99.5))
    start = max(0, math.floor(lowest - 0.06 * (100 - lowest)))
    note = f" (the axis begins at {start}, not at 0)" if start else ""
    height = min(max(2.4, 1.4 + 0.29 * classes), 13)
    figure, axes = make_axes(
        height, "Recall and precision of each class", f"% of the examples{note}", "class (examples)"
    )
    axes.hlines(
        rows, np.fmin(recalls, precisions), np.fmax(recalls, precisions), color=style.EDGE, linewidth=2, zorder=2
    )
    axes.plot(recalls, rows, "o", color=style.BLUE, markersize=8, label="recall", zorder=3)
    axes.plot(precisions, rows, "D", color=style.VERMILION, markersize=5.5, label="precision", zorder=3)
    overall = float(np.nansum(recalls * counts) / max(counts.sum(), 1))
    axes.axvline(overall, color=style.QUIET, linestyle=":", label=f"accuracy, all classes: {overall:.2f} %", zorder=1)
    axes.set_xlim(start, 100 + 0.03 * (100 - start))
    names = [f"{shorten(name)}  ({count:,})" for name, count in zip(class_names, counts.tolist(), strict=True)]
    name_rows(axes, names, every=math.ceil(classes / 45) or 1)
    figure.legend(loc="outside lower center", ncols=3, **style.LEGEND)
    return figure


def calibration_curve(calibration: Calibration) -> "Figure":
    """Draws a reliability diagram: accuracy by confidence, with 95 % intervals, above the number of examples."""
    figure = make_figure(style.WIDTH, 5.9)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1])
    filled = calibration.counts > 0
    counts, x, y = calibration.counts[filled], 100 * calibration.confidence[filled], 100 * calibration.accuracy[filled]
    dress(above, f"Calibration: expected error {100 * calibration.error:.2f} %", y="accuracy, %")
    above.plot([0, 100], [0, 100], color=style.QUIET, linestyle="--", linewidth=1.2, label="confidence = accuracy")
    hits = np.rint(y * counts / 100).astype(int).tolist()
    low, high = 100 * np.array([*map(wilson_interval, hits, counts.tolist())]).reshape(-1, 2).T
    above.vlines(x, low, high, color="#8fb8d6", linewidth=2.5, label="95 % interval")
    above.plot(x, y, color=style.BLUE, marker="o", linestyle="-", label="predictions", **style.LINE)
    above.set(xlim=(0, 101), ylim=(0, 103))
    dress(below, "", "confidence, %", "examples (log)")
    starts, width = 100 * calibration.edges[:-1], 100 / len(calibration.counts)
    below.bar(starts, calibration.counts, width, align="edge", color=style.BLUE, edgecolor="white", linewidth=1)
    below.set_ylim(0.6, 3.0 * max(int(calibration.counts.max(initial=0)), 3))
    _logarithmic(below, "{x:,.0f}", subs=(1.0,))
    figure.legend(loc="outside lower center", ncols=3, **style.LEGEND)
    return figure


def _logarithmic(axes: "Axes", form: str, subs: Sequence[float]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set(major_locator=LogLocator(subs=subs), major_formatter=StrMethodFormatter(form))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _column(history: Sequence[Mapping[str, Any]], key: str) -> Floats:
    return np.array([np.nan if row.get(key) is None else row[key] for row in history], np.float64)


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]
