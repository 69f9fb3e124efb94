"""The IDX file format of MNIST: arrays of unsigned bytes behind a header of big-endian integers.

A header is a magic number, `0x0000TTNN` with element type TT and NN dimensions, then NN sizes of four bytes each.
Source: http://yann.lecun.com/exdb/mnist/ (THE IDX FILE FORMAT).
"""

import gzip
import math
import os
import zlib
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from tfmnist.data.mapped import FileMap
from tfmnist.errors import InputError
from tfmnist.system.files import whole_file

Bytes = npt.NDArray[np.uint8]

_IMAGES, _LABELS = 0x00000803, 0x00000801
_KINDS = {_IMAGES: "images", _LABELS: "labels"}
_TYPES = {0x08: "unsigned byte", 0x09: "signed byte", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
_DIMENSIONS = 64  # NumPy's maximum


def read_idx(path: Path, magic: int | None = None) -> Bytes:
    """Reads an IDX file of unsigned bytes, plain or gzip-compressed (recognised by content, not by name).

    A plain file is mapped into memory and read when used; a compressed one is unpacked straight into one array.

    Args:
        path: the file.
        magic: what it must begin with; None allows any array of unsigned bytes.

    Returns:
        uint8 `[...]` of the header's shape, read-only.

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
            array = _unpack(path, file, size, magic) if compressed else _map(path, file, size, magic)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: broken gzip stream ({error}), expected a complete .gz file; copy or download it again."
        ) from None
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{path}: cannot read the file: {why}, expected an IDX file; check the path.") from None
    array.flags.writeable = False
    return array


def read_images(path: Path) -> Bytes:
    """Reads an IDX file of images, magic `0x00000803`, as `read_idx` does: uint8 `[n, height, width]`."""
    return read_idx(path, _IMAGES)


def read_labels(path: Path) -> Bytes:
    """Reads an IDX file of labels, magic `0x00000801`, as `read_idx` does: uint8 `[n]`."""
    return read_idx(path, _LABELS)


def write_idx(path: Path, array: Bytes) -> None:
    """Writes an IDX file of unsigned bytes: gzip-compressed if the name ends in `.gz`; equal arrays become equal bytes.

    The file appears whole or not at all; arrays mapped from an older file of the same name do not change.

    Args:
        path: in an existing folder.
        array: uint8 `[...]`, 1 to 64 dimensions.

    Raises:
        InputError: the array has another type or shape, or the file cannot be written.
    """
    if array.dtype != np.uint8 or not 1 <= array.ndim <= _DIMENSIONS or max(array.shape) >= 2**32:
        raise InputError(
            f"{path}: cannot write {array.dtype} {list(array.shape)} as IDX, expected uint8 with 1 to {_DIMENSIONS} "
            "dimensions; convert the array first."
        )
    header = bytes([0, 0, 0x08, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    try:
        with whole_file(path) as file, _compressed(file) if path.suffix == ".gz" else nullcontext(file) as stream:
            stream.write(header)
            stream.write(np.ascontiguousarray(array).data)
    except OSError as error:
        raise InputError(
            f"{path}: cannot write the IDX file: {error.strerror}; check folder, space and rights."
        ) from None


def _compressed(file: BinaryIO) -> gzip.GzipFile:
    return gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)  # no name or time: equal bytes


def find_idx_files(folder: Path) -> tuple[Path, Path, Path, Path]:
    """Finds the four files of a data set named like MNIST's: training images and labels, test images and labels.

    A plain file is preferred to a `.gz` one, `train-images-idx3-ubyte` to the variant `train-images.idx3-ubyte`.

    Raises:
        InputError: a file is missing.
    """
    paths: dict[str, Path] = {}
    for name in _FILES:
        stems = (name, name.replace("-idx", ".idx"))
        candidates = [folder / (stem + end) for end in ("", ".gz") for stem in stems]
        if existing := next(filter(os.path.isfile, candidates), None):
            paths[name] = existing
    if missing := [name for name in _FILES if name not in paths]:
        raise InputError(
            f"{folder}: {len(missing)} of MNIST's four IDX files missing: {', '.join(missing)}; expected each in this "
            "folder, plain or .gz."
        )
    train_images, train_labels, test_images, test_labels = paths.values()
    return train_images, train_labels, test_images, test_labels


def _map(path: Path, file: BinaryIO, size: int, magic: int | None) -> Bytes:
    shape = _read_header(path, file, magic)
    start = file.tell()
    _check_length(path, shape, size - start)
    if 0 in shape:  # an empty range cannot be mapped
        return np.empty(shape, np.uint8)
    return FileMap.of(file, start, shape)


def _unpack(path: Path, file: BinaryIO, size: int, magic: int | None) -> Bytes:
    with gzip.GzipFile(fileobj=file, mode="rb") as stream:
        shape = _read_header(path, stream, magic)
        expected = math.prod(shape)
        # Deflate expands at most 1032 times: a damaged header must not make us allocate terabytes.
        array = np.empty(expected if expected <= 1032 * size else 0, np.uint8)
        # In pieces, since GzipFile.readinto holds a second copy of what it reads.
        view, length = array.data, 0
        while count := stream.readinto(view[length : length + _CHUNK]):
            length += count
        while rest := stream.read(_CHUNK):  # to the end, where gzip verifies its checksum
            length += len(rest)
    _check_length(path, shape, length)
    return array.reshape(shape)


def _read_header(path: Path, stream: BinaryIO | gzip.GzipFile, expected: int | None) -> tuple[int, ...]:
    head = _read_exactly(path, stream, 0, 4)
    magic = int.from_bytes(head, "big")
    element, dimensions = head[2], head[3]
    if expected is not None and magic != expected:
        kind, other = _KINDS.get(expected, "unsigned bytes"), _KINDS.get(magic)
        hint = f"is this the {other} file?" if other else f"is this an IDX file of {kind}?"
        raise InputError(f"{path}: IDX magic is {magic:#010x}, expected {expected:#010x} ({kind}); {hint}")
    if magic >> 16:
        raise InputError(
            f"{path}: not an IDX file: it begins with {magic:#010x}, expected 0x000008NN (unsigned bytes in NN "
            "dimensions); check the path."
        )
    if element != 0x08:
        raise InputError(
            f"{path}: IDX element type is {element:#04x} ({_TYPES.get(element, 'unknown')}), expected 0x08 (unsigned "
            "byte); convert the array to uint8 and write it again."
        )
    if not 1 <= dimensions <= _DIMENSIONS:
        raise InputError(
            f"{path}: IDX header has {dimensions} dimensions, expected 1 to {_DIMENSIONS}; a damaged file?"
        )
    sizes = _read_exactly(path, stream, 4, 4 * dimensions)
    return tuple(int(size) for size in np.frombuffer(sizes, ">u4"))


def _read_exactly(path: Path, stream: BinaryIO | gzip.GzipFile, start: int, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise InputError(
            f"{path}: the IDX header is cut off: the file holds {start + len(data)} bytes, expected at least "
            f"{start + count}; copy or download it again."
        )
    return data


def _check_length(path: Path, shape: tuple[int, ...], length: int) -> None:
    expected = math.prod(shape)
    sizes = " x ".join(map(str, shape))
    if length != expected:
        raise InputError(
            f"{path}: {'cut off' if length < expected else 'too long'}: {length} bytes follow the IDX header, expected "
            f"{expected} ({sizes}); copy or download it again."
        )
    if math.prod(max(size, 1) for size in shape) >= 2**63:
        raise InputError(f"{path}: IDX header says {sizes}, expected a shape that an array can have; a damaged file?")
