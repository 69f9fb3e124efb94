"""Several trainers as one: their networks do each step together, and each comes out as if it had trained alone.

Up to rounding, that is: products of other shapes are summed in another order. What a lane, one of the trainers, must
know between epochs (weights, slots, averages, state) is written back to it, so that checkpoints, histories and
everything after them are its own.
"""

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist.data.pipeline import Block, make_plan, stream_blocks
from tfmnist.errors import DivergedError
from tfmnist.nn.losses import LOSSES
from tfmnist.nn.models import to_unit
from tfmnist.nn.optimizers import AdamW, Optimizer
from tfmnist.nn.packed import PackedNetwork, pack, unpack
from tfmnist.training.loop import Epoch, Trainer, set_weights, weights_of
from tfmnist.training.step import Averages

_VALIDATION_BATCH = 1000


class Pack:
    """Trainers that are alike but for numbers, trained together.

    What comes out of a lane does not depend on which others are there, nor on its place: each number of a product is
    summed in the same order. But it depends on the size of the products, for small ones.

    Args:
        lanes: trainers of `tfmnist.MLP`s, which stand at the same epoch and step; what their sections of the recipe
            may differ in is what `tfmnist.sweeps.packing.pack_key` says.
        least: with fewer lanes, the last one is repeated until there are so many, and nothing is heard of the repeats.
        mixed: whether each network gets batches of its own, as it must where seeds differ.

    Attributes:
        lanes: those that still train, by their places; taking one out leaves the others as they are.
    """

    def __init__(self, lanes: Sequence[Trainer], least: int = 1, mixed: bool = True):
        first, number = lanes[0], max(len(lanes), least)
        assert all(lane.state.epoch == first.state.epoch and lane.state.step == first.state.step for lane in lanes)
        self.lanes = dict(enumerate(lanes))
        self._first, self._mixed = first, mixed
        self._all = [*lanes, *[lanes[-1]] * (number - len(lanes))]
        self.model = PackedNetwork([lane.model for lane in self._all])
        self.optimizer = self._pack_optimizer()
        self.averages = None
        if first.averages is not None:
            self.averages = Averages(self.model, _column([lane.settings.average for lane in self._all]))
        for name, variable in self._variables().items():
            if name != "optimizer/step":
                own = [lane.named_variables()[name].numpy() for lane in self._all]
                variable.assign(pack(name, own))
        self.optimizer.step.assign(first.optimizer.step)
        seeds = [lane.settings.seed for lane in self._all]
        self._seeds = sorted(set(seeds))
        assert mixed or len(self._seeds) == 1
        self._stream_of = [self._seeds.index(seed) for seed in seeds]
        images = max(1_000, 10_000 // len(self._seeds))
        settings = first.settings
        self.plan = make_plan(len(first.train), settings.batch_size, settings.block, images, settings.progress)
        self._do_full = self._do_short = self._make_steps(xla=first.mode == "xla")
        if first.mode == "xla" and self.plan.full:
            self._do_short = self._make_steps(xla=False)
        self._measure = tf.function(self._outputs, autograph=False, reduce_retracing=True)

    def compile(self) -> None:
        """Traces and compiles the loop for each shape of block, without a step done."""
        height, width = self.model.image_shape
        for steps, batch in self.plan.shapes:
            shape = [steps, len(self._seeds), batch] if self._mixed else [steps, batch]
            images = tf.zeros([*shape, height, width], tf.uint8)
            self._do(images, tf.zeros(shape, tf.int64), 0)

    def _do(self, images: tf.Tensor, labels: tf.Tensor, count: int) -> list[npt.NDArray[Any]]:
        do = self._do_full if labels.shape[-1] == self.plan.batch_size else self._do_short
        return [found.numpy() for found in do(images, labels, tf.constant(count, tf.int64))]

    def run(self) -> Iterator[list[tuple[int, Epoch | DivergedError]]]:
        """Trains to the last epoch; yields after each block what has come of it, by the places of the lanes.

        Between two yields nothing is half done; `settle` a lane before its checkpoint is taken. A lane that has
        diverged is taken out.
        """
        first = self._first
        epochs = range(first.state.epoch, first.settings.epochs)
        began = time.perf_counter()
        with closing(self._stream(epochs, first.state.step)) as stream:
            for images, labels, block in stream:
                total, correct, done, last = self._do(images, labels, block.end - block.first)
                found: list[tuple[int, Epoch | DivergedError]] = []
                seconds = (time.perf_counter() - began) / max(1, len(self.lanes))
                for place, lane in list(self.lanes.items()):
                    state = lane.state
                    if not math.isfinite(last[place]):
                        step = block.first + int(done[place])
                        lane.optimizer.step.assign(self.optimizer.step - block.end + step)
                        error = lane.diverged(f"the loss is {last[place]}", step)
                        found.append((place, error))
                        del self.lanes[place]
                        continue
                    state.step = block.end
                    state.loss += float(total[place])
                    state.correct += int(correct[place])
                    state.seconds += seconds
                if block.end == self.plan.steps and self.lanes:
                    began = time.perf_counter()
                    found += self._close_epoch()
                yield found
                if not self.lanes:
                    return
                began = time.perf_counter()

    def settle(self, place: int) -> Trainer:
        """Gives a lane its weights, slots and averages as they are now, and returns it."""
        self._settle({place: self.lanes[place]})
        return self.lanes[place]

    def _settle(self, lanes: dict[int, Trainer]) -> None:
        now = {name: variable.numpy() for name, variable in self._variables().items()}
        for place, lane in lanes.items():
            for name, variable in lane.named_variables().items():
                variable.assign(now[name] if name == "optimizer/step" else unpack(name, now[name], place))

    def _close_epoch(self) -> list[tuple[int, Epoch | DivergedError]]:
        self._settle(self.lanes)
        validated = self._validate()
        found: list[tuple[int, Epoch | DivergedError]] = []
        for place, lane in list(self.lanes.items()):
            try:
                found.append((place, lane.close_epoch(*validated[place])))
            except DivergedError as error:
                found.append((place, error))
                del self.lanes[place]
        return found

    def _variables(self) -> dict[str, tf.Variable]:
        """Returns every variable that training changes, by the name that a trainer's has."""
        groups = {"weights": self.model.named_variables(), "optimizer": self.optimizer.named_variables()}
        if self.averages is not None:
            groups["averages"] = self.averages.named_variables()
        return {f"{group}/{name}": v for group, found in groups.items() for name, v in found.items()}

    def _pack_optimizer(self) -> Optimizer:
        own = [lane.optimizer for lane in self._all]

        def rates(step: tf.Tensor) -> tf.Tensor:
            return tf.reshape(tf.stack([optimizer.schedule(step) for optimizer in own]), [-1, 1, 1])

        packed = type(own[0])(self.model.parameters, rates, fused=False)
        for name, value in vars(own[0]).items():
            if isinstance(value, bool):
                setattr(packed, name, value)
            elif isinstance(value, float):
                setattr(packed, name, _column([getattr(optimizer, name) for optimizer in own]))
        packed.fused = False
        if isinstance(packed, AdamW):
            packed.decaying = {kernel.ref() for kernel in self.model.kernels}
        return packed

    def _stream(self, epochs: range, skip: int) -> Generator[tuple[tf.Tensor, tf.Tensor, Block]]:
        """Yields images, labels and cut of each block; where mixed, those of each seed along the second axis."""
        by_seed = {lane.settings.seed: lane for lane in self._all}
        streams = [
            stream_blocks(
                by_seed[seed].train, self.plan, seed=seed, epochs=epochs, skip=skip, augment=self._first.augment
            )
            for seed in self._seeds
        ]
        try:
            for blocks in zip(*streams, strict=True):
                images, labels = [block.images for block in blocks], [block.labels for block in blocks]
                if self._mixed:
                    yield tf.stack(images, 1), tf.stack(labels, 1), blocks[0]
                else:
                    yield images[0], labels[0], blocks[0]
        finally:
            for stream in streams:
                stream.close()  # type: ignore[reportAttributeAccessIssue]

    def _make_steps(self, xla: bool) -> Callable[..., Any]:
        """Returns a function that does the first `count` steps of a block, in one compiled call.

        Arguments: images uint8 `[block, (seeds,) batch, height, width]`, labels int64 `[block, (seeds,) batch]`, count.
        Returns, of each lane, the sum over examples of the loss, how many were right, the number of steps done before a
        loss that is not finite, and the last loss, or that one.
        """
        number = len(self._all)

        def do_one(
            index: tf.Tensor, total: tf.Tensor, correct: tf.Tensor, done: tf.Tensor, last: tf.Tensor, *block: tf.Tensor
        ) -> Any:
            images, labels = block[0][index], block[1][index]
            value, right = self._step(images, labels)
            fine = tf.math.is_finite(last)
            batch = tf.cast(tf.shape(labels)[-1], tf.float64)
            total += tf.cast(value, tf.float64) * batch
            return index + 1, total, correct + right, done + tf.cast(fine, tf.int64), tf.where(fine, value, last)

        def body(images: tf.Tensor, labels: tf.Tensor, count: tf.Tensor) -> Any:
            whole, real = tf.zeros([number], tf.int64), tf.zeros([number])
            start = (tf.constant(0, tf.int64), tf.cast(real, tf.float64), whole, whole, real)
            _, total, correct, done, last = tf.while_loop(
                lambda index, *found: tf.logical_and(index < count, tf.reduce_any(tf.math.is_finite(found[-1]))),
                lambda *found: do_one(*found, images, labels),
                start,
                parallel_iterations=1,
            )
            return total, correct, done, last

        return tf.function(body, jit_compile=xla, autograph=False)

    def _step(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Forward, loss, tape, update, of all lanes on one batch; returns loss and how many are right of each."""
        parameters, step = self.model.parameters, self.optimizer.step
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(parameters)
            logits, labels = self._logits(images, labels, training=True, step=step)
            values = self._loss(logits, labels)
            total = tf.reduce_sum(values)  # no lane's gradient depends on another
        gradients: Any = tape.gradient(total, parameters)
        limits = [lane.clip_norm for lane in self._all]
        if any(limits):
            gradients = _clip(gradients, limits)
        self.optimizer.apply(gradients)
        if self.averages is not None:
            self.averages.update(step)
        right = tf.equal(tf.argmax(logits, axis=-1), labels)
        return values, tf.reduce_sum(tf.cast(right, tf.int64), axis=-1)

    def _logits(
        self, images: tf.Tensor, labels: tf.Tensor, training: bool, step: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns logits `[lanes, batch, classes]` and labels `[lanes, batch]`, from one batch or one a seed."""
        precision = tf.as_dtype(self._first.settings.precision) if training else tf.float32
        if not self._mixed:
            labels = tf.broadcast_to(labels, [len(self._all), tf.shape(labels)[0]])
        elif self._stream_of != list(range(len(self._seeds))):
            images, labels = tf.gather(images, self._stream_of), tf.gather(labels, self._stream_of)
        return self.model.forward(to_unit(images, precision), training, step), labels

    def _loss(self, logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns the mean loss of each lane, penalties included."""
        sections = [lane.loss for lane in self._all]
        values = LOSSES[sections[0].kind](logits, labels)
        if any(section.label_smoothing for section in sections):
            share = tf.constant([[section.label_smoothing] for section in sections])
            values = (1.0 - share) * values - share * tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
        values = tf.reduce_mean(values, axis=-1)
        for weights, size in (
            ([section.l1 for section in sections], tf.abs),
            ([0.5 * section.l2 for section in sections], tf.square),
        ):
            if any(weights):
                values += weights * tf.add_n([tf.reduce_sum(size(kernel), [1, 2]) for kernel in self.model.kernels])
        return values

    def _validate(self) -> list[tuple[float | None, float | None]]:
        """Returns loss and accuracy of each lane on its validation examples."""
        by_seed = {lane.settings.seed: lane.validation for lane in self._all}
        splits = [split for seed in self._seeds if (split := by_seed[seed]) is not None]
        if not splits:
            return [(None, None)] * len(self._all)
        count, total, correct = len(splits[0]), np.zeros(len(self._all)), np.zeros(len(self._all), np.int64)
        with self._averaged():
            for start in range(0, count, _VALIDATION_BATCH):
                rows = np.arange(start, min(start + _VALIDATION_BATCH, count))
                taken = [split.take(rows) for split in splits]
                images, labels = (np.stack(parts) if self._mixed else parts[0] for parts in zip(*taken))
                loss, right = self._measure(tf.constant(images), tf.constant(labels))
                total += loss.numpy()
                correct += right.numpy()
        return [(float(loss) / count, int(right) / count) for loss, right in zip(total, correct)]

    def _outputs(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        logits, labels = self._logits(images, labels, training=False)
        values = LOSSES[self._first.loss.kind](logits, labels)
        right = tf.cast(tf.equal(tf.argmax(logits, axis=-1), labels), tf.int64)
        return tf.reduce_sum(tf.cast(values, tf.float64), axis=-1), tf.reduce_sum(right, axis=-1)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        if self.averages is None:
            yield
            return
        kept = weights_of(self.model)
        set_weights(self.model, weights_of(self.averages))
        try:
            yield
        finally:
            set_weights(self.model, kept)


def _clip(gradients: Sequence[tf.Tensor], limits: Sequence[float]) -> list[tf.Tensor]:
    """Like `clip_by_global_norm`, with a limit a lane; 0 for none."""
    norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(g), [1, 2]) for g in gradients]))
    limit = tf.where(tf.constant(limits) > 0, tf.constant(limits), norm)
    scale = tf.where(tf.math.is_finite(norm), limit / tf.maximum(norm, limit), math.nan)
    scale = tf.where((norm > 0) | ~tf.math.is_finite(norm), scale, 1.0)
    return [g * scale[:, tf.newaxis, tf.newaxis] for g in gradients]


def _column(values: Sequence[float]) -> Any:
    """Returns a number a lane as a factor of variables, float32 `[lanes, 1, 1]`; one number where all are the same."""
    return values[0] if len(set(values)) == 1 else tf.constant(values, tf.float32, [len(values), 1, 1])
