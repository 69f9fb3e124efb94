"""Independent, named streams of random numbers from one integer seed.

There is no state: order is a function of (seed, epoch), initial weights of (seed, name), dropout and augmentation
of (seed, name, step). So resuming a run restores no generator, and runs with equal seeds are equal.
"""

import hashlib

import numpy as np
import numpy.typing as npt


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
    return np.argsort(random, kind="stable").astype(np.int64, copy=False)
