"""A sweep under way: asks the search library what to try, has it trained, and tells it what came out.

Everything that is known stands on disk at any time: the searching in the journal, the trainings in their run folders.
So a sweep that was stopped, or killed, goes on by the same command: a trial that had begun is resumed under its number.
"""

import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from threading import Event as Flag
from typing import Any, Literal

from tfmnist.errors import InputError, Interrupted
from tfmnist.runs.folder import locked, make_folder_at
from tfmnist.runs.result import read_history
from tfmnist.sweeps.executors import TRIES, WAIT, Executor, Report
from tfmnist.sweeps.packing import Job, choose_pack
from tfmnist.sweeps.report import write_sweep_report
from tfmnist.sweeps.seed_study import SeedResult, StudyResult, is_study_of, study_events
from tfmnist.sweeps.sweep_file import Sweep
from tfmnist.sweeps.trials import SweepProgress, SweepResult, Trial, best_recipe, run_names, tidy, write_table
from tfmnist.sweeps.workers import make_executor
from tfmnist.system.files import write_whole

_TABLE_AGE = 5.0  # seconds that the table on disk may be behind


@dataclass
class _Running:
    trial: Trial
    asked: Any
    tries: int = 1
    place: int = 0  # of the seed under way
    stopping: bool = False


def search_events(
    sweep: Sweep, folder: Path, executor: Executor, *, storage: str = "", stop: Flag | None = None
) -> Iterator[SweepProgress | SeedResult | SweepResult]:
    """Runs a sweep to its end, or goes on with it; yields how it stands whenever that changes, at the end the result.

    Args:
        sweep: what to search.
        folder: the sweep's own, made if it is not there; its trials are `trials/0000` and so on, run folders each
            (`trials/0000-seed-1` where a trial has several seeds).
        executor: who trains; is not closed here.
        storage: URL of a database that several machines share; by default a journal in the folder.
        stop: when it is set, the trials under way are saved and `Interrupted` is raised.

    Raises:
        InputError: Optuna is not installed, the folder holds another sweep, or every trial is refused.
    """
    from tfmnist.sweeps.optuna_study import Study  # which needs an extra

    make_folder_at(folder)
    # a database may be shared by several, a folder not: the journal there, and its trials, have one writer
    with locked(folder):
        _check_same(sweep, folder)
        study = Study(sweep, folder, storage)
        ended = study.ended()
        tidy(sweep, folder, ended)
        waiting = [_Running(*begun) for begun in study.begun()]
        running: dict[str, _Running] = {}
        began = written = time.monotonic()

        def is_late() -> bool:
            return bool(sweep.search.minutes) and time.monotonic() - began > 60 * sweep.search.minutes

        def end(state: _Running) -> None:
            study.tell(state.trial, state.asked)
            ended.append(state.trial)
            tidy(sweep, folder, ended)

        def standing(of: Trial | None = None) -> SweepProgress:
            rows = [*ended, *(state.trial for state in (*running.values(), *waiting))]
            return SweepProgress(sorted(rows, key=lambda trial: trial.number), sweep.trials, executor.workers, of)

        yield standing()
        while True:
            if stop is not None and stop.is_set():
                executor.close()
                write_table(sweep, folder, ended)
                raise Interrupted(f"stopped and saved {len(ended)} of {sweep.trials} trials; the same command goes on.")
            free = executor.free
            beginning: dict[str, _Running] = {}
            while len(beginning) < free:
                if waiting:
                    state = waiting.pop(0)
                elif study.count() < sweep.trials and not is_late() and (begun := study.ask()):
                    state = _Running(*begun)
                else:
                    break
                if _is_over_before(sweep, folder, state):
                    end(state)
                    yield standing(state.trial)
                else:
                    beginning[_name(sweep, state)] = state
            if beginning:
                running |= beginning
                executor.submit([_job(sweep, folder, state) for state in beginning.values()])
            if not running:
                break
            for report in executor.reports(WAIT):
                state = running[report.name]
                over = _take(sweep, folder, state, report, executor)
                if report.kind != "epoch":
                    del running[report.name]
                    if not over:
                        waiting.append(state)
                if over:
                    end(state)
                    if time.monotonic() - written > _TABLE_AGE:
                        write_table(sweep, folder, ended)
                        written = time.monotonic()
                yield standing(state.trial if over else None)
        if storage:  # others may have ended some
            ended = study.ended()
        found = write_table(sweep, folder, ended)
        refused = [trial for trial in ended if trial.state == "failed"]
        if ended and len(refused) == len(ended):
            raise InputError(f"{folder}: every trial failed; the first: {refused[0].reason}")
        confirmed: list[StudyResult] = []
        elsewhere = study.count() - len(ended)
        unconfirmed = f"trials under way elsewhere: {elsewhere}; give the same command after them" * bool(elsewhere)
        if found.best and sweep.search.confirm and not elsewhere:
            first = max(sweep.search.seeds) + 1
            fresh = range(first, first + sweep.search.confirm)
            for name, recipe in (("best", best_recipe(sweep, found.best)), ("unswept", sweep.recipe)):
                place = folder / "confirmed" / name
                if not is_study_of(recipe, place):  # another trial is best since then
                    shutil.rmtree(place, ignore_errors=True)
                try:
                    for event in study_events(recipe, fresh, place, executor, stop=stop):
                        if isinstance(event, StudyResult):
                            confirmed.append(event)
                        else:
                            yield event
                except InputError as error:  # it diverges with one of these seeds, say
                    unconfirmed = str(error)
        yield write_table(sweep, folder, ended, () if unconfirmed else confirmed, unconfirmed)


def sweep(
    sweep: Sweep | str | Path,
    run_dir: str | Path | None = None,
    *,
    workers: int = 0,
    threads: int = 1,
    pack: Literal["auto"] | int = "auto",
    storage: str = "",
    ray: str = "",
) -> SweepResult:
    """Runs a sweep, or goes on with one, writes its report, and returns its table.

    Args:
        sweep: a sweep, or the path of its file.
        run_dir: its folder; by default `sweeps/<name of the file>`.
        workers: number of processes that train; 0 for one a processor, -1 to train in this one.
        threads: TensorFlow's threads in each.
        pack: how many trials that differ only in numbers may train together in each; 1 for none.
        storage: URL of a database for the search, which several machines may share; by default a file in the folder.
        ray: address of a Ray cluster whose processors train: `HOST:PORT`, `auto`, or `local` to begin one here.

    Raises:
        InputError: the file is wrong, the folder holds another sweep, every trial is refused, or there is no such
            cluster.

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
    packed = choose_pack(pack, asked.recipe, asked.search, asked.space)
    folder = Path(run_dir or f"sweeps/{asked.name}")
    with closing(make_executor(workers, threads, folder, packed, ray)) as executor:
        *_, last = search_events(asked, folder, executor, storage=storage)
    assert isinstance(last, SweepResult)
    if last.trials:
        write_sweep_report(folder)
    return last


def _check_same(sweep: Sweep, folder: Path) -> None:
    """Keeps what is searched, and of which recipe, in the folder; raises an `InputError` where it is another."""
    for name, text in (("sweep.toml", sweep.text), ("recipe.toml", sweep.recipe.to_toml())):
        kept = folder / name
        if kept.exists() and kept.read_text(encoding="utf-8") != text:
            what = "another sweep, or this one" if name == "sweep.toml" else f"a sweep of {sweep.recipe.name}"
            raise InputError(f"{folder}: holds {what} before it was changed; choose another folder with --run-dir.")
        write_whole(kept, text)


def _name(sweep: Sweep, state: _Running) -> str:
    return run_names(sweep, state.trial.number)[state.place]


def _job(sweep: Sweep, folder: Path, state: _Running) -> Job:
    name = _name(sweep, state)
    recipe = sweep.recipe_of(state.trial.values, sweep.search.seeds[state.place])
    recipe = recipe.model_copy(update={"name": f"{sweep.name}-{name}"})
    return Job(name, str(folder / "trials" / name), recipe.model_dump(mode="json"), alone=state.tries > 1)


def _is_over_before(sweep: Sweep, folder: Path, state: _Running) -> bool:
    """Returns whether a trial is over before it is trained, or trained on: refused, or pruned when it was killed."""
    trial, state.stopping = state.trial, False
    try:
        recipe = sweep.recipe_of(trial.values, sweep.search.seeds[state.place])
    except InputError as error:
        trial.state, trial.reason = "failed", str(error)
        return True
    if state.place or sweep.search.pruner == "none":
        return False
    history = read_history(folder / "trials" / _name(sweep, state))
    _tell_pruner(sweep, state, history)
    if not history or len(history) >= recipe.train.epochs or not state.asked.should_prune():
        return False
    return _take(sweep, folder, state, Report(_name(sweep, state), "stopped", {}), None)


def _tell_pruner(sweep: Sweep, state: _Running, epochs: list[dict[str, Any]]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of epochs that it knows already
        for row in epochs:
            state.asked.report(row[sweep.search.metric], row["epoch"])


def _take(sweep: Sweep, folder: Path, state: _Running, report: Report, executor: Executor | None) -> bool:
    """Takes a report in; returns whether the trial is over. Where the job is and the trial is not, it goes on."""
    trial, figures, metric = state.trial, report.figures, sweep.search.metric
    if report.kind == "epoch":
        trial.epochs = figures["epoch"]
        if state.place == 0 and sweep.search.pruner != "none" and not state.stopping:
            _tell_pruner(sweep, state, [figures])
            if executor and state.asked.should_prune():
                state.stopping = True
                executor.stop(report.name)
        return False
    history = read_history(folder / "trials" / report.name)
    if state.place == 0:
        keys = ("epoch", "validation_accuracy", "validation_loss", "seconds")
        trial.curve = [{key: row[key] for key in keys} for row in history]
        trial.epochs = max(trial.epochs, len(history))  # nothing is heard of those that were trained before
    match report.kind:
        case "done":
            trial.results.append(figures[metric])
            trial.seconds += figures["seconds"]
            state.place, state.tries = state.place + 1, 1
            if state.place < len(sweep.search.seeds):
                return False
            trial.result, trial.state = fmean(trial.results), "done"
        case "stopped":
            trial.state, trial.reason = "pruned", f"worse than others after {trial.epochs} epochs"
        case "crashed" if state.tries < TRIES:
            state.tries += 1
            trial.reason = f"tried again: {figures['reason']}"
            return False
        case "crashed" | "refused":
            trial.state, trial.reason = "failed", figures["reason"]
        case "diverged":
            trial.state, trial.reason = "diverged", figures["reason"]
    if trial.state != "done":
        trial.seconds += sum(row["seconds"] for row in history)
    return True
