"""Files of a user's own pictures: bytes that an exported model's `image_bytes` takes."""

import os
from collections.abc import Sequence
from pathlib import Path

from tfmnist.errors import InputError
from tfmnist.system.pictures import JPEG, PNG, UnreadablePicture, read_bounded, to_png

AT_ONCE = 32  # pictures read together, to bound memory


def list_photos(path: str) -> list[str]:
    """Returns the files in a folder by name, except hidden ones; or the path itself if it is not a folder."""
    if not os.path.isdir(path):
        return [path]
    names = sorted(entry.name for entry in os.scandir(path) if entry.is_file() and not entry.name.startswith("."))
    if not names:
        raise InputError(f"{path}: no files in this folder, expected pictures.")
    return [os.path.join(path, name) for name in names]


def read_photo(path: str | Path) -> bytes:
    """Returns the bytes of a picture file: a PNG or JPEG unchanged, other formats converted to PNG.

    Raises:
        InputError: it is missing, a folder, empty, of unknown format, too large or damaged.
    """
    try:
        with open(path, "rb") as file:
            return to_readable(read_bounded(file, os.fstat(file.fileno()).st_size))
    except OSError as error:
        raise InputError(f"{path}: cannot read the picture: {error.strerror or error}; check the path.") from None
    except ValueError as error:  # a path with a null character
        raise InputError(f"{str(path)!r}: cannot read the picture: {error}; check the path.") from None
    except UnreadablePicture as error:
        raise InputError(f"{path}: {error}; expected an intact picture; save it as PNG or JPEG.") from None


def to_readable(data: bytes) -> bytes:
    """Returns a picture that TensorFlow can decode: a PNG or JPEG unchanged, other formats converted by Pillow to PNG.

    Raises:
        UnreadablePicture: it is of unknown format, too large or damaged.
    """
    return data if data.startswith((PNG, JPEG)) else to_png(data)


def read_all(files: Sequence[bytes]) -> tuple[dict[int, bytes], list[str]]:
    """Applies `to_readable` to each file; returns the results by index, and for each file the problem, or ""."""
    contents: dict[int, bytes] = {}
    reasons = [""] * len(files)
    for index, data in enumerate(files):
        try:
            contents[index] = to_readable(data)
        except UnreadablePicture as error:
            reasons[index] = str(error)
    return contents, reasons
