"""Writing files so that each appears whole or not at all, also when the power goes."""

import io
import math
import mmap
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tfmnist.errors import InputError

_LARGE = 128 << 20  # bytes of a mapped file that may stay


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file beside its place, flushes it to the disk and renames it into place."""
    data = content.encode() if isinstance(content, str) else content
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync(path.parent)


def check_name(path: str | Path | None) -> None:
    """Raises an `InputError` where a path is no UTF-8, which neither TOML nor JSON could hold."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!a}: not a name in UTF-8; rename it, or choose another.") from None


def check_new_folder(path: str | Path | None) -> None:
    """Raises an `InputError` where a new run's folder is there already and not empty."""
    check_name(path)
    if path is not None and Path(path).exists() and (not Path(path).is_dir() or any(Path(path).iterdir())):
        raise InputError(
            f"{path}: is there already and not an empty folder; choose another, or go on with it by --resume {path}."
        )


def write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes named arrays as one `.npz`, readable with NumPy alone; each array carries a checksum."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_whole(path, buffer.getvalue())


class FileMap(mmap.mmap):
    """A file mapped for reading, which also knows how to be read without its pages staying: see `gather`."""

    descriptor = -1

    @classmethod
    def of(cls, file: BinaryIO, offset: int, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        """Maps uint8 of a shape that begin at an offset; nothing is read yet. The array keeps the map alive."""
        mapped = cls(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped.descriptor = os.dup(file.fileno())
        return np.frombuffer(mapped, np.uint8, math.prod(shape), offset).reshape(shape)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


def gather(array: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Returns copies of some rows, like `np.take(array, rows, axis=0)`; of a large mapped file, nothing more stays.

    Each page of a map that is read counts as this process's memory, the system maps many around it, and so random rows
    soon reach all of them. Rows of a large `FileMap` are therefore read from the file itself, a call each.

    Args:
        array: `[m, ...]`.
        rows: int64 `[...]` in [0, m).

    Raises:
        IndexError: a row is out of range.
    """
    mapped = find_map(array) if array.nbytes > _LARGE and array.flags.c_contiguous else None
    if mapped is None:
        return np.take(array, rows, axis=0)
    flat = rows.reshape(-1)
    if flat.size and not 0 <= flat.min() <= flat.max() < len(array):
        raise IndexError(f"rows go from {flat.min()} to {flat.max()}, expected 0 to {len(array) - 1}")
    found = np.empty((flat.size, *array.shape[1:]), array.dtype)
    start = array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
    size, view = array.strides[0], found.reshape(-1).data.cast("B")
    for place, offset in enumerate((start + size * flat).tolist()):
        os.preadv(mapped.descriptor, [view[place * size : (place + 1) * size]], offset)
    return found.reshape(*rows.shape, *array.shape[1:])


def find_map(array: npt.NDArray[Any]) -> FileMap | None:
    """Returns the map that an array is a view of, or None."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    base = base.obj if isinstance(base, memoryview) else base
    return base if isinstance(base, FileMap) else None


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Reads what `write_npz` wrote.

    Raises:
        ValueError: the file is damaged, whatever the damage.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            if any(entry.comment for entry in file.infolist()):
                raise ValueError("an entry with a comment, which none was written with")
            # whole members, since the checksum is compared only at the end of one
            members = {name.removesuffix(".npy"): io.BytesIO(file.read(name)) for name in file.namelist()}
            return {name: np.lib.format.read_array(member, allow_pickle=False) for name, member in members.items()}
    except Exception as error:  # what a damaged archive or header raises is a long list, and written nowhere
        raise ValueError(f"damaged: {_line(error)}") from None


def sync(path: Path) -> None:
    """Flushes a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
