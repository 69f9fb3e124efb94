"""The report of a sweep: one HTML page that needs nothing but itself, written from the table alone. No TensorFlow.

Run folders may be deleted, and the sweep may still be under way.
"""

import json
import math
import shlex
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from tfmnist.errors import InputError
from tfmnist.reports.page import LONG_TABLE, checked, embed, fold, make_table, make_tiles, percent, write_page
from tfmnist.reports.style import short_number
from tfmnist.sweeps.figures import (
    Key,
    Trials,
    key_importance,
    parallel_coordinates,
    pareto_front,
    seed_dots,
    slices,
    trial_curves,
    trial_history,
)
from tfmnist.sweeps.seed_study import SeedResult, spread
from tfmnist.sweeps.sweep_file import Range, Search, encode
from tfmnist.sweeps.trials import TABLE, Trial, ranked

ENOUGH = 10  # trials done from which the importance of keys is worked out
_STATES = ("done", "pruned", "diverged", "failed")


def write_sweep_report(folder: Path) -> Path:
    """Draws the figures of a sweep and writes its page, `report.html`, whose path it returns.

    Args:
        folder: of a sweep that is finished, under way or stopped: with `sweep.json`, and `best.toml` where a trial was
            trained to its end.

    Raises:
        InputError: `sweep.json` is missing or damaged, or no trial has ended yet.

    Example:
        >>> write_sweep_report(Path("no/such/sweep"))
        Traceback (most recent call last):
        tfmnist.errors.InputError: no/such/sweep/sweep.json: missing; is this the folder of a sweep? \
Let 'tfmnist sweep' go on.
    """
    with checked(folder, "is this the folder of a sweep? Let 'tfmnist sweep' go on.") as file:
        table = _Table.model_validate_json(file(TABLE).read_text(encoding="utf-8"))
        table.trials = sorted((row for row in table.trials if row.state in _STATES), key=lambda row: row.number)
        trials, keys = _arrays(table), _keys(table)
        front = [_row(table, number) for number in table.front]
        recipe = None
        if table.best is not None and (path := file("best.toml")).exists():
            recipe = path.read_text(encoding="utf-8")
    if not table.trials:
        raise InputError(f"{folder / TABLE}: no trial has ended yet; let 'tfmnist sweep' go on.")
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    parts = [
        _header(table),
        _verdict(table, figures),
        _best(table, keys, folder, recipe),
        *_figures(table, trials, keys, front, figures),
        _all_trials(table),
    ]
    body = f"<style>{_STYLE}</style>\n" + "\n".join(part for part in parts if part)
    return write_page(folder / "report.html", f"{table.sweep}: {_result(table, _best_of(table))}", body)


class _Study(BaseModel):
    seeds: list[SeedResult]


class _Table(BaseModel):
    """What `sweep.json` holds."""

    sweep: str
    recipe: str
    search: Search
    space: dict[str, Range]
    total: int
    best: int | None
    front: list[int]
    confirmed: dict[str, _Study]
    trials: list[Trial]


def _arrays(table: _Table) -> Trials:
    """Returns the trials as they are drawn. Raises a ValueError, KeyError or TypeError where the table is damaged."""
    rows, metric = table.trials, table.search.metric
    return Trials(
        numbers=np.array([row.number for row in rows], np.int64),
        states=tuple(row.state for row in rows),
        results=np.array([_number(row.result) for row in rows], np.float64),
        seconds=np.array([row.seconds for row in rows], np.float64),
        curves=tuple(
            np.array([(int(at["epoch"]), _number(at[metric])) for at in row.curve], np.float64).reshape(-1, 2)
            for row in rows
        ),
        loss=table.search.objective == "loss",
        best=None if table.best is None else _row(table, table.best),
    )


def _keys(table: _Table) -> dict[str, Key]:
    """Returns the searched keys as they are drawn. Raises as `_arrays` does."""
    found: dict[str, Key] = {}
    for name, within in table.space.items():
        values = [row.values.get(name) for row in table.trials]
        note = " and ".join(f"{other} is {_short(value)}" for other, value in within.when.items())
        if within.choice:
            codes = [json.dumps(value) for value in within.choice]
            places = [math.nan if value is None else float(codes.index(json.dumps(value))) for value in values]
            ends, choices = (0.0, len(codes) - 1.0), tuple(_short(value) for value in within.choice)
        else:
            places, ends, choices = [_number(value) for value in values], within.ends, ()
        whole = not choices and all(isinstance(value, int) for value in values if value is not None)
        note = f"where {note}" if note else ""
        found[name] = Key(name, np.array(places, np.float64), ends, within.log, whole, choices, note)
    return found


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise TypeError(f"{value!r} is no number")
    return math.nan if value is None else float(value)


def _row(table: _Table, number: int) -> int:
    """Returns the row of a trial."""
    for row, trial in enumerate(table.trials):
        if trial.number == number:
            return row
    raise ValueError(f"there is no trial {number}")


def _best_of(table: _Table) -> Trial | None:
    return None if table.best is None else table.trials[_row(table, table.best)]


def _header(table: _Table) -> str:
    ended, best, search = len(table.trials), _best_of(table), table.search
    states = Counter(row.state for row in table.trials)
    kind = "loss" if search.objective == "loss" else "accuracy"
    if best is None:
        say = "No trial was trained to its end: there is no best one."
    elif states["done"] == 1:
        say = f"Trial {best.number}, the only one done."
    else:
        say = f"Trial {best.number}, the best of {states['done']} done, chosen on validation: part of that is luck."
    if ended < table.total and search.minutes and table.confirmed:
        say += f" It took {ended} of {table.total} trials until its {search.minutes:g} minutes were over."
    elif ended < table.total:
        say += f" {ended} of {table.total} trials: the sweep is under way, or was stopped; 'tfmnist sweep' goes on."
    count = f"{ended:,}" if ended == table.total else f"{ended:,} of {table.total:,}"
    tiles = [
        ("Trials", count),
        *((state.capitalize(), f"{states[state]:,}") for state in _STATES),
        ("Sampler", search.sampler),
        ("Pruner", search.pruner),
        ("Training time", _duration(sum(row.seconds for row in table.trials))),
    ]
    top = f"Sweep <strong>{escape(table.sweep)}</strong> of recipe <strong>{escape(table.recipe)}</strong>"
    heading = f"<p>{top}, best validation {kind}</p><h1>{escape(_result(table, best))}</h1><p>{escape(say)}</p>"
    return f"<header>{heading}</header>\n<dl>{make_tiles(tiles)}</dl>"


def _verdict(table: _Table, figures: Path) -> str:
    """Returns what the winner reached on the test set beside the recipe that nothing was searched of."""
    if not {"best", "unswept"} <= table.confirmed.keys():
        return ""
    found = {name: [row.test_accuracy for row in table.confirmed[name].seeds] for name in ("best", "unswept")}
    if not all(found.values()):
        return ""
    rows: list[list[str]] = []
    for name, values in found.items():
        mean, deviation = spread(values)
        seconds = spread([row.seconds for row in table.confirmed[name].seeds])[0]
        spreads = f"± {100 * deviation:.2f}" if len(values) > 1 else "-"
        label = "Best recipe" if name == "best" else "Unswept recipe"
        rows.append([label, percent(mean), spreads, str(len(values)), f"{seconds:,.1f}"])
    head = ("Recipe", "Test accuracy, mean", "sd", "Seeds", "Seconds of training, mean")
    sentence = f'<p class="verdict">{escape(compare(found["best"], found["unswept"]))}</p>'
    return embed(
        seed_dots({"best recipe": found["best"], "unswept recipe": found["unswept"]}),
        figures / "test_accuracy.png",
        "Progress, or luck?",
        "Test accuracy of the best and the unswept recipe, a dot a seed, with mean and standard deviation.",
        "Both recipes were trained with seeds that no trial had; only these trainings were judged on the test set.",
        above=sentence,
        below=make_table(head, rows),
    )


def compare(best: Sequence[float], unswept: Sequence[float]) -> str:
    """Says whether two recipes differ by more than two standard errors of the difference of their means.

    Example:
        >>> compare([0.981, 0.983, 0.982], [0.975, 0.976, 0.974])
        'The best recipe is better by 0.70 points: 8.6 standard errors of the difference, more than two. Luck of the \
seeds is an unlikely explanation.'
    """
    (mean, deviation), (other, others) = spread(best), spread(unswept)
    difference = 100 * (mean - other)
    error = 100 * math.sqrt(deviation**2 / len(best) + others**2 / len(unswept))
    way = "better" if difference > 0 else "worse"
    if min(len(best), len(unswept)) < 2:
        points = f"is {way} by {abs(difference):.2f} points" if difference else "does as well as the unswept one"
        return f"The best recipe {points}, with one seed: nothing can be said about luck. Set confirm to 5, say."
    if abs(difference) <= 2 * error or difference == 0:
        times = f": {abs(difference) / error:.1f} standard errors of the difference" if error else ""
        return (
            f"No progress is proven: the best recipe differs from the unswept one by {difference:+.2f} points{times}, "
            "not more than two. Luck of the seeds explains as much."
        )
    times = (
        f"{abs(difference) / error:.1f} standard errors of the difference, more than two"
        if error
        else ("more than two standard errors of the difference, which are 0")
    )
    end = "Luck of the seeds is an unlikely explanation." if difference > 0 else "The search did harm: keep the other."
    return f"The best recipe is {way} by {abs(difference):.2f} points: {times}. {end}"


def _best(table: _Table, keys: Mapping[str, Key], folder: Path, recipe: str | None) -> str:
    best = _best_of(table)
    if best is None:
        return ""
    rows = [
        [name, _short(best.values[name]) if name in best.values else "not searched", _range(table.space[name], key)]
        for name, key in keys.items()
    ]
    parts = [f'<div class="wrap">{make_table(("Key", f"Trial {best.number}", "Searched"), rows)}</div>']
    if recipe is not None:
        command = f"tfmnist train {shlex.quote(str(folder / 'best.toml'))}"
        whole = fold("All that decides the weights", f"<pre>{escape(recipe.strip())}</pre>")
        parts += [f"<pre>{escape(command)}</pre>", whole]
    return f'<section class="best"><h2>Best recipe</h2>{"".join(parts)}</section>'


def _range(within: Range, key: Key) -> str:
    if key.choices:
        text = ", ".join(key.choices)
    else:
        low, high = (short_number(end) for end in within.ends)
        text = f"{low} to {high}{', log' if within.log else ''}"
    return f"{text}, {key.note}" if key.note else text


def _figures(table: _Table, trials: Trials, keys: Mapping[str, Key], front: list[int], folder: Path) -> Iterator[str]:
    """Yields the sections of the figures that can be drawn."""

    def section(name: str, figure: Any, more: str = "", below: str = "") -> str:
        heading, alt, caption = _FIGURES[name]
        return embed(figure, folder / f"{name}.png", heading, alt, f"{caption} {more}".strip(), below=below)

    shown, drawn = list(keys.values()), np.isfinite(trials.values)
    edge = ""
    if trials.beyond:
        edge = (
            "The axis ends three times as far from the best as the median trial is, so that good trials can be told "
            f"apart; {trials.beyond} are worse, and marked in the grey strip."
        )
    done = trials.are("done") & drawn
    level = "Where the line has long been level, more trials of this kind would find little." if done.sum() > 1 else ""
    pruned = "Pruned trials stand where their curves ended." if (trials.are("pruned") & drawn).any() else ""
    yield section("history", trial_history(trials), " ".join(filter(None, (level, pruned, edge))))
    if done.any():
        absent = any(bool(np.isnan(key.places).any()) for key in shown)
        none = "At 'none' are trials that do not search a key." if absent else ""
        worse = "At 'worse' end those that diverged, or that the axis does not reach." if trials.scale.strip else ""
        yield section("parallel_coordinates", parallel_coordinates(trials, shown), f"{none} {worse}".strip())
    yield section("slices", slices(trials, shown))
    yield _importance(table, section)
    if any(len(curve) > 1 for curve in trials.drawn_curves):
        several = "Of the first seed of each trial." if len(table.search.seeds) > 1 else ""
        yield section("learning_curves", trial_curves(trials), several)
    if table.search.times and front:
        best_first = [table.trials[row] for row in front]
        rows = [[f"Trial {row.number}", _result(table, row), f"{row.seconds:,.1f}", _values(row)] for row in best_first]
        below = f'<div class="wrap">{make_table(("", "Result", "Seconds", "Values"), rows)}</div>'
        yield section("pareto_front", pareto_front(trials, front), below=below)


def _importance(table: _Table, section: Callable[[str, Any, str], str]) -> str:
    done = [row for row in table.trials if row.state == "done" and math.isfinite(_number(row.result))]
    if len(table.space) < 2:
        why = "only one key is searched"
    elif len(done) < ENOUGH:
        why = f"it takes {ENOUGH} trials done, and there are {len(done)}"
    else:
        quantile = max(0.1, min(0.5, 5 / len(done)))  # the evaluator is unsteady with fewer than five good trials
        shares = _importances(table, done, quantile)
        if shares is None:
            why = "Optuna is not installed"
        elif not any(shares.values()):
            why = "the best trials differ from the others in no key"
        else:
            caption = (
                "How differently a key's values are spread among the best "
                f"{100 * quantile:.0f} % of the {len(done)} trials done and among all of those (PED-ANOVA), in "
                "shares of 1: it says which keys decide whether a trial is among the best, not which way."
            )
            return section("importance", key_importance(shares), caption)
    return f'<section><h2>{_FIGURES["importance"][0]}</h2><p class="note">Not worked out: {why}.</p></section>'


def _importances(table: _Table, done: Sequence[Trial], quantile: float) -> dict[str, float] | None:
    """Returns the importance of each key that a trial done has, in [0, 1]; None without the search library."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import optuna
        except ImportError:
            return None
        kinds = optuna.distributions
        loud = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            study = optuna.create_study(direction="minimize" if table.search.objective == "loss" else "maximize")
            for trial in done:
                spaces: dict[str, Any] = {}
                values: dict[str, Any] = {}
                for key in table.space.keys() & trial.values.keys():
                    within, value = table.space[key], trial.values[key]
                    if within.choice:
                        values[key] = encode(value)
                        spaces[key] = kinds.CategoricalDistribution([encode(choice) for choice in within.choice])
                    else:
                        low, high = within.ends
                        values[key] = min(max(float(value), low), high)
                        spaces[key] = kinds.FloatDistribution(low, high, log=within.log)
                frozen = optuna.trial.create_trial(params=values, distributions=spaces, value=trial.result)
                study.add_trial(frozen)
            evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        finally:
            optuna.logging.set_verbosity(loud)
    return {key: float(found[key]) for key in table.space if key in found}


def _all_trials(table: _Table) -> str:
    names = _short_names(table.space)
    rows: list[list[str]] = []
    for trial in ranked(table.search, table.trials):
        values = [_short(trial.values[key]) if key in trial.values else "-" for key in table.space]
        result = "-" if trial.result is None else _result(table, trial)
        figures = [trial.state, result, f"{trial.seconds:,.1f}", f"{trial.epochs:,}"]
        rows.append([str(trial.number), *figures, *values, trial.reason])
    reasons = any(trial.reason for trial in table.trials)
    head = ["Trial", "State", "Result", "Seconds", "Epochs", *names, *(["Reason"] if reasons else [])]
    html = f'<div class="trials">{make_table(head, rows if reasons else (row[:-1] for row in rows))}</div>'
    html = html if len(rows) <= LONG_TABLE else fold(f"All {len(rows)} trials", html)
    return f"<section><h2>All trials, the best first</h2>{html}</section>"


def _short_names(keys: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Returns keys without their sections, where they stay apart."""
    names = [key.partition(".")[2] for key in keys]
    return [name if names.count(name) == 1 else key for key, name in zip(keys, names)]


def _values(trial: Trial) -> str:
    pairs = zip(_short_names(trial.values), trial.values.values())
    return ", ".join(f"{name} {_short(value)}" for name, value in pairs)


def _short(value: Any) -> str:
    """Returns a value of a recipe in short, as it is written there."""
    if isinstance(value, float):
        return short_number(value) if math.isfinite(value) else str(value)
    return value if isinstance(value, str) else json.dumps(value)


def _result(table: _Table, trial: Trial | None) -> str:
    if trial is None or trial.result is None:
        return "no result"
    return f"{trial.result:.4f}" if table.search.objective == "loss" else percent(trial.result)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


_FIGURES = {  # name: heading, alternative text, caption
    "history": (
        "Trial after trial",
        "Validation result of every trial over its number, with the best so far.",
        "",
    ),
    "parallel_coordinates": (
        "Which values go together",
        "Parallel coordinates: an axis a searched key and one for the result, a line a trial.",
        "Each line is a trial; where dark lines run together, the values there are good ones.",
    ),
    "slices": (
        "Key by key",
        "Validation result over the values of each searched key.",
        "The other keys differ from dot to dot: a trend is told by where there are no good trials. Where the best "
        "are at an end of a range, a wider one may hold better.",
    ),
    "importance": (
        "Which keys matter",
        "Importance of the searched keys, as bars.",
        "",
    ),
    "learning_curves": (
        "Learning curves",
        "Validation result of every trial over its epochs.",
        "Lines that still rise at the end had too few epochs; where lines cross, pruning must wait.",
    ),
    "pareto_front": (
        "Accuracy against time",
        "Validation accuracy over seconds of training of every trial, with the Pareto front.",
        "No trial is both as accurate and as fast as one on the line (the Pareto front); its numbers are the trials'.",
    ),
}

_STYLE = """
.wrap td:last-child { white-space: normal; overflow-wrap: anywhere; text-align: left }
.wrap th:last-child { text-align: left } .trials td:last-child { text-align: left }
.verdict { margin: 0 0 1.2rem; font-size: 1.1rem; font-weight: 600; text-wrap: pretty }
.best > * + * { margin-top: 1.2rem } .best > h2 { margin-bottom: .8rem } .best > h2 + * { margin-top: 0 }
"""
