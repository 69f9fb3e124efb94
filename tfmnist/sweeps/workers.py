"""Worker processes that live for many jobs, so that TensorFlow is loaded once in each."""

import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from tfmnist.errors import InputError
from tfmnist.sweeps.executors import Executor, InProcess, Report
from tfmnist.sweeps.packing import Job, shares
from tfmnist.system.machine import processors

PATIENCE = 60.0  # seconds that a worker may take to save what it trains


class Link(ABC):
    """A worker process, seen from here."""

    def __init__(self) -> None:
        self.jobs: set[str] = set()  # that it has not ended yet, by name

    @abstractmethod
    def say(self, order: dict[str, Any]) -> None:
        """Sends an order; where the process has ended, its end is on its way as a report."""

    @abstractmethod
    def hang_up(self) -> None:
        """Tells the process that there will be no more orders: it saves what it trains, and ends."""

    @abstractmethod
    def end(self) -> None:
        """Hangs up, and waits until the process has saved what it trains, and ended."""

    @abstractmethod
    def why(self) -> str:
        """Returns why the process ended."""


Heard = queue.Queue[tuple[Link, dict[str, Any] | None]]
"""What workers report; None at the end of one."""


class Workers(ABC):
    """Trains in several worker processes.

    Args:
        workers: how many.
        pack: how many jobs may train together in each.
    """

    def __init__(self, workers: int, pack: int = 1) -> None:
        self.workers, self._pack = workers, pack
        self._heard: Heard = queue.Queue()
        self._alive: list[Link] = []

    @abstractmethod
    def _begin(self, heard: Heard) -> Link:
        """Returns a new worker, which will put its reports there."""

    @property
    def free(self) -> int:
        return (self.workers - sum(bool(worker.jobs) for worker in self._alive)) * self._pack

    def submit(self, jobs: Sequence[Job]) -> None:
        idle: list[Link | None] = [worker for worker in self._alive if not worker.jobs]
        idle += [None] * (self.workers - len(self._alive))
        for worker, share in zip(idle, shares(jobs, len(idle))):
            if worker is None:
                worker = self._begin(self._heard)
                self._alive.append(worker)
            worker.jobs = {job.name for job in share}
            worker.say({"jobs": [asdict(job) for job in share]})

    def reports(self, seconds: float) -> Iterator[Report]:
        with contextlib.suppress(queue.Empty):
            worker, report = self._heard.get(timeout=seconds)
            while True:
                yield from self._read(worker, report)
                worker, report = self._heard.get_nowait()

    def stop(self, name: str) -> None:
        for worker in self._alive:
            if name in worker.jobs:
                worker.say({"stop": name})

    def close(self) -> None:
        for worker in self._alive:
            worker.hang_up()  # all of them, before one is waited for
        for worker in self._alive:
            worker.end()
        self._alive.clear()

    def _read(self, worker: Link, heard: dict[str, Any] | None) -> list[Report]:
        if heard is not None:
            report = Report(**heard)
            if report.kind != "epoch":
                worker.jobs.discard(report.name)
            return [report]
        jobs, worker.jobs = sorted(worker.jobs), set()
        if worker in self._alive:
            self._alive.remove(worker)
        return [Report(name, "crashed", {"reason": worker.why()}) for name in jobs]


class LocalWorkers(Workers):
    """Trains in processes of this machine.

    Args:
        workers: how many, each with `threads` of TensorFlow's.
        log: file for what the processes write to standard error.
        threads: by default one.
        pack: how many jobs may train together in each.
    """

    def __init__(self, workers: int, log: Path, threads: int = 1, pack: int = 1) -> None:
        super().__init__(workers, pack)
        self._threads, self._log = threads, log

    def _begin(self, heard: Heard) -> Link:
        return _Process((self._threads, self._pack), self._log, heard)


class _Process(Link):
    def __init__(self, settings: tuple[int, int], log: Path, heard: Heard) -> None:
        super().__init__()
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tfmnist.sweeps.worker", *map(str, settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C is for the sweep, which tells its workers
            )
        assert self._process.stdin and self._process.stdout
        self._orders: IO[str] = self._process.stdin
        self._answers: IO[str] = self._process.stdout
        self._reader = threading.Thread(target=self._follow, args=(heard,), daemon=True)
        self._reader.start()

    def _follow(self, heard: Heard) -> None:
        for line in self._answers:
            if line.endswith("\n"):  # else it was killed amid it
                heard.put((self, json.loads(line)))
        heard.put((self, None))

    def say(self, order: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._orders.write(json.dumps(order) + "\n")
            self._orders.flush()

    def hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._orders.close()

    def end(self) -> None:
        self.hang_up()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        self._answers.close()

    def why(self) -> str:
        self.end()
        code = self._process.returncode
        return f"the worker process ended by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def make_executor(workers: int, threads: int, folder: Path, pack: int = 1, ray: str = "") -> Executor:
    """Returns who trains.

    Args:
        workers: number of worker processes; 0 for one a processor, -1 to train in this process.
        threads: TensorFlow's in each.
        folder: where the workers' log is.
        pack: how many jobs may train together in each.
        ray: address of a Ray cluster, if the workers are to be there.

    Raises:
        InputError: impossible numbers, or no such cluster.
    """
    if workers < -1 or threads < 1:
        raise InputError(f"workers {workers}, threads {threads}: expected -1 or more, and 1 or more.")
    if ray and workers == -1:
        raise InputError("workers is -1, to train in this process: expected 0 or more with a Ray cluster.")
    if ray:
        from tfmnist.sweeps.ray_workers import RayWorkers  # which needs an extra

        return RayWorkers(ray, workers, threads, pack)
    if workers == -1:
        return InProcess(pack)
    return LocalWorkers(workers or processors(), folder / "log", threads, pack)
