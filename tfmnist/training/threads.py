"""Threads per operation: chosen by the size of a step; TensorFlow fixes the number when it first computes."""

import contextlib
import math
from collections.abc import Sequence
from itertools import pairwise

import tensorflow as tf

from tfmnist.recipe import Recipe
from tfmnist.system.machine import MOST_THREADS, processors

# Multiply-adds of a forward pass below which a second thread costs more than it saves.
_SMALL_STEP = 1_000_000


def choose_threads(recipe: Recipe, image_shape: Sequence[int], classes: int) -> int:
    """Returns `train.threads`, within bounds; for auto, 1 for a small step of dense layers, else one per processor.

    Sharing an operation with another thread costs some ten microseconds, as long as a small operation takes: a step of
    784-100-10 with one example takes 57 µs on two threads and 20 on one, of 784-30-10 with ten examples 113 and 72.
    """
    if recipe.train.threads != "auto":
        return min(recipe.train.threads, MOST_THREADS)
    widths = [math.prod(image_shape), *recipe.model.hidden, classes]
    work = recipe.train.batch_size * sum(inputs * units for inputs, units in pairwise(widths))
    return 1 if recipe.model.kind == "mlp" and work < _SMALL_STEP else processors()


def set_threads(count: int) -> None:
    """Sets the number of threads of this process; without effect once TensorFlow has computed."""
    if threads_set() != count:
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(count)


def threads_set() -> int:
    """Returns the number of threads of this process."""
    return tf.config.threading.get_intra_op_parallelism_threads() or processors()
