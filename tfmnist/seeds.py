"""One integer becomes many independent, named streams of random numbers.

Nothing here has state: order is a function of (seed, epoch), initial weights of (seed, name), dropout and augmentation
of (seed, name, step). So a resumed run needs no generator to be restored, and two runs are equal when their seeds are.
"""

import hashlib

import numpy as np
import numpy.typing as npt


def key(seed: int, name: str) -> int:
    """Returns a 63-bit number for one named use of `seed`; different names give unrelated numbers.

    Used as the first half of the `seed=[key, step]` of TensorFlow's stateless operations.

    Example:
        >>> key(0, "order") != key(0, "dropout") and key(0, "order") == key(0, "order")
        True
    """
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def permutation(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """Returns the order of the `count` examples in one epoch: int64 `[count]`, a permutation of 0 to count - 1.

    Sorts the raw output of the counter-based generator Philox (Salmon et al. 2011), a stream that is fixed by its
    definition, so that the order does not depend on the version of a shuffling routine.

    Example:
        >>> sorted(permutation(seed=1, epoch=0, count=4).tolist())
        [0, 1, 2, 3]
    """
    random = np.random.Philox(key=[key(seed, "order"), epoch]).random_raw(count)
    return np.argsort(random, kind="stable").astype(np.int64, copy=False)
