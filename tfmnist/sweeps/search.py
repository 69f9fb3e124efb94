"""Runs a sweep: starts the workers, follows their trials, writes the table, confirms the best recipe.

It decides nothing about trials; it only reads the shared study. Everything is always on disk, the trials in their
storage and the trainings in their run folders, so the same command resumes a stopped or killed sweep to the same table.
Several commands may share a storage, each with its own folder: a trial belongs to the folder in which it began, until
its command dies and another takes it over. Exactly one of the commands confirms the best recipe.
"""

import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING

from tfmnist.errors import InputError, Interrupted
from tfmnist.recipe import Recipe
from tfmnist.runs.folder import locked, make_folder_at
from tfmnist.sweeps.report import write_sweep_report
from tfmnist.sweeps.screen import SweepScreen
from tfmnist.sweeps.seed_study import is_study_of, study_events
from tfmnist.sweeps.sweep_file import Sweep
from tfmnist.sweeps.trials import (
    SeedResult,
    StudyResult,
    SweepProgress,
    SweepResult,
    Trial,
    best_recipe,
    delete_unkept,
    write_table,
)
from tfmnist.sweeps.worker import faults_interrupt
from tfmnist.sweeps.workers import Workers
from tfmnist.system.files import write_whole

if TYPE_CHECKING:
    from tfmnist.sweeps.optuna_study import Study

_TABLE_AGE = 5.0  # seconds that the table on disk may lag behind


def search_events(
    sweep: Sweep, folder: Path, workers: Workers, *, storage: str = "", stop: Flag | None = None
) -> Generator[SweepProgress | SeedResult | SweepResult]:
    """Runs or resumes a sweep; yields its progress, the seeds that confirm the best recipe, and at the end the result.

    Args:
        sweep: what to search.
        folder: the sweep's folder, made if it does not exist; it gets one run folder per trial, `trials/0000` and so on
            (`trials/0000-seed-1` if a trial has several seeds).
        workers: train the trials; they are not closed.
        storage: URL of a database, or path of a journal, that several commands share; by default a journal in the
            folder.
        stop: once set, the running trials are saved and `Interrupted` is raised.

    Raises:
        InputError: Optuna, or TensorBoard if the trials write for it, is not installed; the folder holds another
            sweep; or every trial failed.
    """
    from tfmnist.sweeps.optuna_study import Study  # needs the extra [sweep]

    if sweep.recipe.train.tensorboard:
        import tfmnist.sweeps.hparams  # noqa: F401  needs the extra [tensorboard]
    make_folder_at(folder)
    stop = stop or Flag()
    with faults_interrupt(folder), locked(folder):  # several commands may share a database, but not a folder
        _check_same(sweep, folder)
        until = time.time() + 60 * sweep.search.minutes if sweep.search.minutes else 0.0
        data = ""
        if storage:
            from tfmnist.runs.build import digest_of, load_section  # imports TensorFlow

            data = digest_of(load_section(sweep.recipe.data, sweep.recipe.train.seed))
        study = Study(sweep, folder, storage, until=until, data_sha256=data)
        with study.alive():
            yield from _search(sweep, folder, study, workers, stop)
            ended = [trial for trial in study.trials() if trial.state != "running"]
            result = write_table(sweep, folder, ended)
            if stop.is_set() and study.left():
                finished = f"{len(ended)} of {sweep.trials} trials finished"
                raise Interrupted(f"stopped; {finished}; run the same command to resume.")
            failed = [trial for trial in ended if trial.state == "failed"]
            if ended and len(failed) == len(ended):
                raise InputError(f"{folder}: every trial failed; the first: {failed[0].reason}")
            confirmed, unconfirmed = list[StudyResult](), ""
            if result.best and sweep.search.confirm:
                confirmed, unconfirmed = yield from _confirm(sweep, folder, study, result.best, workers, stop)
        yield write_table(sweep, folder, ended, confirmed, unconfirmed)


def sweep(
    sweep: Sweep | str | Path,
    run_dir: str | Path | None = None,
    *,
    workers: int = 0,
    threads: int = 1,
    storage: str = "",
    ray: str = "",
    progress: bool = True,
) -> SweepResult:
    """Runs or resumes a sweep, writes its report, and returns its table.

    Args:
        sweep: a sweep, or the path of its file.
        run_dir: its folder; by default `sweeps/<name of the file>`.
        workers: number of worker processes; 0 for one per processor, -1 to train in this process.
        threads: TensorFlow threads per process.
        storage: URL of a database, or path of a file, for the search, which several machines may share; by default a
            file in the folder.
        ray: address of a Ray cluster to train on: `HOST:PORT`, `auto`, or `local` to start one on this machine.
        progress: whether to print what `tfmnist sweep` prints: a live table in a terminal or a notebook, otherwise one
            line per trial; and the result.

    Raises:
        InputError: the file is wrong, the folder holds another sweep, every trial failed, or there is no such
            cluster.
    """
    searched = sweep if isinstance(sweep, Sweep) else Sweep.load(sweep)
    folder = Path(run_dir or f"sweeps/{searched.name}")
    result: SweepProgress | SeedResult | SweepResult | None = None
    with closing(Workers(workers, threads, ray)) as pool, SweepScreen(searched, quiet=not progress) as screen:
        for result in search_events(searched, folder, pool, storage=storage):
            screen.show(result)
    assert isinstance(result, SweepResult)
    if result.trials:
        screen.console.print(f"report   {write_sweep_report(folder)}", soft_wrap=True)
    return result


def _search(sweep: Sweep, folder: Path, study: "Study", workers: Workers, stop: Flag) -> Iterator[SweepProgress]:
    """Trains the trials; yields the progress whenever a trial begins, finishes an epoch, or ends."""
    trials = study.trials()
    seen = {trial.number for trial in trials if trial.state != "running"}
    delete_unkept(sweep, folder, trials)
    yield SweepProgress(trials, sweep.trials, workers.count)
    written, before = time.monotonic(), trials
    for _ in chain(workers.run(study, stop), (None,)):
        trials = study.trials()
        ended = [trial for trial in trials if trial.state != "running"]
        if new := [trial for trial in ended if trial.number not in seen]:
            delete_unkept(sweep, folder, trials)
        for trial in new:  # one by one
            seen.add(trial.number)
            shown = [other for other in trials if other.state == "running" or other.number in seen]
            yield SweepProgress(shown, sweep.trials, workers.count, trial)
        if trials != before and not new:
            yield SweepProgress(trials, sweep.trials, workers.count)
        if time.monotonic() - written > _TABLE_AGE:
            write_table(sweep, folder, ended)
            written = time.monotonic()
        before = trials


def _confirm(
    sweep: Sweep, folder: Path, study: "Study", best: Trial, workers: Workers, stop: Flag
) -> Generator[SeedResult, None, tuple[list[StudyResult], str]]:
    """Trains the best and the base recipe with fresh seeds; returns the results, or why there are none."""
    what = f"confirmation of trial {best.number}"
    if holder := study.claim(what, stop):
        return [], f"another command does that, in {holder}"
    confirmed, unconfirmed = list[StudyResult](), ""
    first = max(sweep.search.seeds) + 1
    fresh = range(first, first + sweep.search.confirm)
    try:
        for name, recipe in (("best", best_recipe(sweep, best)), ("unswept", sweep.recipe)):
            path = folder / "confirmed" / name
            if not is_study_of(recipe, path):  # another trial has become the best
                shutil.rmtree(path, ignore_errors=True)
            for event in study_events(recipe, fresh, path, workers, stop=stop):
                if isinstance(event, StudyResult):
                    confirmed.append(event)
                else:
                    yield event
    except InputError as error:  # it diverges with one of these seeds, for example
        confirmed, unconfirmed = [], str(error)
    study.done(what)
    return confirmed, unconfirmed


def _check_same(sweep: Sweep, folder: Path) -> None:
    """Records the sweep and its base recipe in the folder; raises an `InputError` if it holds others."""
    sources = "".join(f"{digest}  {kind}\n" for kind, digest in sweep.sources.items())
    files = {"sweep.toml": sweep.text, "recipe.toml": sweep.recipe.to_toml(), "sources.sha256": sources}
    for name, text in files.items():
        path = folder / name
        if path.exists() and path.stat().st_size and path.read_text(encoding="utf-8") != text:
            what = f"a sweep of {sweep.recipe.name}" if name == "recipe.toml" else "another sweep, or this one"
            changed = Recipe.load(path).changed_from(sweep.recipe) if name == "recipe.toml" else [name]
            if name == "sources.sha256" or (changed and all(key.endswith(".source_sha256") for key in changed)):
                what = "this sweep, or its source code"
            if changed:
                raise InputError(f"{folder}: holds {what} before it was changed; choose another folder with --run-dir.")
        if text:
            write_whole(path, text)
