"""The `mlp` recipe: dense layers, small enough that everything besides the matrix products counts."""

# pyright: reportMissingImports=false
# the rivals are not among the package's dependencies

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from turns import Contender, Goal, processors
from workloads.data import fit_arrays, fit_keras, mnist, train_recipe
from workloads.limit import dense_limit

WORK = "784-512-10, ReLU, Adam 0.001, batch 100; one epoch of 60,000 images"
UNIT = "epoch"
STEPS = 600
BATCH, HIDDEN, CLASSES, RATE = 100, 512, 10, 0.001
SHAPES = ((784, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,))
PARAMETERS = 407_050
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def keras_fit(jit: bool | str) -> Contender:
    """Keras on arrays in memory."""
    import keras

    data = mnist()
    keras.utils.set_random_seed(0)
    dense = partial(keras.layers.Dense, kernel_initializer="he_normal")
    layers = [keras.Input((784,)), dense(HIDDEN, activation="relu"), dense(CLASSES)]
    return fit_keras(layers, keras.optimizers.Adam(RATE), *fit_arrays(data, BATCH), jit=jit)


def pytorch(bfloat16: bool = False) -> Contender:
    """PyTorch with the whole data set as one tensor, and Adam in one call for all parameters."""
    import torch
    from torch import nn

    torch.set_num_threads(processors())
    torch.manual_seed(0)
    data = mnist()
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    model = nn.Sequential(nn.Linear(784, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))
    for layer in (model[0], model[2]):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)

    def turn() -> dict[str, float]:
        total, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for rows in torch.randperm(len(images)).split(BATCH):
            y = labels[rows]
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                logits = model(images[rows]).float()
            loss = nn.functional.cross_entropy(logits, y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
            correct += (logits.argmax(1) == y).sum()
        return {"loss": total.item() / STEPS, "train_accuracy": correct.item() / len(images)}

    def accuracy() -> float:
        with torch.no_grad():
            return float((model(torch.from_numpy(data.test_images)).argmax(1).numpy() == data.test_labels).mean())

    precision, more = ("bfloat16", ", autocast") if bfloat16 else ("float32", "")
    return Contender(turn, accuracy, precision, f"eager, fused Adam{more}")


def pytorch_compiled() -> Contender:
    """PyTorch with a whole step, forward, backward and Adam, in one compiled call."""
    import torch
    from torch import nn

    torch.set_num_threads(processors())
    torch.manual_seed(0)
    data = mnist()
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    weights = [
        torch.randn(shape) * np.sqrt(2 / shape[0]).item() if len(shape) == 2 else torch.zeros(shape) for shape in SHAPES
    ]
    m, v = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    t, total, correct = torch.zeros(3)

    def logits_of(weights: Any, x: Any) -> Any:
        w1, b1, w2, b2 = weights
        return torch.addmm(b2, torch.relu(torch.addmm(b1, x, w1)), w2)

    def loss_of(weights: Any, x: Any, y: Any) -> tuple[Any, Any]:
        logits = logits_of(weights, x)
        return nn.functional.cross_entropy(logits, y), (logits.argmax(1) == y).sum()

    gradients_of = torch.func.grad_and_value(loss_of, has_aux=True)

    @torch.compile
    def step(weights: Any, m: Any, v: Any, t: Any, total: Any, correct: Any, x: Any, y: Any) -> None:
        gradients, (loss, right) = gradients_of(weights, x, y)
        t.add_(1)
        root = torch.sqrt(1 - BETA2**t)
        rate = RATE * root / (1 - BETA1**t)
        for w, g, first, second in zip(weights, gradients, m, v):
            first.mul_(BETA1).add_(g, alpha=1 - BETA1)
            second.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
            w.sub_(rate * first / (second.sqrt() + EPSILON * root))
        total.add_(loss)
        correct.add_(right)

    def turn() -> dict[str, float]:
        total.zero_()
        correct.zero_()
        for rows in torch.randperm(len(images)).split(BATCH):
            step(weights, m, v, t, total, correct, images[rows], labels[rows])
        return {"loss": total.item() / STEPS, "train_accuracy": correct.item() / len(images)}

    def accuracy() -> float:
        logits = logits_of(weights, torch.from_numpy(data.test_images))
        return float((logits.argmax(1).numpy() == data.test_labels).mean())

    return Contender(turn, accuracy, note="torch.compile of the whole step, Adam by hand")


def jax_scan() -> Contender:
    """JAX: a whole epoch is one compiled scan, whose weights and slots are updated in place."""
    import jax
    import jax.numpy as jnp

    data = mnist()
    images, labels = jnp.asarray(data.images), jnp.asarray(data.labels.astype(np.int32))
    keys = jax.random.split(jax.random.key(0), len(SHAPES))
    weights = [
        jax.random.normal(key, shape) * np.sqrt(2 / shape[0], dtype=np.float32) if len(shape) == 2 else jnp.zeros(shape)
        for key, shape in zip(keys, SHAPES)
    ]

    def logits_of(weights: Any, x: Any) -> Any:
        w1, b1, w2, b2 = weights
        return jax.nn.relu(x @ w1 + b1) @ w2 + b2

    def loss_of(weights: Any, x: Any, y: Any) -> tuple[Any, Any]:
        logits = logits_of(weights, x)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1)
        return -log_p.mean(), (logits.argmax(1) == y).sum()

    def step(state: Any, rows: Any) -> tuple[Any, Any]:
        weights, m, v, t = state
        (loss, correct), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights, images[rows], labels[rows])
        t = t + 1
        m = [BETA1 * m + (1 - BETA1) * g for m, g in zip(m, gradients)]
        v = [BETA2 * v + (1 - BETA2) * g * g for v, g in zip(v, gradients)]
        root = jnp.sqrt(1 - BETA2**t)
        rate = RATE * root / (1 - BETA1**t)
        weights = [w - rate * m / (jnp.sqrt(v) + EPSILON * root) for w, m, v in zip(weights, m, v)]
        return (weights, m, v, t), (loss, correct)

    @partial(jax.jit, donate_argnums=0)
    def epoch(state: Any, key: Any) -> tuple[Any, Any, Any]:
        order = jax.random.permutation(key, len(images)).reshape(STEPS, BATCH)
        state, (losses, correct) = jax.lax.scan(step, state, order)
        return state, losses.mean(), correct.sum()

    slots = [[jnp.zeros_like(w) for w in weights] for _ in range(2)]
    state, key = (weights, *slots, jnp.float32(0)), jax.random.key(1)

    def turn() -> dict[str, float]:
        nonlocal state, key
        key, own = jax.random.split(key)
        state, loss, correct = epoch(state, own)
        return {"loss": float(loss), "train_accuracy": float(correct) / len(images)}

    def accuracy() -> float:
        return float((np.asarray(logits_of(state[0], data.test_images).argmax(1)) == data.test_labels).mean())

    return Contender(turn, accuracy, note="jit of lax.scan over the epoch, donated state, Adam by hand")


def numpy() -> Contender:
    """NumPy: the gradients by hand, all parameters in one array that Adam updates in place."""
    data = mnist()
    random = np.random.default_rng(0)
    w, g, m, v, scratch = (np.zeros(PARAMETERS, np.float32) for _ in range(5))
    ends = np.cumsum([np.prod(shape) for shape in SHAPES])
    w1, b1, w2, b2 = (part.reshape(shape) for part, shape in zip(np.split(w, ends[:-1]), SHAPES))
    dw1, db1, dw2, db2 = (part.reshape(shape) for part, shape in zip(np.split(g, ends[:-1]), SHAPES))
    for kernel in (w1, w2):
        kernel[:] = random.normal(0, np.sqrt(2 / len(kernel)), kernel.shape)
    x = np.empty((BATCH, 784), np.float32)
    hidden, dhidden = np.empty((2, BATCH, HIDDEN), np.float32)
    logits = np.empty((BATCH, CLASSES), np.float32)
    examples, steps = np.arange(BATCH), 0

    def adam() -> None:
        nonlocal m, v, steps
        steps += 1
        root = np.sqrt(1 - BETA2**steps)
        m *= np.float32(BETA1)
        np.multiply(g, np.float32(1 - BETA1), out=scratch)
        m += scratch
        v *= np.float32(BETA2)
        np.multiply(g, g, out=g)
        np.multiply(g, np.float32(1 - BETA2), out=g)
        v += g
        np.sqrt(v, out=scratch)
        np.add(scratch, np.float32(EPSILON * root), out=scratch)
        np.divide(m, scratch, out=scratch)
        np.multiply(scratch, np.float32(RATE * root / (1 - BETA1**steps)), out=scratch)
        np.subtract(w, scratch, out=w)

    def step(rows: np.ndarray) -> tuple[float, int]:
        y = data.labels[rows]
        np.take(data.images, rows, axis=0, out=x, mode="clip")  # clip: without a copy
        np.matmul(x, w1, out=hidden)
        np.add(hidden, b1, out=hidden)
        np.maximum(hidden, 0, out=hidden)
        np.matmul(hidden, w2, out=logits)
        np.add(logits, b2, out=logits)
        correct = int((logits.argmax(1) == y).sum())
        np.subtract(logits, logits.max(1, keepdims=True), out=logits)
        chosen = logits[examples, y]
        np.exp(logits, out=logits)
        sums = logits.sum(1, keepdims=True)
        loss = float((np.log(sums[:, 0]) - chosen).sum())
        np.divide(logits, sums * BATCH, out=logits)  # from here on the gradient of the mean loss
        logits[examples, y] -= np.float32(1 / BATCH)
        np.matmul(hidden.T, logits, out=dw2)
        np.sum(logits, axis=0, out=db2)
        np.matmul(logits, w2.T, out=dhidden)
        np.multiply(dhidden, hidden > 0, out=dhidden)
        np.matmul(x.T, dhidden, out=dw1)
        np.sum(dhidden, axis=0, out=db1)
        adam()
        return loss, correct

    def turn() -> dict[str, float]:
        order = random.permutation(len(data.images)).reshape(STEPS, BATCH)
        loss, correct = np.sum([step(rows) for rows in order], axis=0)
        return {"loss": loss / len(data.images), "train_accuracy": correct / len(data.images)}

    def accuracy() -> float:
        scores = np.maximum(data.test_images @ w1 + b1, 0) @ w2 + b2
        return float((scores.argmax(1) == data.test_labels).mean())

    return Contender(turn, accuracy, note="in place, Adam by hand")


CONTENDERS: dict[str, Callable[[], Contender]] = {
    "tfmnist": partial(train_recipe, "mlp"),
    "tfmnist bfloat16": partial(train_recipe, "mlp", {"train.precision": "bfloat16"}),
    "Keras fit": partial(keras_fit, jit="auto"),
    "Keras fit jit": partial(keras_fit, jit=True),
    "PyTorch eager": pytorch,
    "PyTorch compiled": pytorch_compiled,
    "PyTorch bfloat16": partial(pytorch, bfloat16=True),
    "JAX scan": jax_scan,
    "NumPy": numpy,
    "limit": partial(dense_limit, (784, HIDDEN, CLASSES), BATCH, STEPS),
}
GOALS = [
    Goal("Keras fit", 4.0),
    Goal("Keras fit jit", 2.0),
    Goal("PyTorch eager", 1.4),
    Goal("JAX scan", 1.05),
    Goal("limit", 0.85),
]
