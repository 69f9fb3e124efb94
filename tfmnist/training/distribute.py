"""One training by several processes, on one machine or many: each computes a share of every batch.

`tf.distribute` joins the processes and adds up their gradients, once per step; everything else is as in one process.
Of each batch, process i of N has the rows i, i + N, i + 2N and so on. Dropout, noise and augmentation are drawn for the
whole batch, batch normalisation uses the whole batch's statistics, and every process makes the same update, bit by bit.
So a training depends on the number of processes by rounding alone, and may be resumed by another number.
All processes must call the same compiled functions, equally often and in the same order, or they wait for ever.

Process 0, the chief, alone reads and writes the run folder: the others get its recipe and its state.
"""

import io
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from tfmnist.errors import InputError, Interrupted, few
from tfmnist.nn.layers import BatchNorm, Dropout, Noise
from tfmnist.nn.losses import Objective
from tfmnist.nn.models import Network
from tfmnist.training.checkpoint import pack, unpack
from tfmnist.training.events import Verdict
from tfmnist.training.loop import State, Trainer, restored
from tfmnist.training.step import CompileMode

_SHORT_STEP = 10.0  # milliseconds, of which most is waiting for each other
_PROBED = 5  # steps

# what the others' operations raise when a process has ended, or hangs
_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


class Processes:
    """The processes that train together, as one of them sees them.

    Args:
        count: number of processes.
        index: of this one, from 0.
        local_index: of this one among those on its machine, for its GPU.
        on_one_machine: whether all are on one machine.

    Attributes:
        rows: of each batch, those that this process has.
        mode: how the loop is compiled: XLA cannot add up between processes on CPUs.
    """

    mode: CompileMode = "graph"

    def __init__(self, count: int, index: int, local_index: int, *, on_one_machine: bool = False) -> None:
        self.count, self.index = count, index
        self.rows = slice(index, None, count)
        if gpus := tf.config.list_physical_devices("GPU"):
            tf.config.set_visible_devices(gpus[local_index % len(gpus)], "GPU")
        self._share_processors = on_one_machine and not gpus
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy()  # reads TF_CONFIG
        self._add = tf.function(self._run_add, [tf.TensorSpec([None], tf.int32)], autograph=False)

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    def share(self, step: Callable[..., Any], model: Network) -> Callable[[tf.Tensor, tf.Tensor], Any]:
        """See `Sharing`."""
        loss: Objective = step.keywords["loss"]  # type: ignore[attr-defined]

        def shared(images: tf.Tensor, labels: tf.Tensor) -> Any:
            batch, rows, weight = labels.shape.num_elements() or 0, self.rows, 1.0
            if self.index >= batch:  # a last batch smaller than the number of processes: a black image of no weight
                images, rows, weight = tf.zeros([1, *images.shape[1:]], tf.uint8), slice(0, 1), 0.0
            share = weight * len(range(batch)[rows]) / batch
            part = partial(step, loss=_Part(loss.function, loss.name, whole=loss, share=share), combine=_add_up(weight))
            with _of_whole_batch(model, batch, rows, weight):
                return self._strategy.run(part, (images, labels[rows]))

        return shared

    def send(self, data: bytes = b"") -> bytes:
        """Returns the chief's data, in every process; that of the others is ignored."""
        length = int(self._sum([len(data) if self.is_chief else 0])[0])
        words = np.zeros(-(-length // 4), np.int32)
        if self.is_chief:
            words = np.frombuffer(data.ljust(4 * len(words), b"\0"), np.int32)
        return self._sum(words).tobytes()[:length]

    def failed(self, has_failed: bool = False) -> list[int]:
        """Returns which processes call this with True."""
        return np.flatnonzero(self._sum(np.eye(self.count, dtype=np.int32)[self.index] * has_failed)).tolist()

    def agree(self, verdict: Verdict = Verdict.CONTINUE, stop: bool = False) -> Verdict:
        """Returns the chief's verdict; STOP in place of CONTINUE if any process wants to stop."""
        stops, decided = self._sum([stop, verdict if self.is_chief else 0]).tolist()
        return Verdict.STOP if stops and decided == Verdict.CONTINUE else Verdict(decided)

    def send_state(self, trainer: Trainer) -> None:
        """Gives every process the state of the chief's trainer."""
        file = io.BytesIO()
        if self.is_chief:
            np.savez(file, **pack(trainer))  # type: ignore[arg-type]
        with np.load(io.BytesIO(self.send(file.getvalue()))) as loaded:
            arrays = dict(loaded)
        if not self.is_chief:
            unpack(arrays, State(**json.loads(str(arrays.pop("state")))), trainer, "process 0")

    def check_same(self, digest: str) -> None:
        """Raises an `InputError` in all processes unless they have the same data; "" if one has none."""
        if failed := self.failed(digest != self.send(digest.encode()).decode()):
            raise InputError(
                f"process {few(map(str, failed), 5)} cannot read the data, or has others than process 0, by digest; "
                "see what it says, and give all processes the same files at the same path."
            )

    @contextmanager
    def watched(self, remedy: str) -> Iterator[None]:
        """Turns the error by which TensorFlow says that another process has ended, or hangs, into one line."""
        try:
            yield
        except _LOST as error:
            found = re.search(r"/task:(\d+)", str(error))
            who = f"process {found[1]}" if found and int(found[1]) != self.index else "another process"
            raise Interrupted(f"{who} has ended or does not answer; {remedy}") from None

    def describe(self, trainer: Trainer) -> str:
        """Returns a line on the processes and how long a step takes, tried out by all; the state of training stays."""
        height, width = trainer.model.image_shape
        steps, batch = trainer.plan.shapes[0]
        images = tf.zeros([steps, batch, height, width], tf.uint8)[:, self.rows]
        labels, count = tf.zeros([steps, batch], tf.int64), min(steps, _PROBED)
        seconds = 0.0
        with restored(trainer.named_variables().values()):
            for _ in range(2):  # the first is warm-up
                began = time.perf_counter()
                trainer.do_steps(images, labels, count)[2].numpy()
                seconds = time.perf_counter() - began
        milliseconds = 1000 * seconds / count
        line = f"processes {self.count}, {milliseconds:.1f} ms per step"
        if self._share_processors:
            return f"{line}; on one machine without GPUs, one process is faster"
        return line + (", so short that one process is faster" if milliseconds < _SHORT_STEP else "")

    def _sum(self, numbers: Any) -> np.ndarray:
        return self._add(tf.constant(numbers, tf.int32)).numpy()

    def _run_add(self, numbers: tf.Tensor) -> tf.Tensor:
        return self._strategy.run(_all_reduce, (numbers,))


@dataclass(frozen=True)
class _Part(Objective):
    """A process's part of the mean loss of a batch: these parts, and their gradients, add up to the whole batch's."""

    whole: Objective = field(default_factory=Objective)
    share: float = 1.0  # of the batch's examples

    def mean(
        self, logits: tf.Tensor, labels: tf.Tensor, kernels: Sequence[tf.Variable], images: tf.Tensor | None = None
    ) -> tf.Tensor:
        return self.share * self.whole.mean(logits, labels, kernels, images)


def _all_reduce(tensor: tf.Tensor) -> tf.Tensor:
    context: Any = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(tensor))  # which has a device


def _add_up(weight: float) -> Callable[..., tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]]:
    """Returns what adds up all processes' losses, correct predictions and gradients, in one message."""

    def add_up(
        value: tf.Tensor, correct: tf.Tensor, gradients: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        numbers = [value, weight * tf.cast(correct, tf.float32), *gradients]
        flat = _all_reduce(tf.concat([tf.reshape(tf.cast(number, tf.float32), [-1]) for number in numbers], axis=0))
        parts = tf.split(flat, [number.shape.num_elements() for number in numbers])
        value, correct, *gradients = (tf.reshape(part, number.shape) for part, number in zip(parts, numbers))
        return value, tf.cast(tf.round(correct), tf.int64), gradients

    return add_up


@contextmanager
def _of_whole_batch(model: Network, batch: int, rows: slice, weight: float) -> Iterator[None]:
    """Makes the layers draw for a whole batch, and normalise by it, while a step is traced for some of its rows."""
    changed: list[tuple[Any, str]] = []
    for layer in model.find_layers().values():
        if isinstance(layer, Dropout | Noise):
            layer.draw = partial(_draw_rows, layer.draw, batch, rows)
            changed.append((layer, "draw"))
        elif isinstance(layer, BatchNorm):
            layer.normalize = partial(_normalize, layer, weight)
            changed.append((layer, "normalize"))
    try:
        yield
    finally:
        for layer, name in changed:
            delattr(layer, name)


def _draw_rows(draw: Callable[..., tf.Tensor], batch: int, rows: slice, shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return draw(tf.concat([[batch], shape[1:]], axis=0), seed)[rows]


def _normalize(
    layer: BatchNorm, weight: float, images: tf.Tensor, training: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """`BatchNorm.normalize` with the statistics of all processes' images, those of this one with a weight.

    The sums are of x less the moving average, so that a large mean does not cancel the variance.
    """
    if not training:
        return BatchNorm.normalize(layer, images, training)
    x, axes = tf.cast(images, tf.float32), [0, 1, 2]
    centre = tf.stop_gradient(tf.identity(layer.mean))
    shifted = x - centre
    number = tf.cast(tf.size(x) // tf.shape(x)[-1], tf.float32)[tf.newaxis]
    sums = [tf.reduce_sum(shifted, axes), tf.reduce_sum(tf.square(shifted), axes), number]
    channels = int(layer.mean.shape[0] or 0)
    first, second, count = tf.split(_all_reduce(weight * tf.concat(sums, axis=0)), [channels, channels, 1])
    mean = first / count
    variance = tf.maximum(second / count - tf.square(mean), 0.0)
    y = (shifted - mean) * (tf.math.rsqrt(variance + layer.epsilon) * layer.scale) + layer.offset
    return tf.cast(y, images.dtype), tf.stop_gradient(centre + mean), tf.stop_gradient(variance * count / (count - 1.0))
