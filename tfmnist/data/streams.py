"""Labelled pictures one by one, from a folder, a tar or zip archive, or Parquet files, whatever their number."""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tfmnist.data.layout import (
    LAYOUT,
    ROLES,
    LeftOut,
    Role,
    class_order,
    find_parts,
    is_junk,
    is_picture_name,
    list_groups,
    natural_order,
    reading,
)
from tfmnist.errors import InputError, printable
from tfmnist.system.files import one_line
from tfmnist.system.pictures import read_bounded

_DATA_ENDS = (".gz", ".npz", ".npy", ".csv", ".parquet", "-ubyte")


class Example(NamedTuple):
    """The content of a picture file with its part of the data set and its class."""

    role: Role
    class_name: str
    name: str  # in messages
    content: bytes


@dataclass
class Stream:
    """Examples to be read once; meanwhile `left_out` counts what is no picture in a class folder."""

    examples: Iterator[Example]
    total: int = 0  # 0 if that is known only at the end
    class_names: tuple[str, ...] = ()  # if they do not follow from the examples
    left_out: LeftOut = field(default_factory=LeftOut)


def open_folder(folder: Path) -> Stream:
    """Streams class folders in the order of `read_folder`. Raises what it raises for another layout."""
    with reading(folder):
        stream = Stream(iter(()), sum(len(pictures) for _, _, pictures in list_groups(folder, LeftOut())))
        parts = find_parts(folder)

    def read() -> Iterator[Example]:
        with reading(folder):
            for role, class_name, pictures in list_groups(folder, stream.left_out):
                for name, (size, *_) in pictures.items():
                    path = parts[role] / class_name / name
                    with path.open("rb", buffering=0) as file:
                        yield Example(role, class_name, str(path), read_bounded(file, size))

    stream.examples = read()
    return stream


def open_archive(path: Path) -> Stream | None:
    """Streams the pictures of a tar archive, compressed or not, in its order, or of a zip archive in a folder's order.

    They lie as in a folder, perhaps below others. Nothing is unpacked to the disk. None if it is no archive.

    Raises:
        InputError: another layout or no pictures, or, while it is read, a damaged archive.
    """
    read: Callable[[Path, _Places], Iterator[Example]]
    if zipfile.is_zipfile(path):
        read = _read_zip
    elif tarfile.is_tarfile(path):
        read = _read_tar
    else:
        return None
    stream = Stream(iter(()))
    stream.examples = read(path, _Places(path, stream.left_out))
    return stream


class _Places:
    """Finds the part and the class of each picture in an archive by its path; all must lie alike."""

    def __init__(self, archive: Path, left_out: LeftOut) -> None:
        self._archive, self._left_out = archive, left_out
        self._first = ""
        self._above: tuple[str, ...] = ()  # the folders above those of parts or classes
        self._data = ""

    def find(self, path: str) -> tuple[Role, str] | None:
        """Returns the place of a member; None if it is no picture."""
        *folders, name = [part for part in path.split("/") if part not in ("", ".")] or [""]
        if any(map(is_junk, [*folders, name])):
            return None
        if not is_picture_name(name):
            self._data = self._data or (path if name.lower().endswith(_DATA_ENDS) else "")
            self._left_out.add(path)
            return None
        class_name = folders.pop() if folders else ""
        role = ROLES.get(folders[-1].casefold()) if folders else None
        above = (*folders[:-1], "*") if role else tuple(folders)
        if not self._first:
            self._first, self._above = path, above
        if above != self._above or not class_name:
            others = f" and {printable(self._first)}" if self._first != path else ""
            raise InputError(f"{self._archive}: has {printable(path)}{others}, {LAYOUT}")
        return role or "train", class_name

    def check(self) -> None:
        """Raises an `InputError` if there was no picture."""
        if self._data:
            raise InputError(f"{self._archive}: has no pictures but {printable(self._data)}; unpack it first.")
        if not self._first:
            raise InputError(f"{self._archive}: no pictures in it, {LAYOUT}")


def _read_tar(path: Path, places: _Places) -> Iterator[Example]:
    with _archive_errors(path), tarfile.open(path) as archive:
        while member := archive.next():
            getattr(archive, "members", []).clear()  # which would hold all of them
            if not member.isdir() and (place := places.find(member.name)):
                file = archive.extractfile(member)  # a link's is what it points to
                yield Example(*place, f"{path}: {member.name}", read_bounded(file, member.size) if file else b"")
    places.check()


def _read_zip(path: Path, places: _Places) -> Iterator[Example]:
    with _archive_errors(path), zipfile.ZipFile(path) as archive:
        groups: dict[tuple[Role, str], list[zipfile.ZipInfo]] = {}
        for member in archive.infolist():  # which takes 0.6 KB of memory for each
            if not member.is_dir() and (place := places.find(member.filename)):
                groups.setdefault(place, []).append(member)
        places.check()
        roles = list(dict.fromkeys(ROLES.values()))
        for role, class_name in sorted(groups, key=lambda place: (roles.index(place[0]), class_order(place[1]))):
            for member in sorted(groups[role, class_name], key=lambda member: natural_order(member.filename)):
                with archive.open(member) as file:
                    content = read_bounded(file, member.file_size)
                yield Example(role, class_name, f"{path}: {member.filename}", content)


@contextmanager
def _archive_errors(path: Path) -> Generator[None]:
    try:
        yield
    except (
        *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, KeyError),
        *(RuntimeError, NotImplementedError),  # of zip: encrypted, or compressed in an unknown way
    ) as error:
        raise InputError(
            f"{path}: cannot read the archive: {one_line(error)}; copy or download it again, or unpack it first."
        ) from None
