"""Images with their labels: what a source holds, a split, and the three splits of a data set."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tfmnist.data.digests import Digest, kept_digest
from tfmnist.data.mapped import gather
from tfmnist.errors import InputError

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Integers = npt.NDArray[np.integer[Any]]

MOST_CLASSES = 1000  # of any source
_CHUNK = 4096  # examples
_MANY = 1 << 20  # labels


class Part(NamedTuple):
    """Training, validation or test arrays, and their names in messages."""

    images: npt.NDArray[Any]  # in any form that `tfmnist.load` lists; uint8 [n, height, width] once it is converted
    labels: Integers
    images_name: str
    labels_name: str


class Source(NamedTuple):
    """What a source holds. Class names default to "0", "1", ...; without test or validation part, one is drawn."""

    train: Part
    test: Part | None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # for the user, such as pictures left out
    validation: Part | None = None
    sideways: bool = False  # images are to be transposed


class AllBut:
    """The rows 0 to m - 1 except some, in order: computed from those left out, which takes no table of the rest.

    Args:
        m: number of examples there are.
        left_out: int64 `[k]` in [0, m), ascending.
    """

    def __init__(self, m: int, left_out: Labels) -> None:
        self.left_out = left_out
        self._length = m - len(left_out)
        self._before = left_out - np.arange(len(left_out))  # rows before each that is left out

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, positions: Labels) -> Labels:
        positions = np.where(positions < 0, positions + self._length, positions)
        return positions + np.searchsorted(self._before, positions, side="right")

    def count_to(self, rows: Labels) -> Labels:
        """Returns how many of these rows are at most as large as each of some others."""
        return rows + 1 - np.searchsorted(self.left_out, rows, side="right")


class Split:
    """Images with their labels: a whole data set, or the examples that `rows` selects.

    Nothing is copied while only `take` and `labels` are used, so a split of a mapped file stays on disk. All arrays
    that the properties return are read-only.

    Args:
        images: uint8 `[m, height, width]`.
        labels: integers `[m]`.
        rows: int64 `[n]` in [0, m), or `AllBut` of m: the examples that belong to this split; None for all.

    Raises:
        InputError: another type or shape, unequal lengths, or rows out of range.

    Example:
        >>> split = Split(np.zeros([4, 28, 28], np.uint8), np.array([7, 2, 1, 0]), rows=np.array([1, 3]))
        >>> split, split.labels.tolist()
        (Split(2 of 28 x 28), [2, 0])
    """

    def __init__(self, images: Images, labels: Integers, rows: Labels | AllBut | None = None) -> None:
        if images.ndim != 3 or images.dtype != np.uint8:
            raise InputError(f"images are {images.dtype} {list(images.shape)}, expected uint8 [n, height, width].")
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise InputError(f"labels are {labels.dtype} {list(labels.shape)}, expected integers [n].")
        if len(images) != len(labels):
            raise InputError(f"{len(images)} images but {len(labels)} labels, expected one label for each image.")
        if isinstance(rows, AllBut):
            labels = np.delete(labels, rows.left_out)
        elif rows is not None:
            if rows.ndim != 1 or rows.dtype != np.int64:
                raise InputError(f"rows are {rows.dtype} {list(rows.shape)}, expected int64 [n].")
            if rows.size and not 0 <= rows.min() <= rows.max() < len(images):
                raise InputError(f"rows range from {rows.min()} to {rows.max()}, expected 0 to {len(images) - 1}.")
            rows, labels = _read_only(rows), labels[rows]
        self._labels: Integers = _read_only(compact(labels))
        self._rows = rows
        # Together, so that a thread in `take` never sees selected images with rows of the base.
        self._source: tuple[Images, Labels | AllBut | None] = (_read_only(images), rows)

    @property
    def images(self) -> Images:
        """uint8 `[n, height, width]`. With `rows`, the first use copies them and releases the larger array."""
        images, rows = self._source
        if rows is not None:
            images = _read_only(np.take(images, _table(rows), axis=0))
            self._source = (images, None)
        return images

    @property
    def labels(self) -> Labels:
        """int64 `[n]`. The first use converts them: until then they are held as `compact_labels`."""
        self._labels = labels = _read_only(self._labels.astype(np.int64, copy=False))
        return labels

    @property
    def compact_labels(self) -> Integers:
        """Integers `[n]`: the labels as they are held, of any type that they fit in."""
        return self._labels

    @property
    def rows(self) -> Labels | None:
        """int64 `[n]`: the index of each example in the data set it was split from; None for all of it."""
        return None if self._rows is None else _table(self._rows)

    @property
    def left_in(self) -> Labels | AllBut | None:
        """Like `rows`, as they are held."""
        return self._rows

    @property
    def base(self) -> Images:
        """uint8 `[m, height, width]`: the images that these are some or all of, as they are held."""
        return self._source[0]

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width."""
        _, height, width = self._source[0].shape
        return height, width

    def __len__(self) -> int:
        return len(self._labels)

    def __repr__(self) -> str:
        return "Split({} of {} x {})".format(len(self), *self.image_shape)

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the split's images and labels, in their order; that of a large file is kept beside it."""
        return kept_digest([self.base], hashlib.sha256(self.describe().encode()), self._digest)

    def _digest(self) -> str:
        digest = hashlib.sha256(f"uint8 {self.image_shape} int64 {len(self)}".encode())
        self.add_to(digest)
        return digest.hexdigest()

    def describe(self) -> str:
        """Returns a digest of which images of `base` the split has, and of their labels."""
        digest = hashlib.sha256(f"{self.image_shape} {len(self)} {type(self._rows).__name__} ".encode())
        rows = self._rows.left_out if isinstance(self._rows, AllBut) else self._rows
        digest.update(b"" if rows is None else rows.astype("<i8").data)
        add_labels(digest, self._labels)
        return digest.hexdigest()

    def add_to(self, digest: Digest) -> None:
        """Updates a digest with all images, then all labels."""
        for start in range(0, len(self), _CHUNK):
            digest.update(self.take(np.arange(start, min(start + _CHUNK, len(self))))[0].data)
        add_labels(digest, self._labels)

    def take(self, positions: Labels) -> tuple[Images, Labels]:
        """Returns copies of the examples at some positions, in one gather.

        Args:
            positions: int64 `[...]` in [0, n), any shape.

        Returns:
            uint8 `[..., height, width]` and int64 `[...]`.

        Raises:
            IndexError: a position is out of range.
        """
        images, rows = self._source
        labels = np.take(self._labels, positions).astype(np.int64, copy=False)  # checks the range
        chosen = positions if rows is None else rows[positions]
        return gather(images, chosen), labels


@dataclass(frozen=True)
class Digits:
    """A data set: `train` for training, `validation`, perhaps empty, for choices, `test` for the final evaluation."""

    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()  # for the user, one line each: pictures left out, a test set drawn

    @property
    def classes(self) -> int:
        """Number of classes; labels are 0 to `classes` - 1."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.train.image_shape

    @cached_property
    def sha256(self) -> str:
        """Hex digest of all images and labels, independent of the file format and of how validation was split off."""
        about = hashlib.sha256(b"train, validation, test")
        splits = self.train, self.validation, self.test
        for split in splits:
            about.update(split.describe().encode())
        return kept_digest([split.base for split in splits], about, self._digest)

    def _digest(self) -> str:
        train, validation = self.train, self.validation
        by_train, by_validation, places = _interleave(train, validation)
        count = len(train) + len(validation)
        labels = np.empty(count, np.result_type(train.compact_labels, validation.compact_labels))
        digest = hashlib.sha256(f"uint8 {self.image_shape} int64 {count} {len(self.test)}".encode())
        for start in range(0, count, _CHUNK):
            end = min(start + _CHUNK, count)
            first, last = map(int, np.searchsorted(places, [start, end]))  # of the validation examples among them
            in_train = np.ones(end - start, np.bool_)
            in_train[places[first:last] - start] = False
            positions = np.arange(start - first, end - last)
            positions = positions if by_train is None else by_train[positions]
            block = np.empty([end - start, *self.image_shape], np.uint8)
            block[in_train], labels[start:end][in_train] = train.take(positions)
            block[~in_train], labels[start:end][~in_train] = validation.take(by_validation[first:last])
            digest.update(block.data)
        add_labels(digest, labels)
        self.test.add_to(digest)
        return digest.hexdigest()


def _interleave(train: Split, validation: Split) -> tuple[Labels | None, Labels, Labels]:
    """Returns how to put the examples of two splits of one data set in its order.

    Returns:
        The order of the training examples, int64 `[n]`, or None as they are; that of the validation examples, int64
        `[m]`; and where these are among all, int64 `[m]`, ascending.
    """
    numbers, rows = np.arange(len(validation)), validation.rows
    table = train.left_in
    if table is None or rows is None:
        return None, numbers, len(train) + numbers
    by_validation = np.argsort(rows, kind="stable")
    rows = rows[by_validation]
    if isinstance(table, AllBut):
        return None, by_validation, numbers + table.count_to(rows)
    by_train = np.argsort(table, kind="stable")
    return by_train, by_validation, numbers + np.searchsorted(table[by_train], rows, side="right")


def rows_where(mask: npt.NDArray[np.bool_]) -> Labels | AllBut | None:
    """Returns the rows that a mask, bool `[m]`, selects, in the form that takes least memory; None for all."""
    count = int(np.count_nonzero(mask))
    if count == len(mask):
        return None
    return np.flatnonzero(mask) if 2 * count < len(mask) else AllBut(len(mask), np.flatnonzero(~mask))


def compact(labels: Integers) -> Integers:
    """Returns labels as uint8, uint16 or uint32 if they fit in that, else as int64; copies those of another type."""
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    return labels.astype(np.int64 if low < 0 or high >= 2**32 else np.min_scalar_type(high), copy=False)


def count_labels(labels: Integers, classes: int = 0) -> Labels:
    """Returns how often each label occurs, int64 `[at least classes]`; `np.bincount` would hold a wide copy of all."""
    counts = np.zeros(max(classes, int(labels.max()) + 1 if len(labels) else 0), np.int64)
    for start in range(0, len(labels), _MANY):
        counts += np.bincount(labels[start : start + _MANY], minlength=len(counts))
    return counts


def add_labels(digest: Digest, labels: Integers) -> None:
    """Updates a digest with labels, each as eight bytes, little-endian."""
    for start in range(0, len(labels), _MANY):
        digest.update(labels[start : start + _MANY].astype("<i8").data)


def _table(rows: Labels | AllBut) -> Labels:
    return rows[np.arange(len(rows))] if isinstance(rows, AllBut) else rows


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns a contiguous view that cannot be written through; `np.take` would copy all of a strided array."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def spread(split: Split, count: int) -> Images:
    """Returns the images of at most `count` examples, spread evenly, uint8 `[n, height, width]`."""
    return split.take(np.linspace(0, len(split) - 1, min(len(split), count)).astype(np.int64))[0]
