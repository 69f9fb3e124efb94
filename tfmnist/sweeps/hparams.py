"""A sweep in TensorBoard's HPARAMS tab: the values that each trial tried, and its result."""

from itertools import zip_longest
from pathlib import Path
from typing import Any

from tfmnist.runs.result import read_history
from tfmnist.runs.tensorboard import FOLDER, hparams, new_events, write_scalars
from tfmnist.sweeps.sweep_file import Range, Sweep, encode
from tfmnist.sweeps.trials import Trial, run_names, short_names


def write_hparams(sweep: Sweep, folder: Path, trial: Trial) -> None:
    """Writes the values and the result of a trial that has ended to its run folders, replacing what was there.

    TensorBoard groups the runs of a trial, one per seed, and shows their mean.
    """
    names = zip(sweep.space.items(), short_names(sweep.space), strict=True)
    keys = [hparams.HParam(key, _domain(within, sweep.is_whole(key)), name) for (key, within), name in names]
    result_tag, seconds_tag = f"trial/{sweep.search.metric}", "trial/seconds"
    metrics = [
        hparams.Metric(result_tag, display_name=sweep.search.metric.replace("_", " ")),
        hparams.Metric(seconds_tag, display_name="seconds of training"),
    ]
    values = {key: _shown(value, sweep.space[key]) for key, value in trial.values.items()}
    for name, result in zip_longest(run_names(sweep, trial.number), trial.results):
        run = folder / "trials" / name
        if not (history := read_history(run)):
            continue  # it ended within its first epoch
        results = {seconds_tag: sum(row["seconds"] for row in history)}
        with new_events(run / FOLDER, history[-1]["step"]):
            hparams.hparams_config(keys, metrics)
            hparams.hparams(values, f"trial {trial.number:04}")
            write_scalars(results if result is None else {**results, result_tag: result})


def _domain(within: Range, is_whole: bool) -> Any:
    if within.choice:
        return hparams.Discrete([_shown(value, within) for value in within.choice])
    low, high = within.ends
    return hparams.IntInterval(round(low), round(high)) if is_whole else hparams.RealInterval(float(low), float(high))


def _shown(value: Any, within: Range) -> str | float | bool:
    """Returns a value as TensorBoard stores it; all values of a key must have one type."""
    types = {type(_simple(other)) for other in within.choice}
    return str(encode(value)) if len(types) > 1 else _simple(value)


def _simple(value: Any) -> str | float | bool:
    coded = encode(value)  # lists become text
    return float(coded) if isinstance(coded, int) and not isinstance(coded, bool) else coded
