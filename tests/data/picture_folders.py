"""Folders of small random pictures, and what reading one returns."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tfmnist.data import folders
from tfmnist.data.split import Images, Source
from tfmnist.errors import InputError
from tfmnist.system.pictures import PNG


def image(seed: int = 0, shape: tuple[int, ...] = (5, 7)) -> Images:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path: Path, array: npt.NDArray[Any], mode: str = "", **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def make(root: Path, train: int = 3, test: int = 2, classes: tuple[str, ...] = ("0", "1", "2")) -> Path:
    """A folder of random pictures, no two alike, in `train/`, and in `test/` unless `test` is 0."""
    seed = 0
    for part, count in (("train", train), ("test", test)):
        for name in classes:
            for number in range(count):
                save(root / part / name / f"{number}.png", image(seed := seed + 1))
    return root


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode_png(width: int, height: int, rows: bytes = b"", colour: int = 0) -> bytes:
    """A PNG of 8 bits per channel from rows of pixels, each behind the number of its filter."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return PNG + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def read_folder(folder: Path, **options: Any) -> Source:
    events = folders.read_folder(folder, **options)
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


def complaint(root: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_folder(root, **options)
    message = str(caught.value)
    assert message.isprintable()
    return message
