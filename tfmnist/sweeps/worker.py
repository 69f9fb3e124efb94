"""The one loop that every worker of a sweep or a study runs: claim a trial, train it, prune it, record its result.

It is the same in this process and in worker processes, here or on the machines of a Ray cluster. A worker process is
`python -m tfmnist.sweeps.worker NAME THREADS`, with one job per line of standard input; when the input ends, it saves
its trial and ends. What the loop guarantees, wherever it is killed:

- A trial is trained by one process at a time: its claim is a lock that ends with the process.
- A finished trial is never trained again: its result is recorded before its claim is released.
- An unfinished trial is resumed from its checkpoint, in the same run folder, by any worker of the same sweep.
- A trial that loses its process twice is marked failed, and the others continue.
- A fault of the machine, such as a full disk, fails no trial: the command stops, to be resumed when it is mended.
"""

import contextlib
import json
import math
import os
import queue
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from tfmnist.errors import FAULTS, DivergedError, InputError, Interrupted, find_fault
from tfmnist.recipe import Recipe, is_whole
from tfmnist.runs.result import read_history
from tfmnist.sweeps.claims import Claim, Claims
from tfmnist.sweeps.seed_list import SeedList
from tfmnist.sweeps.sweep_file import Sweep
from tfmnist.sweeps.trials import Trial

_MOST_LOSSES = 2  # processes that a trial may lose before it fails
_IDLE = 0.2  # seconds between searches for a trial while others train the last ones
_PATIENCE = 20.0  # seconds in which to save the trial after standard input has ended

_MOST_TRIALS = 40  # of a process, which XLA lets grow by 6 MB or more with each
RENEW, _RENEWED = "it is to be replaced by a new process", 79  # after so many; the exit code
_FIRST_FAULT = 80  # exit code of a worker process that the machine has stopped, for the first of FAULTS

_CURVE = ("epoch", "validation_accuracy", "validation_loss", "seconds")

Row = Mapping[str, Any]
Train = Callable[[Path, Recipe, threading.Event, bool], Generator[Row]]


class TrialSource(Protocol):
    """The trials of a sweep or a study, shared by all its workers; `Study` and `SeedList` say what each method does."""

    folder: Path
    metric: str
    """The key of a run's result that becomes the trial's result."""
    evaluate_test: bool
    """Whether runs are finished: evaluated on the test set, exported, reported."""

    def left(self) -> int: ...
    def unfinished(self) -> Sequence[int]: ...
    def begin(self) -> int | None: ...
    def open(self, number: int) -> Trial: ...
    def runs(self, trial: Trial) -> list[tuple[Path, Recipe]]: ...
    def should_prune(self, trial: Trial, rows: Sequence[Row]) -> bool: ...
    def finish(self, trial: Trial) -> None: ...
    def job(self) -> dict[str, Any]: ...


def train(folder: Path, recipe: Recipe, stop: threading.Event, evaluate_test: bool) -> Generator[Row]:
    """Trains a run, or resumes it; yields the row of each epoch, then the row of the trained run, without `epoch`."""
    from tfmnist.runs.events import Run, Trained
    from tfmnist.runs.train import resume_events, run_events
    from tfmnist.training.events import Epoch

    if folder.exists() and not is_whole(folder / "recipe.toml"):
        shutil.rmtree(folder)  # killed before it began
    events: Any
    if folder.exists():
        events = resume_events(folder, stop=stop, evaluate_test=evaluate_test)
    else:
        events = run_events(recipe, folder, stop, evaluate_test=evaluate_test)
    with contextlib.closing(events):
        for event in events:
            if isinstance(event, Epoch | Trained):
                yield vars(event)
            elif isinstance(event, Run):
                yield event.result


def work(
    source: TrialSource, claims: Claims, stop: threading.Event, train: Train = train, most: float = math.inf
) -> Generator[None]:
    """Trains trials until none is left, `stop` is set or it has trained `most`; yields after each epoch and each trial.

    Args:
        source: where the trials come from and the results go.
        claims: of this worker.
        stop: once set, the current trial is saved and released; the next start resumes it.
        train: trains one run.
        most: number of trials.
    """
    trained = 0
    while not stop.is_set() and trained < most:
        with claims.exclusive():
            for number in source.unfinished():
                if claim := claims.take(number):
                    break
            else:
                number = source.begin()
                claim = None if number is None else claims.take(number)
            trial = source.open(number) if claim and number is not None else None
        if claim and trial:
            with contextlib.closing(claim):
                yield from _train_claimed(source, trial, claim, stop, train)
                with claims.exclusive():
                    if trial.state != "running":
                        source.finish(trial)
                    claim.release()
            trained += 1
            yield
        elif source.left():  # others train the last ones, and may still lose their process
            stop.wait(_IDLE)
            yield
        else:
            return


def _train_claimed(
    source: TrialSource, trial: Trial, claim: Claim, stop: threading.Event, train: Train
) -> Iterator[None]:
    """Trains a trial unless it has ended already."""
    if claim.losses:
        trial.reason = f"tried again: {claim.reason}"
    if claim.losses >= _MOST_LOSSES:
        trial.state, trial.reason = "failed", claim.reason
        for index, (folder, _) in enumerate(source.runs(trial)):
            _add_history(trial, folder, first=index == 0)
    elif trial.state == "running":
        yield from _train_trial(source, trial, stop, train)


def _train_trial(source: TrialSource, trial: Trial, stop: threading.Event, train: Train) -> Iterator[None]:
    """Trains a trial with each of its seeds and sets its result; it stays `running` if stopped."""
    try:
        for index, (folder, recipe) in enumerate(source.runs(trial)):
            try:
                rows = train(folder, recipe, stop, source.evaluate_test)
                yield from _train_run(source, trial, folder, recipe, rows, first=index == 0)
            finally:
                _add_history(trial, folder, first=index == 0)
            if trial.state == "pruned":
                trial.reason = f"worse than others after {trial.epochs} epochs"
                return
        trial.result, trial.state = fmean(trial.results), "done"
    except Interrupted:
        pass
    except DivergedError as error:
        trial.state, trial.reason = "diverged", str(error)
    except (InputError, OSError) as error:
        if find_fault(error):
            raise
        trial.state, trial.reason = "failed", str(error)


def _train_run(
    source: TrialSource, trial: Trial, folder: Path, recipe: Recipe, rows: Generator[Row], *, first: bool
) -> Iterator[None]:
    """Trains with one seed; the first one is pruned if it is worse than other trials."""
    epochs, history = recipe.train.epochs, read_history(folder)
    if first and 0 < len(history) < epochs and source.should_prune(trial, history):  # killed before it was recorded
        trial.state = "pruned"
        return
    with contextlib.closing(rows):
        for row in rows:
            if "epoch" not in row:
                trial.results.append(row[source.metric])
            elif first and source.should_prune(trial, [row]) and row["epoch"] < epochs:
                trial.state = "pruned"
                return
            yield


def _add_history(trial: Trial, folder: Path, *, first: bool) -> None:
    history = read_history(folder)
    trial.epochs = len(history) or trial.epochs
    trial.seconds += sum(row["seconds"] for row in history)
    if first:
        trial.curve = [{key: row[key] for key in _CURVE} for row in history]


@contextlib.contextmanager
def faults_interrupt(folder: Path) -> Iterator[None]:
    """Turns the errors of a machine at fault into an `Interrupted`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, Interrupted) or not (fault := find_fault(error)):
            raise
        raise Interrupted(f"{folder}: {fault.reason}; {fault.remedy}, and run the same command to resume.") from None


def how_ended(code: int) -> str:
    """Describes how a worker process ended, from its exit code."""
    if code == _RENEWED:
        return RENEW
    if 0 <= code - _FIRST_FAULT < len(FAULTS):
        return FAULTS[code - _FIRST_FAULT].reason
    return f"the worker process ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def open_source(job: dict[str, Any]) -> TrialSource:
    """Returns the source of trials that a job describes."""
    if "sweep" in job:
        from tfmnist.sweeps.optuna_study import Study  # needs the extra [sweep]

        return Study(Sweep.model_validate(job["sweep"]), Path(job["folder"]), **job["options"])
    return SeedList(Recipe.model_validate(job["recipe"]), job["seeds"], Path(job["folder"]))


def main() -> None:
    """Works through the jobs on standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command stops its workers
    worker, threads = sys.argv[1:]
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    stop = threading.Event()

    def listen() -> None:
        with open(0, "rb", buffering=0) as lines:  # a buffer's lock would be held when this process ends
            for line in lines:
                jobs.put(line)
        stop.set()
        jobs.put(b"")
        timer = threading.Timer(_PATIENCE, os._exit, [1])  # do not wait for a long compilation
        timer.daemon = True
        timer.start()

    threading.Thread(target=listen, daemon=True).start()
    sys.modules.setdefault("keras", None)  # type: ignore[arg-type]  # not used here, and slow to import
    from tfmnist.training.threads import set_threads

    set_threads(int(threads))
    while (job := jobs.get()) and not stop.is_set():
        try:
            source = open_source(json.loads(job))
            for _ in work(source, Claims(source.folder, worker), stop, most=_MOST_TRIALS):
                pass
            if source.left() and not stop.is_set():
                sys.exit(_RENEWED)
        except Exception as error:
            if not (fault := find_fault(error)):
                raise
            with contextlib.suppress(OSError):  # the disk may be full
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            sys.exit(_FIRST_FAULT + FAULTS.index(fault))


if __name__ == "__main__":
    main()
