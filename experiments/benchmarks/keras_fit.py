"""One epoch of the `mlp` recipe beside the same work in Keras `fit`, alternating in one run.

    pip install -e '.[benchmark]'
    python experiments/benchmarks/keras_fit.py --epochs 9

Each framework has a process of its own, with the same threads and the same data in memory: 55,000 images, batch 100,
784-512-10, ReLU, Adam 0.001, shuffled each epoch, mean loss and accuracy reported. They take turns, an epoch each, so
that a machine whose speed drifts is equally fast for all. The first epoch, with tracing and compiling, is left out of
the medians and stated apart. The test accuracy after the last epoch shows that all did the work.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

CONTENDERS = ("tfmnist", "keras default", "keras jit")


def main() -> None:
    """Runs the contenders in turn and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--epochs", type=int, default=7, help="epochs after the first")
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--worker", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(arguments.worker)
    workers = {name: start(name) for name in CONTENDERS}
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(1 + arguments.epochs):
        for name, worker in workers.items():
            seconds[name].append(float(ask(worker, "epoch")))
    accuracy = {name: float(ask(worker, "accuracy")) for name, worker in workers.items()}
    for worker in workers.values():
        worker.communicate("")
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    row = "{:<14} {:>11} {:>8} {:>8} {:>8} {:>9} {:>7}"
    print(row.format("seconds", "first epoch", "median", "fastest", "slowest", "us a step", "test"))
    for name, (first, *rest) in seconds.items():
        median = statistics.median(rest)
        figures = [f"{value:.2f}" for value in (first, median, min(rest), max(rest))]
        print(row.format(name, *figures, f"{median / 550 * 1e6:.0f}", f"{accuracy[name]:.2%}"))
    for name in CONTENDERS[1:]:
        pairs = [theirs / mine for theirs, mine in zip(seconds[name][1:], seconds["tfmnist"][1:])]
        print(f"{name} takes {statistics.median(pairs):.2f} times as long (median of {len(pairs)} pairs)")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"seconds": seconds, "accuracy": accuracy}, file, indent=2)


def start(name: str) -> "subprocess.Popen[str]":
    """Starts a contender's process."""
    command = [sys.executable, __file__, "--worker", name]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)


def ask(worker: "subprocess.Popen[str]", what: str) -> str:
    """Sends one request and waits for its answer."""
    assert worker.stdin and worker.stdout
    worker.stdin.write(f"{what}\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise SystemExit(f"a worker ended early, with exit code {worker.wait()}")
    return answer


def work(name: str) -> None:
    """Answers requests until the input ends: `epoch` with its seconds, `accuracy` with the test accuracy."""
    epoch, accuracy = tfmnist_worker() if name == "tfmnist" else keras_worker(jit="auto" if "default" in name else True)
    for line in sys.stdin:
        if line.strip() == "epoch":
            began = time.perf_counter()
            epoch()
            print(time.perf_counter() - began, flush=True)
        else:
            print(accuracy(), flush=True)


def tfmnist_worker() -> tuple[Callable[[], None], Callable[[], float]]:
    """Returns what trains one epoch and what measures, with tfmnist."""
    import tfmnist
    from tfmnist.recipe import Train
    from tfmnist.training.loop import Epoch, Trainer

    digits = tfmnist.load("mnist")
    model = tfmnist.MLP((28, 28), [512], 10)
    trainer = Trainer(model, tfmnist.Adam(model.parameters, 0.001), digits.train, None, Train(epochs=1000))
    events = trainer.run()

    def epoch() -> None:
        while not isinstance(next(events), Epoch):
            pass

    return epoch, lambda: tfmnist.evaluate(model, digits.test).accuracy


def keras_worker(jit: Any) -> tuple[Callable[[], None], Callable[[], float]]:
    """Returns what trains one epoch and what measures, with Keras at its usual best: arrays in memory, `fit`."""
    import keras
    import numpy as np

    import tfmnist

    digits = tfmnist.load("mnist")
    images = digits.train.images.reshape(-1, 784).astype(np.float32) / 255
    labels = digits.train.labels
    model: Any = keras.Sequential(
        [
            keras.Input((784,)),
            keras.layers.Dense(512, activation="relu", kernel_initializer="he_normal"),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.001), loss, metrics=["accuracy"], jit_compile=jit)

    def accuracy() -> float:
        test = digits.test.images.reshape(-1, 784).astype(np.float32) / 255
        return float(model.evaluate(test, digits.test.labels, verbose=0)[1])

    return lambda: model.fit(images, labels, batch_size=100, epochs=1, verbose=0), accuracy


if __name__ == "__main__":
    main()
