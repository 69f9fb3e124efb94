"""Starts workers, here or on a Ray cluster, watches them, replaces those that die, and stops them.

Only jobs go to a worker and nothing comes back: its work is on disk. Each worker loads TensorFlow once. It is stopped
by the end of its standard input, which also comes if its parent is killed: it saves its trial and ends. The machines of
a Ray cluster need this package, and the current folder at the same path, for example on a network file system.
"""

import contextlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfmnist.errors import FAULTS, FaultError, InputError, TfmnistError
from tfmnist.sweeps.claims import Claims
from tfmnist.sweeps.worker import RENEW, TrialSource, how_ended, work
from tfmnist.system.import_log import log_hidden
from tfmnist.system.machine import MOST_THREADS, processors

_POLL = 0.25  # seconds between checks of the workers and their trials
_PATIENCE = 25.0  # seconds that a worker may take to save its trial and end
_RAY_LOG = re.compile(rb"\[\d{4}-\d\d-\d\d .* [DIWEC] |\d{4}-\d\d-\d\d ")
_RAY_TIMEOUT = 5.0  # seconds in which a cluster must answer
_MOST_WORKERS = 8  # per processor: each is a process with a TensorFlow of its own, 0.4 GB
_MOST_FAILURES = 3  # workers in a row that end without a trial before the command gives up


class Workers:
    """The processes that train the trials of sweeps and studies.

    Args:
        count: number of worker processes; 0 for one per processor, also of those that a cluster gains later, -1 to
            train in this process.
        threads: TensorFlow threads per process.
        ray: address of a Ray cluster to train on: `HOST:PORT`, `auto` for the one that runs on this machine, or `local`
            for one that lives as long as this object.

    Raises:
        InputError: impossible numbers, Ray is not installed, or there is no such cluster.
    """

    def __init__(self, count: int = 0, threads: int = 1, ray: str = "") -> None:
        if count < -1 or threads < 1:
            raise InputError(f"workers {count}, threads {threads}: expected -1 or more, and 1 or more.")
        most_workers = _MOST_WORKERS * processors()
        if (count > most_workers and not ray) or threads > MOST_THREADS:
            raise InputError(
                f"workers {count}, threads {threads}: expected at most {most_workers} and {MOST_THREADS} on this "
                f"machine, which has {processors()} processors."
            )
        if ray and count == -1:
            raise InputError("workers is -1, to train in this process: expected 0 or more with a Ray cluster.")
        self._ray: Any = None
        self._started_ray = False
        if ray:
            self._ray, self._started_ray = connect(ray)
        self._here, self._threads = count == -1, threads
        self._follows_cluster = bool(ray) and count == 0
        self.count = abs(count) or self._room()
        self._start, self._number = f"{time.time_ns():x}", 0
        self._alive: dict[str, _Process | _RayProcess] = {}

    def _room(self) -> int:
        """Returns how many workers fit on the processors, which a cluster may gain and lose."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)) // self._threads if self._ray else processors())

    def run(self, source: TrialSource, stop: threading.Event) -> Iterator[None]:
        """Trains the trials of a source until none is left; yields a few times a second.

        Args:
            source: the trials, as this process sees them.
            stop: once set, all workers save their trials and end.
        """
        claims = Claims(source.folder, f"{self._start}-0")
        if self._here:
            yield from work(source, claims, stop)
        else:
            yield from self._watch(source, claims, stop)

    def close(self, seconds: float = _PATIENCE) -> None:
        """Stops all workers; those that take longer than `seconds` to save their trials are killed."""
        until = time.monotonic() + seconds
        try:
            for worker in self._alive.values():
                worker.stop()
            for worker in self._alive.values():
                worker.wait(max(0.0, until - time.monotonic()))
        except BaseException:  # a second Ctrl-C
            for worker in self._alive.values():
                worker.wait(0)
            raise
        finally:
            self._alive.clear()
            if self._started_ray:
                self._ray.shutdown()
                self._started_ray = False

    def _watch(self, source: TrialSource, claims: Claims, stop: threading.Event) -> Iterator[None]:
        job, failures = json.dumps(source.job()), 0
        if not _is_over(source, claims):
            for worker in self._alive.values():
                worker.send(job)
        while not _is_over(source, claims):
            if stop.is_set():
                self.close()
                return
            for name, worker in list(self._alive.items()):
                if reason := worker.ended():
                    self._alive.pop(name).wait(0)
                    if reason == RENEW:
                        continue
                    if fault := next((fault for fault in FAULTS if fault.reason == reason), None):
                        raise FaultError(source.folder, fault, "run the same command again")
                    failures = 0 if claims.lose(name, reason) else failures + 1
                    if failures >= _MOST_FAILURES:
                        log = source.folder / "log"
                        raise TfmnistError(f"{source.folder}: workers end before training: {reason}; see {log}.")
            if self._follows_cluster:
                self.count = self._room()
            while len(self._alive) < min(self.count, source.left()) and self._has_started():
                self._number += 1
                name = f"{self._start}-{self._number}"
                self._alive[name] = self._begin(name, source.folder)
                self._alive[name].send(job)
            yield
            stop.wait(_POLL)

    def _has_started(self) -> bool:
        """Whether all workers have started: at most one waits for a cluster's processors, wherever they become free."""
        return all(worker.started() for worker in self._alive.values())

    def _begin(self, name: str, folder: Path) -> "_Process | _RayProcess":
        command = [name, str(self._threads)], str(folder / "log"), os.getcwd()
        return _RayProcess(self._ray, self._threads, *command) if self._ray else _Process(*command)


def _is_over(source: TrialSource, claims: Claims) -> bool:
    if source.left():
        return False
    with claims.exclusive():  # so that no worker is about to begin a trial
        return not source.left()


class _Process:
    """A worker process on this machine, which ends when its standard input does."""

    def __init__(self, arguments: list[str], log: str, folder: str) -> None:
        with Path(folder, log).open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tfmnist.sweeps.worker", *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=folder,
                start_new_session=True,  # Ctrl-C is for the command, which stops its workers
            )
        assert self._process.stdin
        self._input = self._process.stdin

    def send(self, job: str) -> None:
        with contextlib.suppress(OSError):  # it has ended, as `ended` reports
            self._input.write(job.encode() + b"\n")
            self._input.flush()

    def started(self) -> bool:
        """Returns True: the machine it is to run on is this one."""
        return True

    def ended(self) -> str:
        """Returns how the process ended, or "" while it runs."""
        code = self._process.poll()
        return "" if code is None else how_ended(code)

    def stop(self) -> None:
        """Lets the process save its trial and end, without waiting for it."""
        with contextlib.suppress(OSError):
            self._input.close()

    def wait(self, seconds: float) -> None:
        """Waits for the process to end, and kills it after `seconds`."""
        self.stop()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _RayProcess:
    """A worker process on a machine of a Ray cluster, started by an actor there, with which it ends."""

    def __init__(self, ray: Any, threads: int, *arguments: Any) -> None:
        self._ray = ray
        self._actor = ray.remote(_Process).options(num_cpus=threads).remote(*arguments)
        self._started = self._answer = self._actor.ended.remote()

    def started(self) -> bool:
        return bool(self._ray.wait([self._started], timeout=0)[0])

    def send(self, job: str) -> None:
        self._actor.send.remote(job)

    def ended(self) -> str:
        if not self._ray.wait([self._answer], timeout=0)[0]:  # still running, or waiting for room in the cluster
            return ""
        try:
            reason = self._ray.get(self._answer)
        except self._ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raised = isinstance(error, self._ray.exceptions.RayTaskError) or "creation task" in lines[0]
            return f"the worker on the cluster ended: {lines[-1 if raised else 0]}"  # a traceback has the error last
        self._answer = self._actor.ended.remote()
        return reason

    def stop(self) -> None:
        self._actor.stop.remote()

    def wait(self, seconds: float) -> None:
        if self._ray.wait([self._answer], timeout=0)[0]:
            self._ray.wait([self._actor.wait.remote(seconds)], timeout=seconds)
        self._ray.kill(self._actor)


def connect(address: str) -> tuple[Any, bool]:
    """Connects Ray; returns it, and whether this call has connected it.

    Args:
        address: `HOST:PORT` of a cluster, `auto` for the one that runs on this machine, or `local` to start one.

    Raises:
        InputError: Ray is not installed, or there is no such cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that starts here would report home
    try:
        import ray
        import ray._private.worker
        from ray.exceptions import AuthenticationError
    except ImportError:
        raise InputError("a Ray cluster needs Ray; install it with: pip install 'tfmnist[ray]'") from None
    if ray.is_initialized():
        return ray, False
    host, _, port = address.removeprefix("ray://").rpartition(":")
    own = {"_node_ip_address": "127.0.0.1", "_system_config": {"worker_niceness": 0}, "include_dashboard": False}
    options: dict[str, Any] = own if address == "local" else {}
    try:
        if host:
            socket.create_connection((host, int(port)), _RAY_TIMEOUT).close()  # Ray tries for minutes
        ray._private.worker.listen_error_messages = lambda *_: None  # prints what `_RayProcess.ended` returns
        with log_hidden(_RAY_LOG, on_failure=True):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (OSError, ValueError, RuntimeError, AuthenticationError) as error:
        reason = re.split(r"[.:] |\n", str(error))[0].removesuffix(".")
        raise InputError(
            f"--ray {address}: {reason}; expected HOST:PORT of a Ray cluster, auto or local; if it asks for a token, "
            "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to the token's file."
        ) from None
    return ray, True
