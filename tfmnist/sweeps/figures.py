"""Figures of a sweep: its trials by number, by value, by epoch and by time, and the best recipe beside the baseline.

The axis of the results extends from the best trial to three times the median trial's distance from it, so that good
trials can be distinguished even if some learned nothing. Worse results are marked in a grey strip at that end.
"""

# Matplotlib's stubs leave most keyword arguments untyped.
# pyright: reportUnknownMemberType=false

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tfmnist.reports import style
from tfmnist.reports.style import (
    Floats,
    Ints,
    dress,
    make_axes,
    make_figure,
    name_rows,
    short_number,
    shorten,
    whole_ticks,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CHARACTER = 0.08  # inches that a character of 10 points takes, on average
_REACH = 3.0  # length of an axis of results, in distances of the median trial from the best
_ASIDE = -0.1  # where parallel coordinates draw trials that have no value on an axis


@dataclass(frozen=True, eq=False)
class Trials:
    """The n trials of a sweep as arrays, in the order of their numbers."""

    numbers: Ints  # [n]
    states: tuple[str, ...]  # [n]: done, pruned, diverged or failed
    values: Floats  # [n], results; of pruned trials, the last of the curve; NaN if there is none
    seconds: Floats  # [n]
    curves: tuple[Floats, ...]  # [n] arrays [epochs, 2]: epoch and validation result
    loss: bool = False  # results are losses, else accuracies in %
    best: int | None = None  # in [0, n)

    @property
    def metric(self) -> str:
        """Names a result, with its unit."""
        return "validation loss" if self.loss else "validation accuracy, %"

    @cached_property
    def heights(self) -> Floats:
        """Where each trial is marked on the axis of the results, [n]."""
        no_result = self.are("diverged") | self.are("failed")
        return np.where(no_result, self.scale.outside, self.scale.clip(self.values))

    @cached_property
    def scale(self) -> "Scale":
        """The axis of the results."""
        done = self.values[self.are("done")]
        return Scale.of(done if np.isfinite(done).any() else self.values, self.loss)

    @property
    def beyond(self) -> int:
        """How many results are worse than the axis shows."""
        return int(self.scale.beyond(self.values).sum())

    @property
    def strip(self) -> bool:
        """Whether any trial is marked beyond the axis."""
        return bool(self.beyond or self.are("diverged").any() or self.are("failed").any())

    @property
    def are_best(self) -> NDArray[np.bool_]:
        return np.arange(len(self.states)) == (-1 if self.best is None else self.best)

    def are(self, state: str) -> NDArray[np.bool_]:
        """Returns which trials ended in a state, [n]."""
        return np.array([other == state for other in self.states], np.bool_)


@dataclass(frozen=True, eq=False)
class Key:
    """A searched key, and the value that each trial has for it."""

    name: str
    values: Floats  # [n]: numbers, or indices of choices; NaN in trials that do not search it
    ends: tuple[float, float]  # of the range
    log: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()
    note: str = ""  # under which condition it is searched

    def fractions(self, values: Floats) -> Floats:
        """Returns where values lie within the range, in [0, 1] or NaN."""
        if self.choices:
            return (values + 0.5) / len(self.choices)
        low, high = self.ends
        if self.log:
            low, high, values = math.log(low), math.log(high), np.log(np.clip(values, low, high))
        return np.clip((values - low) / (high - low), 0.0, 1.0)

    def ticks(self) -> list[float]:
        """Returns the indices of all choices, or a few round numbers within the range."""
        from matplotlib.ticker import LogLocator

        if self.choices:
            return [float(index) for index in range(len(self.choices))]
        low, high = self.ends
        for factors in ((1,), (1, 3), (1, 2, 5)) if self.log else ():
            ticks = map(float, LogLocator(subs=factors, numticks=6).tick_values(low, high))
            inside = [tick for tick in ticks if low / 1.001 <= tick <= high * 1.001]
            if 3 <= len(inside) <= 6:
                return inside
        return _round_numbers(low, high, 4, self.whole)

    def labels(self) -> list[str]:
        """Returns one text per tick."""
        return list(self.choices) or [short_number(tick) for tick in self.ticks()]

    def dress(self, axes: "Axes") -> None:
        """Sets the x axis to the range, slightly widened."""
        (low, high), scale = self.ends, "log" if self.log else "linear"
        margin = 0.05 * (math.log(high / low) if self.log else high - low)
        axes.set_xscale(scale)
        axes.set_xticks(self.ticks(), self.labels())
        axes.set_xticks([], minor=True)
        factor = math.exp(margin)
        axes.set_xlim(*((low / factor, high * factor) if self.log else (low - margin, high + margin)))


@dataclass(frozen=True)
class Scale:
    """An axis of results, from the best of them to its edge."""

    best: float
    edge: float
    loss: bool

    @classmethod
    def of(cls, values: Floats, loss: bool) -> "Scale":
        """Returns the scale of results, floats [m], of which some may be NaN; for losses, less is better."""
        sign = -1.0 if loss else 1.0
        better = sign * values[np.isfinite(values)]
        if not better.size:
            better = np.array([-1.0, 0.0] if loss else [0.0, 100.0])
        best, median, worst = float(better.max()), float(np.median(better)), float(better.min())
        far = median < best and best - worst > 1.5 * _REACH * (best - median)  # no strip for results barely beyond
        edge = best - _REACH * (best - median) if far else worst
        if edge == best:
            edge = best - (0.05 * abs(best) or 0.01 if loss else 0.5)
        return cls(sign * best, sign * edge, loss)

    @property
    def outside(self) -> float:
        """Where results beyond the edge are marked."""
        return self.edge + 0.11 * (self.edge - self.best)

    def beyond(self, values: Floats) -> NDArray[np.bool_]:
        """Returns which values are worse than the edge."""
        slack = 1e-9 * abs(self.best - self.edge)
        return values > self.edge + slack if self.loss else values < self.edge - slack

    def clip(self, values: Floats) -> Floats:
        """Returns the values, those beyond the edge moved to where they are marked."""
        return np.where(self.beyond(values), self.outside, values)

    def fractions(self, values: Floats) -> Floats:
        """Returns where values lie between the edge, 0, and the best, 1."""
        return (values - self.edge) / (self.best - self.edge)

    def ticks(self) -> list[float]:
        """Returns round numbers from the edge to the best."""
        low, high = sorted((self.best, self.edge))
        margin = 0.04 * (high - low)
        return _round_numbers(low - margin * self.loss, high + margin * (not self.loss), 6)

    def dress(self, axes: "Axes", strip: bool) -> None:
        """Sets the y axis to this scale, best on top (losses: at the bottom), with a grey strip beyond the edge."""
        from matplotlib.ticker import FixedLocator

        span = self.best - self.edge
        start = self.edge - (0.2 if strip else 0.06) * span
        if strip:
            axes.axhspan(start, self.edge - 0.04 * span, color="#f1f3f5", zorder=0, linewidth=0)
        axes.set_ylim(*sorted((start, self.best + 0.08 * span)))
        axes.yaxis.set_major_locator(FixedLocator(self.ticks()))


def seed_dots(accuracies: Mapping[str, Sequence[float]]) -> "Figure":
    """Draws the test accuracy of recipes over several seeds: one dot per seed, mean and standard deviation below.

    Args:
        accuracies: by name of the recipe, one per seed, in [0, 1].
    """
    figure, axes = make_axes(1.1 + 0.62 * len(accuracies), "Test accuracy over fresh seeds", "test accuracy, %")
    names: list[str] = []
    for row, (name, fractions) in enumerate(accuracies.items()):
        values = 100 * np.array(fractions, np.float64)
        mean, deviation = values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0
        dots: dict[str, Any] = {"color": style.BLUE if row else style.VERMILION, "alpha": 0.6, "markersize": 7}
        axes.plot(values, np.full(len(values), row - 0.17), "o", label="one seed", **dots)
        below: dict[str, Any] = {"color": style.INK, "capsize": 4, "markersize": 6, "linewidth": 1.6}
        axes.errorbar(mean, row + 0.17, xerr=deviation, fmt="D", label="mean ± sd", **below)
        names.append(f"{shorten(name, 24)}\n{mean:.2f} ± {deviation:.2f}")
    name_rows(axes, names)
    axes.margins(x=0.08)
    axes.grid(visible=False, axis="y")
    axes.xaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]
    _legend(figure)
    return figure


def trial_history(trials: Trials) -> "Figure":
    """Draws the result of each trial by its number, and the best so far."""
    figure, axes = make_axes(3.6, "Result of every trial", "trial", trials.metric)
    done = trials.are("done") & np.isfinite(trials.values)
    if done.sum() > 1:
        running = (np.minimum if trials.loss else np.maximum).accumulate(trials.values[done])
        numbers = np.append(trials.numbers[done], trials.numbers[-1])
        steps = trials.scale.clip(np.append(running, running[-1]))
        axes.step(numbers, steps, where="post", color=style.VERMILION, linewidth=1.8, label="best so far", zorder=2)
    _mark(axes, trials.numbers.astype(np.float64), trials)
    trials.scale.dress(axes, trials.strip)
    whole_ticks(axes)
    _legend(figure)
    return figure


def parallel_coordinates(trials: Trials, keys: Sequence[Key]) -> "Figure":
    """Draws each trial as a line from key to key, down to its result: the darker, the better; the best on top.

    The axes lie one below the other, so that there is room for names and values however many there are. Trials that
    diverged are dotted, those that were pruned end before the result, those that failed are left out.
    """
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.colors import rgb2hex

    rows, strip, blues = len(keys) + 1, trials.strip, colormaps["Blues"]
    figure, axes = make_axes(0.75 + 0.74 * rows, "Values and result of every trial")
    axes.grid(visible=False)
    reached = trials.scale.fractions(trials.values)
    order = np.argsort(reached, kind="stable")  # NaN last
    rank = np.empty(len(order))
    rank[order] = (np.arange(len(order)) + 0.5) / len(order)
    ends = np.where(trials.are("diverged") | trials.scale.beyond(trials.values), _ASIDE, reached)
    across = np.stack([*(_line_positions(key, rank) for key in keys), ends], axis=1)  # [n, rows]
    across[:, :-1][np.isnan(across[:, :-1])] = _ASIDE
    lines = np.stack([across, np.broadcast_to(np.arange(float(rows)), across.shape)], axis=2)  # [n, rows, 2]
    alpha = 0.85 if len(lines) <= 100 else 0.5
    diverged, ordinary = trials.are("diverged"), trials.are("done") & np.isfinite(reached) & ~trials.are_best
    done = [row for row in order.tolist() if ordinary[row]]
    shades = blues(0.25 + 0.75 * np.clip(reached[done], 0, 1) ** 2)
    thin: dict[str, Any] = {"linewidths": 0.9, "alpha": alpha}
    layers: list[tuple[Floats, dict[str, Any]]] = [
        (lines[trials.are("pruned"), :-1], {"colors": style.EDGE, "label": "pruned", **thin}),
        (lines[diverged], {"colors": style.INK, "label": "diverged", "linestyles": ":", **thin}),
        (lines[done], {"colors": shades, "linewidths": 1.2, "alpha": alpha}),
        (lines[trials.are_best], {"colors": style.VERMILION, "linewidths": 2.8, "label": "best"}),
    ]
    for level, (segments, look) in enumerate(layers):
        if len(segments):
            axes.add_collection(LineCollection([*segments], zorder=2 + level, **look))
    if done:
        axes.plot([], [], color=str(rgb2hex(blues(0.8))), label="done, the darker the better")
    if diverged.any():
        axes.plot(*lines[diverged, -1].T, "x", color=style.INK, markersize=5, zorder=6, clip_on=False)
    left = _ASIDE if strip or any(np.isnan(key.values).any() for key in keys) else 0.0
    axes.hlines(range(rows), left - 0.03 if left else 0, 1, color=style.QUIET, linewidth=1, zorder=1)
    for row, key in enumerate(keys):
        indices, labels = zip(*_fit_labels(key.labels(), 4.7))
        _label_axis(axes, row, key.fractions(np.array(key.ticks()))[[*indices]].tolist(), labels)
        if np.isnan(key.values).any():
            _label_axis(axes, row, [_ASIDE], ["none"])
    ticks = np.array(trials.scale.ticks())
    ticks = ticks[trials.scale.fractions(ticks) < 1.005]
    _label_axis(axes, rows - 1, trials.scale.fractions(ticks).tolist(), [f"{tick:.10g}" for tick in ticks])
    if strip:
        _label_axis(axes, rows - 1, [_ASIDE], ["worse"])
    names = ["\n".join(shorten(part, 20) for part in key.name.split(".", 1)) for key in keys]
    name_rows(axes, [*names, trials.metric.replace(" ", "\n", 1)])
    axes.tick_params(length=0, pad=10)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.set_xlim(left - 0.04, 1.04)
    axes.set_ylim(rows - 0.62, -0.15)
    _legend(figure)
    return figure


def slices(trials: Trials, keys: Sequence[Key], notes: Mapping[str, str] | None = None) -> "Figure":
    """Draws the results by the values of each key; a bar is the median of the finished trials with one choice.

    Args:
        notes: by name of a key, a line below its axes.
    """
    columns = min(len(keys), 2)
    rows = math.ceil(len(keys) / columns)
    longest = max((len(label) for key in keys for label in key.choices), default=0)
    labels = [[line for line in (key.note, (notes or {}).get(key.name)) if line] for key in keys]
    height = 2.25 + 0.2 * max(map(len, labels)) + (0.3 if longest > 6 else 0.0)
    figure = make_figure(style.WIDTH, 0.7 + height * rows)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
    width, most = (5.9, 60) if columns == 1 else (2.75, 28)
    for index, (axes, key) in enumerate(zip(panels, keys)):
        dress(axes, shorten(key.name, most), "\n".join(labels[index]), "" if index % columns else trials.metric)
        x = key.values
        if key.choices:
            _draw_medians(axes, trials, key)
            x = x + 0.5 * ((trials.numbers * 0.6180339887) % 1.0 - 0.5)  # side by side, always in the same way
            _name_choices(axes, key.choices, width)
        else:
            key.dress(axes)
        _mark(axes, x, trials)
        trials.scale.dress(axes, trials.strip)
    for axes in figure.axes[len(keys) :]:
        axes.set_visible(False)
    _legend(figure)
    return figure


def trial_curves(trials: Trials) -> "Figure":
    """Draws the validation result of every trial by epoch; those that ended early end in a mark."""
    from matplotlib.collections import LineCollection

    figure, axes = make_axes(3.9, "Learning curves of the trials", "epoch", trials.metric)
    curves = [curve[np.isfinite(curve[:, 1])] for curve in trials.curves]
    by_state = {state: [c for c, s in zip(curves, trials.states) if s == state and len(c)] for state in _MARKS}
    done = by_state["done"]
    points = np.concatenate([*(done or curves), np.zeros([0, 2])])
    scale, strip = Scale.of(points[:, 1], trials.loss), False
    looks: dict[str, dict[str, Any]] = {
        "done": {"colors": style.BLUE, "alpha": max(0.1, min(0.55, 40 / max(len(done), 1))), "zorder": 3},
        "pruned": {"colors": "#8a919b", "alpha": 0.8, "zorder": 2},
        "diverged": {"colors": style.INK, "linestyles": ":", "zorder": 2},
    }
    for state, look in looks.items():
        if lines := by_state[state]:
            axes.add_collection(LineCollection([*lines], linewidths=0.9, **look))
            if state == "done":
                axes.plot([], [], color=style.BLUE, linewidth=0.9, label="done")
                continue
            x, y = np.array([line[-1] for line in lines]).T
            axes.plot(x, scale.clip(y), linestyle="", zorder=5, label=state, **_MARKS[state])
            strip = strip or bool(scale.beyond(y).any())
    if trials.best is not None:
        axes.plot(*curves[trials.best].T, color=style.VERMILION, linewidth=2.8, label="best", zorder=6)
    scale.dress(axes, strip)
    last = max((float(curve[-1, 0]) for curve in curves if len(curve)), default=1.0)
    axes.set_xlim(1 - 0.03 * max(last - 1, 1), last + 0.03 * max(last - 1, 1))
    whole_ticks(axes)
    _legend(figure)
    return figure


def pareto_front(trials: Trials, front: Sequence[int]) -> "Figure":
    """Draws the finished trials by seconds of training and result, and a line through the Pareto front.

    Args:
        front: indices of the trials on the front, the fastest first.
    """
    figure, axes = make_axes(4.2, "Accuracy and training time", "seconds of training", trials.metric)
    scale, x, y, rows = trials.scale, trials.seconds, trials.heights, list(front)
    done, far, best = trials.are("done") & np.isfinite(y), scale.beyond(trials.values), np.zeros(len(x), np.bool_)
    best[rows] = True
    for group, color, label in ((done & ~best, style.BLUE, "done"), (done & best, style.VERMILION, "on the front")):
        dot: dict[str, Any] = {"color": color, "linestyle": "", "markeredgecolor": "white", "zorder": 4}
        for part, marker, name in ((group & ~far, "o", label), (group & far, "v", "beyond the axis")):
            if part.any():
                axes.plot(x[part], y[part], marker, markersize=8 * _mark_size(trials), label=name, **dot)
    if rows:
        steps = [*x[rows], max(x[done])], [*y[rows], y[rows[-1]]]
        axes.step(*steps, where="post", color=style.VERMILION, linewidth=1.6, zorder=3)
    shortest, longest = x[done].min(initial=np.inf), x[done].max(initial=0)
    if 0 < 8 * shortest < longest:
        Key("", x, (float(shortest), float(longest)), log=True).dress(axes)
        axes.set_xlabel("seconds of training (logarithmic axis)")
    scale.dress(axes, trials.strip)
    figure.draw_without_rendering()  # the layout, which decides how near the dots are
    labelled = np.zeros([0, 2])
    for row in rows:
        point = np.array(axes.transData.transform((x[row], y[row]))) * 72 / float(figure.dpi)
        if not (np.abs(labelled - point) < (24, 13)).all(axis=1).any():  # else its number would cover another
            labelled = np.append(labelled, [point], axis=0)
            above: dict[str, Any] = {"xytext": (-4, 5), "textcoords": "offset points", "ha": "right", "zorder": 5}
            axes.annotate(str(trials.numbers[row]), (x[row], y[row]), fontsize=10, color=style.INK, **above)
    _legend(figure)
    return figure


_MARKS: dict[str, dict[str, Any]] = {
    "done": {"marker": "o", "color": style.BLUE, "markeredgecolor": "white", "markeredgewidth": 0.6, "markersize": 6},
    "pruned": {"marker": "D", "color": style.QUIET, "markerfacecolor": "none", "markersize": 4.5},
    "diverged": {"marker": "x", "color": style.INK, "markersize": 5.5},
    "failed": {"marker": "+", "color": style.INK, "markersize": 7},
}


def _mark(axes: "Axes", x: Floats, trials: Trials) -> None:
    """Marks the result of every trial, or that it has none, at x, floats [n]."""
    seen, y = np.isfinite(x) & np.isfinite(trials.heights), trials.heights
    far = trials.scale.beyond(trials.values)
    beyond = {"marker": "^" if trials.loss else "v", "label": "beyond the axis"}
    for state, mark in _MARKS.items():
        here, size = seen & trials.are(state) & ~trials.are_best, mark["markersize"] * _mark_size(trials)
        look = {**mark, "markersize": size, "linestyle": "", "zorder": 3, "label": state}
        for group, more in ((here & ~far, {}), (here & far, {**beyond, "markersize": size + 1})):
            if group.any():
                axes.plot(x[group], y[group], **look | more)
    if (best := seen & trials.are_best).any():
        star: dict[str, Any] = {"markersize": 14, "markeredgecolor": "white", "linestyle": "", "zorder": 4}
        axes.plot(x[best], y[best], marker="*", color=style.VERMILION, label="best", **star)


def _mark_size(trials: Trials) -> float:
    """Returns the factor by which marks are smaller if there are many."""
    return 1.0 if len(trials.states) <= 100 else 0.7


def _legend(figure: "Figure") -> None:
    """Puts one entry per label below all axes, as many side by side as fit."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    if handles:
        widths = [0.67 + _CHARACTER * len(label) for label in handles]
        counts = (math.ceil(len(widths) / rows) for rows in range(1, len(widths) + 1))
        fitting = (count for count in counts if sum(map(max, np.array_split(widths, count))) < style.WIDTH)
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=next(fitting, 1), **style.LEGEND)


def _line_positions(key: Key, rank: Floats) -> Floats:
    """Returns fractions of the range; lines through one choice lie side by side, the better ones to the right."""
    return key.fractions(key.values) + (0.5 * min(0.2, 1 / len(key.choices)) * (rank - 0.5) if key.choices else 0.0)


def _draw_medians(axes: "Axes", trials: Trials, key: Key) -> None:
    for choice in range(len(key.choices)):
        values = trials.values[trials.are("done") & (key.values == choice) & np.isfinite(trials.values)]
        if values.size > 1 and not trials.scale.beyond(median := np.median(values, keepdims=True)).any():
            axes.hlines(median, choice - 0.36, choice + 0.36, color=style.INK, linewidth=1.6, zorder=3, label="median")


def _break_name(name: str, room: int) -> str:
    """Returns a name in lines of at most `room` characters if it can be broken: after spaces and underscores."""
    return fill(name.replace("_", "_ "), max(room, 1), break_long_words=False).replace("_ ", "_")


def _break_to_fit(names: Sequence[str], width: float) -> list[str] | None:
    """Returns names that fit side by side in a width in inches, in up to three lines, or None."""
    room = int(width / max(len(names), 1) / _CHARACTER) - 1
    broken = [_break_name(name, room) for name in names]
    fits = all(max(map(len, name.split("\n"))) <= room and name.count("\n") < 3 for name in broken)
    return broken if fits else None


def _fit_labels(names: Sequence[str], width: float) -> list[tuple[int, str]]:
    """Returns the names that fit side by side, with their indices: broken, or else cut and thinned out."""
    if broken := _break_to_fit(names, width):
        return list(enumerate(broken))
    every = math.ceil(len(names) * 7 * _CHARACTER / width)
    room = max(6, int(width / math.ceil(len(names) / every) / _CHARACTER) - 1)
    fitted: list[tuple[int, str]] = []
    for index in range(0, len(names), every):
        lines = [shorten(line, room) for line in _break_name(names[index], room).split("\n")]
        fitted.append((index, "\n".join(lines if len(lines) <= 3 else [*lines[:2], "…"])))
    return fitted


def _name_choices(axes: "Axes", names: Sequence[str], width: float) -> None:
    """Names choices below axes of a width in inches: in up to three lines, else slanted, thinned out if too many."""
    axes.grid(visible=False, axis="x")
    axes.set_xlim(-0.5, len(names) - 0.5)
    if broken := _break_to_fit(names, width):
        axes.set_xticks(range(len(names)), broken, parse_math=False)
        return
    ticks = list(range(0, len(names), math.ceil(len(names) * 0.19 / width)))
    slanted: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor", "parse_math": False}
    axes.set_xticks(ticks, [shorten(names[tick]) for tick in ticks], **slanted)


def _label_axis(axes: "Axes", row: int, positions: Sequence[float], labels: Sequence[str]) -> None:
    """Draws the ticks of one of the parallel axes, and their labels below it."""
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
    text: dict[str, Any] = {"fontsize": 9.5, "color": style.INK, "ha": "center", "va": "top", "linespacing": 1.0}
    axes.vlines(positions, row - 0.05, row + 0.05, color=style.QUIET, linewidth=1, zorder=4)
    for x, label in zip(positions, labels):
        axes.text(x, row + 0.11, label, parse_math=False, bbox=box, zorder=7, **text)


def _round_numbers(low: float, high: float, count: int, whole: bool = False) -> list[float]:
    """Returns about `count` round numbers in [low, high]."""
    from matplotlib.ticker import MaxNLocator

    margin = 1e-9 * (high - low)
    ticks = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10], integer=whole, min_n_ticks=2).tick_values(low, high)
    return [float(tick) for tick in ticks if low - margin <= tick <= high + margin]
