"""A worker process of a sweep: `python -m tfmnist.sweeps.worker THREADS PACK`.

Orders come as lines of JSON on standard input, `{"jobs": [...]}` and `{"stop": name}`; reports go out as lines of JSON.
When the input ends, the sweep has ended or wants to: the training under way is saved, and the process ends.
"""

import json
import os
import queue
import signal
import sys
import threading
from dataclasses import asdict
from typing import Any

_PATIENCE = 20.0  # seconds for a training to be saved after the input ended


def main() -> None:
    """Trains what is ordered until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.modules.setdefault("keras", None)  # type: ignore[arg-type]  # not used here, and slow to import
    out = os.fdopen(os.dup(1), "w")  # nothing but reports goes to standard output, whoever writes
    os.dup2(2, 1)
    orders: queue.Queue[tuple[list[dict[str, Any]], dict[str, threading.Event]] | None] = queue.Queue()
    running: dict[str, threading.Event] = {}
    closing = threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            order = json.loads(line)
            if "stop" in order:
                if event := running.get(order["stop"]):
                    event.set()
            else:
                stops = {job["name"]: threading.Event() for job in order["jobs"]}
                running.update(stops)
                orders.put((order["jobs"], stops))
        closing.set()
        orders.put(None)
        for event in list(running.values()):
            event.set()
        timer = threading.Timer(_PATIENCE, os._exit, [1])  # a long compilation is not waited for
        timer.daemon = True
        timer.start()

    threading.Thread(target=listen, daemon=True).start()
    from tfmnist.sweeps.executors import Job, train_jobs
    from tfmnist.training.threads import set_threads

    set_threads(int(sys.argv[1]))
    compiled: dict[str, Any] = {}
    while (order := orders.get()) is not None:
        if closing.is_set():
            break
        jobs, stops = [Job(**job) for job in order[0]], order[1]
        for report in train_jobs(jobs, stops, int(sys.argv[2]), compiled):
            try:
                print(json.dumps(asdict(report)), file=out, flush=True)
            except BrokenPipeError:  # the sweep was killed: save, and end
                for stop in stops.values():
                    stop.set()
            if report.kind != "epoch" and running.get(report.name) is stops[report.name]:
                del running[report.name]  # else it has been ordered again already


if __name__ == "__main__":
    main()
