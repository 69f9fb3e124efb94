"""The `sigmoid-mlp` recipe: small batches in a small network, where calls take most of the time of a step."""

# pyright: reportMissingImports=false
# the rivals are not among the package's dependencies

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from turns import Contender, Goal
from workloads.data import TRAIN, Arrays, fit_arrays, fit_keras, mnist, train_recipe
from workloads.limit import dense_limit

CLASSES = 10


@dataclass(frozen=True)
class Task:
    """A network of one hidden layer of sigmoids, sigmoids as outputs, quadratic cost, plain gradient descent."""

    hidden: int
    batch: int
    rate: float
    count: int = TRAIN
    bias: bool = True
    uniform: float = 0.0
    """Initial weights are uniform in [-uniform, uniform), or from N(0, 1) if this is 0."""

    @property
    def steps(self) -> int:
        """Steps per turn."""
        return self.count // self.batch

    def weights(self) -> list[np.ndarray]:
        """Returns initial weights, float32 `[inputs, units]` of both layers."""
        random = np.random.default_rng(5)  # with some seeds, N(0, 1) takes five epochs to learn one of the digits
        shapes = ((784, self.hidden), (self.hidden, CLASSES))
        draw = partial(random.uniform, -self.uniform, self.uniform) if self.uniform else partial(random.normal, 0, 1)
        return [draw(shape).astype(np.float32) for shape in shapes]


TASK = Task(hidden=30, batch=10, rate=3.0)
WORK = "784-30-10, sigmoid, quadratic cost, SGD 3.0, batch 10; one epoch of 60,000 images"
UNIT = "epoch"
STEPS = TASK.steps


def keras_fit(task: Task, jit: bool | str) -> Contender:
    """Keras on arrays in memory."""
    import keras

    data = mnist(task.count)
    keras.utils.set_random_seed(0)
    dense = partial(keras.layers.Dense, activation="sigmoid", kernel_initializer=keras.initializers.RandomNormal(0, 1))
    one_hot = np.eye(CLASSES, dtype=np.float32)

    def cost(y: Any, a: Any) -> Any:
        squares: Any = keras.ops.sum(keras.ops.square(a - y), axis=-1)
        return 0.5 * squares

    data = Arrays(data.images, one_hot[data.labels], data.test_images, one_hot[data.test_labels])
    layers = [keras.Input((784,)), dense(task.hidden), dense(CLASSES)]
    return fit_keras(layers, keras.optimizers.SGD(task.rate), *fit_arrays(data, task.batch), loss=cost, jit=jit)


def pytorch(task: Task) -> Contender:
    """PyTorch with the whole data set as one tensor."""
    import torch
    from torch import nn

    torch.set_num_threads(1)  # as fast as two with so little work to share, and without waiting for the other
    torch.manual_seed(0)
    data = mnist(task.count)
    images, targets = torch.from_numpy(data.images), torch.eye(CLASSES)[torch.from_numpy(data.labels)]
    layers = [nn.Linear(784, task.hidden, task.bias), nn.Linear(task.hidden, CLASSES, task.bias)]
    with torch.no_grad():
        for layer, weights in zip(layers, task.weights()):
            layer.weight.copy_(torch.from_numpy(weights.T))
            if layer.bias is not None:
                layer.bias.zero_()
    model = nn.Sequential(layers[0], nn.Sigmoid(), layers[1], nn.Sigmoid())
    optimizer = torch.optim.SGD(model.parameters(), task.rate, fused=True)

    def turn() -> dict[str, float]:
        total, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for rows in torch.randperm(task.count).split(task.batch):
            y = targets[rows]
            outputs = model(images[rows])
            loss = 0.5 * (outputs - y).square().sum() / task.batch
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
            correct += (outputs.argmax(1) == y.argmax(1)).sum()
        return {"loss": total.item() / task.steps, "train_accuracy": correct.item() / task.count}

    def accuracy() -> float:
        with torch.no_grad():
            return float((model(torch.from_numpy(data.test_images)).argmax(1).numpy() == data.test_labels).mean())

    return Contender(turn, accuracy, note="eager, fused SGD, one thread")


def pytorch_compiled(task: Task) -> Contender:
    """PyTorch with a whole step, forward, backward and update, in one compiled call."""
    import torch

    torch.set_num_threads(1)  # as above
    torch.manual_seed(0)
    data = mnist(task.count)
    images, targets = torch.from_numpy(data.images), torch.eye(CLASSES)[torch.from_numpy(data.labels)]
    kernels = [torch.from_numpy(w) for w in task.weights()]
    weights = [*kernels, *(torch.zeros(units) for units in (task.hidden, CLASSES) if task.bias)]
    total, correct = torch.zeros(2)

    def outputs_of(weights: Any, x: Any) -> Any:
        for kernel, bias in zip(weights[:2], weights[2:] or (None, None)):
            x = torch.sigmoid(x @ kernel if bias is None else torch.addmm(bias, x, kernel))
        return x

    def loss_of(weights: Any, x: Any, y: Any) -> tuple[Any, Any]:
        outputs = outputs_of(weights, x)
        return 0.5 * (outputs - y).square().sum() / task.batch, (outputs.argmax(1) == y.argmax(1)).sum()

    gradients_of = torch.func.grad_and_value(loss_of, has_aux=True)

    @torch.compile
    def step(weights: Any, total: Any, correct: Any, x: Any, y: Any) -> None:
        gradients, (loss, right) = gradients_of(weights, x, y)
        for w, g in zip(weights, gradients):
            w.sub_(task.rate * g)
        total.add_(loss)
        correct.add_(right)

    def turn() -> dict[str, float]:
        total.zero_()
        correct.zero_()
        for rows in torch.randperm(task.count).split(task.batch):
            step(weights, total, correct, images[rows], targets[rows])
        return {"loss": total.item() / task.steps, "train_accuracy": correct.item() / task.count}

    def accuracy() -> float:
        outputs = outputs_of(weights, torch.from_numpy(data.test_images))
        return float((outputs.argmax(1).numpy() == data.test_labels).mean())

    return Contender(turn, accuracy, note="torch.compile of the whole step, one thread")


def jax_scan(task: Task) -> Contender:
    """JAX: a whole turn is one compiled scan, whose weights are updated in place."""
    import jax
    import jax.numpy as jnp

    data = mnist(task.count)
    images, labels = jnp.asarray(data.images), jnp.asarray(data.labels.astype(np.int32))
    biases = [jnp.zeros(units) if task.bias else None for units in (task.hidden, CLASSES)]
    weights: Any = list(zip(map(jnp.asarray, task.weights()), biases))

    def outputs_of(weights: Any, x: Any) -> Any:
        for w, b in weights:
            x = jax.nn.sigmoid(x @ w if b is None else x @ w + b)
        return x

    def loss_of(weights: Any, x: Any, y: Any) -> tuple[Any, Any]:
        outputs = outputs_of(weights, x)
        error = outputs - jax.nn.one_hot(y, CLASSES)
        return 0.5 * (error * error).sum() / task.batch, (outputs.argmax(1) == y).sum()

    def step(weights: Any, rows: Any) -> tuple[Any, Any]:
        (loss, correct), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights, images[rows], labels[rows])
        return jax.tree.map(lambda w, g: w - task.rate * g, weights, gradients), (loss, correct)

    @partial(jax.jit, donate_argnums=0)
    def epoch(weights: Any, key: Any) -> tuple[Any, Any, Any]:
        order = jax.random.permutation(key, task.count).reshape(task.steps, task.batch)
        weights, (losses, correct) = jax.lax.scan(step, weights, order)
        return weights, losses.mean(), correct.sum()

    key = jax.random.key(1)

    def turn() -> dict[str, float]:
        nonlocal weights, key
        key, own = jax.random.split(key)
        weights, loss, correct = epoch(weights, own)
        return {"loss": float(loss), "train_accuracy": float(correct) / task.count}

    def accuracy() -> float:
        return float((np.asarray(outputs_of(weights, data.test_images).argmax(1)) == data.test_labels).mean())

    return Contender(turn, accuracy, note="jit of lax.scan over the turn, donated weights")


def numpy(task: Task) -> Contender:
    """NumPy: the gradients by hand, in place."""
    data = mnist(task.count)
    np.seterr(over="ignore")  # 1 / (1 + inf) is the 0 that it should be
    w1, w2 = task.weights()
    b1, b2 = np.zeros(task.hidden, np.float32), np.zeros(CLASSES, np.float32)
    targets = np.eye(CLASSES, dtype=np.float32)[data.labels]
    x = np.empty((task.batch, 784), np.float32)
    hidden, delta1 = np.empty((2, task.batch, task.hidden), np.float32)
    outputs = np.empty((task.batch, CLASSES), np.float32)
    dw1 = np.empty_like(w1)
    scale, random = np.float32(task.rate / task.batch), np.random.default_rng(1)

    def sigmoid(z: np.ndarray) -> None:
        np.negative(z, out=z)
        np.exp(z, out=z)
        z += 1
        np.reciprocal(z, out=z)

    def step(rows: np.ndarray) -> tuple[float, int]:
        y = targets[rows]
        np.take(data.images, rows, axis=0, out=x, mode="clip")  # clip: without a copy
        np.matmul(x, w1, out=hidden)
        np.add(hidden, b1, out=hidden)
        sigmoid(hidden)
        np.matmul(hidden, w2, out=outputs)
        np.add(outputs, b2, out=outputs)
        sigmoid(outputs)
        error = outputs - y
        loss, correct = float(np.vdot(error, error)) / 2, int((outputs.argmax(1) == data.labels[rows]).sum())
        delta2 = error * outputs * (1 - outputs) * scale  # times the learning rate: what weights move by
        np.matmul(delta2, w2.T, out=delta1)
        np.multiply(delta1, hidden, out=delta1)
        np.multiply(delta1, 1 - hidden, out=delta1)
        np.subtract(w2, hidden.T @ delta2, out=w2)
        np.subtract(b2, delta2.sum(0), out=b2)
        np.matmul(x.T, delta1, out=dw1)
        np.subtract(w1, dw1, out=w1)
        np.subtract(b1, delta1.sum(0), out=b1)
        return loss, correct

    def turn() -> dict[str, float]:
        order = random.permutation(task.count).reshape(task.steps, task.batch)
        loss, correct = np.sum([step(rows) for rows in order], axis=0)
        return {"loss": loss / task.count, "train_accuracy": correct / task.count}

    def accuracy() -> float:
        inner = 1 / (1 + np.exp(-(data.test_images @ w1 + b1)))
        return float(((inner @ w2 + b2).argmax(1) == data.test_labels).mean())

    return Contender(turn, accuracy, note="in place")


CONTENDERS: dict[str, Callable[[], Contender]] = {
    "tfmnist": partial(train_recipe, "sigmoid-mlp"),
    "NumPy": partial(numpy, TASK),
    "PyTorch eager": partial(pytorch, TASK),
    "PyTorch compiled": partial(pytorch_compiled, TASK),
    "JAX scan": partial(jax_scan, TASK),
    "Keras fit": partial(keras_fit, TASK, jit="auto"),
    "limit": partial(dense_limit, (784, TASK.hidden, CLASSES), TASK.batch, STEPS, adam=False, threads=1),
}
GOALS = [Goal("NumPy", 1.7), Goal("JAX scan", 1.2)]
