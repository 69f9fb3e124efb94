"""Learning-rate schedules: functions from the number of steps done (int64 scalar tensor) to a float32 scalar tensor.

They are validated when made and depend on the step alone, so a checkpoint does not need them.
"""

import math
from collections.abc import Callable

import tensorflow as tf

from tfmnist.errors import InputError

Schedule = Callable[[tf.Tensor], tf.Tensor]


class Scaled:
    """A schedule times `factor`, a variable that is 1 at first: it can change without compiling the loop again."""

    def __init__(self, schedule: Schedule):
        self.schedule, self.factor = schedule, tf.Variable(tf.ones([]), trainable=False)

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        return self.schedule(step) * self.factor


def constant(learning_rate: float) -> Schedule:
    """f(t) = learning_rate."""
    check_positive(learning_rate=learning_rate)
    return lambda step: tf.constant(learning_rate, tf.float32)


def staircase(learning_rate: float, factor: float, every: int) -> Schedule:
    """f(t) = learning_rate · factor^⌊t / every⌋."""
    check_positive(learning_rate=learning_rate, factor=factor, every=every)
    return lambda step: learning_rate * tf.pow(factor, tf.cast(step // every, tf.float32))


def exponential(learning_rate: float, factor: float, every: int) -> Schedule:
    """f(t) = learning_rate · factor^(t / every)."""
    check_positive(learning_rate=learning_rate, factor=factor, every=every)
    return lambda step: learning_rate * tf.pow(factor, tf.cast(step, tf.float32) / every)


def cosine(learning_rate: float, steps: int, end: float = 0.0) -> Schedule:
    """Half a cosine from learning_rate down to end · learning_rate at `steps` (Loshchilov and Hutter 2017, eq. 5)."""
    check_positive(learning_rate=learning_rate, steps=steps)

    def value(step: tf.Tensor) -> tf.Tensor:
        progress = tf.minimum(tf.cast(step, tf.float32) / steps, 1.0)
        return learning_rate * (end + (1.0 - end) * 0.5 * (1.0 + tf.cos(math.pi * progress)))

    return value


def one_cycle(learning_rate: float, steps: int, start: float = 0.1, peak: float = 0.3, end: float = 0.0) -> Schedule:
    """From start · learning_rate up to learning_rate at peak · steps, then down to end · learning_rate at `steps`.

    Straight lines, after Smith and Topin 2018. `peak` is in (0, 1).
    """
    check_positive(learning_rate=learning_rate, steps=steps)
    if not 0 < peak < 1:
        raise InputError(f"peak is {peak}: expected more than 0 and less than 1.")

    def value(step: tf.Tensor) -> tf.Tensor:
        progress = tf.minimum(tf.cast(step, tf.float32) / steps, 1.0)
        rising = start + (1.0 - start) * progress / peak
        falling = 1.0 + (end - 1.0) * (progress - peak) / (1.0 - peak)
        return learning_rate * tf.minimum(rising, falling)

    return value


def warmup(schedule: Schedule, steps: int) -> Schedule:
    """Rises linearly to `schedule(0)` over the first `steps` steps, then runs the schedule from its beginning."""
    if steps < 1:
        return schedule

    def value(step: tf.Tensor) -> tf.Tensor:
        rise = tf.minimum((tf.cast(step, tf.float32) + 1.0) / steps, 1.0)
        return rise * schedule(tf.maximum(step - steps, 0))

    return value


def check_positive(**values: float) -> None:
    """Raises an `InputError` that names the first value that is not positive."""
    for name, value in values.items():
        if not value > 0:
            raise InputError(f"{name} must be positive, got {value}.")
