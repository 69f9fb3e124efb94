"""Contenders that take turns, each in its own process.

    python experiments/benchmarks/turns.py WORKLOAD CONTENDER

starts a worker by hand: it reads one request per line (`turn`, `accuracy`, `end`) and answers each with a line of JSON.
`race` starts a worker for every contender of a workload and lets them alternate, so that a drift in the machine's speed
affects all alike.
"""

import contextlib
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tfmnist.system.machine import processors

HERE = Path(__file__).parent
WORKLOADS = (
    "mlp",
    "online_mlp",
    "sigmoid_mlp",
    "imagefolder_mlp",
    "cnn",
    "augmentation",
    "inference",
    "inference_cnn",
    "command",
)
LONGEST_ERROR = 300
SECONDS_TO_END = 20


@dataclass(frozen=True)
class Contender:
    """A competitor in a workload, built in its own process."""

    turn: Callable[[], dict[str, float] | None]
    """One unit of the work; may return additional figures."""
    accuracy: Callable[[], float] | None = None
    """Test accuracy after all turns, if something was trained."""
    precision: str = "float32"
    note: str = ""
    """Settings worth mentioning, such as "eager, fused Adam"."""
    close: Callable[[], None] | None = None


@dataclass(frozen=True)
class Goal:
    """The ratio by which tfmnist must beat a rival."""

    rival: str
    """A contender's name, or several joined by " | " for the best of them."""
    ratio: float
    """The rival's figure divided by tfmnist's must be at least this."""
    measure: str = "seconds"
    """A figure of the turn; less is better."""
    turns: str = "later"
    """`first` for the first turn alone, `later` for the median of the others."""
    own: str = "tfmnist"


def load_workload(name: str) -> ModuleType:
    """Imports a workload by name, or by the path of a .py file; its goals must name contenders."""
    if name.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(name).stem, name)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(f"workloads.{name}")
    named = {name for goal in module.GOALS for name in (goal.own, *goal.rival.split(" | "))}
    if unknown := named - set(module.CONTENDERS):
        raise ValueError(f"the goals of {name} name {', '.join(sorted(unknown))}, which are no contenders")
    return module


def environment(scratch: str) -> dict[str, str]:
    """Returns the environment of a worker: the same threads for all, no GPU, and empty caches."""
    threads = ("OMP", "MKL", "OPENBLAS", "TF_NUM_INTRAOP", "TF_NUM_INTEROP")
    names = [f"{name}_THREADS" if name.startswith("TF") else f"{name}_NUM_THREADS" for name in threads]
    return {
        **os.environ,
        **dict.fromkeys([*names, "NPROC"], str(processors())),  # NPROC sets the size of XLA's own thread pool
        "CUDA_VISIBLE_DEVICES": "-1",
        "JAX_PLATFORMS": "cpu",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TORCHINDUCTOR_CACHE_DIR": str(Path(scratch) / "torchinductor"),
    }


class Worker:
    """A contender's process, seen from the driver."""

    def __init__(self, workload: str, contender: str, scratch: str) -> None:
        command = [sys.executable, str(HERE / "turns.py"), workload, contender]
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  # closed by close()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment(scratch),
        )

    def answer(self) -> dict[str, Any]:
        """Waits for an answer; a process that ended early counts as an error."""
        assert self._process.stdout
        if line := self._process.stdout.readline():
            return json.loads(line)
        self._log.seek(0)
        last = ([line.strip() for line in self._log if line.strip()] or [""])[-1]
        return {"error": one_line(f"ended with exit code {self._process.wait()}: {last}".rstrip(": "))}

    def ask(self, request: str) -> dict[str, Any]:
        """Sends a request and waits for its answer."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{request}\n")
            self._process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        """Ends the process: by request, or by force if that takes too long."""
        try:
            self._process.communicate("end\n", timeout=SECONDS_TO_END)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self._process.kill()
            self._process.communicate()
        finally:
            self._log.close()


def race(
    name: str, workload: ModuleType, turns: int, show: Callable[[str], None] = lambda text: None
) -> dict[str, dict[str, Any]]:
    """Lets all contenders of a workload take turns, and returns their results.

    A contender that fails leaves with an `error`; the others continue.

    Returns:
        For each contender: precision, note, setup_seconds, turns (their figures, in order), accuracy, error.
    """
    results: dict[str, dict[str, Any]] = {}
    workers: dict[str, Worker] = {}
    with tempfile.TemporaryDirectory(prefix="tfmnist-benchmark-", ignore_cleanup_errors=True) as scratch:

        def keep_racing(contender: str, answer: dict[str, Any]) -> bool:
            """Removes a contender with an error from the race; returns whether it is still in it."""
            if "error" in answer:
                results[contender]["error"] = answer["error"]
                workers.pop(contender).close()
            return "error" not in answer

        try:
            for contender in workload.CONTENDERS:
                show(f"{contender}: set-up")
                results[contender] = {"turns": [], "accuracy": None, "error": None}
                workers[contender] = Worker(name, contender, scratch)
                ready = workers[contender].answer()
                if keep_racing(contender, ready):
                    results[contender] |= ready
            for turn in range(turns):
                for contender in list(workers)[:: -1 if turn % 2 else 1]:  # no contender always goes first
                    show(f"{contender}: turn {turn + 1} of {turns}")
                    figures = workers[contender].ask("turn")
                    if keep_racing(contender, figures):
                        results[contender]["turns"].append(figures)
            for contender in list(workers):
                show(f"{contender}: accuracy")
                answer = workers[contender].ask("accuracy")
                if keep_racing(contender, answer):
                    results[contender] |= answer
        finally:
            for worker in workers.values():
                worker.close()
    return results


def work(name: str, contender: str) -> None:
    """Builds a contender and answers requests until `end`, or until the input ends."""
    with channels() as (requests, answer):
        try:
            began = time.perf_counter()
            workload = load_workload(name)
            built: Contender = workload.CONTENDERS[contender]()
            seconds = time.perf_counter() - began
            answer({"setup_seconds": seconds, "precision": built.precision, "note": built.note})
            try:
                serve(built, requests, answer)
            finally:
                if built.close:
                    built.close()
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            answer({"error": one_line(f"{type(error).__name__}: {error}")})


def serve(built: Contender, requests: Iterator[str], answer: Callable[[dict[str, Any]], None]) -> None:
    """Answers requests until `end`, or until the input ends."""
    idle_since = cpu_seconds()
    for line in requests:
        request = line.strip()
        if request == "end":
            return
        if request == "turn":
            idle = cpu_seconds() - idle_since
            answer({**measure(built.turn), "idle_cpu_seconds": idle})
        elif request == "accuracy":
            answer({"accuracy": built.accuracy() if built.accuracy else None})
        else:
            raise ValueError(f"unknown request {request!r}; expected turn, accuracy or end")
        idle_since = cpu_seconds()


@contextlib.contextmanager
def channels() -> Iterator[tuple[Iterator[str], Callable[[dict[str, Any]], None]]]:
    """Reserves standard input and output for requests and answers; everything else printed goes to standard error."""
    with os.fdopen(os.dup(0)) as requests, os.fdopen(os.dup(1), "w") as answers, open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)

        def answer(values: dict[str, Any]) -> None:
            with contextlib.suppress(BrokenPipeError):  # when the driver is gone, the input ends too
                answers.write(json.dumps(values) + "\n")
                answers.flush()

        yield requests, answer


def measure(turn: Callable[[], dict[str, float] | None]) -> dict[str, float]:
    """Takes a turn and returns its figures: time, processor time, memory, and those that the turn returns."""
    processor, began = cpu_seconds(), time.perf_counter()
    figures = turn() or {}
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "cpu_seconds": cpu_seconds() - processor, "peak_rss_mb": peak_rss_mb(), **figures}


def cpu_seconds() -> float:
    """Returns the processor time so far of this process and its finished children."""
    return sum(os.times()[:4])


def peak_rss_mb() -> float:
    """Returns the peak memory of this process, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage includes the memory of the process that started this one
        kilobytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(kilobytes) * 1024 / 1e6
    import resource

    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest * (1 if sys.platform == "darwin" else 1024) / 1e6


def one_line(text: str) -> str:
    """Puts a message on one line of limited length."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_ERROR else f"{text[: LONGEST_ERROR - 3]}..."


if __name__ == "__main__":
    work(*sys.argv[1:3])
