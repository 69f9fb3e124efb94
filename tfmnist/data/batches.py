"""Turns what a caller passes as examples, arrays or a `tf.data.Dataset` of batches, into a split or training blocks."""

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist.data.arrays import FEW_LEVELS
from tfmnist.data.pipeline import Augment, Block
from tfmnist.data.split import Split
from tfmnist.errors import InputError

if TYPE_CHECKING:
    Batches = tf.data.Dataset[Any]
else:
    Batches = tf.data.Dataset
Examples = Split | tuple[npt.ArrayLike, npt.ArrayLike] | Batches

_EXPECTED = "expected batches (images uint8 [batch, height, width], labels integers [batch])"


def as_split(examples: Examples) -> Split:
    """Returns a split as it is, and a pair of arrays or the batches of a dataset, which must end, as a split.

    Raises:
        InputError: the examples have another form, or the dataset never ends.
    """
    if isinstance(examples, Split):
        return examples
    if isinstance(examples, tf.data.Dataset):
        height, width = check_batches(examples)
        if examples.cardinality() == tf.data.INFINITE_CARDINALITY:
            raise InputError("the dataset never ends: expected each example once; limit it with take().")
        batches = [(images.numpy(), labels.numpy()) for images, labels in examples]
        images = np.concatenate([np.zeros((0, height, width), np.uint8), *(images for images, _ in batches)])
        return Split(images, np.concatenate([np.zeros(0, np.int64), *(labels for _, labels in batches)]))
    if not (isinstance(examples, tuple | list) and len(examples) == 2):
        raise InputError(
            f"the examples are a {type(examples).__name__}: expected a tfmnist.Split, a pair (images, labels), or a "
            "tf.data.Dataset of batches."
        )
    images, labels = (np.asarray(part) for part in examples)
    if images.dtype == np.uint8 and 1 <= images.max(initial=0) <= FEW_LEVELS:  # 0 to 255 would be almost black
        raise InputError(f"pixels reach {images.max()}, expected 0 to 255; multiply them by {255 // images.max()}.")
    return Split(images, labels)


class BatchSource:
    """Training batches from a user's dataset, stacked into blocks.

    An epoch is one pass over the dataset or, with `steps_per_epoch`, that many batches: the next epoch then continues
    where the last one stopped, also in a later call of `blocks`, and a dataset that ends starts over.

    Args:
        dataset: batches of images, uint8 `[batch, height, width]`, and labels, integers `[batch]`.
        classes: number of classes; labels are 0 to classes - 1.
        block: steps per block, or `auto` for about `images_per_block` images.
        images_per_block: see `block`.
        steps_per_epoch: required for a dataset that never ends; 0 for one pass.
        augment: changes the images of a block, given the number of its first step; None for no change.

    Attributes:
        image_shape: height and width of the images.
        batch_size: size of the first batch.
        steps: number of steps in an epoch; 0 if not known.
        count: approximate number of examples in an epoch; 0 if not known.
        shapes: the (steps, batch) shapes of blocks that are known beforehand.

    Raises:
        InputError: the dataset has another form, is empty, or never ends and `steps_per_epoch` is 0.
    """

    def __init__(
        self,
        dataset: Batches,
        classes: int,
        block: int | str,
        images_per_block: int,
        steps_per_epoch: int = 0,
        augment: Augment | None = None,
    ):
        self.image_shape = check_batches(dataset)
        self._dataset, self._classes, self._steps_per_epoch = dataset.prefetch(2), classes, steps_per_epoch
        cardinality = int(dataset.cardinality())
        if cardinality == tf.data.INFINITE_CARDINALITY and not steps_per_epoch:
            raise InputError("the dataset never ends: set steps_per_epoch, the number of batches in an epoch.")
        # its first pass begins here: a generator may be unable to yield its first batch again
        begun = self._begin()
        first = next(begun, None)
        if first is None:
            raise InputError("the dataset is empty: expected at least one batch to train on.")
        self._begun: Iterator[Any] | None = chain([first], begun)
        self.batch_size = max(1, len(first[0]))
        self.steps = steps_per_epoch or max(0, cardinality)
        self.count = self.steps * self.batch_size
        steps = max(1, images_per_block // self.batch_size) if block == "auto" else int(block)
        self.block = min(steps, self.steps or steps)
        self.shapes = [(self.block, self.batch_size)]
        self._augment = augment
        self._endless: Iterator[Any] | None = None
        self._done = 0  # batches

    def _begin(self) -> Iterator[Any]:
        """Returns an iterator over the batches, without end if an epoch is a number of steps."""
        return iter(self._dataset.repeat() if self._steps_per_epoch else self._dataset)

    def blocks(self, epochs: range, skip: int = 0) -> Iterator[Block]:
        """Yields the blocks of all epochs; the batches in a block have the same size.

        Raises:
            InputError: a label is none of the classes, a batch is empty, or an epoch has no batches.
        """
        if skip:
            raise InputError(
                "training was left within an epoch of a dataset, where it cannot be continued; make a new Trainer."
            )
        if not epochs.start:
            self._endless, self._done = None, 0
        for epoch in epochs:
            step = 0
            batches_left = self._endless or self._begun or self._begin()
            self._begun = None
            if self._steps_per_epoch:
                self._endless = batches_left
                batches_left = islice(batches_left, self._steps_per_epoch)
            for batches, last in self._groups(batches_left):
                block = self._stack(batches, epoch, step, self._done)
                step += len(batches)
                self._done += len(batches)
                yield Block(*block, epoch, step - len(batches), step, last)
            if not step:
                raise InputError(f"the dataset has no batches in epoch {epoch + 1}; make it start over each time.")

    def _groups(self, batches: Any) -> Iterator[tuple[list[tuple[tf.Tensor, tf.Tensor]], bool]]:
        """Yields lists of up to `block` batches of one size, and whether each is the last of its epoch."""
        group: list[tuple[tf.Tensor, tf.Tensor]] = []
        for images, labels in batches:
            if not len(images) or len(images) != len(labels):
                raise InputError(
                    f"the dataset yields a batch of {len(images)} images and {len(labels)} labels: expected one label "
                    "for each image, and at least one."
                )
            if group and (len(group) == self.block or len(images) != len(group[0][0])):
                yield group, False
                group = []
            group.append((images, labels))
        if group:
            yield group, True

    def _stack(
        self, batches: list[tuple[tf.Tensor, tf.Tensor]], epoch: int, step: int, done: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        padded = [*batches, *batches[-1:] * (self.block - len(batches))] if self._is_full(batches) else batches
        images = tf.stack([images for images, _ in padded])
        labels = tf.stack([tf.cast(labels, tf.int64) for _, labels in padded])
        low, high = int(tf.reduce_min(labels)), int(tf.reduce_max(labels))
        if low < 0 or high >= self._classes:
            raise InputError(
                f"label {low if low < 0 else high} in epoch {epoch + 1}, step {step + 1} or later, is beyond the "
                f"model's {self._classes} classes, 0 to {self._classes - 1}; number the classes from 0."
            )
        return (images if self._augment is None else self._augment(images, tf.constant(done, tf.int64))), labels

    def _is_full(self, batches: list[tuple[tf.Tensor, tf.Tensor]]) -> bool:
        return len(batches[0][0]) == self.batch_size


def augment_steps(
    function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], key: int, image_shape: tuple[int, int]
) -> Augment:
    """Returns a graph that applies a user's augmentation to whole blocks, step by step.

    Args:
        function: takes images, uint8 `[batch, height, width]`, and a seed, int64 `[2]`, and returns images of the same
            type and shape, computed by TensorFlow operations from these two alone.
        key: the first number of the seed; the second is the number of the step.
        image_shape: height and width of the images.

    Raises:
        InputError: the function returns another type or shape.
    """

    def augment(images: tf.Tensor, first_step: tf.Tensor) -> tf.Tensor:
        numbers = first_step + tf.range(tf.shape(images, tf.int64)[0])

        def one_step(arguments: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            batch, number = arguments
            changed = tf.convert_to_tensor(function(batch, tf.stack([tf.constant(key, tf.int64), number])))
            if changed.dtype != tf.uint8 or not changed.shape.is_compatible_with(batch.shape):
                raise InputError(
                    f"the augmentation returns {changed.dtype.name} {changed.shape.as_list()}: expected uint8 "
                    f"{batch.shape.as_list()}, like the images that it takes."
                )
            return tf.ensure_shape(changed, batch.shape)

        return tf.map_fn(one_step, (images, numbers), fn_output_signature=tf.uint8)

    block = tf.TensorSpec([None, None, *image_shape], tf.uint8)
    # traced here, since tf.data would add lines of its own to an error
    return tf.function(augment, autograph=False).get_concrete_function(block, tf.TensorSpec([], tf.int64))


def check_batches(dataset: Batches) -> tuple[int, int]:
    """Returns the height and width of a dataset's images; raises an `InputError` if it does not yield such batches."""
    spec: Any = dataset.element_spec
    if not (isinstance(spec, tuple) and len(spec) == 2 and all(isinstance(part, tf.TensorSpec) for part in spec)):
        raise InputError(f"the dataset yields {spec}: {_EXPECTED}.")
    images, labels = spec
    remedy = "call batch() on it" if (images.shape.rank, labels.shape.rank) == (2, 0) else "map() it to that"
    if (
        images.dtype != tf.uint8
        or images.shape.rank != 3
        or None in images.shape[1:]
        or not labels.dtype.is_integer
        or labels.shape.rank != 1
    ):
        raise InputError(
            f"the dataset yields {images.dtype.name} {images.shape} and {labels.dtype.name} {labels.shape}: "
            f"{_EXPECTED}; {remedy}."
        )
    return images.shape[1], images.shape[2]
