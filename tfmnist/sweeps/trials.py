"""The records of sweeps and studies: trials, seeds, and the typed files that hold them. No TensorFlow, no Optuna."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal

from pydantic import BaseModel

from tfmnist.recipe import Recipe
from tfmnist.runs.own_code import name_of
from tfmnist.sweeps.sweep_file import Range, Search, Sweep
from tfmnist.system.files import write_whole
from tfmnist.system.seals import seal, unseal

TABLE = "sweep.json"


@dataclass
class Trial:
    """One point of the search and its result."""

    number: int
    values: dict[str, Any]
    state: Literal["running", "done", "pruned", "diverged", "failed"] = "running"
    result: float | None = None
    """Mean over the seeds of the validation result."""
    results: list[float] = field(default_factory=list)
    """The validation result of each seed."""
    seconds: float = 0.0
    """Training time, over all seeds."""
    epochs: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)
    """One row per epoch of the first seed: `epoch`, `validation_accuracy`, `validation_loss`, `seconds`."""
    reason: str = ""
    """Why it was pruned, diverged, failed or was tried again."""

    def to_dict(self) -> dict[str, Any]:
        """Returns a row of the table."""
        return asdict(self)


@dataclass(frozen=True)
class SweepProgress:
    """The state of a sweep after a change."""

    trials: list[Trial]
    total: int
    workers: int
    ended: Trial | None = None
    """The trial that has just ended."""


@dataclass(frozen=True)
class SeedResult:
    """The result of one seed of a study."""

    study: str  # the name of its folder
    seed: int
    test_accuracy: float
    validation_accuracy: float | None
    seconds: float  # of training


class StudyTable(BaseModel):
    """The content of `study.json`."""

    test_accuracy_mean: float
    test_accuracy_sd: float
    seeds: list[SeedResult]


@dataclass(frozen=True)
class StudyResult:
    """The results of a recipe with several seeds, each evaluated on the test set."""

    path: Path
    seeds: tuple[SeedResult, ...]

    @property
    def test_accuracy(self) -> tuple[float, float]:
        """Mean and standard deviation over the seeds."""
        return spread([row.test_accuracy for row in self.seeds])

    def to_table(self) -> StudyTable:
        """Returns the content of `study.json`."""
        mean, deviation = self.test_accuracy
        return StudyTable(test_accuracy_mean=mean, test_accuracy_sd=deviation, seeds=list(self.seeds))

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of `study.json`, ready for JSON."""
        return self.to_table().model_dump(mode="json")


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep."""

    path: Path
    trials: list[Trial]
    best: Trial | None
    recipe: Recipe | None
    """The recipe of the best trial, with the first seed; also in `best.toml`."""
    confirmed: tuple[StudyResult, StudyResult] | None = None
    """The best recipe and the base recipe, trained with fresh seeds and evaluated on the test set."""
    unconfirmed: str = ""
    """Why they were not trained to the end, if so."""
    front: list[Trial] = field(default_factory=list)
    """If time is an objective: the trials that no other beats in both accuracy and time, the fastest first."""


class SweepTable(BaseModel):
    """The content of `sweep.json`, which only this class reads and writes."""

    sweep: str
    recipe: str
    search: Search
    space: dict[str, Range]
    total: int
    best: int | None
    front: list[int]
    unconfirmed: str = ""
    confirmed: dict[str, StudyTable]
    """`best`, and `unswept`, the base recipe; empty if they were not trained."""
    trials: list[Trial]

    @classmethod
    def read(cls, folder: Path) -> "SweepTable":
        """Reads the table of a sweep's folder; raises an OSError, or a ValueError if it is damaged."""
        return cls.model_validate_json(unseal((folder / TABLE).read_bytes()))

    def write(self, folder: Path) -> None:
        """Writes the table into a sweep's folder."""
        write_whole(folder / TABLE, seal(json.dumps(self.model_dump(mode="json"), indent=2) + "\n"))


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Returns mean and standard deviation; the latter is 0 for a single value."""
    return fmean(values), stdev(values) if len(values) > 1 else 0.0


def ranked(search: Search, trials: Iterable[Trial]) -> list[Trial]:
    """Returns the trials, best first, equals by number; those without a result come last."""
    sign = 1 if search.objective == "loss" else -1
    return sorted(trials, key=lambda trial: (trial.result is None, sign * (trial.result or 0.0), trial.number))


def front(search: Search, trials: Iterable[Trial]) -> list[Trial]:
    """Returns the Pareto front of accuracy and time, the fastest first; empty if time is no objective."""
    done = [trial for trial in trials if search.times and trial.result is not None]
    best: list[Trial] = []
    for trial in sorted(done, key=lambda trial: (trial.seconds, -(trial.result or 0.0), trial.number)):
        if not best or (trial.result or 0.0) > (best[-1].result or 0.0):
            best.append(trial)
    return best


def kept_trials(search: Search, trials: Iterable[Trial]) -> set[int]:
    """Returns the numbers of the ended trials whose run folders are kept."""
    trials = list(trials)
    if search.keep == "all":
        return {trial.number for trial in trials}
    best = [trial for trial in ranked(search, trials) if trial.result is not None][: search.best_kept]
    return {trial.number for trial in (*best, *front(search, trials))}


def delete_unkept(sweep: Sweep, folder: Path, trials: Sequence[Trial]) -> None:
    """Deletes the run folders of ended trials that are not kept; their rows and curves stay in the table."""
    kept = kept_trials(sweep.search, trials)
    for trial in trials:
        if trial.state != "running" and trial.number not in kept:
            for name in run_names(sweep, trial.number):
                shutil.rmtree(folder / "trials" / name, ignore_errors=True)


def run_names(sweep: Sweep, number: int) -> list[str]:
    """Returns the names of a trial's run folders, one per seed."""
    seeds = sweep.search.seeds
    return [f"{number:04}-seed-{seed}" for seed in seeds] if len(seeds) > 1 else [f"{number:04}"]


def best_recipe(sweep: Sweep, best: Trial) -> Recipe:
    """Returns the recipe of the best trial, with the first seed, under the sweep's name."""
    return sweep.recipe_of(best.values, sweep.search.seeds[0], "best")


def write_table(
    sweep: Sweep, folder: Path, trials: Iterable[Trial], confirmed: Sequence[StudyResult] = (), unconfirmed: str = ""
) -> SweepResult:
    """Writes `sweep.json`, and `best.toml` if there is a best trial; returns their content."""
    rows = sorted(trials, key=lambda trial: trial.number)
    best = next((trial for trial in ranked(sweep.search, rows) if trial.result is not None), None)
    recipe = best_recipe(sweep, best) if best else None
    if recipe:
        write_whole(folder / "best.toml", recipe.to_toml())
    table = SweepTable(
        sweep=sweep.name,
        recipe=sweep.recipe.name,
        search=sweep.search,
        space=sweep.space,
        total=sweep.trials,
        best=best.number if best else None,
        front=[trial.number for trial in front(sweep.search, rows)],
        unconfirmed=unconfirmed,
        confirmed={result.path.name: result.to_table() for result in confirmed},
        trials=rows,
    )
    table.write(folder)
    both = (confirmed[0], confirmed[1]) if confirmed else None
    return SweepResult(folder, rows, best, recipe, both, unconfirmed, front(sweep.search, rows))


def values_in_short(values: Mapping[str, Any]) -> str:
    """Returns the values of a trial in one short line, without the sections' names where that is clear."""
    texts = (f"{value:.4g}" if isinstance(value, float) else name_of(str(value)) for value in values.values())
    return ", ".join(f"{name} {text}" for name, text in zip(short_names(values), texts))


def short_names(keys: Iterable[str]) -> list[str]:
    """Returns the last parts of keys, or the whole key where two would be the same."""
    pairs = [(key, key.rpartition(".")[2]) for key in keys]
    names = [name for _, name in pairs]
    return [name if names.count(name) == 1 else key for key, name in pairs]
