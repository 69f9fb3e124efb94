"""Files and folders that appear whole or not at all, even if the power fails, and arrays in `.npz` files."""

import errno
import hashlib
import io
import os
import secrets
import shutil
import zipfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

_MANY = 256  # files: beyond, flushing the whole disk once is faster than flushing each by itself


@contextmanager
def whole_file(path: Path) -> Generator[BinaryIO]:
    """Opens a temporary file beside `path`; when the block ends, flushes it to the disk and renames it into place."""
    temporary = _temporary(path.parent, path.name)
    try:
        file = temporary.open("xb")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.filename == str(temporary) or (error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT)):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file by `whole_file`, text in UTF-8."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def staged_folder(parent: Path, name: str) -> Generator[Path]:
    """Makes a temporary folder `.NAME-XXXXXXXX` in `parent`, and deletes it afterwards unless it was published."""
    folder = _temporary(parent, name)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(folder: Path, candidates: Iterable[Path]) -> Path:
    """Flushes a staged folder to the disk, renames it to the first candidate that is free, and returns that.

    A candidate is free if it does not exist or is an empty folder.

    Raises:
        OSError: no candidate is free, or the folder cannot be flushed or renamed.
    """
    paths = [folder, *folder.rglob("*")]
    if len(paths) > _MANY and hasattr(os, "sync"):
        os.sync()
    else:
        for path in paths:
            _sync(path)
    taken: OSError = FileNotFoundError("no name for the folder")
    for candidate in candidates:
        try:
            os.rename(folder, candidate)
        except OSError as error:
            if not candidate.exists():
                raise
            taken = error
        else:
            _sync(candidate.parent)
            return candidate
    raise taken


def write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes named arrays as one `.npz`, readable with NumPy alone; each array carries a checksum."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_whole(path, buffer.getvalue())


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
                raise ValueError("an entry with a comment, which `write_npz` never writes")
            # whole members, since the checksum is compared only at the end of one
            members = {name.removesuffix(".npy"): io.BytesIO(file.read(name)) for name in file.namelist()}
            return {name: np.lib.format.read_array(member, allow_pickle=False) for name, member in members.items()}
    except Exception as error:  # damaged archives and headers raise many kinds, none of them documented
        raise ValueError(f"damaged: {one_line(error)}") from None


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def one_line(error: Exception) -> str:
    """Returns an error's message on one line, or its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def _temporary(parent: Path, name: str) -> Path:
    return parent / f".{name}-{secrets.token_hex(4)}"


def _sync(path: Path) -> None:
    """Flushes a file, or a folder's list of names, to the disk."""
    is_folder = path.is_dir()
    try:
        handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)  # Windows flushes only files open for writing
    except PermissionError:
        if is_folder:  # Windows does not open folders
            return
        raise
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
