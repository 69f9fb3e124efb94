"""The IDX file format of MNIST: arrays of numbers behind a header of big-endian integers.

A header is a magic number, `0x0000TTNN` with element type TT and NN dimensions, then NN sizes of four bytes each.
Source: http://yann.lecun.com/exdb/mnist/ (THE IDX FILE FORMAT).
"""

import gzip
import math
import os
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from tfmnist.data.mapped import FileMap
from tfmnist.errors import InputError
from tfmnist.system.files import whole_file

Array = npt.NDArray[Any]
Kind = Literal["images", "labels"]

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_CODES = {np.dtype(name).newbyteorder("="): code for code, name in _TYPES.items()}
_TYPE_NAMES = ", ".join(dtype.name for dtype in _CODES)
_MAGIC = {"images": 0x00000803, "labels": 0x00000801}  # of unsigned bytes
_DIMENSIONS = {"images": range(3, 4), "labels": range(1, 3), None: range(1, 65)}  # 64: NumPy's maximum
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
_MOST_MORE = 1 << 26  # bytes that are unpacked beyond those that the header announces


def read_idx(path: Path, kind: Kind | None = None) -> Array:
    """Reads an IDX file, plain or gzip-compressed (recognised by content, not by name).

    A plain file is mapped into memory and read when used; a compressed one is unpacked straight into one array.

    Args:
        path: the file.
        kind: what it must hold, by its dimensions: images, 3; labels, 1 or 2. None allows any array.

    Returns:
        The header's type, its bytes in the file's order, and shape; read-only.

    Raises:
        InputError: the file cannot be read, is not such a file, is damaged, or its length differs from what its header
            says.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise InputError(
                    f"{path}: the file is empty (0 bytes), expected an IDX file; copy or download it again."
                )
            compressed = file.read(2) == _GZIP
            file.seek(0)
            array = _unpack(path, file, size, kind) if compressed else _map(path, file, size, kind)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: broken gzip stream ({error}), expected a complete .gz file; copy or download it again."
        ) from None
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{path}: cannot read the file: {why}, expected an IDX file; check the path.") from None
    array.flags.writeable = False
    return array


def read_images(path: Path) -> Array:
    """Reads an IDX file of images as `read_idx` does: `[n, height, width]`."""
    return read_idx(path, "images")


def read_labels(path: Path) -> Array:
    """Reads an IDX file of labels as `read_idx` does: `[n]`, or `[n, columns]`."""
    return read_idx(path, "labels")


def write_idx(path: Path, array: Array) -> None:
    """Writes an IDX file: gzip-compressed if the name ends in `.gz`; equal arrays become equal bytes.

    The file appears whole or not at all; arrays mapped from an older file of the same name do not change.

    Args:
        path: in an existing folder.
        array: uint8, int8, int16, int32, float32 or float64 `[...]`, 1 to 64 dimensions.

    Raises:
        InputError: the array has another type or shape, or the file cannot be written.
    """
    header = make_header(path, array.dtype, array.shape)
    try:
        with whole_file(path) as file, _compressed(file) if path.suffix == ".gz" else nullcontext(file) as stream:
            stream.write(header)
            stream.write(np.ascontiguousarray(array, array.dtype.newbyteorder(">")).data)
    except OSError as error:
        raise InputError(
            f"{path}: cannot write the IDX file: {error.strerror}; check folder, space and rights."
        ) from None


def make_header(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """Returns what an IDX file begins with; the array's bytes follow, big-endian. `path` is for the error."""
    code = _CODES.get(dtype.newbyteorder("="))
    if code is None or len(shape) not in _DIMENSIONS[None] or max(shape) >= 2**32:
        raise InputError(
            f"{path}: cannot write {dtype} {list(shape)} as IDX, expected {_TYPE_NAMES} with 1 to 64 dimensions; "
            "convert the array first."
        )
    return bytes([0, 0, code, len(shape)]) + np.array(shape, ">u4").tobytes()


def _compressed(file: BinaryIO) -> gzip.GzipFile:
    return gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)  # no name or time: equal bytes


def _map(path: Path, file: BinaryIO, size: int, kind: Kind | None) -> Array:
    dtype, shape = _read_header(path, file, kind)
    start = file.tell()
    _check_length(path, dtype, shape, size - start)
    if 0 in shape:  # an empty range cannot be mapped
        return np.empty(shape, dtype)
    return FileMap.of(file, start, shape, dtype)


def _unpack(path: Path, file: BinaryIO, size: int, kind: Kind | None) -> Array:
    with gzip.GzipFile(fileobj=file, mode="rb") as stream:
        dtype, shape = _read_header(path, stream, kind)
        expected = math.prod(shape) * dtype.itemsize
        # Deflate expands at most 1032 times: a damaged header must not make us allocate terabytes.
        array = np.empty(expected if expected <= 1032 * size else 0, np.uint8)
        # In pieces, since GzipFile.readinto holds a second copy of what it reads.
        view, length = array.data, 0
        while count := stream.readinto(view[length : length + _CHUNK]):
            length += count
        # to the end, where gzip verifies its checksum, unless that is far away
        while length <= expected + _MOST_MORE and (rest := stream.read(_CHUNK)):
            length += len(rest)
    _check_length(path, dtype, shape, length, whole=length <= expected + _MOST_MORE)
    return array.view(dtype).reshape(shape)


def _read_header(
    path: Path, stream: BinaryIO | gzip.GzipFile, kind: Kind | None
) -> tuple[np.dtype[Any], tuple[int, ...]]:
    head = _read_exactly(path, stream, 0, 4)
    magic = int.from_bytes(head, "big")
    element, dimensions = head[2], head[3]
    if kind and (magic >> 16 or dimensions not in _DIMENSIONS[kind]):
        others = [other for other in _MAGIC if not magic >> 16 and dimensions in _DIMENSIONS[other]]
        hint = f"is this the {others[0]} file?" if others else f"is this an IDX file of {kind}?"
        raise InputError(f"{path}: IDX magic is {magic:#010x}, expected {_MAGIC[kind]:#010x} ({kind}); {hint}")
    if magic >> 16:
        raise InputError(
            f"{path}: not an IDX file: it begins with {magic:#010x}, expected 0x0000TTNN (type TT in NN dimensions); "
            "check the path."
        )
    if element not in _TYPES:
        raise InputError(
            f"{path}: IDX element type is {element:#04x}, expected 0x08 (unsigned byte) or one of "
            f"{', '.join(f'{code:#04x}' for code in list(_TYPES)[1:])}; a damaged file?"
        )
    if dimensions not in _DIMENSIONS[None]:
        raise InputError(f"{path}: IDX header has {dimensions} dimensions, expected 1 to 64; a damaged file?")
    sizes = _read_exactly(path, stream, 4, 4 * dimensions)
    return np.dtype(_TYPES[element]), tuple(int(size) for size in np.frombuffer(sizes, ">u4"))


def _read_exactly(path: Path, stream: BinaryIO | gzip.GzipFile, start: int, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise InputError(
            f"{path}: the IDX header is cut off: the file holds {start + len(data)} bytes, expected at least "
            f"{start + count}; copy or download it again."
        )
    return data


def _check_length(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], length: int, whole: bool = True) -> None:
    expected = math.prod(shape) * dtype.itemsize
    sizes = " x ".join(map(str, shape))
    if length != expected:
        problem = f"{'cut off' if length < expected else 'too long'}: {length} bytes{'' if whole else ' or more'}"
        raise InputError(
            f"{path}: {problem} follow the IDX header, expected {expected} ({sizes}); copy or download it again."
        )
    if math.prod(max(size, 1) for size in shape) >= 2**63:
        raise InputError(f"{path}: IDX header says {sizes}, expected a shape that an array can have; a damaged file?")
