"""What trains in a worker process; run as `python -m tfmnist.sweeps.worker THREADS PACK`, it is one of this machine.

Orders are `{"jobs": [...]}` and `{"stop": name}`: lines of JSON on standard input, where reports are lines of JSON on
standard output. When the input ends, the sweep has ended or wants to: the training under way is saved, and the process
ends.
"""

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tfmnist.sweeps.executors import train_jobs
from tfmnist.sweeps.packing import Job

_PATIENCE = 20.0  # seconds for a training to be saved after the input ended


class Worker:
    """Trains what is ordered, batch by batch, until it is closed.

    Args:
        threads: TensorFlow's.
        pack: how many jobs may train together.
        give: takes each report, as plain data; raises `BrokenPipeError` where nobody listens any more.
    """

    def __init__(self, threads: int, pack: int, give: Callable[[dict[str, Any]], None]) -> None:
        self._threads, self._pack, self._give = threads, pack, give
        self._orders: queue.Queue[tuple[list[Job], dict[str, threading.Event]] | None] = queue.Queue()
        self._running: dict[str, threading.Event] = {}
        self._closing = threading.Event()

    def order(self, order: dict[str, Any]) -> None:
        """Takes an order; from any thread."""
        if "stop" in order:
            if event := self._running.get(order["stop"]):
                event.set()
        else:
            jobs = [Job(**job) for job in order["jobs"]]
            stops = {job.name: threading.Event() for job in jobs}
            self._running.update(stops)
            self._orders.put((jobs, stops))

    def close(self) -> None:
        """Lets what is trained be saved, and `work` return; from any thread."""
        self._closing.set()
        self._orders.put(None)
        for event in list(self._running.values()):
            event.set()

    def work(self) -> None:
        """Trains until it is closed."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        sys.modules.setdefault("keras", None)  # type: ignore[arg-type]  # not used here, and slow to import
        from tfmnist.training.threads import set_threads

        set_threads(self._threads)
        compiled: dict[str, Any] = {}
        while (order := self._orders.get()) is not None and not self._closing.is_set():
            jobs, stops = order
            for report in train_jobs(jobs, stops, self._pack, compiled):
                try:
                    self._give(asdict(report))
                except BrokenPipeError:  # the sweep was killed: save, and end
                    for stop in stops.values():
                        stop.set()
                if report.kind != "epoch" and self._running.get(report.name) is stops[report.name]:
                    del self._running[report.name]  # else it has been ordered again already


def main() -> None:
    """Trains what comes on standard input until that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = os.fdopen(os.dup(1), "w")  # nothing but reports goes to standard output, whoever writes
    os.dup2(2, 1)
    threads, pack = map(int, sys.argv[1:])
    worker = Worker(threads, pack, lambda report: print(json.dumps(report), file=out, flush=True))

    def listen() -> None:
        for line in sys.stdin:
            worker.order(json.loads(line))
        worker.close()
        timer = threading.Timer(_PATIENCE, os._exit, [1])  # a long compilation is not waited for
        timer.daemon = True
        timer.start()

    threading.Thread(target=listen, daemon=True).start()
    worker.work()


if __name__ == "__main__":
    main()
