"""The compiled steps of several networks as one. All that tells trainings apart is a variable or comes with the block,
so what was compiled once serves all trainings of its kind.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf

from tfmnist.nn.losses import LOSSES
from tfmnist.nn.models import to_unit
from tfmnist.nn.optimizers import AdamW, Optimizer
from tfmnist.nn.packed import PackedNetwork, dropout_numbers
from tfmnist.recipe import Loss
from tfmnist.training.loop import Trainer, named_variables
from tfmnist.training.step import Averages

State = dict[str, tf.Tensor]


class PackedSteps:
    """Networks, optimizer and averages with a leading axis, and what is compiled of them.

    Args:
        lanes: the trainers to begin with, one a network; others like them take their places by `load`.
        mixed: whether each network gets batches of its own; else all get the same.
    """

    def __init__(self, lanes: Sequence[Trainer], mixed: bool):
        first = lanes[0]
        self.size, self.mixed, self.precision = len(lanes), mixed, tf.as_dtype(first.settings.precision)
        self.loss: Loss = first.loss
        self.clips = bool(first.clip_norm)
        self.model = PackedNetwork([lane.model for lane in lanes])
        self._numbers = {name: tf.Variable(value, trainable=False) for name, value in _numbers(lanes).items()}
        self.optimizer = self._make_optimizer(first.optimizer)
        decay = self._numbers.get("average")
        self.averages = None if decay is None else Averages(self.model, decay)
        self.do_full = self.do_short = self._compile(xla=first.mode == "xla")
        if first.mode == "xla":  # one smaller batch an epoch is not worth a second program
            self.do_short = self._compile(xla=False)
        self.measure = tf.function(self._outputs, autograph=False, reduce_retracing=True)

    def variables(self) -> dict[str, tf.Variable]:
        """Returns every variable that training changes, by the name that a trainer's has."""
        return named_variables(self.model, self.optimizer, self.averages)

    def state(self) -> State:
        """Returns all that tells these trainings from others, as it is now."""
        return {name: tf.identity(variable) for name, variable in self._everything().items()}

    def load(self, state: State) -> None:
        """Puts other trainings in the place of these."""
        for name, variable in self._everything().items():
            variable.assign(state[name])

    def fresh(self, lanes: Sequence[Trainer]) -> State:
        """Returns the state of trainers as they stand: their numbers; the variables are for the caller to add."""
        numbers = {**_numbers(lanes), **dropout_numbers([lane.model for lane in lanes])}
        return {f"numbers/{name}": value for name, value in numbers.items()}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The networks have the averaged weights inside, where there are any."""
        if self.averages is None:
            yield
            return
        kept = {name: tf.identity(variable) for name, variable in self.model.named_variables().items()}
        for name, average in self.averages.named_variables().items():
            self.model.named_variables()[name].assign(average)
        try:
            yield
        finally:
            for name, variable in self.model.named_variables().items():
                variable.assign(kept[name])

    def _everything(self) -> dict[str, tf.Variable]:
        numbers = {f"numbers/{name}": v for name, v in {**self._numbers, **self.model.numbers()}.items()}
        return {**self.variables(), **numbers}

    def _make_optimizer(self, like: Optimizer) -> Optimizer:
        packed = type(like)(self.model.parameters, fused=False)
        for name, value in vars(like).items():
            if isinstance(value, bool) and name != "fused":
                setattr(packed, name, value)
            elif isinstance(value, float):
                setattr(packed, name, self._numbers[f"optimizer/{name}"])
        if isinstance(packed, AdamW):
            packed.decaying = {kernel.ref() for kernel in self.model.kernels}
        return packed

    def _compile(self, xla: bool) -> Callable[..., Any]:
        """Returns a function that does the first `count` steps of a block, in one compiled call.

        Arguments: images uint8 `[block, (networks,) batch, height, width]`, labels int64 `[block, (networks,) batch]`,
        learning rates float32 `[block, networks]`, count. Returns, of each network, the sum over examples of the loss,
        how many were right, the number of steps done before a loss that is not finite, and the last loss, or that one.
        """

        def body(images: tf.Tensor, labels: tf.Tensor, rates: tf.Tensor, count: tf.Tensor) -> Any:
            def do_one(index: tf.Tensor, total: tf.Tensor, correct: tf.Tensor, done: tf.Tensor, last: tf.Tensor) -> Any:
                value, right = self._step(images[index], labels[index], rates[index])
                fine = tf.math.is_finite(last)
                total += tf.cast(value, tf.float64) * tf.cast(tf.shape(labels)[-1], tf.float64)
                return index + 1, total, correct + right, done + tf.cast(fine, tf.int64), tf.where(fine, value, last)

            whole, real = tf.zeros([self.size], tf.int64), tf.zeros([self.size])
            _, total, correct, done, last = tf.while_loop(
                lambda index, *found: tf.logical_and(index < count, tf.reduce_any(tf.math.is_finite(found[-1]))),
                do_one,
                (tf.constant(0, tf.int64), tf.cast(real, tf.float64), whole, whole, real),
                parallel_iterations=1,
            )
            return total, correct, done, last

        return tf.function(body, jit_compile=xla, autograph=False)

    def _step(self, images: tf.Tensor, labels: tf.Tensor, rates: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Forward, loss, tape, update, of all networks; returns loss and how many are right of each."""
        parameters, step = self.model.parameters, self.optimizer.step
        labels = self._of_each(labels)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(parameters)
            logits = self.model.forward(to_unit(images, self.precision), training=True, step=step)
            values = self._loss(logits, labels)
            total = tf.reduce_sum(values)  # no network's gradient depends on another
        gradients: Any = tape.gradient(total, parameters)
        if self.clips:
            gradients = _clip(gradients, self._numbers["clip_norm"])
        self.optimizer.apply(gradients, rates[:, tf.newaxis, tf.newaxis])
        if self.averages is not None:
            self.averages.update(step)
        right = tf.equal(tf.argmax(logits, axis=-1), labels)
        return values, tf.reduce_sum(tf.cast(right, tf.int64), axis=-1)

    def _of_each(self, labels: tf.Tensor) -> tf.Tensor:
        return labels if self.mixed else tf.broadcast_to(labels, [self.size, tf.shape(labels)[0]])

    def _loss(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns the mean loss of each network, penalties included."""
        values = LOSSES[self.loss.kind](logits, labels)
        if self.loss.label_smoothing:
            share = self._numbers["label_smoothing"][:, tf.newaxis]
            values = (1.0 - share) * values - share * tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
        values = tf.reduce_mean(values, axis=-1)
        for name, asked, size in (("l1", self.loss.l1, tf.abs), ("l2", self.loss.l2, _half_square)):
            if asked:
                sums = tf.add_n([tf.reduce_sum(size(kernel), [1, 2]) for kernel in self.model.kernels])
                values += self._numbers[name] * sums
        return values

    def _outputs(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns, of each network, the sum of the loss, and how many are right, without smoothing and penalties."""
        labels = self._of_each(labels)
        logits = self.model.forward(to_unit(images))
        right = tf.cast(tf.equal(tf.argmax(logits, axis=-1), labels), tf.int64)
        values = tf.cast(LOSSES[self.loss.kind](logits, labels), tf.float64)
        return tf.reduce_sum(values, axis=-1), tf.reduce_sum(right, axis=-1)


def _numbers(lanes: Sequence[Trainer]) -> dict[str, tf.Tensor]:
    """Returns the numbers in which trainings of a kind may differ, beside their schedules: a row a network."""
    found: dict[str, list[float]] = {
        "clip_norm": [lane.clip_norm for lane in lanes],
        "label_smoothing": [lane.loss.label_smoothing for lane in lanes],
        "l1": [lane.loss.l1 for lane in lanes],
        "l2": [lane.loss.l2 for lane in lanes],
    }
    flat = {name: tf.constant(values, tf.float32) for name, values in found.items()}
    factors = {
        f"optimizer/{name}": [getattr(lane.optimizer, name) for lane in lanes]
        for name, value in vars(lanes[0].optimizer).items()
        if isinstance(value, float)
    }
    if lanes[0].settings.average:
        factors["average"] = [lane.settings.average for lane in lanes]
    columns = {name: tf.constant(values, tf.float32, [len(lanes), 1, 1]) for name, values in factors.items()}
    return {**flat, **columns}


def _half_square(x: tf.Tensor) -> tf.Tensor:
    return 0.5 * tf.square(x)


def _clip(gradients: Sequence[tf.Tensor], limits: tf.Tensor) -> list[tf.Tensor]:
    """Like `clip_by_global_norm`, with a limit a network."""
    norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(g), [1, 2]) for g in gradients]))
    scale = tf.where(tf.math.is_finite(norm), limits / tf.maximum(norm, limits), math.nan)
    return [g * scale[:, tf.newaxis, tf.newaxis] for g in gradients]
