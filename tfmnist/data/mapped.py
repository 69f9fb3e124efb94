"""Files mapped from disk, and rows of large ones read without their pages staying in memory."""

import math
import mmap
import os
from collections.abc import Iterable
from itertools import pairwise, repeat
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tfmnist.errors import InputError

_LARGE = 128 << 20  # bytes: the pages of smaller files may stay in memory


class FileMap(mmap.mmap):
    """A file mapped for reading, and its descriptor, by which `gather` reads without mapping pages."""

    descriptor = -1
    path = ""

    @classmethod
    def of(
        cls, file: BinaryIO, offset: int, shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8
    ) -> npt.NDArray[Any]:
        """Maps an array that begins at an offset; reads nothing yet. The array keeps the map alive."""
        mapped = cls(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.descriptor, mapped.path = os.dup(file.fileno()), os.path.abspath(file.name)
        return np.frombuffer(mapped, dtype, math.prod(shape), offset).reshape(shape)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


def gather(array: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Returns copies of some rows, like `np.take(array, rows, axis=0)`, at no other cost in memory.

    Each page read through a map counts as this process's memory, and the system maps many around it, so random rows
    soon reach all of the file. Rows of a large `FileMap` are therefore read from the file itself, with one call for a
    run of successive rows, where the system can do that; Windows cannot.

    Args:
        array: `[m, ...]`.
        rows: int64 `[...]` in [0, m).

    Raises:
        IndexError: a row is out of range.
        InputError: the file has been cut short since it was mapped.
    """
    is_large = array.nbytes > _LARGE and array.flags.c_contiguous
    mapped = find_map(array) if is_large and hasattr(os, "preadv") else None
    if mapped is None:
        return np.take(array, rows, axis=0)
    flat = rows.reshape(-1)
    if flat.size and not 0 <= flat.min() <= flat.max() < len(array):
        raise IndexError(f"rows range from {flat.min()} to {flat.max()}, expected 0 to {len(array) - 1}")
    copies = np.empty((flat.size, math.prod(array.shape[1:])), array.dtype)
    firsts = np.flatnonzero(np.diff(flat, prepend=-2) != 1)  # of runs
    pieces: Iterable[Any] = copies
    if 2 * len(firsts) > flat.size:
        firsts = np.arange(flat.size)  # to iterate over rows is faster than to cut out short runs
    else:
        pieces = [copies[first:end] for first, end in pairwise([*firsts.tolist(), flat.size])]
    offsets = (offset_in(mapped, array) + array.strides[0] * flat[firsts]).tolist()
    if sum(map(os.preadv, repeat(mapped.descriptor), zip(pieces), offsets)) < copies.nbytes:
        for piece, offset in zip(pieces, offsets):
            _read(mapped, piece.reshape(-1).data.cast("B"), offset)
    return copies.reshape(*rows.shape, *array.shape[1:])


def find_map(array: npt.NDArray[Any]) -> FileMap | None:
    """Returns the map that an array is a view of, or None."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    base = base.obj if isinstance(base, memoryview) else base
    return base if isinstance(base, FileMap) else None


def offset_in(mapped: FileMap, array: npt.NDArray[Any]) -> int:
    """Returns where in its file an array that is a view of a map begins, in bytes."""
    return array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data


def _read(mapped: FileMap, view: memoryview, offset: int) -> None:
    """Fills a view from the file, with several calls if need be: one reads 2 GiB at most."""
    while view:
        count = os.preadv(mapped.descriptor, [view], offset)
        if not count:
            raise InputError(
                f"{mapped.path}: was cut short while it was read: it ends before byte {offset}, expected {len(mapped)} "
                "bytes as at first; restore the file."
            )
        view, offset = view[count:], offset + count
