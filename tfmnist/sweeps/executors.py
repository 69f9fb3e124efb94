"""Who trains the trials of a sweep: this process, or worker processes of this machine.

An executor takes jobs and gives reports; it knows nothing of searching. Jobs are plain data, so that an executor on
other machines needs no more than the run folders to be reachable there.
"""

import contextlib
import json
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from tfmnist.errors import BusyError, DivergedError, InputError, Interrupted
from tfmnist.machine import processors

TRIES = 2  # of a job whose worker process ends, for those who submit jobs
WAIT = 0.5  # seconds for which they wait for reports, between two looks at whether to stop
_PATIENCE = 60.0  # seconds that another process may keep a run's folder


@dataclass(frozen=True)
class Job:
    """One training: a recipe and the folder it goes to, where it may have begun already."""

    name: str
    folder: str
    recipe: dict[str, Any]
    judged: bool = False
    """Whether to read the test set at the end, export and report; else it stops when it is trained."""


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

    def submit(self, job: Job) -> None:
        """Begins a job; goes on with it where its folder has a checkpoint."""
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


def train_job(job: Job, stop: threading.Event) -> Iterator[Report]:
    """Trains a job in this process and yields its reports; the last is of another kind than `epoch`."""
    from tfmnist.runs import Run, Trained
    from tfmnist.training.loop import Epoch

    began = time.monotonic()
    try:
        while True:
            try:
                for event in _events_of(job, stop):
                    if isinstance(event, Epoch):
                        yield Report(job.name, "epoch", asdict(event))
                    elif isinstance(event, Trained):
                        yield Report(job.name, "done", {**asdict(event), "path": str(event.path)})
                    elif isinstance(event, Run):
                        yield Report(job.name, "done", event.result)
                return
            except BusyError:  # a worker of the sweep before, which was killed, is still saving
                if stop.is_set() or time.monotonic() - began > _PATIENCE:
                    raise
                time.sleep(0.2)
    except Interrupted:
        yield Report(job.name, "stopped", {})
    except DivergedError as error:
        yield Report(job.name, "diverged", {"reason": str(error)})
    except (InputError, OSError) as error:
        yield Report(job.name, "refused", {"reason": str(error)})


def _events_of(job: Job, stop: threading.Event) -> Iterator[Any]:
    from tfmnist import runs
    from tfmnist.recipe import Recipe

    folder = Path(job.folder)
    if (folder / "recipe.toml").exists():
        return runs.resume_events(folder, stop=stop, judged=job.judged)
    if folder.exists():
        shutil.rmtree(folder)  # ended before it had begun: half a recipe at most
    return runs.run_events(Recipe.model_validate(job.recipe), folder, stop, judged=job.judged)


class InProcess:
    """Trains one job at a time in this process: for debugging, and where no process can be started."""

    workers = 1

    def __init__(self) -> None:
        self._running: tuple[str, Iterator[Report], threading.Event] | None = None

    @property
    def free(self) -> int:
        return 0 if self._running else 1

    def submit(self, job: Job) -> None:
        stop = threading.Event()
        self._running = job.name, train_job(job, stop), stop

    def reports(self, seconds: float) -> Iterator[Report]:
        if self._running is None:
            time.sleep(seconds)
            return
        report = next(self._running[1])
        if report.kind != "epoch":
            self._running = None
        yield report

    def stop(self, name: str) -> None:
        if self._running and self._running[0] == name:
            self._running[2].set()

    def close(self) -> None:
        if self._running:
            _, reports, stop = self._running
            stop.set()
            for _ in reports:
                pass
            self._running = None


class LocalWorkers:
    """Trains in processes of this machine that live for many jobs, so that TensorFlow is loaded once in each.

    Args:
        workers: how many processes, each with `threads` of TensorFlow's.
        threads: by default one.
        log: file for what the processes write to standard error.
    """

    def __init__(self, workers: int, log: Path, threads: int = 1) -> None:
        self.workers, self._threads, self._log = workers, threads, log
        self._reports: queue.Queue[tuple[_Worker, str | None]] = queue.Queue()
        self._alive: list[_Worker] = []

    @property
    def free(self) -> int:
        return self.workers - sum(worker.job is not None for worker in self._alive)

    def submit(self, job: Job) -> None:
        worker = next((worker for worker in self._alive if worker.job is None), None)
        if worker is None:
            worker = _Worker(self._threads, self._log, self._reports)
            self._alive.append(worker)
        worker.job = job
        worker.say({"job": asdict(job)})

    def reports(self, seconds: float) -> Iterator[Report]:
        with contextlib.suppress(queue.Empty):
            worker, line = self._reports.get(timeout=seconds)
            while True:
                if report := self._read(worker, line):
                    yield report
                worker, line = self._reports.get_nowait()

    def stop(self, name: str) -> None:
        for worker in self._alive:
            if worker.job and worker.job.name == name:
                worker.say({"stop": name})

    def close(self) -> None:
        for worker in self._alive:
            worker.end()
        self._alive.clear()

    def _read(self, worker: "_Worker", line: str | None) -> Report | None:
        if line is not None:
            report = Report(**json.loads(line))
            if report.kind != "epoch":
                worker.job = None
            return report
        job, worker.job = worker.job, None
        if worker in self._alive:
            self._alive.remove(worker)
        return Report(job.name, "crashed", {"reason": worker.why()}) if job else None


class _Worker:
    """A worker process, seen from here."""

    def __init__(self, threads: int, log: Path, reports: "queue.Queue[tuple[_Worker, str | None]]") -> None:
        self.job: Job | None = None
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tfmnist.sweeps.worker", str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C is for the sweep, which tells its workers
            )
        assert self._process.stdin and self._process.stdout
        self._orders: IO[str] = self._process.stdin
        self._answers: IO[str] = self._process.stdout
        self._reader = threading.Thread(target=self._follow, args=(reports,), daemon=True)
        self._reader.start()

    def _follow(self, reports: "queue.Queue[tuple[_Worker, str | None]]") -> None:
        for line in self._answers:
            reports.put((self, line))
        reports.put((self, None))

    def say(self, order: dict[str, Any]) -> None:
        """Sends an order; where the process has ended, its end is on its way as a report."""
        with contextlib.suppress(OSError):
            self._orders.write(json.dumps(order) + "\n")
            self._orders.flush()

    def end(self) -> int:
        """Lets the process save what it trains, waits for its end, and returns its exit code."""
        with contextlib.suppress(OSError):
            self._orders.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        code = self._process.wait()
        self._reader.join()
        self._answers.close()
        return code

    def why(self) -> str:
        """Returns why the process ended."""
        code = self.end()
        return f"the worker process ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def make_executor(workers: int, threads: int, folder: Path) -> Executor:
    """Returns who trains: worker processes, one a processor for 0, or this process for -1."""
    if workers < -1 or threads < 1:
        raise InputError(f"workers {workers}, threads {threads}: expected -1 or more, and 1 or more.")
    return InProcess() if workers == -1 else LocalWorkers(workers or processors(), folder / "log", threads)
