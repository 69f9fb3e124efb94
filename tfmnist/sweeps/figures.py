"""Figures of a sweep: what its trials reached, with which values, and whether the best is better than luck.

The axis of the results ends three times as far from the best trial as the median trial is: where some trials learned
nothing, the good ones can still be told apart. What lies beyond is marked in a grey strip at the worse end.
"""

# Matplotlib's stubs leave most keyword arguments untyped.
# pyright: reportUnknownMemberType=false

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tfmnist.reports.style import (
    BLUE,
    EDGE,
    INK,
    LEGEND,
    QUIET,
    TITLE,
    VERMILION,
    WIDTH,
    Floats,
    Ints,
    dress,
    make_figure,
    short_number,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CHARACTER = 0.08  # inches that a character of 10 points takes, on average
_REACH = 3.0  # how many times farther than the median trial an axis of results ends, seen from the best
_BEYOND = "#f1f3f5"
_STEPS = [1, 2, 2.5, 5, 10]


@dataclass(frozen=True, eq=False)
class Trials:
    """The n trials of a sweep as arrays, in the order of their numbers."""

    numbers: Ints  # [n]
    states: tuple[str, ...]  # n of done, pruned, diverged, failed
    results: Floats  # [n], NaN where there is none
    seconds: Floats  # [n]
    curves: tuple[Floats, ...]  # n of [epochs, 2]: epoch and validation result
    loss: bool = False  # results are losses, else accuracies in [0, 1]
    best: int | None = None  # in [0, n)

    @property
    def metric(self) -> str:
        """What a result is, with its unit."""
        return "validation loss" if self.loss else "validation accuracy, %"

    @cached_property
    def values(self) -> Floats:
        """Results as they are drawn; those of pruned trials are the last of their curves."""
        last = [curve[-1, 1] if state == "pruned" and len(curve) else np.nan for state, curve in self._pairs]
        return self._unit * np.where(self.are("done"), self.results, np.array(last, np.float64))

    @cached_property
    def drawn_curves(self) -> list[Floats]:
        """Curves as they are drawn, without points that are not finite."""
        return [curve[np.isfinite(curve[:, 1])] * [1.0, self._unit] for curve in self.curves]

    @property
    def beyond(self) -> int:
        """How many results an axis of them does not reach."""
        return int(self.scale.beyond(self.values).sum())

    @cached_property
    def scale(self) -> "Scale":
        """The axis of the results."""
        done = self.values[self.are("done")]
        marked = bool((self.are("diverged") | self.are("failed")).any())
        scale = Scale.of(done if np.isfinite(done).any() else self.values, self.loss, marked)
        return Scale(*scale.ends, self.loss, marked or bool(scale.beyond(self.values).any()))

    def are(self, state: str) -> NDArray[np.bool_]:
        """Returns which trials ended in a state."""
        return np.array([found == state for found in self.states], np.bool_)

    @property
    def _unit(self) -> float:
        return 1.0 if self.loss else 100.0

    @property
    def _pairs(self) -> Sequence[tuple[str, Floats]]:
        return list(zip(self.states, self.curves))


@dataclass(frozen=True, eq=False)
class Key:
    """A searched key: where each trial stands on it."""

    name: str
    places: Floats  # [n]: numbers, or indices of choices; NaN in trials that do not search it
    ends: tuple[float, float]  # of the range
    log: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()
    note: str = ""  # under which condition it is searched

    def shares(self) -> Floats:
        """Returns the places as shares of the range, in [0, 1] or NaN."""
        return self.share_of(self.places)

    def share_of(self, places: Floats) -> Floats:
        """Returns places as shares of the range."""
        if self.choices:
            return (places + 0.5) / len(self.choices)
        low, high = self.ends
        if self.log:
            low, high, places = math.log(low), math.log(high), np.log(np.clip(places, low, high))
        return np.clip((places - low) / (high - low), 0.0, 1.0)

    def ticks(self) -> list[float]:
        """Returns round numbers within the range, few enough to be labelled; the indices of all choices."""
        from matplotlib.ticker import MaxNLocator

        if self.choices:
            return [float(place) for place in range(len(self.choices))]
        low, high = self.ends
        if self.log:
            decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for steps in ((1,), (1, 3), (1, 2, 5)):
                every = math.ceil(len(decades) / 7)
                found = [step * 10.0**decade for decade in decades[::every] for step in steps]
                found = [tick for tick in found if low / 1.001 <= tick <= high * 1.001]
                if len(found) >= 3:
                    return found
        found = map(float, MaxNLocator(4, steps=_STEPS, integer=self.whole, min_n_ticks=2).tick_values(low, high))
        margin = 1e-9 * (high - low)
        return [tick for tick in found if low - margin <= tick <= high + margin]

    def labels(self) -> list[str]:
        """Returns a text a tick."""
        return list(self.choices) or [short_number(tick) for tick in self.ticks()]


@dataclass(frozen=True)
class Scale:
    """An axis of results, from the best of them to the edge; what is worse than that is marked beyond it."""

    best: float
    edge: float
    loss: bool
    strip: bool  # whether anything is marked beyond the edge

    @classmethod
    def of(cls, values: Floats, loss: bool, marked: bool = False) -> "Scale":
        """Returns the scale of some results.

        Args:
            values: floats [m], of which some may be NaN.
            loss: whether less is better.
            marked: whether something without a result is marked too.

        Example:
            >>> scale = Scale.of(np.array([98.0, 97.5, 97.0, 96.5, 10.0]), loss=False)
            >>> scale.best, scale.edge, scale.strip
            (98.0, 95.0, True)
        """
        better = (-values if loss else values)[np.isfinite(values)]
        best, median, worst = (
            (float(better.max()), float(np.median(better)), float(better.min()))
            if better.size
            else ((0.0, -1.0, -1.0) if loss else (100.0, 0.0, 0.0))
        )
        far = median < best and best - worst > 1.5 * _REACH * (best - median)  # no strip for what is hardly beyond
        edge = best - _REACH * (best - median) if far else worst
        if edge == best:
            edge = best - (0.05 * abs(best) or 0.01 if loss else 0.5)
        sign = -1.0 if loss else 1.0
        return cls(sign * best, sign * edge, loss, far or marked)

    @property
    def ends(self) -> tuple[float, float]:
        return self.best, self.edge

    @property
    def place(self) -> float:
        """Where is marked what lies beyond."""
        return self.edge + 0.11 * (self.edge - self.best)

    def beyond(self, values: Floats) -> NDArray[np.bool_]:
        """Returns which values are worse than the edge."""
        slack = 1e-9 * abs(self.best - self.edge)
        return values > self.edge + slack if self.loss else values < self.edge - slack

    def clip(self, values: Floats) -> Floats:
        """Returns the values, those beyond at their place."""
        return np.where(self.beyond(values), self.place, values)

    def ticks(self, most: int = 6) -> list[float]:
        """Returns round numbers from the edge to the best."""
        from matplotlib.ticker import MaxNLocator

        low, high = sorted(self.ends)
        margin = 0.04 * (high - low)
        low, high = (low - margin, high) if self.loss else (low, high + margin)
        found = map(float, MaxNLocator(most, steps=_STEPS).tick_values(low, high))
        return [tick for tick in found if low <= tick <= high]

    def dress(self, axes: "Axes") -> None:
        """Gives axes this scale upwards, and a grey strip where it ends."""
        from matplotlib.ticker import FixedLocator

        span = self.best - self.edge
        start = self.edge - (0.2 if self.strip else 0.06) * span
        if self.strip:
            axes.axhspan(start, self.edge - 0.04 * span, color=_BEYOND, zorder=0, linewidth=0)
        axes.set_ylim(*sorted((start, self.best + 0.08 * span)))
        axes.yaxis.set_major_locator(FixedLocator(self.ticks()))


def seed_dots(accuracies: Mapping[str, Sequence[float]]) -> "Figure":
    """Draws the accuracy of recipes over several seeds: each seed a dot, mean and standard deviation below.

    Args:
        accuracies: for each name of a recipe those of its seeds, in [0, 1].

    Example:
        >>> seed_dots({"best": [0.981, 0.983], "unswept": [0.975, 0.976]}).axes[0].get_xlabel()
        'test accuracy, %'
    """
    figure = make_figure(WIDTH, 1.1 + 0.62 * len(accuracies))
    axes = figure.add_subplot()
    dress(axes, "Test accuracy over fresh seeds", "test accuracy, %")
    names: list[str] = []
    for row, ((name, shares), color) in enumerate(zip(accuracies.items(), (VERMILION, BLUE) * len(accuracies))):
        values = 100 * np.array(shares, np.float64)
        mean, deviation = values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0
        axes.plot(values, np.full(len(values), row - 0.17), "o", color=color, alpha=0.6, markersize=7, label="a seed")
        below: dict[str, Any] = {"color": INK, "capsize": 4, "markersize": 6, "linewidth": 1.6}
        axes.errorbar(mean, row + 0.17, xerr=deviation, fmt="D", label="mean ± sd", **below)
        names.append(f"{shorten(name, 24)}\n{mean:.2f} ± {deviation:.2f}")
    axes.set_yticks(range(len(names)), names, fontsize=10, parse_math=False, color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.margins(x=0.08)
    axes.grid(visible=False, axis="y")
    axes.xaxis.get_major_formatter().set_useOffset(False)  # type: ignore[attr-defined]
    _legend(figure)
    return figure


def trial_history(trials: Trials) -> "Figure":
    """Draws what each trial reached over its number, and the best so far.

    Example:
        >>> trials = Trials(np.arange(2), ("done",) * 2, np.array([0.8, 0.9]), np.ones(2), (np.zeros([0, 2]),) * 2)
        >>> trial_history(trials).axes[0].get_ylabel()
        'validation accuracy, %'
    """
    figure = make_figure(WIDTH, 3.6)
    axes = figure.add_subplot()
    dress(axes, "Result of every trial", "trial", trials.metric)
    done = trials.are("done") & np.isfinite(trials.values)
    if done.sum() > 1:
        running = (np.minimum if trials.loss else np.maximum).accumulate(trials.values[done])
        places = np.append(trials.numbers[done], trials.numbers[-1])
        steps = trials.scale.clip(np.append(running, running[-1]))
        axes.step(places, steps, where="post", color=VERMILION, linewidth=1.8, label="best so far", zorder=2)
    _mark(axes, trials.numbers.astype(np.float64), trials)
    trials.scale.dress(axes)
    _whole_ticks(axes)
    _legend(figure)
    return figure


def parallel_coordinates(trials: Trials, keys: Sequence[Key]) -> "Figure":
    """Draws each trial as a line from key to key, down to its result: the darker, the better; the best on top.

    The axes lie, one below the other, so that names and values have room however many there are. Trials that diverged
    are dotted, those that were pruned end before the result, those that failed are left out.

    Example:
        >>> trials = Trials(np.arange(2), ("done",) * 2, np.array([0.8, 0.9]), np.ones(2), (np.zeros([0, 2]),) * 2)
        >>> key = Key("optimizer.momentum", np.array([0.5, 0.9]), (0.0, 1.0))
        >>> [label.get_text() for label in parallel_coordinates(trials, [key]).axes[0].get_yticklabels()]
        ['optimizer\\nmomentum', 'validation\\naccuracy, %']
    """
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.colors import rgb2hex

    rows, width = len(keys) + 1, 4.7
    figure = make_figure(WIDTH, 0.75 + 0.74 * rows)
    axes = figure.add_subplot()
    scale, span, aside = trials.scale, trials.scale.best - trials.scale.edge, -0.1
    absent = any(bool(np.isnan(key.places).any()) for key in keys)
    left = aside if absent or scale.strip else 0.0
    reached = (trials.values - scale.edge) / span
    order = np.argsort(reached, kind="stable")  # NaN last
    rank = np.empty(len(order))
    rank[order] = (np.arange(len(order)) + 0.5) / len(order)
    across = np.stack([_spread(key, rank) for key in keys], axis=1)  # [n, keys]
    across[np.isnan(across)] = aside
    ends = np.where(trials.are("diverged"), aside, np.where(scale.beyond(trials.values), aside, reached))
    places = np.concatenate([across, ends[:, None]], axis=1)
    lines = np.stack([places, np.broadcast_to(np.arange(float(rows)), places.shape)], axis=2)  # [n, rows, 2]
    alpha = 0.85 if len(lines) <= 100 else 0.5
    pruned, diverged = trials.are("pruned"), trials.are("diverged")
    best = np.arange(len(lines)) == (-1 if trials.best is None else trials.best)
    ordinary = trials.are("done") & np.isfinite(reached) & ~best
    done = [row for row in order.tolist() if ordinary[row]]
    blues = colormaps["Blues"](0.25 + 0.75 * np.clip(reached[done], 0, 1) ** 2)
    drawn: list[tuple[Floats, dict[str, Any]]] = [
        (lines[pruned, :-1], {"colors": EDGE, "linewidths": 0.9, "label": "pruned", "alpha": alpha}),
        (lines[diverged], {"colors": INK, "linewidths": 0.9, "label": "diverged", "alpha": alpha, "linestyles": ":"}),
        (lines[done], {"colors": blues, "linewidths": 1.2, "alpha": alpha}),
        (lines[best], {"colors": VERMILION, "linewidths": 2.8, "label": "best"}),
    ]
    for level, (segments, look) in enumerate(drawn):
        if len(segments):
            axes.add_collection(LineCollection([*segments], zorder=2 + level, **look))
    if done:
        axes.plot([], [], color=str(rgb2hex(colormaps["Blues"](0.8))), label="done, the darker the better")
    if diverged.any():
        axes.plot(lines[diverged, -1, 0], lines[diverged, -1, 1], "x", color=INK, markersize=5, zorder=6, clip_on=False)
    axes.hlines(range(rows), left - 0.03 if left else 0, 1, color=QUIET, linewidth=1, zorder=1)
    box: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
    text: dict[str, Any] = {
        "fontsize": 9.5,
        "color": INK,
        "ha": "center",
        "va": "top",
        "zorder": 7,
        "linespacing": 1.0,
        "bbox": box,
    }
    results = [tick for tick in scale.ticks() if (tick - scale.edge) / span < 1.005]
    for row, key in enumerate(keys):
        labelled = _fit(key.labels(), width)
        marks = key.share_of(np.array(key.ticks()))[[index for index, _ in labelled]]
        _ticks_across(axes, row, marks.tolist(), [label for _, label in labelled], text)
        if np.isnan(key.places).any():
            _ticks_across(axes, row, [aside], ["none"], text)
    labels = [f"{tick:.10g}" for tick in results]
    _ticks_across(axes, rows - 1, [(tick - scale.edge) / span for tick in results], labels, text)
    if scale.strip:
        _ticks_across(axes, rows - 1, [aside], ["worse"], text)
    metric = trials.metric.replace(" ", "\n", 1)
    names = ["\n".join(shorten(part, 20) for part in key.name.split(".", 1)) for key in keys]
    axes.set_title("Values and result of every trial", **TITLE)
    axes.set_yticks(range(rows), [*names, metric], fontsize=10, parse_math=False, color=INK)
    axes.tick_params(length=0, pad=10)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.set_xlim(left - 0.04, 1.04)
    axes.set_ylim(rows - 0.62, -0.15)
    _legend(figure)
    return figure


def slices(trials: Trials, keys: Sequence[Key]) -> "Figure":
    """Draws the results over the values of each key; a bar is the median of the trials done with one choice.

    Example:
        >>> trials = Trials(np.arange(2), ("done",) * 2, np.array([0.8, 0.9]), np.ones(2), (np.zeros([0, 2]),) * 2)
        >>> key = Key("optimizer.learning_rate", np.array([0.001, 0.01]), (0.0001, 0.1), log=True)
        >>> slices(trials, [key]).axes[0].get_xscale()
        'log'
    """
    columns = min(len(keys), 2)
    rows = math.ceil(len(keys) / columns)
    longest = max((len(label) for key in keys for label in key.choices), default=0)
    figure = make_figure(WIDTH, 0.7 + (2.25 + (0.3 if longest > 6 else 0.0)) * rows)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    width = 5.9 if columns == 1 else 2.75
    for place, axes in enumerate(grid.flat):
        if place >= len(keys):
            axes.set_visible(False)
            continue
        key = keys[place]
        dress(axes, shorten(key.name, 60 if columns == 1 else 28), key.note, "" if place % columns else trials.metric)
        axes.title.set_parse_math(False)
        axes.xaxis.label.set_parse_math(False)
        x = key.places
        if key.choices:
            _medians(axes, trials, key)
            x = x + 0.5 * _jitter(trials.numbers)
            _name_ticks(axes, key.choices, width)
            axes.grid(visible=False, axis="x")
            axes.set_xlim(-0.5, len(key.choices) - 0.5)
        else:
            if key.log:
                axes.set_xscale("log")
            axes.set_xticks(key.ticks(), key.labels())
            axes.set_xticks([], minor=True)
            axes.set_xlim(*_wider(key))
        _mark(axes, x, trials)
        trials.scale.dress(axes)
    _legend(figure)
    return figure


def key_importance(shares: Mapping[str, float]) -> "Figure":
    """Draws the importance of keys as bars, the most important first.

    Args:
        shares: for each key in [0, 1].

    Example:
        >>> [text.get_text() for text in key_importance({"a.b": 0.25, "a.c": 0.75}).axes[0].texts]
        ['0.75', '0.25']
    """
    ordered = sorted(shares.items(), key=lambda pair: -pair[1])
    figure = make_figure(WIDTH, 0.95 + 0.32 * len(ordered))
    axes = figure.add_subplot()
    dress(axes, "Importance of the keys", "share of the whole")
    rows, values = range(len(ordered)), [value for _, value in ordered]
    axes.barh(rows, values, 0.62, color=BLUE)
    for row, value in zip(rows, values):
        axes.text(value, row, f"{value:.2f}", va="center", ha="left", fontsize=10, color=INK, transform=_beside(axes))
    axes.set_yticks(rows, [shorten(name, 30) for name, _ in ordered], fontsize=10, parse_math=False, color=INK)
    axes.set_ylim(len(ordered) - 0.5, -0.5)
    axes.set_xlim(0, 1.1 * max(values, default=1.0) or 1.0)
    axes.grid(visible=False, axis="y")
    return figure


def trial_curves(trials: Trials) -> "Figure":
    """Draws the validation result of every trial over its epochs; those ended early end in a mark.

    Example:
        >>> curve = np.array([[1, 0.8], [2, 0.9]])
        >>> trials = Trials(np.arange(1), ("done",), np.array([0.9]), np.ones(1), (curve,), best=0)
        >>> trial_curves(trials).axes[0].get_xlabel()
        'epoch'
    """
    from matplotlib.collections import LineCollection

    figure = make_figure(WIDTH, 3.9)
    axes = figure.add_subplot()
    dress(axes, "Learning curves of the trials", "epoch", trials.metric)
    curves = trials.drawn_curves
    done = [curve for state, curve in zip(trials.states, curves) if state == "done" and len(curve)]
    points = np.concatenate([*(done or curves), np.zeros([0, 2])])
    stopped = [row for row, state in enumerate(trials.states) if state in ("pruned", "diverged") and len(curves[row])]
    scale = Scale.of(points[:, 1], trials.loss)
    ends = np.array([curves[row][-1] for row in stopped]).reshape(-1, 2)
    scale = Scale(*scale.ends, trials.loss, bool(scale.beyond(ends[:, 1]).any()))
    alpha = max(0.1, min(0.55, 40 / max(len(done), 1)))
    looks: dict[str, dict[str, Any]] = {
        "done": {"colors": BLUE, "linewidths": 0.9, "alpha": alpha, "zorder": 3},
        "pruned": {"colors": "#8a919b", "linewidths": 0.9, "alpha": 0.8, "zorder": 2},
        "diverged": {"colors": INK, "linewidths": 0.9, "linestyles": ":", "zorder": 2},
    }
    last = max((float(curve[-1, 0]) for curve in curves if len(curve)), default=1.0)
    for state, look in looks.items():
        found = [curve for have, curve in zip(trials.states, curves) if have == state and len(curve)]
        if found:
            axes.add_collection(LineCollection([*found], **look))
    if done:
        axes.plot([], [], color=BLUE, linewidth=0.9, label="done")
    for state in ("pruned", "diverged"):
        rows = [row for row in stopped if trials.states[row] == state]
        if rows:
            x, y = np.array([curves[row][-1] for row in rows]).T
            axes.plot(x, scale.clip(y), zorder=5, label=state, **_MARKS[state])
    if trials.best is not None:
        axes.plot(*curves[trials.best].T, color=VERMILION, linewidth=2.8, label="best", zorder=6)
    scale.dress(axes)
    axes.set_xlim(1 - 0.03 * max(last - 1, 1), last + 0.03 * max(last - 1, 1))
    _whole_ticks(axes)
    _legend(figure)
    return figure


def pareto_front(trials: Trials, front: Sequence[int]) -> "Figure":
    """Draws the trials done by seconds of training and result, and the line of those that none beats in both.

    Args:
        front: rows of the trials on the front, the fastest first.

    Example:
        >>> trials = Trials(np.arange(2), ("done",) * 2, np.array([0.8, 0.9]), np.ones(2), (np.zeros([0, 2]),) * 2)
        >>> pareto_front(trials, [1]).axes[0].get_xlabel()
        'seconds of training'
    """
    figure = make_figure(WIDTH, 4.2)
    axes = figure.add_subplot()
    dress(axes, "Accuracy against time", "seconds of training", trials.metric)
    done = trials.are("done") & np.isfinite(trials.values)
    scale, rows = Scale.of(trials.values[done], trials.loss), list(front)
    x, y = trials.seconds, scale.clip(trials.values)
    far = scale.beyond(trials.values)
    others = done.copy()
    others[rows] = False
    size = _size(trials)
    for which, color, label in ((others, BLUE, "done"), (done & ~others, VERMILION, "on the front")):
        dot: dict[str, Any] = {"color": color, "linestyle": "", "zorder": 4, "markeredgecolor": "white"}
        axes.plot(x[which & ~far], y[which & ~far], marker="o", markersize=8 * size, label=label, **dot)
        if (which & far).any():
            name = "beyond the axis"
            axes.plot(x[which & far], y[which & far], marker="v", markersize=7 * size, label=name, **dot)
    seen = x[done & (x > 0)]
    spread = seen.size > 1 and seen.max() > 8 * seen.min()
    if rows:
        end = max(float(x[done].max(initial=0)), float(x[rows[-1]]))
        axes.step([*x[rows], end], [*y[rows], y[rows[-1]]], where="post", color=VERMILION, linewidth=1.6, zorder=3)
    if spread and (x[done] > 0).all():
        axes.set_xscale("log")
        within = Key("", x, (float(seen.min()) / 1.15, float(seen.max()) * 1.15), log=True)
        axes.set_xticks(within.ticks(), within.labels())
        axes.set_xticks([], minor=True)
        axes.set_xlim(*within.ends)
        axes.set_xlabel("seconds of training (logarithmic axis)")
    scale.dress(axes)
    figure.draw_without_rendering()  # the layout, which decides how near the dots are
    taken: list[tuple[float, float]] = []
    unit = float(figure.dpi) / 72
    for row in rows:
        right, up = (float(part) / unit for part in axes.transData.transform((x[row], y[row])))
        if all(abs(right - other) > 24 or abs(up - above) > 13 for other, above in taken):
            taken.append((right, up))
            place: dict[str, Any] = {"xytext": (-4, 5), "textcoords": "offset points", "ha": "right", "zorder": 5}
            axes.annotate(str(trials.numbers[row]), (x[row], y[row]), fontsize=10, color=INK, **place)
    _legend(figure)
    return figure


_MARKS: dict[str, dict[str, Any]] = {
    "done": {
        "marker": "o",
        "color": BLUE,
        "linestyle": "",
        "markeredgecolor": "white",
        "markeredgewidth": 0.6,
        "markersize": 6,
    },
    "pruned": {"marker": "D", "color": QUIET, "linestyle": "", "markerfacecolor": "none", "markersize": 4.5},
    "diverged": {"marker": "x", "color": INK, "linestyle": "", "markersize": 5.5},
    "failed": {"marker": "+", "color": INK, "linestyle": "", "markersize": 7},
}


def _mark(axes: "Axes", x: Floats, trials: Trials) -> None:
    """Marks every trial at a place across: what it reached, or that it reached nothing."""
    scale, values, size = trials.scale, trials.values, _size(trials)
    best = np.arange(len(x)) == (-1 if trials.best is None else trials.best)
    for state, mark in _MARKS.items():
        here = trials.are(state) & np.isfinite(x) & ~best
        if state in ("diverged", "failed"):
            y = np.full(len(x), scale.place)
        else:
            here, y = here & np.isfinite(values), scale.clip(values)
        far = here & scale.beyond(values)
        for which, more in ((here & ~far, {}), (far, {"marker": "^" if trials.loss else "v"})):
            if which.any():
                look = {**mark, "markersize": mark["markersize"] * size + bool(more), **more}
                axes.plot(x[which], y[which], label="beyond the axis" if more else state, zorder=3, **look)
    best &= np.isfinite(x) & np.isfinite(values)
    if best.any():
        star: dict[str, Any] = {"markersize": 14, "markeredgecolor": "white", "linestyle": "", "zorder": 4}
        axes.plot(x[best], values[best], marker="*", color=VERMILION, label="best", **star)


def _size(trials: Trials) -> float:
    """Returns by which factor marks are smaller where there are many."""
    return 1.0 if len(trials.states) <= 100 else 0.7


def _legend(figure: "Figure") -> None:
    """Puts one entry a label below all axes, as many beside each other as fit."""
    from matplotlib.collections import LineCollection

    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            if not (isinstance(handle, LineCollection) and not len(handle.get_segments())):
                found.setdefault(label, handle)
    if found:
        widths = [0.67 + _CHARACTER * len(label) for label in found]
        shares = (math.ceil(len(widths) / rows) for rows in range(1, len(widths) + 1))
        fitting = (n for n in shares if sum(max(part) for part in np.array_split(widths, n)) < WIDTH)
        columns = next(fitting, 1)
        figure.legend(found.values(), found, loc="outside lower center", ncols=columns, **LEGEND)


def _jitter(numbers: Ints) -> Floats:
    """Returns offsets in [-0.5, 0.5) that look random and are the same for the same trial."""
    return (numbers * 0.6180339887) % 1.0 - 0.5


def _spread(key: Key, rank: Floats) -> Floats:
    """Returns shares of the range; lines through one choice lie beside each other, the better ones to the right."""
    return key.shares() + (0.5 * min(0.2, 1 / len(key.choices)) * (rank - 0.5) if key.choices else 0.0)


def _medians(axes: "Axes", trials: Trials, key: Key) -> None:
    for choice in range(len(key.choices)):
        found = trials.values[trials.are("done") & (key.places == choice) & np.isfinite(trials.values)]
        median = np.median(found, keepdims=True) if found.size > 1 else np.zeros([0])
        if median.size and not trials.scale.beyond(median).any():
            axes.hlines(median, choice - 0.36, choice + 0.36, color=INK, linewidth=1.6, zorder=3, label="median")


def _wider(key: Key) -> tuple[float, float]:
    """Returns limits a little outside the range."""
    low, high = key.ends
    if key.log:
        factor = (high / low) ** 0.05
        return low / factor, high * factor
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _broken(name: str, room: int) -> str:
    """Returns a name in lines of so many characters, as far as it can be broken: after spaces and underscores."""
    lines = [""]
    for piece in re.findall(r"[^ _]*[ _]?", name):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > room:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip(" ") for line in lines)


def _level(names: Sequence[str], width: float) -> list[str] | None:
    """Returns names that fit beside each other in a width in inches, in up to three lines, or None."""
    room = int(width / max(len(names), 1) / _CHARACTER) - 1
    broken = [_broken(name, room) for name in names]
    fits = all(max(map(len, name.split("\n"))) <= room and name.count("\n") < 3 for name in broken)
    return broken if fits else None


def _fit(names: Sequence[str], width: float) -> list[tuple[int, str]]:
    """Returns the names that fit beside each other, with their indices: broken, else cut and thinned out."""
    if broken := _level(names, width):
        return list(enumerate(broken))
    least = 6
    every = math.ceil(len(names) * (least + 1) * _CHARACTER / width)
    room = max(least, int(width / math.ceil(len(names) / every) / _CHARACTER) - 1)
    found: list[tuple[int, str]] = []
    for index in range(0, len(names), every):
        lines = [shorten(line, room) for line in _broken(names[index], room).split("\n")]
        more = ["…"] if len(lines) > 3 else []
        found.append((index, "\n".join([*lines[: 3 - len(more)], *more])))
    return found


def _name_ticks(axes: "Axes", names: Sequence[str], width: float) -> None:
    """Names choices below axes of a width in inches: in up to three lines, else slanted, thinned out where too many."""
    if broken := _level(names, width):
        axes.set_xticks(range(len(names)), broken, parse_math=False)
        return
    ticks = list(range(0, len(names), math.ceil(len(names) * 0.19 / width)))
    slanted: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor", "parse_math": False}
    axes.set_xticks(ticks, [shorten(names[tick]) for tick in ticks], **slanted)


def _ticks_across(axes: "Axes", row: int, places: list[float], labels: list[str], text: dict[str, Any]) -> None:
    axes.vlines(places, row - 0.05, row + 0.05, color=QUIET, linewidth=1, zorder=4)
    for place, label in zip(places, labels):
        axes.text(place, row + 0.11, label, parse_math=False, **text)


def _whole_ticks(axes: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def _beside(axes: "Axes") -> Any:
    """Returns the transform of data coordinates moved right by four points."""
    from matplotlib.transforms import ScaledTranslation

    figure = axes.get_figure()
    assert figure
    return axes.transData + ScaledTranslation(4 / 72, 0, figure.dpi_scale_trans)
