"""Where examples come from: every source becomes `Digits`, three splits of uint8 images with int64 labels.

A source is one function that returns its training and test arrays; all checks, and the validation split, are shared.
"""

import hashlib
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmnist.data.folders import Reading, is_picture_folder, read_folder, read_folder_events
from tfmnist.data.idx import find_idx_files, read_images, read_labels
from tfmnist.data.npz import MOST_CLASSES, NPZ_KEYS, Part, Source, read_npz
from tfmnist.data.selection import choose_classes, keep_few, stratify
from tfmnist.errors import InputError, did_you_mean
from tfmnist.files import check_name, gather
from tfmnist.recipe import Data
from tfmnist.seeds import key

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

_MNIST = Path(__file__).parent / "mnist"
_CHUNK = 4096  # examples


class Split:
    """Images with their labels: a whole data set, or those of its examples that `rows` names.

    Nothing is copied while only `take` and `labels` are used, so a split of a mapped file stays on disk. All arrays
    that the properties hand out are read-only.

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
                raise InputError(f"rows go from {rows.min()} to {rows.max()}, expected 0 to {len(images) - 1}.")
            rows, labels = _read_only(rows), labels[rows]
        self._labels: Labels = _read_only(labels.astype(np.int64, copy=False))
        self._rows = rows
        # Together, so that a thread in `take` never sees selected images with rows of the base.
        self._source: tuple[Images, Labels | None] = (_read_only(images), rows)

    @property
    def images(self) -> Images:
        """uint8 `[n, height, width]`. With `rows`, the first use copies them out and lets go of the larger array."""
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
        """int64 `[n]`: the place of each example in the data set it was split from; None for all of it."""
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
    """A data set: what trains, what selects, and what is looked at once, at the end. `validation` may be empty."""

    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    source: str
    notes: tuple[str, ...] = ()  # what the user should know, a line each: pictures left out, a test set drawn

    @property
    def classes(self) -> int:
        """Number of classes; labels are smaller."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.train.image_shape

    @cached_property
    def sha256(self) -> str:
        """Hex digest of all images and labels, whatever the file format and however validation was split off."""
        train, held, test = self.train, self.validation, self.test
        order = np.arange(len(train) + len(held))
        if train.rows is not None and held.rows is not None:
            order = np.argsort(np.concatenate([train.rows, held.rows]), kind="stable")
        digest = hashlib.sha256(f"uint8 {self.image_shape} int64 {len(order)} {len(test)}".encode())
        for start in range(0, len(order), _CHUNK):
            chosen = order[start : start + _CHUNK]
            block = np.empty([len(chosen), *self.image_shape], np.uint8)
            trains = chosen < len(train)
            block[trains] = train.take(chosen[trains])[0]
            block[~trains] = held.take(chosen[~trains] - len(train))[0]
            digest.update(block.data)
        digest.update(np.concatenate([train.labels, held.labels])[order].astype("<i8").data)
        digest.update(test.images.data)
        digest.update(test.labels.astype("<i8").data)
        return digest.hexdigest()


def load(
    source: str | Path = "mnist",
    *,
    validation: int = 5000,
    seed: int = 0,
    classes: int = 0,
    only: Sequence[str] = (),
    per_class: int = 0,
    test_share: float = 0.15,
    skip_broken: bool = False,
) -> Digits:
    """Loads a data set and splits validation examples off its training examples.

    Args:
        source: `"mnist"` (embedded; `"./mnist"` is a folder); a folder of pictures, `train/<class>/*.png` or `.jpg` and
            `test/<class>/*`; a folder with IDX files under MNIST's names, `.gz` or not; or an `.npz` with
            `x_train, y_train, x_test, y_test` and, optionally, `class_names`, its images `[n, height, width]`,
            `[n, height, width, 1]` or, turned grey, `[n, height, width, 3]`: integers from 0 to 255, or floats in
            [0, 1] or [0, 255].
        validation: number of validation examples, each class with its share; 0 for none.
        seed: decides which, and which examples `per_class` keeps; nothing else does.
        classes: number of classes, 2 to 1000; 0 reads it off the training labels.
        only: names of the classes to keep, numbered in this order; none keeps all.
        per_class: number of training examples to keep of each class; 0 keeps all that do not validate.
        test_share: share of each class that becomes the test set where the source has none, the same for every seed.
        skip_broken: leave out pictures that cannot be decoded, and say which in `notes`.

    Raises:
        InputError: no such source, damaged or unfit data, labels out of range, or too many validation examples.

    Example:
        >>> digits = load("mnist", validation=5000)
        >>> digits.train, len(digits.validation), digits.test.labels[:3].tolist()
        (Split(55000 of 28 x 28), 5000, [7, 2, 1])
    """
    check_source(source)
    if not 0 < test_share < 1:
        raise InputError(f"recipe key 'data.test_share' is {test_share}: expected more than 0 and less than 1.")
    if per_class < 0:
        raise InputError(f"recipe key 'data.per_class' is {per_class}: expected 0 or more.")
    return _divide(
        _read(source, skip_broken),
        str(source),
        validation=validation,
        seed=seed,
        classes=classes,
        only=only,
        per_class=per_class,
        test_share=test_share,
    )


def _divide(
    data: Source,
    source: str,
    *,
    validation: int,
    seed: int,
    classes: int,
    only: Sequence[str],
    per_class: int,
    test_share: float,
) -> Digits:
    """Checks what was read and divides it, as `load` says."""
    train, test, notes = data.train, data.test, data.notes
    parts = (train,) if test is None else (train, test)
    for part in parts:
        if 0 in part.images.shape:
            raise InputError(
                f"{part.images_name}: no pixels, shape {list(part.images.shape)}; expected at least one image."
            )
        if len(part.images) != len(part.labels):
            raise InputError(
                f"{part.images_name}: {len(part.images)} images but {len(part.labels)} labels in {part.labels_name}; "
                "expected one label for each image."
            )
    if test and train.images.shape[1:] != test.images.shape[1:]:
        ours, theirs = ("{} x {}".format(*part.images.shape[1:]) for part in (test, train))
        raise InputError(
            f"{test.images_name}: images are {ours}, expected {theirs} like the training images; resize them."
        )
    count = _count_classes(parts, classes)
    names = data.class_names or tuple(str(label) for label in range(count))
    if len(names) != count:
        raise InputError(
            f"{source}: class_names has {len(names)} names, expected {count}, one for each class; if classes without "
            f"examples are meant, set data.classes to {len(names)} (--data.classes {len(names)})."
        )
    number = choose_classes(names, only)
    names = tuple(only) or names
    labels = number[train.labels]
    rows = np.arange(len(labels))
    if test is None:  # drawn of all classes, so that no example tests under one data.only and trains under another
        drawn = int(np.floor(test_share * np.bincount(train.labels)).sum())
        rows, tests = stratify(train.labels, rows, drawn, key(0, "test"))
        tests = tests[labels[tests] >= 0]
        tested = Split(train.images, labels, tests)
        notes = (*notes, f"no test set in the source: {len(tests):,} of its examples are drawn for one")
    else:
        test_labels = number[test.labels]
        tested = Split(test.images, test_labels, np.flatnonzero(test_labels >= 0) if only else None)
    rows = rows[labels[rows] >= 0]
    if not len(rows) or not len(tested):
        which, remedy = ("test", "data.only or data.test_share") if len(rows) else ("training", "data.only")
        raise InputError(f"{source}: no {which} examples of {', '.join(names[:10])}, expected some; change {remedy}.")
    held = rows[:0]
    if validation:
        rows, held = stratify(labels, rows, validation, key(seed, "validation"))
    if per_class:
        rows = keep_few(labels, rows, per_class, key(seed, "per_class"), names)
    return Digits(
        Split(train.images, labels, rows if len(rows) < len(labels) else None),
        Split(train.images, labels, held) if validation else Split(train.images[:0], labels[:0]),
        tested,
        names,
        source,
        notes,
    )


def load_section(section: Data, seed: int) -> Digits:
    """Loads what a recipe's `data` section describes."""
    return load(seed=seed, **section.model_dump())


def load_events(section: Data, seed: int) -> Generator[Reading, None, Digits]:
    """Like `load_section`; yields how far it is where pictures are decoded, and returns the data set."""
    check_source(section.source)
    path = Path(section.source).expanduser()
    if section.source == "mnist" or not path.is_dir() or not is_picture_folder(path):
        return load_section(section, seed)
    data = yield from read_folder_events(path, skip_broken=section.skip_broken)
    return _divide(data, seed=seed, **section.model_dump(exclude={"skip_broken"}))


def load_labelled(section: Data, class_names: Sequence[str], seed: int) -> Digits:
    """Loads a data set with labels that are places in `class_names`, a model's; its other classes are left out.

    Raises:
        InputError: as `load`, and where it has none of these classes.
    """
    try:
        digits = load_section(section, seed)
    except InputError:  # some class without examples, perhaps: its number is known here
        count = max(len(class_names), *(int(name) + 1 for name in class_names if name.isdecimal()), 2)
        section = section.model_copy(update={"classes": min(count, MOST_CLASSES)})
        digits = load_section(section, seed)
    if digits.class_names == tuple(class_names):
        return digits
    shared = [name for name in class_names if name in digits.class_names]
    if not shared:
        raise InputError(
            f"{section.source}: its classes are {', '.join(digits.class_names[:10])}, expected some of the model's, "
            f"{', '.join(class_names[:10])}; rename them, or give other data."
        )
    digits = load_section(section.model_copy(update={"only": tuple(shared)}), seed)
    number = np.array([list(class_names).index(name) for name in shared])
    train, held, test = (Split(s.images, number[s.labels]) for s in (digits.train, digits.validation, digits.test))
    return Digits(train, held, test, tuple(class_names), digits.source, digits.notes)


def check_source(source: str | Path) -> None:
    """Raises an `InputError` where there is nothing at a source; reads nothing."""
    check_name(source)
    if source != "mnist" and not os.path.exists(Path(source).expanduser()):
        raise InputError(
            f"data source {str(source)!r} does not exist: expected 'mnist' (embedded), a folder of pictures or of IDX "
            f"files, or an .npz file with {', '.join(NPZ_KEYS)}{did_you_mean(str(source), ['mnist'])}"
        )


def _read(source: str | Path, skip_broken: bool) -> Source:
    path = Path(source).expanduser()
    if source == "mnist":
        return _read_idx_folder(_MNIST)
    if not path.is_dir():
        return read_npz(path)
    return read_folder(path, skip_broken=skip_broken) if is_picture_folder(path) else _read_idx_folder(path)


def _read_idx_folder(folder: Path) -> Source:
    a, b, c, d = find_idx_files(folder)
    return Source(
        Part(read_images(a), read_labels(b).astype(np.int64), str(a), str(b)),
        Part(read_images(c), read_labels(d).astype(np.int64), str(c), str(d)),
    )


def _count_classes(parts: Sequence[Part], classes: int) -> int:
    """Returns the number of classes, after checking every label against it."""
    train = parts[0]
    known = np.unique(train.labels)
    reach = int(known[-1])
    count = classes or reach + 1
    if not classes and known[0] >= 0 and len(known) < count:
        absent = int(np.argmax(known != np.arange(len(known))))
        remedy = f"; if classes without examples are meant, set data.classes to {count} (--data.classes {count})"
        raise InputError(
            f"{train.labels_name}: labels out of range: training labels reach {reach} but only {len(known)} distinct "
            f"classes occur (no example of class {absent}); a damaged label? (first at example "
            f"{np.argmax(train.labels == reach)}){remedy if count <= MOST_CLASSES else ''}"
        )
    if not 2 <= count <= MOST_CLASSES and (classes or known[0] >= 0):
        what = "data.classes is" if classes else f"{train.labels_name}: the number of classes is"
        raise InputError(f"{what} {count}, expected 2 to {MOST_CLASSES}; correct it.")
    for part in parts:
        if (bad := (part.labels < 0) | (part.labels >= count)).any():
            raise InputError(
                f"{part.labels_name}: label {part.labels[np.argmax(bad)]} at example {np.argmax(bad)}, expected 0 to "
                f"{count - 1} ({'data.classes' if classes else 'the classes of the training labels'}); "
                "correct the label, or set data.classes (--data.classes)."
            )
    return count


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Returns a contiguous view that cannot be written through; `np.take` would copy all of a strided array."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
