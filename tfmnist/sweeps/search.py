"""A sweep under way: asks the search library what to try, has it trained, and tells it what came out.

Everything that is known stands on disk at any time: the searching in the journal, the trainings in their run folders.
So a sweep that was stopped, or killed, goes on by the same command: a trial that had begun is resumed under its number.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from threading import Event as Flag
from typing import Any, Literal

from tfmnist.errors import InputError, Interrupted
from tfmnist.files import write_whole
from tfmnist.run_folder import locked, make_folder_at, read_history
from tfmnist.sweeps.executors import TRIES, WAIT, Executor, Report, make_executor
from tfmnist.sweeps.library import Study
from tfmnist.sweeps.packing import Job, choose_pack
from tfmnist.sweeps.report import write_sweep_report
from tfmnist.sweeps.space import Sweep
from tfmnist.sweeps.study import SeedResult, StudyResult, study_events
from tfmnist.sweeps.table import Standing, SweepResult, Trial, best_recipe, run_names, tidy, write_table

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
        _check_same(sweep, folder)
        study = Study(sweep, folder, storage)
        ended = study.ended()
        tidy(sweep, folder, ended)
        waiting = [_Running(*begun) for begun in study.begun()]
        running: dict[str, _Running] = {}
        began = written = time.monotonic()

        def is_late() -> bool:
            return bool(sweep.search.minutes) and time.monotonic() - began > 60 * sweep.search.minutes

        def standing(of: Trial | None = None) -> Standing:
            rows = [*ended, *(state.trial for state in (*running.values(), *waiting))]
            return Standing(sorted(rows, key=lambda trial: trial.number), sweep.trials, executor.workers, of)

        yield standing()
        while True:
            if stop is not None and stop.is_set():
                executor.close()
                write_table(sweep, folder, ended)
                raise Interrupted(f"stopped and saved {len(ended)} of {sweep.trials} trials; the same command goes on.")
            free = executor.free
            while len(waiting) < free and study.count() < sweep.trials and not is_late():
                waiting.append(_Running(*study.ask()))
            if free and waiting:
                beginning = {_name(sweep, state): state for state in waiting[:free]}
                del waiting[:free]
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
                    study.tell(state.trial, state.asked)
                    ended.append(state.trial)
                    tidy(sweep, folder, ended)
                    if time.monotonic() - written > _TABLE_AGE:
                        write_table(sweep, folder, ended)
                        written = time.monotonic()
                yield standing(state.trial if over else None)
        refused = [trial for trial in ended if trial.state == "failed"]
        if ended and len(refused) == len(ended):
            raise InputError(f"every trial failed; the first: {refused[0].reason}")
        found = write_table(sweep, folder, ended)
        confirmed: list[StudyResult] = []
        if found.best and sweep.search.confirm:
            first = max(sweep.search.seeds) + 1
            fresh = range(first, first + sweep.search.confirm)
            for name, recipe in (("best", best_recipe(sweep, found.best)), ("unswept", sweep.recipe)):
                for event in study_events(recipe, fresh, folder / "confirmed" / name, executor, stop=stop):
                    if isinstance(event, StudyResult):
                        confirmed.append(event)
                    else:
                        yield event
        yield write_table(sweep, folder, ended, confirmed)


def sweep(
    sweep: Sweep | str | Path,
    run_dir: str | Path | None = None,
    *,
    workers: int = 0,
    threads: int = 1,
    pack: Literal["auto"] | int = "auto",
    storage: str = "",
) -> SweepResult:
    """Runs a sweep, or goes on with one, writes its report, and returns its table.

    Args:
        sweep: a sweep, or the path of its file.
        run_dir: its folder; by default `sweeps/<name of the file>`.
        workers: number of processes that train; 0 for one a processor, -1 to train in this one.
        threads: TensorFlow's threads in each.
        pack: how many trials that differ only in numbers may train together in each; 1 for none.
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
    packed = choose_pack(pack, asked.recipe, asked.search)
    folder = make_folder_at(Path(run_dir or f"sweeps/{asked.name}"))
    with closing(make_executor(workers, threads, folder, packed)) as executor:
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
    return Job(name, str(folder / "trials" / name), recipe.model_dump(mode="json"))


def _take(sweep: Sweep, folder: Path, state: _Running, report: Report, executor: Executor) -> bool:
    """Takes a report in; returns whether the trial is over. Where the job is and the trial is not, it goes on."""
    trial, figures, metric = state.trial, report.figures, sweep.search.metric
    if report.kind == "epoch":
        trial.epochs = figures["epoch"]
        if state.place == 0 and sweep.search.pruner != "none" and not state.stopping:
            state.asked.report(figures[metric], figures["epoch"])
            if state.asked.should_prune():
                state.stopping = True
                executor.stop(report.name)
        return False
    if state.place == 0:
        keys = ("epoch", "validation_accuracy", "validation_loss", "seconds")
        rows = read_history(folder / "trials" / report.name)
        trial.curve = [{key: row[key] for key in keys} for row in rows]
        trial.epochs = max(trial.epochs, len(rows))  # nothing is heard of those that were trained before
    match report.kind:
        case "done":
            trial.results.append(figures[metric])
            trial.seconds += figures["seconds"]
            state.place += 1
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
        trial.seconds += sum(row["seconds"] for row in trial.curve)
    return True
