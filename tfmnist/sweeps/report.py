"""The report of a sweep: a self-contained HTML page, made from its table alone. No TensorFlow.

Run folders may be deleted, and the sweep may still be running.
"""

import json
import math
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfmnist.errors import InputError
from tfmnist.reports.page import checked, percent, save_figures, write_page
from tfmnist.reports.style import short_number
from tfmnist.runs.own_code import name_of
from tfmnist.sweeps import figures as draw
from tfmnist.sweeps.figures import Key, Trials
from tfmnist.sweeps.sweep_file import Range
from tfmnist.sweeps.trials import TABLE, SweepTable, Trial, ranked, short_names, spread, values_in_short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENOUGH = 10  # fewest trials from which the effect of a key is estimated
_ENDED = ("done", "pruned", "diverged", "failed")
_RECIPES = {"best": "best recipe", "unswept": "baseline"}  # keys of `confirmed`


def write_sweep_report(folder: Path, out: Path | None = None) -> Path:
    """Draws the figures of a sweep and writes its page, `report.html`, whose path it returns.

    Args:
        folder: of a sweep, finished or not, with `sweep.json` and, if a trial was trained to the end, `best.toml`.
        out: the folder for the page and its figures, made if missing; by default the sweep's.

    Raises:
        InputError: `sweep.json` is missing or damaged, or no trial has ended yet.
    """
    with checked(folder, "is this a sweep's folder? Resume the sweep with 'tfmnist sweep'.") as file:
        table = SweepTable.read(file(TABLE).parent)
        table.trials = sorted((row for row in table.trials if row.state in _ENDED), key=lambda row: row.number)
        numbers = [row.number for row in table.trials]
        trials, front = _as_arrays(table, numbers), [numbers.index(number) for number in table.front]
        keys = [_as_key(table, name, within) for name, within in table.space.items()]
        recipe = None
        if trials.best is not None and (path := file("best.toml")).exists():
            recipe = path.read_text(encoding="utf-8").strip()
    if not table.trials:
        raise InputError(f"{folder / TABLE}: no trial has ended yet; wait, or resume it with 'tfmnist sweep'.")
    accuracies = {
        label: [row.test_accuracy for row in table.confirmed[name].seeds]
        for name, label in _RECIPES.items()
        if name in table.confirmed and table.confirmed[name].seeds
    }
    figures = _draw(trials, keys, front)
    if confirmed := len(accuracies) == len(_RECIPES):
        figures["test_accuracy"] = draw.seed_dots(accuracies)
    best = None if trials.best is None else table.trials[trials.best]
    head = ["Trial", "State", "Result", "Seconds", "Epochs", *short_names(table.space)]
    if any(trial.reason for trial in table.trials):
        head.append("Reason")
    values = {
        "table": table,
        "best": best,
        "result": _result(table, best),
        "states": Counter(trials.states),
        "training_time": _duration(float(trials.seconds.sum())),
        "figures": save_figures(figures, (out or folder) / "figures"),
        "verdict": compare(*accuracies.values()) if confirmed else "",
        "confirmed": _confirmed_rows(table) if confirmed else [],
        "keys": [(key.name, _text(best.values.get(key.name, "not searched")), _range(key)) for key in keys if best],
        "recipe": recipe,
        "path": shlex.quote(str(folder / "best.toml")),
        "conditional": any(np.isnan(key.values).any() for key in keys),
        "trials": trials,
        "front": [
            (f"Trial {row.number}", _result(table, row), f"{row.seconds:,.1f}", values_in_short(row.values))
            for row in (table.trials[index] for index in front)
        ],
        "head": head,
        "rows": [_trial_row(table, trial)[: len(head)] for trial in ranked(table.search, table.trials)],
    }
    return write_page((out or folder) / "report.html", "sweep.html", values)


def compare(best: Sequence[float], baseline: Sequence[float]) -> str:
    """Says whether two recipes differ by more than two standard errors of the difference of their means.

    Args:
        best, baseline: test accuracies in [0, 1], one per seed.
    """
    (mean, deviation), (base_mean, base_deviation) = spread(best), spread(baseline)
    points = 100 * (mean - base_mean)
    error = 100 * math.sqrt(deviation**2 / len(best) + base_deviation**2 / len(baseline))
    if min(len(best), len(baseline)) < 2:
        return (
            f"The best recipe differs from the baseline by {points:+.2f} points with a single seed, which may be luck. "
            "Set confirm to 5, for example."
        )
    errors = f"{abs(points) / error:.1f} standard errors of the difference" if error else "with no spread over seeds"
    if abs(points) <= 2 * error or not points:
        return (
            f"No improvement is proven: the best recipe differs from the baseline by {points:+.2f} points, {errors}. "
            "The luck of the seeds could explain that much."
        )
    better, end = "better", "The luck of the seeds is an unlikely explanation."
    if points < 0:
        better, end = "worse", "The search did harm: use the baseline."
    return f"The best recipe is {better} than the baseline by {abs(points):.2f} points, {errors}. {end}"


def explained(trials: Trials, key: Key) -> float | None:
    """Returns the fraction, in [0, 1], of the variance of the trials' ranks that a key explains.

    Eta squared, (H - k + 1) / (n - k), from the statistic H of Kruskal and Wallis for n trials in k groups (Tomczak and
    Tomczak, "The need to report effect size estimates revisited", 2014). Each choice is a group; a range is cut into
    five groups of equal size. Trials that diverged rank last, pruned ones by their last result; None for too few.
    """
    scores = np.where(trials.are("diverged"), math.inf if trials.loss else -math.inf, trials.values)
    used = ~np.isnan(scores) & np.isfinite(key.values)
    scores, values = scores[used], key.values[used]
    if len(scores) < ENOUGH:
        return None
    ordered = np.sort(scores)
    ranks = 0.5 * (np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right"))
    groups = values if key.choices else np.searchsorted(np.quantile(values, [0.2, 0.4, 0.6, 0.8]), values)
    members = [ranks[groups == group] for group in np.unique(groups)]
    n, k = len(ranks), len(members)
    if n < 2 * k or not ranks.std():
        return None
    between = sum(len(part) * (part.mean() - ranks.mean()) ** 2 for part in members)
    h = (n - 1) * float(between) / (n * float(ranks.var()))
    return max(0.0, (h - k + 1) / (n - k))


def _as_arrays(table: SweepTable, numbers: list[int]) -> Trials:
    """Returns the trials, to be drawn. Raises a ValueError, KeyError or TypeError if the table is damaged."""
    metric, loss = table.search.metric, table.search.objective == "loss"
    unit = np.array([1.0, 1.0 if loss else 100.0])  # of epochs and of results
    curves = tuple(
        unit * np.array([(at["epoch"], at[metric]) for at in row.curve], np.float64).reshape(-1, 2)  # None becomes NaN
        for row in table.trials
    )
    values = np.array([row.result if row.state == "done" else None for row in table.trials], np.float64) * unit[1]
    for index, row in enumerate(table.trials):
        if row.state == "pruned" and row.curve:
            values[index] = curves[index][-1, 1]
    return Trials(
        np.array(numbers, np.int64),
        tuple(row.state for row in table.trials),
        values,
        np.array([row.seconds for row in table.trials], np.float64),
        curves,
        loss,
        None if table.best is None else numbers.index(table.best),
    )


def _as_key(table: SweepTable, name: str, within: Range) -> Key:
    """Returns a searched key, to be drawn. Raises like `_as_arrays`."""
    values = [row.values.get(name) for row in table.trials]
    condition = " and ".join(f"{other} is {_text(value)}" for other, value in within.when.items())
    note = f"where {condition}" if condition else ""
    if within.choice:
        codes = [json.dumps(value) for value in within.choice]
        indices = [math.nan if value is None else float(codes.index(json.dumps(value))) for value in values]
        choices = tuple(_text(value) for value in within.choice)
        return Key(name, np.array(indices, np.float64), (0.0, len(codes) - 1.0), choices=choices, note=note)
    whole = all(isinstance(value, int) for value in values if value is not None)
    return Key(name, np.array(values, np.float64), within.ends, within.log, whole, note=note)


def _draw(trials: Trials, keys: list[Key], front: list[int]) -> "dict[str, Figure]":
    """Draws the figures for which there are data."""
    effects = {key.name: explained(trials, key) for key in keys}
    notes = {
        name: f"explains {100 * effect:.0f} % of the ranking" for name, effect in effects.items() if effect is not None
    }
    figures = {"history": draw.trial_history(trials), "slices": draw.slices(trials, keys, notes)}
    if (trials.are("done") & np.isfinite(trials.values)).any():
        figures["parallel_coordinates"] = draw.parallel_coordinates(trials, keys)
    if any(np.isfinite(curve[:, 1]).sum() > 1 for curve in trials.curves):
        figures["learning_curves"] = draw.trial_curves(trials)
    if front:
        figures["pareto_front"] = draw.pareto_front(trials, front)
    return figures


def _confirmed_rows(table: SweepTable) -> list[list[str]]:
    rows: list[list[str]] = []
    for name, label in _RECIPES.items():
        seeds = table.confirmed[name].seeds
        mean, deviation = spread([row.test_accuracy for row in seeds])
        seconds = spread([row.seconds for row in seeds])[0]
        sd = f"± {100 * deviation:.2f}" if len(seeds) > 1 else "-"
        rows.append([label.capitalize(), percent(mean), sd, str(len(seeds)), f"{seconds:,.1f}"])
    return rows


def _trial_row(table: SweepTable, trial: Trial) -> list[str]:
    values = [_text(trial.values[key]) if key in trial.values else "-" for key in table.space]
    result = "-" if trial.result is None else _result(table, trial)
    return [str(trial.number), trial.state, result, f"{trial.seconds:,.1f}", f"{trial.epochs:,}", *values, trial.reason]


def _range(key: Key) -> str:
    low, high = map(short_number, key.ends)
    text = ", ".join(key.choices) if key.choices else f"{low} to {high}{', log' if key.log else ''}"
    return f"{text}, {key.note}" if key.note else text


def _text(value: Any) -> str:
    """Returns a value in short, as in a recipe."""
    if isinstance(value, float):
        return short_number(value) if math.isfinite(value) else str(value)
    return name_of(value) if isinstance(value, str) else json.dumps(value)


def _result(table: SweepTable, trial: Trial | None) -> str:
    if trial is None or trial.result is None:
        return "no result"
    return f"{trial.result:.4f}" if table.search.objective == "loss" else percent(trial.result)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
