"""Images in CSV files, as Kaggle has them: a row is a label and the pixels of a square image."""

import gzip
import math
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from tfmnist.data.split import Images, Labels
from tfmnist.errors import InputError, few
from tfmnist.system.files import one_line

_LABELS = ("label", "labels", "class", "target", "digit", "y")  # what headers call the column
_CHUNK = 1 << 23  # characters
_LONGEST = 1 << 20  # characters in the first line
_MOST = 2**24  # float32 holds whole numbers exactly below


class _Layout(NamedTuple):
    """What the first line says about the rows."""

    delimiter: str
    columns: int
    label: int | None  # its column; None if there is none
    first: int  # the number of the line that the rows begin with


def read_csv(path: Path) -> tuple[Images, Labels]:
    """Reads a CSV file whole, as `read_csv_chunks` does: uint8 `[n, side, side]`, int64 `[n]`."""
    chunks = list(read_csv_chunks(path))
    if not chunks:
        raise InputError(f"{path}: no rows, expected a label and the pixels of an image in each; check the file.")
    images, labels = zip(*chunks)
    return np.concatenate(images), np.concatenate(labels)


def read_csv_chunks(path: Path) -> Iterator[tuple[Images, Labels]]:
    """Reads a CSV file, plain or gzip-compressed, a few thousand rows at a time.

    The label is in the first column, or in the one that the header calls "label" or "class"; the others are pixels,
    whole numbers from 0 to 255, which are not scaled.

    Yields:
        uint8 `[k, side, side]`, int64 `[k]`.

    Raises:
        InputError: the file cannot be read, has no labels, or a row does not fit.
    """
    with _reading(path) as file:
        layout = _read_layout(path, file)
        if layout.label is None:
            raise InputError(f"{path}: no labels, expected a column that the header calls 'label'; add it.")
        side = math.isqrt(layout.columns - 1)
        if not side or side**2 != layout.columns - 1:
            raise InputError(
                f"{path}: {layout.columns - 1} pixels in a row, expected a square number, such as 784 for 28 x 28, "
                "after the label; save other images as .npz or IDX."
            )
        number = layout.first
        while lines := file.readlines(_CHUNK):
            if rows := [line for line in lines if not line.isspace()]:
                pixels, labels = _parse(path, lines, rows, number, layout)
                yield pixels.reshape(-1, side, side), labels
            number += len(lines)


def has_labels(path: Path) -> bool:
    """Returns whether the rows of a CSV file have labels; those of Kaggle's `test.csv` have none."""
    with _reading(path) as file:
        return _read_layout(path, file).label is not None


@contextmanager
def _reading(path: Path) -> Generator[TextIO]:
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == b"\x1f\x8b"
        with (gzip.open if compressed else open)(path, "rt", encoding="utf-8-sig") as file:
            yield file
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot read it: {one_line(error)}; expected a CSV file in UTF-8, plain or .gz; copy or save it "
            "again."
        ) from None


def _read_layout(path: Path, file: TextIO) -> _Layout:
    """Reads the first line; then the file is where the rows begin."""
    line = file.readline(_LONGEST)
    if not line.strip() or len(line) == _LONGEST:
        raise InputError(f"{path}: the first line is {'too long' if line.strip() else 'empty'}, expected a CSV file.")
    delimiter = max(",;\t", key=line.count)
    fields = [field.strip(' "\r\n').lower() for field in line.split(delimiter)]
    is_header = not all(map(_is_number, fields))
    label = next((index for index, field in enumerate(fields) if field in _LABELS), None) if is_header else 0
    is_header = is_header or fields == [str(index) for index in range(len(fields))]  # pandas numbers what has no names
    if not is_header:
        file.seek(0)
    return _Layout(delimiter, len(fields), label, 1 + is_header)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse(
    path: Path, lines: Sequence[str], rows: Sequence[str], number: int, layout: _Layout
) -> tuple[Images, Labels]:
    """Returns pixels, `[k, columns - 1]`, and labels; `rows` are the lines that are not blank."""
    try:
        table = np.loadtxt(rows, np.float32, comments=None, delimiter=layout.delimiter, quotechar='"', ndmin=2)
        labels, pixels = table[:, layout.label], np.delete(table, layout.label or 0, axis=1)
        with np.errstate(invalid="ignore"):
            grey = pixels.astype(np.uint8)
        fit = (grey == pixels).all() and (labels == np.rint(labels)).all() and (np.abs(labels) < _MOST).all()
        if fit and table.shape[1] == layout.columns:
            return grey, labels.astype(np.int64)
    except (ValueError, IndexError):
        pass
    raise InputError(f"{path}: {_find_fault(lines, number, layout)}; correct it.")


def _find_fault(lines: Sequence[str], number: int, layout: _Layout) -> str:
    """Returns what is wrong with the first line that does not fit."""
    for at, line in enumerate(lines, number):
        fields = line.rstrip("\r\n").split(layout.delimiter)
        if len(fields) != layout.columns and not line.isspace():
            return f"line {at} has {len(fields)} columns, expected {layout.columns} as in the first line"
        for index, field in enumerate(fields if not line.isspace() else []):
            value = float(text) if _is_number(text := field.strip(' "')) else math.nan
            low, high = (-_MOST, _MOST) if index == layout.label else (0, 255)
            if not (value.is_integer() and low <= value <= high):
                what = "a label, a whole number" if index == layout.label else "a pixel, a whole number from 0 to 255"
                return f"line {at} has {few([repr(field)])} in column {index + 1}, expected {what}"
    return f"lines {number} to {number + len(lines) - 1} cannot be read, expected whole numbers in all"
