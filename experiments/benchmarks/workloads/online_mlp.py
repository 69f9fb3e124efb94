"""The `online-mlp` recipe: one example per step, so that matrices are multiplied by vectors.

The rivals are those of `sigmoid_mlp`, except NumPy, which is faster on vectors than on batches of one.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from turns import Contender, Goal
from workloads.data import mnist, train_recipe
from workloads.limit import dense_limit
from workloads.sigmoid_mlp import CLASSES, Task, jax_scan, pytorch, pytorch_compiled

TASK = Task(hidden=100, batch=1, rate=0.2, count=20_000, bias=False, uniform=0.5)
WORK = "784-100-10, sigmoid, no biases, quadratic cost, SGD 0.2, one example a step; 20,000 images, the first of MNIST"
UNIT = "20,000 images"
STEPS = TASK.steps


def numpy() -> Contender:
    """NumPy: the gradients by hand, on vectors, in place."""
    data = mnist(TASK.count)
    w1, w2 = (np.ascontiguousarray(weights.T) for weights in TASK.weights())
    targets = np.eye(10, dtype=np.float32)[data.labels]
    move1, move2 = np.empty_like(w1), np.empty_like(w2)
    rate, random = np.float32(TASK.rate), np.random.default_rng(1)

    def step(row: int) -> tuple[float, bool]:
        x, y = data.images[row], targets[row]
        hidden = 1 / (1 + np.exp(-(w1 @ x)))
        outputs = 1 / (1 + np.exp(-(w2 @ hidden)))
        error = outputs - y
        delta2 = error * outputs * (1 - outputs) * rate  # times the learning rate: what weights move by
        delta1 = (delta2 @ w2) * hidden * (1 - hidden)
        np.multiply(delta2[:, None], hidden, out=move2)
        np.subtract(w2, move2, out=w2)
        np.multiply(delta1[:, None], x, out=move1)
        np.subtract(w1, move1, out=w1)
        return float(error @ error) / 2, outputs.argmax() == data.labels[row]

    def turn() -> dict[str, float]:
        loss, correct = np.sum([step(row) for row in random.permutation(TASK.count)], axis=0)
        return {"loss": loss / TASK.count, "train_accuracy": correct / TASK.count}

    def accuracy() -> float:
        inner = 1 / (1 + np.exp(-(data.test_images @ w1.T)))
        return float(((inner @ w2.T).argmax(1) == data.test_labels).mean())

    return Contender(turn, accuracy, note="vectors, in place")


CONTENDERS: dict[str, Callable[[], Contender]] = {
    "tfmnist": partial(train_recipe, "online-mlp", count=TASK.count),
    "NumPy": numpy,
    "PyTorch eager": partial(pytorch, TASK),
    "PyTorch compiled": partial(pytorch_compiled, TASK),
    "JAX scan": partial(jax_scan, TASK),
    "limit": partial(dense_limit, (784, TASK.hidden, CLASSES), TASK.batch, STEPS, adam=False, threads=1),
}
GOALS = [Goal("NumPy", 4.0), Goal("PyTorch eager", 20.0), Goal("JAX scan", 1.0)]
