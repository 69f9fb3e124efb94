"""Images with their labels: what a source holds, a split, and the three splits of a data set."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tfmnist.data.mapped import gather
from tfmnist.errors import InputError

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

MOST_CLASSES = 1000  # of any source
_CHUNK = 4096  # examples


class Part(NamedTuple):
    """Training, validation or test arrays, and their names in messages."""

    images: npt.NDArray[Any]  # in any form that `tfmnist.load` lists; uint8 [n, height, width] once it is converted
    labels: Labels
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


class Split:
    """Images with their labels: a whole data set, or the examples that `rows` selects.

    Nothing is copied while only `take` and `labels` are used, so a split of a mapped file stays on disk. All arrays
    that the properties return are read-only.

    Args:
        images: uint8 `[m, height, width]`.
        labels: integers `[m]`.
        rows: int64 `[n]` in [0, m): the examples that belong to this split; None for all.

    Raises:
        InputError: another type or shape, unequal lengths, or rows out of range.

    Example:
        >>> split = Split(np.zeros([4, 28, 28], np.uint8), np.array([7, 2, 1, 0]), rows=np.array([1, 3]))
        >>> split, split.labels.tolist()
        (Split(2 of 28 x 28), [2, 0])
    """

    def __init__(self, images: Images, labels: npt.NDArray[np.integer[Any]], rows: Labels | None = None) -> None:
        if images.ndim != 3 or images.dtype != np.uint8:
            raise InputError(f"images are {images.dtype} {list(images.shape)}, expected uint8 [n, height, width].")
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise InputError(f"labels are {labels.dtype} {list(labels.shape)}, expected integers [n].")
        if len(images) != len(labels):
            raise InputError(f"{len(images)} images but {len(labels)} labels, expected one label for each image.")
        if rows is not None:
            if rows.ndim != 1 or rows.dtype != np.int64:
                raise InputError(f"rows are {rows.dtype} {list(rows.shape)}, expected int64 [n].")
            if rows.size and not 0 <= rows.min() <= rows.max() < len(images):
                raise InputError(f"rows range from {rows.min()} to {rows.max()}, expected 0 to {len(images) - 1}.")
            rows, labels = _read_only(rows), labels[rows]
        self._labels: Labels = _read_only(labels.astype(np.int64, copy=False))
        self._rows = rows
        # Together, so that a thread in `take` never sees selected images with rows of the base.
        self._source: tuple[Images, Labels | None] = (_read_only(images), rows)

    @property
    def images(self) -> Images:
        """uint8 `[n, height, width]`. With `rows`, the first use copies them and releases the larger array."""
        images, rows = self._source
        if rows is not None:
            images = _read_only(np.take(images, rows, axis=0))
            self._source = (images, None)
        return images

    @property
    def labels(self) -> Labels:
        """int64 `[n]`."""
        return self._labels

    @property
    def rows(self) -> Labels | None:
        """int64 `[n]`: the index of each example in the data set it was split from; None for all of it."""
        return self._rows

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
        """Hex digest of the split's images and labels, in their order."""
        digest = hashlib.sha256(f"uint8 {self.image_shape} int64 {len(self)}".encode())
        for start in range(0, len(self), _CHUNK):
            digest.update(self.take(np.arange(start, min(start + _CHUNK, len(self))))[0].data)
        digest.update(self.labels.astype("<i8").data)
        return digest.hexdigest()

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
        chosen = positions if rows is None else rows[positions]
        return gather(images, chosen), np.take(self._labels, positions)


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
        train, validation, test = self.train, self.validation, self.test
        order = np.arange(len(train) + len(validation))
        if train.rows is not None and validation.rows is not None:
            order = np.argsort(np.concatenate([train.rows, validation.rows]), kind="stable")
        digest = hashlib.sha256(f"uint8 {self.image_shape} int64 {len(order)} {len(test)}".encode())
        for start in range(0, len(order), _CHUNK):
            chosen = order[start : start + _CHUNK]
            in_train = chosen < len(train)
            block = np.empty([len(chosen), *self.image_shape], np.uint8)
            block[in_train] = train.take(chosen[in_train])[0]
            block[~in_train] = validation.take(chosen[~in_train] - len(train))[0]
            digest.update(block.data)
        digest.update(np.concatenate([train.labels, validation.labels])[order].astype("<i8").data)
        digest.update(test.images.data)
        digest.update(test.labels.astype("<i8").data)
        return digest.hexdigest()


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns a contiguous view that cannot be written through; `np.take` would copy all of a strided array."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def spread(split: Split, count: int) -> Images:
    """Returns the images of at most `count` examples, spread evenly, uint8 `[n, height, width]`."""
    return split.take(np.linspace(0, len(split) - 1, min(len(split), count)).astype(np.int64))[0]
