"""Decoding many picture files, large ones in threads."""

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

from tfmnist.data.layout import Role
from tfmnist.data.split import Images
from tfmnist.errors import InputError, printable
from tfmnist.system.pictures import FORMATS, UnreadablePicture, read_bounded, read_grey

T = TypeVar("T")

EVENTS = 50  # progress events per data set, at most
_STRETCH = 2048  # small pictures between two events, at least; of large ones, a 64th
SMALL = 1 << 13  # bytes per picture, on average: below, threads only wait for the interpreter's lock


@dataclass(frozen=True)
class DecodingProgress:
    """`done` of `total` pictures."""

    done: int
    total: int


class Listing(NamedTuple):
    """The pictures of a folder, in the order of their examples: training, test, validation, each class by class."""

    root: Path
    parts: dict[Role, Path]  # the folders for training and, if there are any, for test and validation
    class_names: tuple[str, ...]
    groups: list[tuple[Role, int, int]]  # part, label, number of pictures
    names: list[str]  # relative to root
    notes: tuple[str, ...]
    size: int  # of all files, in bytes
    newest: int  # time of the latest change, ns
    fingerprint: str  # of names, sizes and times

    @property
    def are_small(self) -> bool:
        return self.size < SMALL * len(self.names)


def process_files(listing: Listing, task: Callable[[range, list[bytes]], list[T]]) -> Iterator[list[T]]:
    """Runs a task on the indices and contents of all pictures, and yields its results stretch by stretch."""
    total, small = len(listing.names), listing.are_small
    stretch = max(-(-total // EVENTS), _STRETCH if small else _STRETCH // 64)
    stretches = [range(start, min(start + stretch, total)) for start in range(0, total, stretch)]
    read = partial(_read_files, listing)

    def process_one(index: int) -> list[T]:
        alone = range(index, index + 1)
        return task(alone, read(alone))

    with ThreadPoolExecutor() as pool:
        ahead = pool.submit(read, stretches[0]) if small else None  # during the task on the stretch before
        for number, indices in enumerate(stretches):
            # Warning filters are global to the process, so they change only while no other thread of this package runs.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if ahead:
                    files = ahead.result()
                    ahead = pool.submit(read, stretches[number + 1]) if number + 1 < len(stretches) else None
                    results = task(indices, files)
                else:
                    results = list(chain.from_iterable(pool.map(process_one, indices)))
            yield results


def digest_files(indices: range, files: list[bytes]) -> list[bytes]:
    """Returns the SHA-256 of each file."""
    return [hashlib.sha256(data).digest() for data in files]


def find_readable(listing: Listing, skip_broken: bool) -> tuple[str, tuple[int, ...]]:
    """Returns the name of the first picture that can be decoded, and its height and width, which all must have."""
    reason = ""
    for name in listing.names:
        path = os.path.join(listing.root, name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return name, read_grey(_read_file(path)).shape
        except UnreadablePicture as error:
            if not skip_broken:
                _fail_broken(path, error)
            reason = reason or str(error)
    raise InputError(
        f"{printable(listing.root)}: all {len(listing.names)} pictures are broken, the first "
        f"{printable(listing.names[0])} ({reason}), expected whole {FORMATS} files; fix or delete them."
    )


def decode_files(
    listing: Listing, images: Images, model: str, skip_broken: bool, indices: range, files: list[bytes]
) -> list[tuple[bytes, str]]:
    """Decodes pictures into `images[indices]`; returns each file's digest, and the reason if it is broken, else ""."""
    reasons = [""] * len(files)
    for index, problem in decode(files, images[indices.start : indices.stop]):
        path = os.path.join(listing.root, listing.names[indices.start + index])
        if isinstance(problem, tuple):
            fail_unequal(
                path,
                problem,
                model,
                images.shape[1:],
                "scale all to one size: tfmnist data convert SOURCE DEST --size 28x28",
            )
        if not skip_broken:
            _fail_broken(path, problem)
        reasons[index] = str(problem)
    return list(zip(digest_files(indices, files), reasons))


def decode(
    files: Sequence[bytes], images: Images, read: Callable[[bytes], Images] = read_grey
) -> Iterator[tuple[int, UnreadablePicture | tuple[int, ...]]]:
    """Decodes files into `images`, uint8 `[n, height, width]`.

    Yields:
        The index of each that is not decoded, and why: what is wrong with it, or its shape, which is another.
    """
    for index, data in enumerate(files):
        try:
            picture = read(data)
        except UnreadablePicture as error:
            yield index, error
            continue
        if picture.shape == images.shape[1:]:
            images[index] = picture
        else:
            yield index, picture.shape


def fail_unequal(path: str, shape: tuple[int, ...], model: str, expected: tuple[int, ...], remedy: str) -> NoReturn:
    """Raises an `InputError` for a picture of another shape than the first, which is called `model`."""
    (height, width), (expected_height, expected_width) = shape, expected
    raise InputError(
        f"{printable(path)}: {width}x{height} pixels, expected {expected_width}x{expected_height} like "
        f"{printable(model)}; {remedy}."
    )


def _read_files(listing: Listing, indices: range) -> list[bytes]:
    return [_read_file(os.path.join(listing.root, listing.names[index])) for index in indices]


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return read_bounded(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise InputError(
            f"{printable(path)}: cannot read the picture: {error.strerror or error}, expected a readable file; check "
            "its rights, or remove it."
        ) from None


def _fail_broken(path: str, error: UnreadablePicture) -> NoReturn:
    raise InputError(
        f"{printable(path)}: a broken picture ({error}), expected a whole {FORMATS} file; fix or delete it, or leave "
        "broken pictures out with data.skip_broken true (--data.skip_broken true)."
    ) from None
