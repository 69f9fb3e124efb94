"""The processes of one training: who they are, how they are started here, and how they meet before it begins.

They are told by the environment variable TF_CONFIG, as Kubernetes operators and Slurm scripts set it, or started by
this process. TensorFlow waits for ever for a process that does not come, and cannot be interrupted meanwhile; so they
meet here first, at the address of the chief.
"""

import contextlib
import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfmnist.errors import InputError, Interrupted, few, show
from tfmnist.recipe import Recipe
from tfmnist.system.machine import MOST_THREADS, VERSION, processors

PATIENCE = 120.0
"""Seconds in which all processes must have started."""
_MOST_PER_PROCESSOR = 8
_POLL = 0.2  # seconds between looks at what else may have happened
_END = 25.0  # seconds that a process may take to end
_LONGEST = 10_000  # bytes of a message

Check = Callable[[], None]


@dataclass(frozen=True)
class Cluster:
    """The processes of one training.

    Attributes:
        addresses: `host:port` of each; the first is the chief's.
        index: of this process.
    """

    addresses: tuple[str, ...]
    index: int

    @classmethod
    def from_environment(cls) -> "Cluster | None":
        """Returns what TF_CONFIG says; None if it is not set, or names one process.

        Raises:
            InputError: it is wrong, or has roles other than chief and worker.
        """
        text = os.environ.get("TF_CONFIG", "")
        if not text.strip():
            return None
        expected = 'expected {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
        try:
            config = json.loads(text)
            cluster: Mapping[str, Any] = config.get("cluster") or {}
            if not cluster:
                return None
            if others := sorted(set(cluster) - {"chief", "worker"}):
                raise ValueError(f"has processes of the kind {others[0]}, which does not exist here")
            chiefs, workers = list(cluster.get("chief", [])), list(cluster.get("worker", []))
            addresses = tuple(_check_address(address) for address in (*chiefs, *workers))
            kind, index = config["task"]["type"], int(config["task"]["index"])
            of_kind = {"chief": chiefs, "worker": workers}.get(kind)
            if of_kind is None or not 0 <= index < len(of_kind):
                raise ValueError(f"this process is {kind} {index}, which is not in the cluster")
            if len(set(addresses)) < len(addresses):
                raise ValueError("two processes have the same address")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = f"has no {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"TF_CONFIG is {show(text)}: {reason}; {expected}; correct it, or unset it.") from None
        if len(addresses) < 2:
            return None
        return cls(addresses, index + (len(chiefs) if kind == "worker" else 0))

    @property
    def _hosts(self) -> list[str]:
        return [address.rpartition(":")[0] for address in self.addresses]

    @property
    def local_index(self) -> int:
        """The index of this process among those on its machine."""
        return self._hosts[: self.index].count(self._hosts[self.index])

    @property
    def is_one_machine(self) -> bool:
        """Whether all processes are on one machine."""
        return len(set(self._hosts)) == 1

    @property
    def threads(self) -> int:
        """The share of this machine's processors that each process on it has."""
        return max(1, processors() // self._hosts.count(self._hosts[self.index]))

    def environment(self, index: int) -> dict[str, str]:
        """Returns the variables that tell a process, or TensorFlow in this one, its place."""
        task = {"type": "worker", "index": index}
        return {"TF_CONFIG": json.dumps({"cluster": {"worker": self.addresses}, "task": task})}

    def meet(self, stop: threading.Event, check: Check | None = None, settings: str = "") -> str:
        """Waits until all processes are there, and returns the chief's settings in each of them.

        Args:
            stop: once set, waiting ends.
            check: is called several times a second, and may raise an error.
            settings: what the chief says.

        Raises:
            InputError: an address cannot be used, or another process has another version of tfmnist or TensorFlow.
            Interrupted: a process did not come in time, or `stop` was set.
        """
        until = time.monotonic() + PATIENCE

        def wait() -> None:
            if check:
                check()
            if stop.is_set():
                raise Interrupted("stopped before all processes had started; start them again.")

        if self.index:
            return self._join_chief(until, wait)
        return self._gather(until, wait, settings)

    def _gather(self, until: float, wait: Check, settings: str) -> str:
        host, port = _split(self.addresses[0])
        try:
            server = socket.create_server(("127.0.0.1" if _is_loopback(host) else "", port))
        except OSError as error:
            raise InputError(
                f"port {port}, of process 0, cannot be opened: {error.strerror}; choose another port."
            ) from None
        there: dict[int, socket.socket] = {}
        with contextlib.ExitStack() as stack:
            stack.enter_context(server).settimeout(_POLL)
            while len(there) < len(self.addresses) - 1:
                wait()
                if time.monotonic() > until:
                    missing = [i for i in range(1, len(self.addresses)) if i not in there]
                    who = few((f"{i} ({self.addresses[i]})" for i in missing), 5)
                    raise Interrupted(
                        f"process {who} did not start within {PATIENCE:.0f} seconds; start all processes again."
                    )
                with contextlib.suppress(TimeoutError):
                    connection, _ = server.accept()
                    stack.enter_context(connection).settimeout(5.0)
                    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # not one of ours
                        said = json.loads(_receive(connection))
                        there[_index(said, len(self.addresses))] = connection
                        if difference := _difference(said, self._hello()):
                            self._answer(there, {"error": difference})
                            raise InputError(difference)
            self._answer(there, {"settings": settings})
        return settings

    def _answer(self, there: Mapping[int, socket.socket], answer: Mapping[str, str]) -> None:
        for connection in there.values():
            with contextlib.suppress(OSError):
                connection.sendall(json.dumps(answer).encode() + b"\n")
                connection.recv(1)  # its end: closed there first, the port is free here at once

    def _join_chief(self, until: float, wait: Check) -> str:
        host, port = _split(self.addresses[0])
        reason = "nothing answers"
        while time.monotonic() < until:
            wait()
            try:
                with socket.create_connection((host, port), 5.0) as connection:
                    connection.sendall(json.dumps(self._hello()).encode() + b"\n")
                    connection.settimeout(_POLL)
                    answer = json.loads(_receive(connection, lambda: _wait_until(until, wait)))
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error) or reason
                time.sleep(_POLL)
                continue
            if "error" in answer:
                raise InputError(answer["error"])
            return answer["settings"]
        raise Interrupted(
            f"process 0 ({self.addresses[0]}), or another, did not start within {PATIENCE:.0f} seconds: {reason}; "
            "start all processes again."
        )

    def _hello(self) -> dict[str, Any]:
        versions = {"tfmnist": VERSION, "TensorFlow": importlib.metadata.version("tensorflow")}
        return {**versions, "count": len(self.addresses), "index": self.index}


def _difference(said: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    who = f"process {said['index']}"
    if said["count"] != own["count"]:
        return f"{who} is one of {said['count']}, process 0 one of {own['count']}; give all the same TF_CONFIG."
    for name in ("tfmnist", "TensorFlow"):
        if said.get(name) != own[name]:
            return f"{who} runs {name} {said.get(name)}, process 0 {own[name]}; install the same version on all."
    return ""


def _index(said: Mapping[str, Any], count: int) -> int:
    index = int(said["index"])
    if not (index > 0 and int(said["count"]) > 1 and "tfmnist" in said) or index >= max(count, int(said["count"])):
        raise ValueError(index)
    return index


def _receive(connection: socket.socket, wait: Check | None = None) -> bytes:
    """Returns one line; `wait` is called whenever none comes within the connection's timeout."""
    line = b""
    while not line.endswith(b"\n") and len(line) < _LONGEST:
        try:
            part = connection.recv(1000)
        except TimeoutError:
            if wait is None:
                raise
            wait()
            continue
        if not part:
            raise ConnectionResetError("it has ended")
        line += part
    return line


def _wait_until(until: float, wait: Check) -> None:
    wait()
    if time.monotonic() > until:
        raise TimeoutError("another process is missing")


def _check_address(address: Any) -> str:
    _split(str(address))
    return str(address)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"address {show(address)} is not host:port")
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.")


def free_address(host: str = "127.0.0.1") -> str:
    """Returns an address that is free on this machine, `host:port`."""
    with socket.socket() as free:
        free.bind((host, 0))
        return f"{host}:{free.getsockname()[1]}"


class Peer:
    """A further process of a training, on the machine where this object lives.

    Attributes:
        address: of the process.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.address = free_address(host)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, environment: Mapping[str, str], folder: str) -> None:
        """Starts the process, in a folder, with these variables too."""
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  closed by `stop`
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tfmnist", "train"],
            env={**os.environ, **environment},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,  # Ctrl-C is for the command, which agrees with the others
        )

    def ended(self) -> str:
        """Returns the last line that the process wrote before it failed, or "" if it has not."""
        code = self._process.poll() if self._process else None
        if not code:
            return ""
        self._output.seek(0)
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        said = lines[-1].removeprefix("tfmnist: ") if lines and code > 0 else ""
        return said or (signal.Signals(-code).name if code < 0 else f"exit code {code}")

    def stop(self, seconds: float) -> None:
        """Waits for the process to end, and kills it after `seconds`."""
        if self._process:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._output.close()


@contextlib.contextmanager
def started(peers: Sequence[Any], chief: str) -> Iterator[tuple[Cluster, Check]]:
    """Starts the other processes; yields the cluster, and what raises an error once one of them has failed.

    Args:
        peers: one `Peer` for each of the others, or what acts like it elsewhere.
        chief: the address of this process.
    """
    cluster = Cluster((chief, *(peer.address for peer in peers)), 0)

    def check() -> None:
        for index, peer in enumerate(peers, 1):
            if reason := peer.ended():
                raise Interrupted(f"process {index} has ended before the training began: {reason}")

    seconds = 0.0
    try:
        for index, peer in enumerate(peers, 1):
            peer.start(cluster.environment(index), str(Path.cwd()))
        yield cluster, check
        seconds = _END
    finally:
        until = time.monotonic() + seconds
        for peer in peers:
            peer.stop(max(0.0, until - time.monotonic()))


def check_recipe(recipe: Recipe, processes: int, *, here: bool, profiled: bool) -> None:
    """Raises an `InputError` if so many processes cannot train a recipe together, or would not fit this machine."""
    train, most = recipe.train, _MOST_PER_PROCESSOR * processors()
    if processes < 1 or (here and processes > most):
        raise InputError(
            f"--processes is {processes}: expected 1 to {most} on this machine, which has {processors()} processors."
        )
    if processes > train.batch_size:
        raise InputError(
            f"--processes is {processes} but train.batch_size is {train.batch_size}: expected at most one process per "
            "example of a batch; make the batch larger."
        )
    if processes > 1 and train.compile in ("xla", "eager"):
        raise InputError(
            f"recipe key 'train.compile' is {train.compile!r}: several processes can only train with graph; choose "
            "that, or auto."
        )
    if processes > 1 and profiled:
        raise InputError("--profile measures the steps of one process: leave it out, or --processes.")


def threads_of(cluster: Cluster, requested: int | str) -> int:
    """Returns the threads of each process: those that the recipe requests, or an equal share of the processors."""
    return cluster.threads if requested == "auto" else min(int(requested), MOST_THREADS)
