"""Where examples come from: every source becomes `Digits`, three splits of uint8 images with int64 labels.

A source is one function that returns its training and test arrays; all checks, and the validation split, are shared.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tfmnist.data.folders import is_picture_folder, read_folder
from tfmnist.data.idx import find_idx_files, read_images, read_labels
from tfmnist.data.npz import NPZ_KEYS, read_npz
from tfmnist.data.selection import choose_classes, keep_few, stratify
from tfmnist.data.split import MOST_CLASSES, Digits, Part, Source, Split
from tfmnist.errors import InputError, check_name, did_you_mean
from tfmnist.seeds import key

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

_MNIST = Path(__file__).parent / "mnist"


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
    return divide(
        _read(source, skip_broken),
        str(source),
        validation=validation,
        seed=seed,
        classes=classes,
        only=only,
        per_class=per_class,
        test_share=test_share,
    )


def divide(
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
