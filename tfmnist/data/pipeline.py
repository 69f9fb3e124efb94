"""Blocks of batches from arrays, in an order that is a function of (seed, epoch), each example once per epoch.

A block holds the batches of several steps, gathered at once: uint8 `[steps, batch, height, width]`. All full
batches of an epoch are in blocks of one shape, the last of them padded; a smaller last batch is a separate block. So
the compiled loop is traced for at most two shapes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist import seeds
from tfmnist.data.split import Split
from tfmnist.errors import InputError

Augment = Callable[..., tf.Tensor]


@dataclass(frozen=True)
class Plan:
    """How an epoch of `count` examples is cut into batches, and those into blocks of at most `block` steps."""

    count: int
    batch_size: int
    block: int

    @property
    def steps(self) -> int:
        """Steps per epoch, including a short last batch."""
        return -(-self.count // self.batch_size)

    @property
    def full(self) -> int:
        """Steps per epoch with a full batch."""
        return self.count // self.batch_size

    @property
    def short(self) -> int:
        """Size of the last batch if it is smaller than the rest, else 0."""
        return self.count % self.batch_size

    @property
    def blocks(self) -> list[tuple[int, int]]:
        """First step and step after the last of each block of an epoch."""
        cuts = [(first, min(first + self.block, self.full)) for first in range(0, self.full, self.block)]
        return [*cuts, (self.full, self.steps)] if self.short else cuts

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """The (steps, batch) shapes of the blocks."""
        full = [(self.block, self.batch_size)] if self.full else []
        return [*full, (1, self.short)] if self.short else full


def make_plan(count: int, batch_size: int, block: int | str, images_per_block: int, progress: int = 0) -> Plan:
    """Returns the plan; `block="auto"` uses about `images_per_block` images per block and nearly equal blocks.

    With `progress`, a block ends after every `progress` steps.
    """
    full = count // batch_size
    if block == "auto":
        number = max(1, round(full * batch_size / images_per_block))
        block = -(-full // number)
    steps = max(1, min(int(block), full))
    if progress:
        steps = next(steps for steps in range(min(steps, progress), 0, -1) if progress % steps == 0)
    return Plan(count, batch_size, steps)


@dataclass(frozen=True)
class Block:
    """The steps from `first` to before `end` of an epoch; rows beyond `end - first` are padding."""

    images: tf.Tensor  # uint8 [block, batch, height, width], or some rows of each batch
    labels: tf.Tensor  # int64 [block, batch]
    epoch: int  # from 0
    first: int
    end: int
    last: bool  # of its epoch


def stream_blocks(
    split: Split,
    plan: Plan,
    *,
    seed: int,
    epochs: range,
    skip: int = 0,
    augment: Augment | None = None,
    rows: slice = slice(None),
    whole: bool = False,
) -> Iterator[Block]:
    """Yields the blocks of all epochs, prepared in the background by `tf.data` while the caller computes.

    Args:
        split: the training examples.
        plan: how an epoch is cut.
        seed: with the epoch, decides the order; with the step, the augmentation.
        epochs: those to yield, counted from 0.
        skip: steps of the first one already done; the rest is exactly as without an interruption.
        augment: changes the images of a block, given the number of its first step, and the size of a whole batch; None
            for no change.
        rows: of each batch, those whose images the blocks contain.
        whole: whether `augment` takes whole batches nevertheless, and returns these rows.

    Raises:
        InputError: the file of the images has been cut short.
        OSError: it can no longer be read.
    """

    def cuts() -> Iterator[tuple[int, int, int]]:
        for epoch in epochs:
            done = skip if epoch == epochs.start else 0
            yield from ((epoch, max(first, done), end) for first, end in plan.blocks if end > done)

    gathered = slice(None) if whole else rows
    # emptied below, since TensorFlow never releases the function
    source = [_gather(split, plan, seed, cuts(), gathered)]
    failures: list[Exception] = []  # which tf.data would turn into an error of its own

    def read(_: Any) -> Any:
        try:
            return next(source[0])
        except (InputError, OSError) as error:
            failures.append(error)
            raise

    def gather(index: tf.Tensor) -> tuple[tf.Tensor, ...]:
        block: Any = tf.numpy_function(read, [index], (tf.uint8, tf.int64, tf.int64))
        for part, shape in zip(block, ([None, None, *split.image_shape], [None, None], [])):
            part.set_shape(shape)
        return tuple(block)

    number = len(epochs) * len(plan.blocks) - sum(end <= skip for _, end in plan.blocks)
    # not from_generator: with Python 3.11 it makes malloc return freed memory above 128 kB to the system at once, and
    # a step of 784-512-10 took half as long again, with 490 page faults
    as_it_is = tf.autograph.experimental.do_not_convert  # a conversion leaves a file if the process is killed
    blocks = tf.data.Dataset.range(number).map(as_it_is(gather))
    if augment is not None:
        blocks = blocks.map(
            as_it_is(lambda images, labels, step: (augment(images, step, batch=tf.shape(labels)[1]), labels, step))
        )
    options = tf.data.Options()
    options.autotune.enabled = False  # nothing to tune, and its thread delays the end by seconds
    prepared = iter(blocks.prefetch(2).with_options(options))
    try:
        for (images, labels, _), (epoch, first, end) in zip(prepared, cuts()):
            yield Block(images, labels, epoch, first, end, end == plan.steps)  # type: ignore[arg-type]
    except tf.errors.UnknownError:
        if failures:
            raise failures.pop() from None
        raise
    finally:
        del prepared  # ends its thread, which uses the source
        source.clear()


def _gather(
    split: Split, plan: Plan, seed: int, cuts: Iterator[tuple[int, int, int]], gathered: slice
) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], np.int64]]:
    """Yields images, labels and the number of the first step, for each (epoch, first, end)."""
    order, of_epoch = seeds.order_of(seed, 0, 0), -1
    for epoch, first, end in cuts:
        if epoch != of_epoch:
            order, of_epoch = seeds.order_of(seed, epoch, plan.count), epoch
        rows = order(first * plan.batch_size, min(end * plan.batch_size, plan.count))
        steps, batch = (plan.block, plan.batch_size) if first < plan.full else (1, plan.short)
        rows = np.pad(rows, (0, steps * batch - len(rows))).reshape(steps, batch)
        images, labels = split.take(rows[:, gathered])
        if images.shape[1] < batch:
            labels = split.compact_labels[rows].astype(np.int64)
        yield images, labels, np.int64(epoch * plan.steps + first)
