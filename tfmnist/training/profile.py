"""Profile: where a step's time goes, and how close it is to the machine's limits.

Three programs are compiled and timed over blocks, as in training: forward pass, forward and backward pass, whole step.
The rest of a step's time in the loop is the host's: calls, and waiting for data.

The roofline (Williams, Waterman and Patterson 2009) of a step is the time that its matrix products and convolutions
take at the speed of the machine's best large product, and its update at the speed of its memory. Everything else, such
as elementwise operations, counts as 0.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

import tensorflow as tf

from tfmnist.training.loop import Trainer, restored
from tfmnist.training.step import forward_loss, loss_and_gradients, make_steps

_SECONDS = 1.5  # for each measurement
_TIMES = (3, 50)  # calls, at least and at most


@dataclass(frozen=True)
class Profile:
    """Median microseconds per step, and the machine's limits."""

    step: float  # in the loop: forward + backward + update + host
    forward: float  # cast, layers, loss
    backward: float
    update: float  # optimizer and averages
    host: float
    data: float  # gathering and augmenting its images, which runs in the background during the step before
    operations: float  # floating-point operations in matrix products and convolutions, forward and backward
    traffic: float  # bytes that the update must read and write
    peak: float  # operations per second in a product of two matrices of 2048 x 2048
    bandwidth: float  # bytes per second in adding a multiple of an array of the size of the parameters to another
    precision: str

    @property
    def limit(self) -> float:
        """The roofline: µs per step at the machine's limits."""
        return 1e6 * (self.operations / self.peak + self.traffic / self.bandwidth)

    @property
    def share(self) -> float:
        """Fraction of the limit's speed that is reached, 0 to 1."""
        return self.limit / self.step

    def to_dict(self) -> dict[str, Any]:
        """Returns all values, ready for JSON."""
        return {**asdict(self), "limit": self.limit, "share": self.share}


def profile(trainer: Trainer) -> Profile:
    """Measures a compiled trainer, whose weights, slots and averages are restored afterwards. Takes 10 to 20 s."""
    model, settings = trainer.model, trainer.settings
    steps, batch = trainer.plan.shapes[0]
    stream = partial(trainer.blocks, epochs=range(1_000_000))
    block = next(stream())
    options: dict[str, Any] = {"loss": trainer.loss, "precision": settings.precision, "step": trainer.optimizer.step}
    with trainer.layout():
        stored = [tf.Variable(tf.zeros_like(parameter)) for parameter in model.parameters]

    def backward(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        value, correct, gradients = loss_and_gradients(model, model.parameters, images, labels, **options)
        for variable, gradient in zip(stored, gradients):
            variable.assign(gradient)  # or the compiler would remove the backward pass
        return value, correct

    parts = {
        "forward": make_steps(partial(forward_loss, model, **options), trainer.mode, around=trainer.layout),
        "backward": make_steps(backward, trainer.mode, around=trainer.layout),
        "update": trainer.do_steps,
    }

    def run(part: str) -> Callable[[], Any]:
        return lambda: parts[part](block.images, block.labels, steps)[0].numpy()

    waiting, looping = stream(), stream()

    def loop() -> None:
        done = 0
        while done < steps:  # an epoch's last blocks may be shorter
            following = next(looping)
            count = following.end - following.first
            trainer.do_steps(following.images, following.labels, count)[0].numpy()
            done += count

    # in turn, so that a drift in the machine's speed affects all alike
    with restored(trainer.named_variables().values()):
        took = _time({"loop": loop, **{part: run(part) for part in parts}})
    took |= _time({"data": lambda: next(waiting)})
    micro = {name: 1e6 * seconds / steps for name, seconds in took.items()}
    count = sum(int(tf.size(p)) for p in model.parameters)
    streams = 3 + 2 * len(trainer.optimizer.slot_names) + (2 if trainer.averages else 0)
    peak, bandwidth = _limits(settings.precision, max(1 << 18, count))
    return Profile(
        step=micro["loop"],
        forward=micro["forward"],
        backward=max(0.0, micro["backward"] - micro["forward"]),
        update=max(0.0, micro["update"] - micro["backward"]),
        host=max(0.0, micro["loop"] - micro["update"]),
        data=micro["data"],
        operations=2.0 * batch * _multiply_adds(trainer),
        traffic=4.0 * streams * count,
        peak=peak,
        bandwidth=bandwidth,
        precision=settings.precision,
    )


def _multiply_adds(trainer: Trainer) -> int:
    """Returns the multiply-adds of one example in a step: forward, and backward to trained weights and to inputs."""
    total, below = 0, False
    for layer in trainer.model.find_layers().values():
        trained = layer.multiply_adds > 0 and not layer.frozen
        total += layer.multiply_adds * (1 + trained + below)
        own = (value for value in vars(layer).values() if isinstance(value, tf.Variable))
        below = below or (not layer.frozen and any(variable.trainable for variable in own))
    return total


def _limits(precision: str, count: int) -> tuple[float, float]:
    """Returns the operations per second of a large matrix product, and the bytes per second of adding arrays."""
    size = 2048
    left = tf.cast(tf.random.stateless_normal([size, size], (0, 0)), precision)
    first, second = tf.Variable(tf.ones([count])), tf.ones([count])
    rounds = 20

    @tf.function(jit_compile=True, autograph=False)
    def add() -> tf.Tensor:
        def once(index: tf.Tensor) -> list[tf.Tensor]:
            first.assign_add(tf.cast(index, tf.float32) * second)  # a plain sum takes twice as long
            return [index + 1]

        return tf.while_loop(lambda index: index < rounds, once, [tf.constant(0)], parallel_iterations=1)[0]

    product: Any = tf.function(lambda: tf.matmul(left, left), jit_compile=True, autograph=False)
    functions = {
        "eager": lambda: tf.matmul(left, left)[0, 0].numpy(),
        "compiled": lambda: product()[0, 0].numpy(),
        "add": lambda: add().numpy(),
    }
    took = _time(functions, best=True)
    return 2.0 * size**3 / min(took["eager"], took["compiled"]), 3 * 4 * count * rounds / took["add"]


def _time(functions: dict[str, Callable[[], Any]], best: bool = False) -> dict[str, float]:
    """Returns the median, or the least, seconds per call of each, called in turn after an untimed call."""
    took: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    began = time.perf_counter()
    for number in range(_TIMES[1]):
        if number >= _TIMES[0] and time.perf_counter() - began > _SECONDS * len(functions):
            break
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            took[name].append(time.perf_counter() - start)
    return {name: min(seconds) if best else median(seconds) for name, seconds in took.items()}
