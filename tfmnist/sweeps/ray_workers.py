"""Workers on a Ray cluster: an actor each, which trains as a worker process of this machine does.

The machines of the cluster need this package, and the folder from which a sweep is begun at the same path, on a network
file system say: the run folders are there. Nothing but jobs and reports goes over Ray.
"""

import logging
import os
import queue
import socket
import threading
import time
from typing import Any

from tfmnist.errors import InputError
from tfmnist.sweeps.worker import Worker
from tfmnist.sweeps.workers import PATIENCE, Heard, Link, Workers

_REACHED = 5.0  # seconds in which a cluster answers
_BETWEEN = 0.1  # seconds between two questions to a worker


class RayWorkers(Workers):
    """Trains on a Ray cluster.

    Args:
        address: `HOST:PORT` of the cluster, `auto` for the one that runs on this machine, `local` to begin one here,
            which ends with the sweep.
        workers: how many; 0 for as many as the cluster has processors for. Those that it has no room for yet wait.
        threads: of TensorFlow's in each, and processors that Ray keeps for it.
        pack: how many jobs may train together in each.

    Raises:
        InputError: Ray is not installed, or there is no such cluster.
    """

    def __init__(self, address: str, workers: int = 0, threads: int = 1, pack: int = 1) -> None:
        self._ray, self._ours = _connect(address)
        super().__init__(workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)) // threads), pack)
        self._threads = threads

    def close(self) -> None:
        super().close()
        if self._ours:
            self._ray.shutdown()

    def _begin(self, heard: Heard) -> Link:
        remote = self._ray.remote(Actor).options(num_cpus=self._threads)
        return _ActorLink(self._ray, remote.remote(os.getcwd(), self._threads, self._pack), heard)


class Actor:
    """A worker in a process of the cluster; is made there."""

    def __init__(self, folder: str, threads: int, pack: int) -> None:
        os.chdir(folder)
        self._reports: queue.Queue[dict[str, Any] | Exception | None] = queue.Queue()
        self._worker = Worker(threads, pack, self._reports.put)
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        try:
            self._worker.work()
            self._reports.put(None)
        except Exception as error:
            self._reports.put(error)

    def say(self, order: dict[str, Any]) -> None:
        """Takes an order."""
        self._worker.order(order)

    def hang_up(self) -> None:
        """Saves what is trained; the last report is None."""
        self._worker.close()

    def hear(self) -> list[dict[str, Any] | None]:
        """Returns the reports since it was last asked, at once: what an actor does, it does one after the other."""
        found: list[dict[str, Any] | None] = []
        while not self._reports.empty():
            report = self._reports.get()
            if isinstance(report, Exception):
                raise report
            found.append(report)
        return found


class _ActorLink(Link):
    def __init__(self, ray: Any, actor: Any, heard: Heard) -> None:
        super().__init__()
        self._ray, self._actor = ray, actor
        self._why = "the worker on the cluster ended"
        self._reader = threading.Thread(target=self._follow, args=(heard,), daemon=True)
        self._reader.start()

    def _follow(self, heard: Heard) -> None:
        try:
            while True:
                for report in self._ray.get(self._actor.hear.remote()):
                    if report is None:
                        return
                    heard.put((self, report))
                time.sleep(_BETWEEN)
        except self._ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raised = isinstance(error, self._ray.exceptions.RayTaskError) or "creation task" in lines[0]
            self._why += f": {lines[-1 if raised else 0]}"  # a traceback has what was raised at its end
        finally:
            heard.put((self, None))

    def say(self, order: dict[str, Any]) -> None:
        self._actor.say.remote(order)

    def hang_up(self) -> None:
        self._actor.hang_up.remote()

    def end(self) -> None:
        self.hang_up()
        self._reader.join(PATIENCE)
        self._ray.kill(self._actor)

    def why(self) -> str:
        self.end()
        return self._why


def _connect(address: str) -> tuple[Any, bool]:
    """Returns Ray, connected, and whether that was done here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a cluster that begins here: it would report home
    try:
        import ray
    except ImportError:
        raise InputError("a Ray cluster needs Ray; install it with: pip install 'tfmnist[ray]'") from None
    if ray.is_initialized():
        return ray, False
    host, _, port = address.removeprefix("ray://").rpartition(":")
    ours = {"_node_ip_address": "127.0.0.1", "_system_config": {"worker_niceness": 0}, "include_dashboard": False}
    options: dict[str, Any] = ours if address == "local" else {}
    try:
        if host:
            socket.create_connection((host, int(port)), _REACHED).close()  # Ray tries for minutes
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--ray {address}: {reason}; expected HOST:PORT of a Ray cluster, auto or local.") from None
    return ray, True
