"""Answers of the five sweeps: a table and a figure for the question of each that has finished.

    tfmnist sweep experiments/sweeps/width.toml --workers 1 --threads 2     # and so on, for each
    python experiments/answers.py [sweeps]

Reads sweeps/<name>/sweep.json, and metrics from its run folders if the curve of every seed is needed. Writes
results/sweep_<name>.md and .json and images/sweep_<name>.png. Needs no TensorFlow.
"""

# Matplotlib's stubs leave most keyword arguments untyped.
# pyright: reportUnknownMemberType=false

import argparse
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np

from tfmnist.reports.style import (
    BLUE,
    GREEN,
    INK,
    LEGEND,
    LIGHT,
    LINE,
    QUIET,
    VERMILION,
    WIDTH,
    dress,
    make_axes,
    make_figure,
    name_rows,
    save,
    whole_ticks,
)
from tfmnist.runs.result import read_history
from tfmnist.sweeps.trials import TABLE, SweepTable, Trial, spread
from tfmnist.system.machine import processors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
TIMES = (1.0, 2.0, 4.0, 8.0, 20.0)  # seconds of training at which widths are compared
NEAR = 0.01  # a rate is good if it costs no more accuracy than this
EXAMPLES = 55_000  # all of them, after validation
LOOKS = ((BLUE, "o", "-"), (VERMILION, "D", "--"), (GREEN, "s", "-."), (INK, "^", ":"), (QUIET, "v", "-"))


@dataclass(frozen=True)
class Answer:
    """The answer that a sweep gives to its question."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    figures: dict[str, Any]
    """The numbers of the table, for JSON."""
    figure: "Figure"
    notes: list[str] = field(default_factory=list)
    grid: list[str] = field(default_factory=list)
    """A Markdown table of all cells, if the rows say less."""


@dataclass(frozen=True)
class Finished:
    """A finished sweep: its table and its folder."""

    table: SweepTable
    folder: Path

    @property
    def trials(self) -> list[Trial]:
        return self.table.trials

    def values(self, key: str) -> list[Any]:
        """Returns the distinct values of a key, in order."""
        return sorted({json.dumps(trial.values[key]): trial.values[key] for trial in self.trials}.values())

    def results(self, **wanted: Any) -> list[float]:
        """Returns the accuracy of each seed at some values of keys, without their sections; none if it diverged."""
        for trial in self.trials:
            own = {key.partition(".")[2]: value for key, value in trial.values.items()}
            if all(own[name] == value for name, value in wanted.items()):
                return trial.results if trial.state == "done" else []
        return []

    def curves(self, trial: Trial) -> list[list[dict[str, Any]]]:
        """Returns a trial's epochs, one list per seed; only the first seed's if the run folders are gone."""
        seeds = self.table.search.seeds
        names = [f"{trial.number:04}-seed-{seed}" for seed in seeds] if len(seeds) > 1 else []
        curves = [read_history(self.folder / "trials" / name) for name in names]
        return curves if curves and all(curves) else [trial.curve]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sweeps", nargs="?", type=Path, default=Path("sweeps"), help="folder of the sweeps' folders")
    parser.add_argument("--out", type=Path, default=HERE, help="where results/ and images/ are")
    options = parser.parse_args()
    for name in QUESTIONS:
        folder = options.sweeps / name
        table = SweepTable.read(folder) if (folder / TABLE).exists() else None
        if table and len(table.trials) == table.total:
            print(write(name, Finished(table, folder), options.out))
        else:
            print(f"{name}: {len(table.trials) if table else 'no'} trials of this sweep have ended, so no answer yet")


def write(name: str, sweep: Finished, out: Path) -> str:
    """Writes table and figure of one sweep and returns the table."""
    question, options, make_answer = QUESTIONS[name]
    answer = make_answer(sweep)
    seconds = sum(trial.seconds for trial in sweep.trials)
    facts = {
        "question": question,
        "command": f"tfmnist sweep experiments/sweeps/{name}.toml {options}",
        "hardware": f"{processors()} processors, {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("tensorflow", "tfmnist")},
        },
        "trainings": sum(len(trial.results) for trial in sweep.trials),
        "training_seconds": round(seconds, 1),
    }
    used = ", ".join(f"{package} {number}" for package, number in facts["versions"].items())
    lines = [f"# {question}", "", f"`{facts['command']}`", "", *markdown(answer.head, answer.rows), ""]
    lines += [*answer.grid, ""] if answer.grid else []
    lines += [*(f"- {note}" for note in answer.notes), ""] if answer.notes else []
    lines += [
        f"Validation accuracy, mean ± standard deviation over seeds {', '.join(map(str, sweep.table.search.seeds))}; "
        f"{facts['trainings']} trainings, {seconds / 60:.1f} minutes of training in all. "
        f"{facts['hardware']}; {used}.",
    ]
    for kind in ("results", "images"):
        (out / kind).mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines) + "\n"
    (out / "results" / f"sweep_{name}.md").write_text(text, encoding="utf-8")
    trials = [{key: getattr(row, key) for key in ("values", "state", "results", "seconds")} for row in sweep.trials]
    whole = compact({**facts, **answer.figures, "notes": answer.notes, "trials": trials})
    (out / "results" / f"sweep_{name}.json").write_text(whole + "\n", encoding="utf-8")
    save(answer.figure, out / "images" / f"sweep_{name}.png")
    return text


def answer_width(sweep: Finished) -> Answer:
    """The accuracy of each width at each of `TIMES`, interpolated between epochs over the logarithm of time.

    Times are epochs times the fastest epoch of that width, since other work can only slow an epoch down.
    """
    rows: list[tuple[str, ...]] = []
    figures: list[dict[str, Any]] = []
    for trial in sorted(sweep.trials, key=lambda trial: trial.values["model.hidden"]):
        curves = sweep.curves(trial)
        took = [row["seconds"] for curve in curves for row in curve]
        second = min(took)
        accuracies = np.array([[row["validation_accuracy"] for row in curve] for curve in curves])
        times = second * np.arange(1, accuracies.shape[1] + 1)
        reached = {time: at_time(time, times, accuracies) for time in TIMES}
        (width,) = trial.values["model.hidden"]
        best = accuracies[:, -1].tolist()
        empty = {time: "–" if time < times[0] else "ended" for time in TIMES}
        cells = [accuracy(reached[time]) if reached[time] else empty[time] for time in TIMES]
        middle = median(took)
        rows.append((str(width), f"{second:.2f} ({middle:.2f})", *cells, f"{accuracy(best)} ({times[-1]:.0f} s)"))
        curve = {"times": times.round(3).tolist(), "accuracy": accuracies.mean(0).round(5).tolist()}
        figures.append({"width": width, "fastest_epoch": second, "median_epoch": middle, "seeds": len(curves)})
        figures[-1] |= {"at": {f"{time:g}": values for time, values in reached.items()}, "end": best, "curve": curve}
    head = ("width", "fastest epoch, s (median)", *(f"after {time:g} s" for time in TIMES), "at the end of training")
    notes = ["Times are epochs times the fastest epoch of each width; –: its first epoch ends later."]
    return Answer(head, rows, {"widths": figures}, draw_width(figures), notes)


def draw_width(figures: list[dict[str, Any]]) -> "Figure":
    from matplotlib import colormaps, patheffects

    halo = [patheffects.withStroke(linewidth=3, foreground="white")]
    figure = make_figure(WIDTH, 3.9)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.15, 1])
    dress(left, "Each width, as it trains", "seconds of training (log)", "validation accuracy, %")
    dress(right, "The same at equal times", "width of the hidden layer (log)")
    shades = colormaps["viridis"](np.linspace(0, 0.8, len(figures)))
    for row, color in zip(figures, shades):
        times, errors = row["curve"]["times"], [1 - value for value in row["curve"]["accuracy"]]
        left.plot(times, errors, color=color, linewidth=1.8)
        text: dict[str, Any] = {"textcoords": "offset points", "fontsize": 10, "color": color, "path_effects": halo}
        left.annotate(f"{row['width']:,}", (times[0], errors[0]), (3, -4), va="top", **text)
    left.set_xscale("log")
    for time, look in zip(TIMES, LOOKS):
        if any(row["at"][f"{time:g}"] for row in figures):
            left.axvline(time, color=look[0], linewidth=1, linestyle=look[2], zorder=1)
            draw_line(right, {row["width"]: row["at"][f"{time:g}"] for row in figures}, look, f"{time:g} s")
    right.set_xscale("log", base=2)
    widths = [row["width"] for row in figures]
    right.set_xticks(widths, [f"{width:,}" for width in widths], rotation=45)
    right.minorticks_off()
    right.legend(title="after", title_fontsize=10, loc="lower center", **LEGEND)
    name_plainly(left)
    accuracy_axis(left, room=1.12)
    return figure


def answer_optimizer(sweep: Finished) -> Answer:
    """The best rate of each optimizer, and the neighbouring rates that are nearly as good."""
    rates = sweep.values("optimizer.learning_rate")
    rows: list[tuple[str, ...]] = []
    figures: dict[str, Any] = {}
    for kind in dict.fromkeys(trial.values["optimizer.kind"] for trial in sweep.trials):
        results = {rate: sweep.results(kind=kind, learning_rate=rate) for rate in rates}
        means = [fmean(results[rate] or [0]) for rate in rates]
        low = high = means.index(max(means))
        best, limit = rates[low], max(means) - NEAR
        while low > 0 and means[low - 1] >= limit:
            low -= 1
        while high + 1 < len(rates) and means[high + 1] >= limit:
            high += 1
        good = rates[low : high + 1]
        lost = [rate for rate, mean in zip(rates, means) if mean < 0.5 and rate > best]
        wrong = ", ".join(f"{rate:g}" + ("" if results[rate] else " (diverged)") for rate in lost)
        cells = (f"{best:g}", accuracy(results[best]), f"{good[0]:g} to {good[-1]:g}", f"{good[-1] / good[0]:.0f}")
        rows.append((kind, *cells, wrong or "none"))
        figures[kind] = {"best": best, "good": good, "results": {f"{rate:g}": results[rate] for rate in rates}}
    head = ("optimizer", "best rate", "accuracy there", "within a point of it", "factor", "too high: below 50 %")
    cells = [[f"{rate:g}", *(accuracy(row["results"][f"{rate:g}"]) for row in figures.values())] for rate in rates]
    grid = markdown(["rate", *figures], cells)
    return Answer(head, rows, {"optimizers": figures}, draw_optimizer(figures, rates), grid=grid)


def draw_optimizer(figures: Mapping[str, Any], rates: Sequence[float]) -> "Figure":
    figure = make_figure(WIDTH, 5.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
    dress(above, "Accuracy at each learning rate", y="validation accuracy, %")
    dress(below, "Best rate (dot), and what costs no more than a point", "learning rate (log)")
    above.set_xscale("log")
    for index, ((kind, row), look) in enumerate(zip(figures.items(), LOOKS)):
        draw_line(above, {rate: row["results"][f"{rate:g}"] for rate in rates}, look, kind)
        factor = 1.09 ** (index - (len(figures) - 1) / 2)
        diverged = [rate * factor for rate in rates if not row["results"][f"{rate:g}"]]
        above.plot(diverged, [1.15] * len(diverged), "x", color=look[0], markersize=7, mew=2)
        below.plot([row["good"][0], row["good"][-1]], [index, index], color=look[0], linewidth=7, alpha=0.35)
        below.plot(row["good"], [index] * len(row["good"]), "|", color=look[0], markersize=9, mew=1.5)
        below.plot([row["best"]], [index], marker=look[1], color=look[0], markersize=9)
    accuracy_axis(above, worst=1.3)
    if any(not results for row in figures.values() for results in row["results"].values()):
        above.annotate("× diverged", (0.01, 0.03), xycoords="axes fraction", fontsize=10, color=QUIET)
    above.legend(loc="lower center", **LEGEND)
    name_rows(below, list(figures))
    name_plainly(below)
    return figure


def answer_batch(sweep: Finished) -> Answer:
    """The best rate of each batch, fitted between grid points, and the power of the batch with which it grows."""
    rates, batches = sweep.values("optimizer.learning_rate"), sweep.values("train.batch_size")
    rows: list[tuple[str, ...]] = []
    figures: dict[str, Any] = {}
    notes: list[str] = []
    for kind in dict.fromkeys(trial.values["optimizer.kind"] for trial in sweep.trials):
        grid = {b: [sweep.results(kind=kind, batch_size=b, learning_rate=rate) for rate in rates] for b in batches}
        seeds = len(sweep.table.search.seeds)
        peaks = {
            b: [peak(rates, [cell[seed : seed + 1] for cell in grid[b]]) for seed in range(seeds)] for b in batches
        }
        powers = [slope(batches, [peaks[batch][seed] for batch in batches]) for seed in range(seeds)]
        for batch in batches:
            best = max(range(len(rates)), key=lambda index: fmean(grid[batch][index] or [0]))
            middle = math.exp(fmean(map(math.log, peaks[batch])))
            end = " (the last)" if best in (0, len(rates) - 1) else ""
            cells = (f"{rates[best]:g}{end}", accuracy(grid[batch][best]), f"{middle:.2g}")
            rows.append((kind, str(batch), *cells, f"{min(peaks[batch]):.2g} to {max(peaks[batch]):.2g}"))
        figures[kind] = {"peaks": peaks, "power": powers, "results": grid}
        notes.append(
            f"{kind}: the best rate grows with the batch to the power of {plus_minus(powers)} "
            "(linear would be 1, square root 0.5)."
        )
    head = ("optimizer", "batch", "best rate of the grid", "accuracy there", "best rate, fitted", "of each seed")
    cells = [
        [kind, str(batch), *(f"{100 * fmean(cell):.2f}" if cell else "diverged" for cell in row)]
        for kind, values in figures.items()
        for batch, row in values["results"].items()
    ]
    grid = markdown(["optimizer", "batch", *(f"{rate:g}" for rate in rates)], cells)
    drawn = draw_batch(figures, rates, batches)
    return Answer(head, rows, {"optimizers": figures, "rates": rates}, drawn, notes, grid)


def draw_batch(figures: Mapping[str, Any], rates: Sequence[float], batches: Sequence[int]) -> "Figure":
    from matplotlib import colormaps, colors

    figure = make_figure(WIDTH, 0.9 + 2.3 * len(figures))
    panels = figure.subplots(len(figures), 1, squeeze=False)[:, 0]
    index_of: Callable[[Any], Any] = partial(np.interp, xp=np.log(rates), fp=np.arange(len(rates)))
    for axes, (kind, row) in zip(panels, figures.items()):
        means = np.array([[fmean(cell or [0]) for cell in row["results"][batch]] for batch in batches])
        dress(axes, f"{kind}: best rate ∝ batch to the power of {plus_minus(row['power'])}", y="batch")
        axes.grid(visible=False)
        errors = np.ma.masked_where(means == 0, 1 - means)
        blues = colors.ListedColormap(colormaps["Blues_r"](np.linspace(0.25, 1.0, 256))).with_extremes(bad=LIGHT)
        scale = colors.LogNorm(errors.min(), max(10 * errors.min(), 2 * errors.min()))
        axes.imshow(errors, cmap=blues, norm=scale, aspect="auto", interpolation="nearest")
        for (y, x), mean in np.ndenumerate(means):
            dark = 0 < 1 - mean < 1.6 * errors.min()
            text = f"{100 * mean:.1f}" if mean else "diverged"
            size = 9.5 if mean else 7.5
            axes.text(x, y + 0.27, text, ha="center", va="center", fontsize=size, color="white" if dark else INK)
        middles = [math.exp(fmean(map(math.log, row["peaks"][batch]))) for batch in batches]
        y = np.arange(len(batches))
        axes.plot(index_of(np.log(middles)), y - 0.14, "o", color=VERMILION, label="best rate, fitted", **LINE)
        centre = math.exp(fmean(map(math.log, middles)))
        middle_batch = math.exp(fmean(map(math.log, batches)))
        for power, style, label in ((1.0, "--", "∝ batch"), (0.5, ":", "∝ √batch")):
            drawn = [math.log(centre * (batch / middle_batch) ** power) for batch in batches]
            axes.plot(index_of(drawn), y - 0.14, linestyle=style, color=VERMILION, linewidth=1.5, label=label)
        axes.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        axes.set_yticks(y, [f"{batch:,}" for batch in batches])
        axes.tick_params(length=0, labelcolor=INK)
        axes.set_xlim(-0.5, len(rates) - 0.5)
    panels[-1].set_xlabel("learning rate", fontsize=10, color=QUIET)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, **LEGEND)
    return figure


def answer_data(sweep: Finished) -> Answer:
    """Accuracy against the number of examples, with and without shifts, and whether training has converged."""
    shifts = sweep.values("augment.shift")
    sizes = sorted(sweep.values("data.per_class"), key=lambda count: count or math.inf)
    rows: list[tuple[str, ...]] = []
    figures: list[dict[str, Any]] = []
    for size in sizes:
        results = {shift: sweep.results(per_class=size, shift=shift) for shift in shifts}
        late, epochs = dict[float, float](), 0
        for trial in sweep.trials:
            if trial.values["data.per_class"] == size and trial.state == "done":
                curve = [row["validation_accuracy"] for row in trial.curve]
                late[trial.values["augment.shift"]] = curve[-1] - curve[2 * len(curve) // 3 - 1]
                epochs = trial.epochs
        examples = 10 * size or EXAMPLES
        gain = [100 * (with_it - without) for without, with_it in zip(results[shifts[0]], results[shifts[-1]])]
        rows.append((
            f"{examples:,}", str(epochs), *(accuracy(results[shift]) for shift in shifts),
            plus_minus(gain, "+.2f"),
            ", ".join(f"{100 * late[shift]:+.2f}" for shift in shifts),
        ))  # fmt: skip
        figures.append({"examples": examples, "epochs": epochs, "gain": gain, "late": late})
        figures[-1]["results"] = {f"{shift:g}": results[shift] for shift in shifts}
    head = ("examples", "epochs", *("as they are" if not s else f"shifted by up to {s:g}" for s in shifts))
    head += ("gain, points", "gain in the last third of the epochs")
    notes: list[str] = []
    for shift in shifts:
        errors = [[1 - value for value in row["results"][f"{shift:g}"]] for row in figures]
        powers = [slope([row["examples"] for row in figures], list(column)) for column in zip(*errors)]
        mean, sd = spread([2**power for power in powers])
        notes.append(
            f"shift {shift:g}: each doubling of the examples leaves {100 * mean:.0f} % ± {100 * sd:.0f} of the errors, "
            "fitted over all sizes."
        )
    return Answer(head, rows, {"sizes": figures}, draw_data(figures, shifts), notes)


def draw_data(figures: list[dict[str, Any]], shifts: Sequence[float]) -> "Figure":
    figure, axes = make_axes(4.2, "How much data is enough", "training examples (log)", "validation accuracy, %")
    axes.set_xscale("log")
    examples = [row["examples"] for row in figures]
    for shift, look in zip(shifts, LOOKS):
        results = {row["examples"]: row["results"][f"{shift:g}"] for row in figures}
        label = f"shifted by up to {shift:g} pixel{'s' * (shift != 1)}" if shift else "as they are"
        draw_line(axes, results, look, label)
        above: dict[str, Any] = {"xytext": (-5, 5), "ha": "right", "va": "bottom"}
        below: dict[str, Any] = {"xytext": (5, -5), "ha": "left", "va": "top"}
        text: dict[str, Any] = {"textcoords": "offset points", "fontsize": 9.5, "color": look[0]}
        text |= above if shift == shifts[-1] else below
        for x, values in results.items():
            axes.annotate(f"{100 * fmean(values):.1f}", (x, 1 - fmean(values)), **text)
    axes.set_xticks(examples, [f"{count:,}" for count in examples])
    axes.minorticks_off()
    axes.set_xlim(examples[0] / 1.7, examples[-1] * 1.9)
    axes.legend(loc="lower right", **LEGEND)
    accuracy_axis(axes)
    return figure


def answer_augmentation(sweep: Finished) -> Answer:
    """Each combination compared with none, over the same seeds, and some learning curves."""
    kinds = ("rotate", "shift", "elastic")
    rows: list[tuple[str, ...]] = []
    figures: list[dict[str, Any]] = []
    none: list[float] = []
    settings = [({kind: row.values.get(f"augment.{kind}", 0.0) for kind in kinds}, row) for row in sweep.trials]
    for values, trial in sorted(settings, key=lambda pair: [*pair[0].values()]):
        none = none or trial.results  # the first
        gain = [100 * (value - base) for value, base in zip(trial.results, none)]
        curves = sweep.curves(trial)
        fastest = min(row["seconds"] for curve in curves for row in curve)
        curve = np.array([[row["validation_accuracy"] for row in curve] for curve in curves]).mean(0)
        difference = plus_minus(gain, "+.2f") if any(values.values()) else ""
        rows.append((*(f"{v:g}" for v in values.values()), accuracy(trial.results), difference, f"{fastest:.1f}"))
        figures.append({**values, "results": trial.results, "gain": gain, "fastest_epoch": round(fastest, 2)})
        figures[-1]["curve"] = curve.round(5).tolist()
    head = ("rotate, °", "shift, pixels", "elastic, pixels", "accuracy", "difference, same seeds", "fastest epoch, s")
    return Answer(head, rows, {"settings": figures}, draw_augmentation(figures))


def draw_augmentation(figures: list[dict[str, Any]]) -> "Figure":
    figure = make_figure(WIDTH, 4.4)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1])
    dress(left, "What it brings, over the same seeds", "shift, pixels", "points above none")
    dress(right, "On the way there", "epoch", "validation accuracy, %")
    left.axhline(0, color=QUIET, linewidth=1.2)
    pairs = sorted({(row["rotate"], row["elastic"]) for row in figures})
    for index, ((rotate, elastic), look) in enumerate(zip(pairs, LOOKS)):
        rows = [row for row in figures if (row["rotate"], row["elastic"]) == (rotate, elastic)]
        others = named({"rotate": rotate, "elastic": elastic, "shift": 0})
        label = f"with {others}" if rotate or elastic else "shift alone"
        gains, bars = zip(*(spread(row["gain"]) for row in rows))
        left.errorbar([row["shift"] + 0.05 * (index - 1) for row in rows], gains, bars, label=label, **with_bars(look))
    left.set_xticks(sorted({row["shift"] for row in figures}))
    mild = next(row for row in figures if row["shift"] and not (row["rotate"] or row["elastic"]))
    most = max(figures, key=lambda row: (row["elastic"], row["shift"], row["rotate"]))
    for row, (color, marker, style) in zip((figures[0], mild, most), (LOOKS[3], *LOOKS)):
        epochs, errors = range(1, len(row["curve"]) + 1), [1 - value for value in row["curve"]]
        right.plot(epochs, errors, color=color, linestyle=style, marker=marker, label=named(row), **LINE)
    right.legend(loc="lower right", **LEGEND)
    whole_ticks(right)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=4, columnspacing=1.2, **LEGEND)
    accuracy_axis(right)
    return figure


def named(row: Mapping[str, Any]) -> str:
    """Names a setting in a figure."""
    units = {"shift": "", "rotate": "°", "elastic": ""}
    return " + ".join(f"{kind} {row[kind]:g}{unit}" for kind, unit in units.items() if row[kind]) or "none"


def at_time(time: float, times: Any, accuracies: Any) -> list[float]:
    """Returns the accuracy of each seed at a time; nothing before the end of the first or after the last epoch."""
    if not times[0] <= time <= times[-1]:
        return []
    return [float(np.interp(math.log(time), np.log(times), row)) for row in accuracies]


def peak(rates: Sequence[float], results: Sequence[Sequence[float]]) -> float:
    """Returns the best rate, from a parabola through the best and its neighbours: log error over log rate.

    Example:
        >>> round(peak([0.1, 1, 10], [[0.9], [0.95], [0.9]]), 3), peak([0.1, 1, 10], [[0.9], [0.95], []])
        (1.0, 1)
    """
    errors = [math.log(1.001 - fmean(cell)) if cell else math.inf for cell in results]
    best = min(range(len(rates)), key=errors.__getitem__)
    if best in (0, len(rates) - 1) or math.inf in errors[best - 1 : best + 2]:
        return rates[best]
    x, y = np.log(rates[best - 1 : best + 2]), errors[best - 1 : best + 2]
    square, linear, _ = np.polyfit(x, y, 2)
    return math.exp(-linear / (2 * square)) if square > 0 else rates[best]


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Returns the power of x to which y is proportional, from a line through their logarithms.

    Example:
        >>> round(slope([1, 10, 100], [3, 30, 300]), 6)
        1.0
    """
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def draw_line(axes: "Axes", results: Mapping[Any, Sequence[float]], look: tuple[str, str, str], label: str) -> None:
    """Draws error over x, with bars of one standard deviation over the seeds; x without results is left out."""
    results = {x: values for x, values in results.items() if values}
    errors = [1 - fmean(values) for values in results.values()]
    # shorter than the error, since a logarithmic axis has no 0
    bars = [min(spread(values)[1], 0.9 * error) for values, error in zip(results.values(), errors)]
    axes.errorbar(list(results), errors, bars, label=label, **with_bars(look))


def with_bars(look: tuple[str, str, str]) -> dict[str, Any]:
    """Returns the look of a line with error bars."""
    color, marker, style = look
    return {"color": color, "marker": marker, "linestyle": style, "capsize": 2.5, "elinewidth": 1.1, **LINE}


def name_plainly(axes: "Axes") -> None:
    """Names the values of a logarithmic x axis as plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.xaxis.set(major_locator=LogLocator(subs=(1.0, 3.0), numticks=20), major_formatter=StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def accuracy_axis(axes: "Axes", worst: float = 0.0, room: float = 1.0) -> None:
    """Draws error on a logarithmic axis, upside down, labelled with accuracy: 98 to 99 is as far as 80 to 90.

    Args:
        worst: the largest error shown; by default the largest of the data.
        room: factor on the latter, to leave room for text.
    """
    from matplotlib.ticker import FixedLocator, NullLocator

    axes.set_yscale("log")
    high, low = room * max(axes.get_ylim()), min(axes.get_ylim())
    axes.set_ylim(worst or high, low)
    ticks = [10, 50, 70, 80, 85, 90, 92, 94, 95, 96, 97, 97.5, 98, 98.2, 98.4, 98.6, 98.8, 99, 99.2, 99.4, 99.6, 99.8]
    inside = [tick for tick in ticks if low <= 1 - tick / 100 <= (worst or high)]
    far: list[float] = []
    for tick in reversed(inside):  # no two too close together
        if not far or math.log((100 - tick) / (100 - far[-1])) > 0.055 * math.log((worst or high) / low):
            far.append(tick)
    axes.yaxis.set(major_locator=FixedLocator([1 - tick / 100 for tick in far]), minor_locator=NullLocator())
    axes.set_yticklabels([f"{tick:g}" for tick in far])


def plus_minus(values: Sequence[float], form: str = ".2f") -> str:
    """Returns mean ± standard deviation over seeds."""
    mean, sd = spread(values)
    return f"{mean:{form}} ± {sd:{form.lstrip('+')}}"


def accuracy(results: Sequence[float]) -> str:
    """Returns mean ± standard deviation over seeds, in per cent.

    Example:
        >>> accuracy([0.98, 0.99, 0.985]), accuracy([])
        ('98.50% ± 0.50', 'diverged')
    """
    return f"{fmean(results):.2%} ± {100 * spread(results)[1]:.2f}" if results else "diverged"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def compact(values: Mapping[str, Any]) -> str:
    """Returns JSON with one line per key, or per entry of a key."""

    def block(value: Any) -> str:
        if isinstance(value, list) and value and isinstance(value[0], dict):
            return "[\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in value) + "\n ]"
        if isinstance(value, dict) and any(isinstance(entry, dict | list) for entry in value.values()):
            return "{\n" + ",\n".join(f"  {json.dumps(str(k))}: {json.dumps(v)}" for k, v in value.items()) + "\n }"
        return json.dumps(value)

    return "{\n" + ",\n".join(f" {json.dumps(key)}: {block(value)}" for key, value in values.items()) + "\n}"


QUESTIONS: dict[str, tuple[str, str, Callable[[Finished], Answer]]] = {
    "width": ("Which width is best at equal time?", "--workers 1 --threads 2", answer_width),
    "optimizer": ("Which optimizer, at which learning rate?", "--workers 2", answer_optimizer),
    "batch": ("How does the best learning rate move with the batch?", "--workers 2", answer_batch),
    "data": ("How much data is enough?", "--workers 2", answer_data),
    "augmentation": ("What does augmentation gain?", "--workers 2", answer_augmentation),
}


if __name__ == "__main__":
    main()
