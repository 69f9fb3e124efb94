"""A sweep under way: asks the search library what to try, has it trained, and tells it what came out.

Everything that is known stands on disk at any time: the searching in the journal, the trainings in their run folders.
So a sweep that was stopped, or killed, goes on by the same command: a trial that had begun is resumed under its number.
"""

import json
import os
import platform
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from threading import Event as Flag
from typing import Any, Literal

from tfmnist import seeds
from tfmnist.errors import InputError, Interrupted
from tfmnist.files import write_whole
from tfmnist.recipe import Recipe
from tfmnist.run_folder import locked, make_folder_at
from tfmnist.sweeps.executors import TRIES, WAIT, Executor, Job, Report, make_executor
from tfmnist.sweeps.space import Sweep, encode
from tfmnist.sweeps.study import SeedResult, StudyResult, study_events

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        import optuna
        from optuna.storages import JournalStorage, journal
    except ImportError:
        raise InputError(
            "sweeps need Optuna, which is not installed; install it with: pip install 'tfmnist[sweep]'"
        ) from None


@dataclass
class Trial:
    """One point of the search and what came of it."""

    number: int
    values: dict[str, Any]
    state: Literal["running", "done", "pruned", "diverged", "failed"] = "running"
    result: float | None = None
    """Mean over the seeds of the validation result."""
    results: list[float] = field(default_factory=list)
    """Of each seed."""
    seconds: float = 0.0
    """Of training, all seeds."""
    epochs: int = 0
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Returns a row of the table."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class Standing:
    """How a sweep stands, after something has happened."""

    trials: list[Trial]
    total: int
    workers: int
    ended: Trial | None = None
    """The trial that has just ended."""


@dataclass(frozen=True)
class SweepResult:
    """A finished sweep."""

    path: Path
    trials: list[Trial]
    best: Trial | None
    recipe: Recipe | None
    """The best trial's, with the first seed; also in `best.toml`."""
    confirmed: tuple[StudyResult, StudyResult] | None = None
    """The best recipe and the one that nothing was searched of, trained with fresh seeds and judged on the test set."""


class Study:
    """The searching of one sweep, as it stands in its storage."""

    def __init__(self, sweep: Sweep, folder: Path, storage: str = "") -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.sweep = sweep
        self._owner = f"{platform.node()}:{folder.resolve()}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if storage:
                place: Any = storage
            else:
                held: Any = _Held()
                place = JournalStorage(journal.JournalFileBackend(str(_mend(folder / "journal.log")), held))
            try:
                self._study = optuna.create_study(
                    study_name=sweep.name,
                    storage=place,
                    direction="maximize" if sweep.search.objective == "accuracy" else "minimize",
                    pruner=_pruner(sweep),
                    load_if_exists=True,
                )
            except Exception as error:
                if not storage:
                    raise
                reason = str(error).splitlines()[0]
                raise InputError(
                    f"--storage {storage}: {reason}; expected a database's URL, or leave it out."
                ) from None
        if sweep.search.sampler == "grid":
            known = len(self._study.get_trials(deepcopy=False))
            for point in sweep.grid()[known : sweep.trials]:
                self._study.enqueue_trial({key: encode(value) for key, value in point.items()})

    def ended(self) -> list[Trial]:
        """Returns the trials that have ended, in order."""
        found: list[Trial] = []
        for frozen in self._study.get_trials(deepcopy=False):
            if frozen.state.is_finished():
                row = json.loads(frozen.user_attrs.get("row", '{"values": {}, "state": "failed"}'))
                found.append(Trial(frozen.number, **row))
        return found

    def begun(self) -> list[tuple[Trial, Any]]:
        """Returns the trials of this folder that had begun when the sweep ended, with the library's own."""
        running = self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
        ours = [frozen for frozen in running if frozen.user_attrs.get("owner", self._owner) == self._owner]
        return [self._suggest(optuna.trial.Trial(self._study, frozen._trial_id)) for frozen in ours]

    def count(self) -> int:
        """Returns how many trials have begun, here or elsewhere."""
        waiting = optuna.trial.TrialState.WAITING
        return sum(frozen.state != waiting for frozen in self._study.get_trials(deepcopy=False))

    def ask(self) -> tuple[Trial, Any]:
        """Returns the next trial."""
        self._study.sampler = _sampler(self.sweep, len(self._study.get_trials(deepcopy=False)))
        asked = self._study.ask()
        asked.set_user_attr("owner", self._owner)
        return self._suggest(asked)

    def tell(self, trial: Trial, asked: Any) -> None:
        """Records how a trial ended."""
        row = {name: value for name, value in trial.to_dict().items() if name != "number"}
        asked.set_user_attr("row", json.dumps(row))
        states = optuna.trial.TrialState
        state = {"done": states.COMPLETE, "pruned": states.PRUNED}.get(trial.state, states.FAIL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.tell(asked.number, trial.result if trial.state == "done" else None, state)

    def _suggest(self, asked: Any) -> tuple[Trial, Any]:
        values: dict[str, Any] = {}
        for key, within in self.sweep.space.items():
            if not self.sweep.is_searched(key, values):
                continue
            if within.choice:
                coded = {encode(value): value for value in within.choice}
                values[key] = coded[asked.suggest_categorical(key, list(coded))]
            elif self.sweep.is_whole(key):
                low, high = (round(end) for end in within.ends)
                values[key] = asked.suggest_int(key, low, high, log=within.log)
            else:
                values[key] = asked.suggest_float(key, *within.ends, log=within.log)
        return Trial(asked.number, values), asked


class _Held:
    """The journal's lock, for the library: the folder's own is held already, and goes with this process."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


def _mend(path: Path) -> Path:
    """Cuts off half a line at the end of a journal, which would spoil the next one, and returns its path."""
    if path.exists():
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)
    return path


@dataclass
class _Running:
    trial: Trial
    asked: Any
    tries: int = 1
    place: int = 0  # of the seed under way
    stopping: bool = False


def search_events(
    sweep: Sweep, folder: Path, executor: Executor, *, storage: str = "", stop: Flag | None = None
) -> Iterator[Standing | SeedResult | SweepResult]:
    """Runs a sweep to its end, or goes on with it; yields how it stands whenever that changes, at the end the result.

    Args:
        sweep: what to search.
        folder: the sweep's own; its trials are `trials/0000` and so on, run folders each (`trials/0000-seed-1` where a
            trial has several seeds).
        executor: who trains; is not closed here.
        storage: URL of a database that several machines share; by default a journal in the folder.
        stop: when it is set, the trials under way are saved and `Interrupted` is raised.

    Raises:
        InputError: the folder holds another sweep, or every trial is refused.
    """
    # a database may be shared by several, a folder not: the journal there, and its trials, have one writer
    with locked(folder):
        kept = folder / "sweep.toml"
        if kept.exists() and kept.read_text(encoding="utf-8") != sweep.text:
            raise InputError(
                f"{folder}: holds another sweep, or this one before it was changed; choose another folder."
            )
        write_whole(kept, sweep.text)
        study = Study(sweep, folder, storage)
        ended = study.ended()
        waiting = study.begun()
        running: dict[str, _Running] = {}
        began = time.monotonic()

        def is_late() -> bool:
            return bool(sweep.search.minutes) and time.monotonic() - began > 60 * sweep.search.minutes

        def submit(state: _Running) -> None:
            job = _job(sweep, folder, state)
            running[job.name] = state
            executor.submit(job)

        def standing(of: Trial | None = None) -> Standing:
            rows = sorted([*ended, *(state.trial for state in running.values())], key=lambda trial: trial.number)
            return Standing(rows, sweep.trials, executor.workers, of)

        yield standing()
        while True:
            if stop is not None and stop.is_set():
                executor.close()
                raise Interrupted(f"stopped and saved {len(ended)} of {sweep.trials} trials; the same command goes on.")
            while executor.free and (waiting or (study.count() < sweep.trials and not is_late())):
                trial, asked = waiting.pop(0) if waiting else study.ask()
                submit(_Running(trial, asked))
            if not running:
                break
            for report in executor.reports(WAIT):
                state = running[report.name]
                over = _take(sweep, state, report, executor)
                if report.kind != "epoch":
                    del running[report.name]
                    if not over:
                        submit(state)
                if over:
                    study.tell(state.trial, state.asked)
                    ended.append(state.trial)
                yield standing(state.trial if over else None)
        refused = [trial for trial in ended if trial.state == "failed"]
        if ended and len(refused) == len(ended):
            raise InputError(f"every trial failed; the first: {refused[0].reason}")
        best = _best(sweep, folder, ended)
        confirmed: list[StudyResult] = []
        if best and sweep.search.confirm:
            first = max(sweep.search.seeds) + 1
            fresh = range(first, first + sweep.search.confirm)
            for name, recipe in (("best", sweep.recipe_of(best.values, fresh[0])), ("unswept", sweep.recipe)):
                for event in study_events(recipe, fresh, folder / "confirmed" / name, executor, stop=stop):
                    if isinstance(event, StudyResult):
                        confirmed.append(event)
                    else:
                        yield event
        yield _found(sweep, folder, ended, best, confirmed)


def sweep(
    sweep: Sweep | str | Path,
    run_dir: str | Path | None = None,
    *,
    workers: int = 0,
    threads: int = 1,
    storage: str = "",
) -> SweepResult:
    """Runs a sweep, or goes on with one, and returns its table.

    Args:
        sweep: a sweep, or the path of its file.
        run_dir: its folder; by default `sweeps/<name of the file>`.
        workers: number of processes that train; 0 for one a processor, -1 to train in this one.
        threads: TensorFlow's threads in each.
        storage: URL of a database for the search, which several machines may share; by default a file in the folder.

    Raises:
        InputError: the file is wrong, the folder holds another sweep, or every trial is refused.

    Example:
        >>> import tempfile
        >>> little = '''
        ...     [fixed]
        ...     "data.per_class" = 5
        ...     "train.epochs" = 1
        ...     "train.compile" = "graph"
        ...     "model.hidden" = [8]
        ...     [space]
        ...     "optimizer.learning_rate" = [0.001, 0.01]
        ...     [search]
        ...     sampler = "grid"
        ...     confirm = 0
        ... '''
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     [trial.state for trial in sweep(Sweep.parse(little, "rates"), folder, workers=-1).trials]
        ['done', 'done']
    """
    asked = sweep if isinstance(sweep, Sweep) else Sweep.load(sweep)
    folder = make_folder_at(Path(run_dir or f"sweeps/{asked.name}"))
    with closing(make_executor(workers, threads, folder)) as executor:
        *_, last = search_events(asked, folder, executor, storage=storage)
    assert isinstance(last, SweepResult)
    return last


def _job(sweep: Sweep, folder: Path, state: _Running) -> Job:
    several = len(sweep.search.seeds) > 1
    seed = sweep.search.seeds[state.place]
    name = f"{state.trial.number:04}" + (f"-seed-{seed}" if several else "")
    recipe = sweep.recipe_of(state.trial.values, seed).model_copy(update={"name": f"{sweep.name}-{name}"})
    return Job(name, str(folder / "trials" / name), recipe.model_dump(mode="json"))


def _take(sweep: Sweep, state: _Running, report: Report, executor: Executor) -> bool:
    """Takes a report in; returns whether the trial is over. Where the job is and the trial is not, it goes on."""
    trial, figures = state.trial, report.figures
    key = f"validation_{sweep.search.objective}"
    match report.kind:
        case "epoch":
            trial.epochs = figures["epoch"]
            if state.place == 0 and sweep.search.pruner != "none" and not state.stopping:
                state.asked.report(figures[key], figures["epoch"])
                if state.asked.should_prune():
                    state.stopping = True
                    executor.stop(report.name)
            return False
        case "done":
            trial.results.append(figures[key])
            trial.seconds += figures["seconds"]
            state.place += 1
            if state.place < len(sweep.search.seeds):
                return False
            trial.result, trial.state = fmean(trial.results), "done"
        case "stopped":
            trial.state, trial.reason = "pruned", f"worse than others after {trial.epochs} epochs"
        case "crashed" if state.tries < TRIES:
            state.tries += 1
            return False
        case "crashed" | "refused":
            trial.state, trial.reason = "failed", figures["reason"]
        case "diverged":
            trial.state, trial.reason = "diverged", figures["reason"]
    return True


def _best(sweep: Sweep, folder: Path, trials: list[Trial]) -> Trial | None:
    """Returns the best trial, the earliest of equals, and writes its recipe."""
    sign = -1 if sweep.search.objective == "accuracy" else 1
    done = [(sign * trial.result, trial.number, trial) for trial in trials if trial.result is not None]
    if not done:
        return None
    *_, best = min(done)
    write_whole(folder / "best.toml", _best_recipe(sweep, best).to_toml())
    return best


def _best_recipe(sweep: Sweep, best: Trial) -> Recipe:
    return sweep.recipe_of(best.values, sweep.search.seeds[0]).model_copy(update={"name": f"{sweep.name}-best"})


def _found(
    sweep: Sweep, folder: Path, trials: list[Trial], best: Trial | None, confirmed: list[StudyResult]
) -> SweepResult:
    rows = sorted(trials, key=lambda trial: trial.number)
    table: dict[str, Any] = {"sweep": sweep.name, "best": best.number if best else None}
    table["confirmed"] = {result.path.name: result.to_dict() for result in confirmed}
    table["trials"] = [trial.to_dict() for trial in rows]
    write_whole(folder / "sweep.json", json.dumps(table, indent=2) + "\n")
    both = (confirmed[0], confirmed[1]) if confirmed else None
    return SweepResult(folder, rows, best, _best_recipe(sweep, best) if best else None, both)


def _sampler(sweep: Sweep, number: int) -> Any:
    """Returns a sampler for one trial: what it draws depends on the sweep's seed and the trial's number alone."""
    seed = seeds.key(sweep.search.seed, f"trial {number}") % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        match sweep.search.sampler:
            case "grid" | "random":
                return optuna.samplers.RandomSampler(seed)
            case "tpe":
                return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            case "cmaes":
                return optuna.samplers.CmaEsSampler(seed=seed)


def _pruner(sweep: Sweep) -> Any:
    match sweep.search.pruner:
        case "none":
            return optuna.pruners.NopPruner()
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=5)
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner()
        case "hyperband":
            return optuna.pruners.HyperbandPruner(max_resource=sweep.recipe.train.epochs)


def values_in_short(values: Mapping[str, Any]) -> str:
    """Returns the values of a trial in one short line, without the sections' names where that is clear."""
    names = [key.partition(".")[2] for key in values]
    short = [name if names.count(name) == 1 else key for key, name in zip(values, names)]
    texts = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in values.values())
    return ", ".join(f"{name} {text}" for name, text in zip(short, texts))
