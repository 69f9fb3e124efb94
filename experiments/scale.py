"""Measures the pieces of which `SCALE.md` is computed, and simulates the order of 10⁹ pictures for 1,000 processes.

    python experiments/scale.py [--parts order sum checkpoint storage] [--pictures 1000000000]

order: the time per row, whether each picture comes once per epoch, and whether the processes' shares of a step are all
of it. sum: adding up between two processes on this machine. checkpoint: of `mlp-best`. storage: what a sweep's commands
ask of a private PostgreSQL, with many trials in it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from tfmnist import seeds
from tfmnist.system.machine import processor_name

PROCESSES, SHARE = 1000, 128
SIZES = (4, 1_000_000, 10_000_000)  # bytes


def seconds(function: Callable[[], Any], times: int = 5) -> float:
    took = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        took.append(time.perf_counter() - began)
    return median(took)


def measure_order(pictures: int) -> None:
    print(f"order: begins in {1000 * seconds(lambda: seeds.order_of(0, 0, pictures)):.2f} ms")
    order, batch = seeds.order_of(0, 0, pictures), PROCESSES * SHARE
    print(f"order: {1e6 * seconds(lambda: order(0, batch)) / batch:.3f} µs per row of a batch of {batch:,}")
    step = order(7 * batch, 8 * batch)
    shares = [step[index::PROCESSES] for index in range(PROCESSES)]
    whole = len(np.unique(np.concatenate(shares))) == batch and {len(share) for share in shares} == {SHARE}
    print(f"order: the shares of {PROCESSES:,} processes are all of a step, each once: {whole}")
    seen, began = np.zeros(pictures, np.bool_), time.perf_counter()
    for start in range(0, pictures, 10_000_000):
        seen[order(start, min(start + 10_000_000, pictures))] = True
    print(f"order: each of {pictures:,} pictures comes once: {bool(seen.all())} ({time.perf_counter() - began:.0f} s)")


def measure_sum() -> None:
    from tfmnist.runs.cluster import Cluster, free_address

    cluster = Cluster((free_address(), free_address()), 0)
    command = [sys.executable, __file__, "--as-process"]
    both = [subprocess.Popen(command, env={**os.environ, **cluster.environment(index)}) for index in (0, 1)]
    assert [process.wait(120) for process in both] == [0, 0]


def send_in_this_process() -> None:
    from tfmnist.runs.cluster import Cluster
    from tfmnist.training.distribute import Processes

    cluster = Cluster.from_environment()
    assert cluster
    cluster.meet(threading.Event())
    processes = Processes(2, cluster.index, cluster.local_index)
    for size in SIZES:
        data = bytes(size)
        took = seconds(lambda data=data: processes.send(data), 20)
        if processes.is_chief:
            print(f"sum: {size:,} bytes, sent after their number: {1000 * took:.2f} ms", flush=True)


def measure_checkpoint() -> None:
    from tfmnist.data.split import Split
    from tfmnist.nn.models import MLP
    from tfmnist.nn.optimizers import Adam
    from tfmnist.recipe import Train
    from tfmnist.training.checkpoint import save_checkpoint
    from tfmnist.training.loop import Trainer

    for units in (100, 2000, 20_000):
        model = MLP(hidden=[units])
        split = Split(np.zeros([200, 28, 28], np.uint8), np.arange(200) % 10)
        trainer = Trainer(model, Adam(model.parameters), split, None, Train(compile="graph"))
        with tempfile.TemporaryDirectory() as folder:
            took = seconds(lambda trainer=trainer, folder=folder: save_checkpoint(Path(folder), trainer, ""), 3)
            size = next(Path(folder).glob("*.npz")).stat().st_size
        print(f"checkpoint: {model.parameter_count:,} parameters, {size / 1e6:.0f} MB: {1000 * took:.0f} ms")


def measure_storage() -> None:
    import optuna
    from postgresql import PostgreSQL

    from tfmnist.sweeps.optuna_storage import open_storage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with PostgreSQL() as server, server.database() as url:
        study = optuna.create_study(study_name="many", storage=open_storage(url, Path()))
        count = 0
        for trials in (100, 1000, 3000):
            began, before = time.perf_counter(), count
            while count < trials:
                study.add_trial(
                    optuna.trial.create_trial(
                        value=0.5,
                        params={"x": 0.1},
                        distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
                        user_attrs={"row": "x" * 500},
                        intermediate_values=dict.fromkeys(range(5), 0.5),
                    )
                )
                count += 1
            adding = (time.perf_counter() - began) / (trials - before)
            cold = seconds(
                lambda: optuna.load_study(study_name="many", storage=open_storage(url, Path())).get_trials(), 3
            )
            warm = seconds(lambda: study.get_trials(deepcopy=False), 20)
            print(
                f"storage: {trials:,} trials: {1000 * adding:.0f} ms to add one, {cold:.2f} s to read all, "
                f"{1000 * warm:.1f} ms to ask what is new",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ["order", "sum", "checkpoint", "storage"]
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--pictures", type=int, default=10**9)
    given = parser.parse_args()
    print(processor_name())
    if "order" in given.parts:
        measure_order(given.pictures)
    for name, measure in {"sum": measure_sum, "checkpoint": measure_checkpoint, "storage": measure_storage}.items():
        if name in given.parts:
            measure()


if __name__ == "__main__":
    send_in_this_process() if "--as-process" in sys.argv else main()
