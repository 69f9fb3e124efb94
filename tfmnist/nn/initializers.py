"""Initial weights: functions of (shape, fans, scale, key), drawn statelessly, so the same seed gives the same bits.

`key` is a number from `tfmnist.seeds.key`; `fan_in` and `fan_out` count the inputs and outputs of one unit.
"""

import math
from collections.abc import Callable, Sequence

import tensorflow as tf

from tfmnist.errors import InputError, did_you_mean

Initializer = Callable[[Sequence[int], int, int, float, int], tf.Tensor]


def he(shape: Sequence[int], fan_in: int, fan_out: int, scale: float, key: int) -> tf.Tensor:
    """N(0, 2 / fan_in), for ReLU (He et al. 2015, eq. 10). Returns float32 `shape`."""
    return normal(shape, fan_in, fan_out, scale * math.sqrt(2.0 / fan_in), key)


def glorot(shape: Sequence[int], fan_in: int, fan_out: int, scale: float, key: int) -> tf.Tensor:
    """U(-a, a) with a = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16). Returns float32 `shape`."""
    return uniform(shape, fan_in, fan_out, scale * math.sqrt(6.0 / (fan_in + fan_out)), key)


def normal(shape: Sequence[int], fan_in: int, fan_out: int, scale: float, key: int) -> tf.Tensor:
    """N(0, scale squared). Returns float32 `shape`."""
    return scale * tf.random.stateless_normal(shape, seed=(key, 0), alg="philox")


def uniform(shape: Sequence[int], fan_in: int, fan_out: int, scale: float, key: int) -> tf.Tensor:
    """U(-scale, scale). Returns float32 `shape`."""
    return scale * (2.0 * tf.random.stateless_uniform(shape, seed=(key, 0), alg="philox") - 1.0)


def zeros(shape: Sequence[int], fan_in: int, fan_out: int, scale: float, key: int) -> tf.Tensor:
    """All zeros: all units of a layer then learn the same weights, worth seeing once. Returns float32 `shape`."""
    return tf.zeros(shape)


INITIALIZERS: dict[str, Initializer] = {f.__name__: f for f in (he, glorot, normal, uniform, zeros)}


def find_initializer(name: str) -> Initializer:
    """Returns the initializer of that name, or raises an `InputError` that suggests or lists the known names."""
    if name not in INITIALIZERS:
        raise InputError(f"initializer {name!r} does not exist{did_you_mean(name, INITIALIZERS)}")
    return INITIALIZERS[name]
