"""Independent, named streams of random numbers from one integer seed.

There is no state: order is a function of (seed, epoch), initial weights of (seed, name), dropout and augmentation
of (seed, name, step). So resuming a run restores no generator, and runs with equal seeds are equal.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_IN_TABLE = 10_000_000  # examples: the order of more is computed part by part
_ROUNDS = 8


def key(seed: int, name: str) -> int:
    """Returns a 63-bit number for one named use of `seed`; different names yield unrelated numbers.

    It is the first half of the `seed=[key, step]` of TensorFlow's stateless operations.
    """
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def permutation(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """Returns the order of the `count` examples in one epoch: int64 `[count]`, a permutation of 0 to count - 1.

    Sorts the raw output of the counter-based generator Philox (Salmon et al. 2011), a stream that is fixed by its
    definition, so that the order does not depend on the version of a shuffling routine.
    """
    random = np.random.Philox(key=[key(seed, "order"), epoch]).random_raw(count)
    return _stable_order(random)


def _stable_order(random: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Sorts stably, in less than half the time where no two numbers are equal, as 64 random bits hardly ever are."""
    order = np.argsort(random)
    in_order = random[order]
    if (in_order[1:] == in_order[:-1]).any():
        order = np.argsort(random, kind="stable")
    return order.astype(np.int64, copy=False)


def order_of(seed: int, epoch: int, count: int) -> Callable[[int, int], npt.NDArray[np.int64]]:
    """Returns a function of (start, stop), both in [0, count], that returns that part of an epoch's order.

    Up to 10,000,000 examples, the order is `permutation`. A table of more would take seconds and hundreds of megabytes:
    there each part is computed by itself, int64 `[stop - start]`, by a Feistel network (Luby and Rackoff 1988) on the
    smallest power of two that is not below `count`. Places that it sends beyond the last example are sent on until they
    are within: cycle walking (Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains"), after which it is a
    permutation of 0 to count - 1. The round keys are the raw output of Philox; the round function is the finalizer of
    SplitMix64 (Steele, Lea and Flood 2014, with the constants of Stafford's variant 13).
    """
    if count <= _MOST_IN_TABLE:
        table = permutation(seed, epoch, count)
        return lambda start, stop: table[start:stop]
    keys = np.random.Philox(key=[key(seed, "order"), epoch]).random_raw(_ROUNDS)

    def compute(start: int, stop: int) -> npt.NDArray[np.int64]:
        rows = _encrypt(np.arange(start, stop, dtype=np.uint64), count, keys)
        beyond = np.flatnonzero(rows >= count)
        while beyond.size:
            rows[beyond] = _encrypt(rows[beyond], count, keys)
            beyond = beyond[rows[beyond] >= count]
        return rows.astype(np.int64)

    return compute


def _encrypt(numbers: npt.NDArray[Any], count: int, keys: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Permutes the numbers, uint64, below the smallest power of two >= `count`; rounds change their halves by turns."""
    bits = (count - 1).bit_length()
    low = bits // 2
    masks = (1 << bits - low) - 1, (1 << low) - 1
    halves = [numbers >> low, numbers & masks[1]]
    for turn, round_key in enumerate(keys):
        here, there = turn % 2, 1 - turn % 2
        halves[here] = halves[here] ^ _mix(halves[there] + round_key) & masks[here]
    return halves[0] << low | halves[1]


def _mix(z: npt.NDArray[Any]) -> npt.NDArray[Any]:
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9
    z = (z ^ z >> 27) * 0x94D049BB133111EB
    return z ^ z >> 31
