"""Who trains the trials of a sweep takes jobs and gives reports, and knows nothing of searching: this process, here.

Jobs are plain data, so that workers elsewhere need no more than the run folders to be reachable there.
"""

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from tfmnist.errors import BusyError, DivergedError, InputError, Interrupted
from tfmnist.recipe import Recipe
from tfmnist.sweeps.packing import Job, kind_of, packs

TRIES = 2  # of a job whose worker process ends, for those who submit jobs
WAIT = 0.5  # seconds for which they wait for reports, between two looks at whether to stop
_AT_ONCE = 8  # networks of a pack that do a step at once; more of them leave the processor's cache
_PATIENCE = 60.0  # seconds that another process may keep a run's folder


@dataclass(frozen=True)
class Report:
    """What happened to a job: an epoch is done, or it is over."""

    name: str
    kind: Literal["epoch", "done", "stopped", "diverged", "refused", "crashed"]
    figures: dict[str, Any]
    """Of an epoch or a result; or `reason`."""


class Executor(Protocol):
    """Trains jobs, several at a time perhaps."""

    workers: int

    @property
    def free(self) -> int:
        """How many jobs it could begin now."""
        ...

    def submit(self, jobs: Sequence[Job]) -> None:
        """Begins jobs, `free` at most; goes on with those whose folder has a checkpoint."""
        ...

    def reports(self, seconds: float) -> Iterator[Report]:
        """Yields what has happened; waits for something to happen, for so many seconds at most."""
        ...

    def stop(self, name: str) -> None:
        """Ends a job after the steps under way, saved; a `stopped` report follows."""
        ...

    def close(self) -> None:
        """Ends all jobs, saved, and all processes."""
        ...


def train_jobs(
    jobs: Sequence[Job], stops: Mapping[str, threading.Event], pack: int, compiled: dict[str, Any]
) -> Iterator[Report]:
    """Trains jobs in this process, those together that can be, and yields their reports.

    The last report of each job is of another kind than `epoch`.

    Args:
        jobs: in any order.
        stops: for the name of each, what ends it after the steps under way, saved.
        pack: how many at most train together.
        compiled: keeps what packs have compiled, for the next of their kind.
    """
    log = logging.getLogger("tensorflow")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns of many compilations, which are meant
    try:
        yield from _train(jobs, stops, pack, compiled)
    finally:
        log.setLevel(level)


def _train(
    jobs: Sequence[Job], stops: Mapping[str, threading.Event], pack: int, compiled: dict[str, Any]
) -> Iterator[Report]:
    for together in packs(jobs, pack):
        if all(stops[job.name].is_set() for job in together):
            yield from (Report(job.name, "stopped", {}) for job in together)
        elif kind := kind_of(together[0], pack):
            yield from _train_pack(together, stops, min(pack, _AT_ONCE), compiled, kind)
        else:
            yield from _train_job(together[0], stops[together[0].name])


def _train_pack(
    jobs: Sequence[Job], stops: Mapping[str, threading.Event], size: int, compiled: dict[str, Any], kind: str
) -> Iterator[Report]:
    from tfmnist.runs.events import Trained
    from tfmnist.runs.packed import pack_events
    from tfmnist.training.loop import Epoch

    lanes = [(Path(job.folder), Recipe.model_validate(job.recipe), stops[job.name]) for job in jobs]

    def begin() -> Iterator[Any]:
        return pack_events(lanes, size, jobs[0].mixed, compiled, kind)

    trained: list[Job] = []
    for job in jobs:
        _clear(Path(job.folder))
    try:
        for lane, event in _patiently(begin, stops[jobs[0].name]):
            job = jobs[lane]
            if isinstance(event, Epoch):
                yield Report(job.name, "epoch", asdict(event))
            elif isinstance(event, Trained) and job.evaluate_test:
                trained.append(job)
            elif isinstance(event, Trained):
                yield _trained(job, event)
            else:
                yield _ended(job, event)
    except BusyError as error:  # of one folder, and nothing was begun
        yield from (Report(job.name, "crashed", {"reason": str(error)}) for job in jobs)
    for job in trained:  # when the pack has let their folders go
        if stops[job.name].is_set():
            yield Report(job.name, "stopped", {})
        else:
            yield from _train_job(job, stops[job.name])


def _train_job(job: Job, stop: threading.Event) -> Iterator[Report]:
    from tfmnist.runs.events import Run, Trained
    from tfmnist.training.loop import Epoch

    try:
        for event in _patiently(lambda: _events_of(job, stop), stop):
            if isinstance(event, Epoch):
                yield Report(job.name, "epoch", asdict(event))
            elif isinstance(event, Trained):
                yield _trained(job, event)
            elif isinstance(event, Run):
                yield Report(job.name, "done", event.result)
    except (Interrupted, DivergedError, InputError, OSError) as error:
        yield _ended(job, error)


def _trained(job: Job, event: Any) -> Report:
    return Report(job.name, "done", {**asdict(event), "path": str(event.path)})


def _ended(job: Job, error: Exception) -> Report:
    kinds: dict[type, Any] = {Interrupted: "stopped", DivergedError: "diverged"}
    return Report(job.name, kinds.get(type(error), "refused"), {"reason": str(error)})


def _patiently(begin: Callable[[], Iterator[Any]], stop: threading.Event) -> Iterator[Any]:
    """Yields what `begin` gives; begins again while a worker of the sweep before, which was killed, is still saving."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            yield from begin()
            return
        except BusyError:
            if stop.is_set() or time.monotonic() > until:
                raise
            time.sleep(0.2)


def _events_of(job: Job, stop: threading.Event) -> Iterator[Any]:
    from tfmnist.runs import train as runs

    folder = Path(job.folder)
    _clear(folder)
    if folder.exists():
        return runs.resume_events(folder, stop=stop, evaluate_test=job.evaluate_test)
    return runs.run_events(Recipe.model_validate(job.recipe), folder, stop, evaluate_test=job.evaluate_test)


def _clear(folder: Path) -> None:
    """Deletes a run's folder that ended before it had begun: half a recipe at most."""
    if folder.exists() and not (folder / "recipe.toml").exists():
        shutil.rmtree(folder)


class InProcess:
    """Trains in this process, a job, or a pack of them, at a time: for debugging, and where no process can be started.

    Args:
        pack: how many jobs may train together.
    """

    workers = 1

    def __init__(self, pack: int = 1) -> None:
        self._pack = pack
        self._stops: dict[str, threading.Event] = {}
        self._reports: Iterator[Report] = iter(())
        self._compiled: dict[str, Any] = {}

    @property
    def free(self) -> int:
        return 0 if self._stops else self._pack

    def submit(self, jobs: Sequence[Job]) -> None:
        self._stops = {job.name: threading.Event() for job in jobs}
        self._reports = train_jobs(jobs, dict(self._stops), self._pack, self._compiled)

    def reports(self, seconds: float) -> Iterator[Report]:
        if not self._stops:
            time.sleep(seconds)
            return
        report = next(self._reports)
        if report.kind != "epoch":
            del self._stops[report.name]
        if not self._stops:
            self._finish()
        yield report

    def stop(self, name: str) -> None:
        if name in self._stops:
            self._stops[name].set()

    def close(self) -> None:
        for stop in self._stops.values():
            stop.set()
        self._finish()

    def _finish(self) -> None:
        for _ in self._reports:  # what it holds, a folder's lock say, is let go at its end
            pass
        self._stops = {}
