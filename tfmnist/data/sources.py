"""Where examples come from: every source becomes `Digits`, three splits of uint8 images with int64 labels.

One function per kind of source returns its training and test arrays; the checks and the division are common to all.
"""

import os
import shlex
import tarfile
import zipfile
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from tfmnist.data.arrays import to_grey, to_labels
from tfmnist.data.bulk_decode import DecodingProgress
from tfmnist.data.csv_files import has_labels, read_csv
from tfmnist.data.folders import is_picture_folder, read_folder
from tfmnist.data.idx import read_images, read_labels
from tfmnist.data.known_sets import FileSet, find_file_set
from tfmnist.data.npz import NPZ_KEYS, read_npz, read_only_array
from tfmnist.data.selection import choose_classes, draw_test, keep_few, relabel, stratify
from tfmnist.data.split import MOST_CLASSES, Digits, Labels, Part, Source, Split, rows_where
from tfmnist.errors import InputError, check_name, did_you_mean, few
from tfmnist.seeds import key

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
    transpose: bool = False,
) -> Digits:
    """Loads a data set and splits validation examples off its training examples.

    Args:
        source: `"mnist"` (embedded; `"./mnist"` is a folder); a folder of pictures, `train/<class>/*.png` or `.jpg` and
            `test/<class>/*`; a folder with IDX files, `.gz` or not, under the names of MNIST, Fashion-MNIST, EMNIST,
            KMNIST or QMNIST, with KMNIST's `.npz` files, or with `train.csv` or `mnist_train.csv`, or one of these
            files; a `.csv` whose rows are a label and the pixels of a square image; or an `.npz` with
            `x_train, y_train, x_test, y_test` and, optionally, `x_val, y_val, class_names`, its images
            `[n, height, width]`, `[n, height, width, 1]` or, converted to grey, `[n, height, width, 3]`: bool, integers
            from 0 to 255, or floats in [0, 1] or [0, 255]. Whole numbers up to 1, ..., 16 in all of the training set
            are scaled to 255. Labels are `[n]` or `[n, 1]`. Class names of IDX and CSV files may be in `labels.txt`.
        validation: number of validation examples, each class in proportion; 0 for none. A source with a validation set
            of its own keeps it whole, whatever the number, unless that is 0.
        seed: decides which examples are for validation, and which ones `per_class` keeps.
        classes: number of classes, 2 to 1000; 0 takes it from the training labels.
        only: names of the classes to keep, numbered in this order; none keeps all.
        per_class: number of training examples to keep per class; 0 keeps all that are not for validation.
        test_share: fraction of each class that becomes the test set if the source has none, the same for every seed.
        skip_broken: leaves out pictures that cannot be decoded, and names them in `notes`.
        transpose: swaps the rows and columns of all images; EMNIST's, under their own names, are swapped without it.

    Raises:
        InputError: no such source, damaged or unfit data, labels out of range, or too many validation examples.

    Example:
        >>> digits = load("mnist", validation=5000)
        >>> digits.train, len(digits.validation), digits.test.labels[:3].tolist()
        (Split(55000 of 28 x 28), 5000, [7, 2, 1])
    """
    events = load_events(source, validation, seed, classes, only, per_class, test_share, skip_broken, transpose)
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


def load_events(
    source: str | Path,
    validation: int,
    seed: int,
    classes: int,
    only: Sequence[str],
    per_class: int,
    test_share: float,
    skip_broken: bool,
    transpose: bool,
) -> Generator[DecodingProgress, None, Digits]:
    """Like `load`; yields its progress while pictures are decoded. `validation` -1: the source's own, if it has one."""
    check_source(source)
    if not 0 < test_share < 1:
        raise InputError(f"recipe key 'data.test_share' is {test_share}: expected more than 0 and less than 1.")
    if per_class < 0:
        raise InputError(f"recipe key 'data.per_class' is {per_class}: expected 0 or more.")
    path = _MNIST if source == "mnist" else Path(os.path.expanduser(source))
    if source != "mnist" and path.is_dir() and is_picture_folder(path):
        data = yield from read_folder(path, skip_broken=skip_broken)
    else:
        data = _read_files(path, classes)
    parts, notes = to_grey([part for part in (data.train, data.test, data.validation) if part])
    _check_arrays(parts)
    if transpose and data.sideways:
        raise InputError(f"recipe key 'data.transpose' is true: {source} is transposed without it; leave it out.")
    if transpose or data.sideways:
        parts = [part._replace(images=np.ascontiguousarray(part.images.swapaxes(1, 2))) for part in parts]
    train, notes = parts[0], (*data.notes, *notes)
    test, validation_part = parts[1] if data.test else None, parts[-1] if data.validation else None
    count = _count_classes(parts, classes)
    names = data.class_names or tuple(str(label) for label in range(count))
    if len(names) != count:
        raise InputError(
            f"{source}: class_names has {len(names)} names, expected {count}, one per class; if classes without "
            f"examples are meant, set data.classes to {len(names)} (--data.classes {len(names)})."
        )
    new_labels = choose_classes(names, only)
    names = tuple(only) or names
    labels = relabel(train.labels, new_labels)
    chosen = labels >= 0  # for training
    if test:
        test_labels = relabel(test.labels, new_labels)
        test_split = Split(test.images, test_labels, rows_where(test_labels >= 0))
    else:  # drawn from all classes, so that no example is for test under one data.only and for training under another
        drawn = draw_test(train.labels, test_share)
        test_split = Split(train.images, labels, rows_where(drawn & chosen))
        chosen &= ~drawn
        notes = (*notes, f"no test set in the source: {len(test_split):,} of its examples are held out as one")
    if not chosen.any() or not len(test_split):
        which, remedy = ("test", "data.only or data.test_share") if chosen.any() else ("training", "data.only")
        raise InputError(f"{source}: no {which} examples of {few(names)}, expected some; change {remedy}.")
    validation_split = Split(train.images[:0], labels[:0])
    if validation_part:
        validation_split = _select(validation_part, new_labels, use=validation != 0)
        used = f"{len(validation_split):,} examples" if validation else "not used, since data.validation is 0"
        notes = (*notes, f"the source has its own validation set: {used}")
    elif validation > 0:
        drawn = stratify(labels, chosen, validation, key(seed, "validation"))
        validation_split = Split(train.images, labels, rows_where(drawn))
        chosen &= ~drawn
    if per_class:
        chosen = keep_few(labels, chosen, per_class, key(seed, "per_class"), names)
    train_split = Split(train.images, labels, rows_where(chosen))
    return Digits(train_split, validation_split, test_split, names, str(source), notes)


def _select(part: Part, new_labels: Labels, *, use: bool) -> Split:
    """Returns the examples of the chosen classes, or none, without `rows`: those number the training examples."""
    labels = relabel(part.labels, new_labels) if use else np.full(len(part.labels), -1)
    chosen = labels >= 0
    return Split(part.images, labels) if chosen.all() else Split(part.images[chosen], labels[chosen])


def check_source(source: str | Path) -> None:
    """Raises an `InputError` if a source does not exist; reads nothing."""
    check_name(source)
    if source != "mnist" and not os.path.exists(Path(os.path.expanduser(source))):
        raise InputError(
            f"data source {str(source)!r} does not exist: expected 'mnist' (embedded), a folder of pictures or of IDX "
            f"files, a .csv file, or an .npz file with {', '.join(NPZ_KEYS)}{did_you_mean(str(source), ['mnist'])}"
        )


def _read_files(path: Path, classes: int) -> Source:
    """Reads IDX, CSV and `.npz` files, each by itself or as a set; `classes` as for `load`."""
    if files := find_file_set(path):
        return _read_file_set(files, classes)
    if path.is_dir():
        raise InputError(
            f"{path}: no data found, expected train/<class>/*.png (or .jpg), <class>/*.png, IDX files named "
            "train-images-idx3-ubyte and so on, or train.csv; check the folder."
        )
    if path.suffix != ".npz":
        _refuse_archive(path)
    return read_npz(path)


def _read_file_set(files: FileSet, classes: int) -> Source:
    notes: list[str] = []
    if files.form == "csv":
        train, test = _read_table(files.files["train rows"]), None
        if path := files.files.get("test rows"):
            test = _read_table(path) if has_labels(path) else None
            notes.append(f"{path.name} {'is the test set' if test else 'has no labels: it is not used'}")
    else:
        train, test = (_read_pair(files, part) for part in ("train", "test"))
    validation = _read_pair(files, "validation") if files.has_validation else None
    parts = [part for part in (train, test, validation) if part]
    first = files.first_label
    if first and min(part.labels.min(initial=first) for part in parts) == first:
        parts = [part._replace(labels=part.labels - first) for part in parts]
    names, note = files.find_class_names(classes or max(int(part.labels.max(initial=0)) for part in parts) + 1)
    if files.emnist_split:
        notes.append("images are transposed: they lie sideways in EMNIST's files")
    notes += [note] if note else []
    test, validation = parts[1] if test else None, parts[-1] if validation else None
    return Source(parts[0], test, names, tuple(notes), validation, sideways=bool(files.emnist_split))


def _refuse_archive(path: Path) -> None:
    """Raises an `InputError` if a file is an archive or a table that has to be unpacked or converted first."""
    what = "a Parquet file" if path.suffix == ".parquet" else "not a data source"
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except Exception:  # a damaged one raises many kinds
            names = []
        if any(name.endswith(".npy") for name in names):
            return
        what = f"a zip archive of {len(names):,} files"
    elif tarfile.is_tarfile(path):
        what = "a tar archive"
    raise InputError(
        f"{path}: {what}, expected a folder, an .npz, a .csv or IDX files; unpack it first, or convert it: "
        f"tfmnist data convert {shlex.quote(str(path))} DEST"
    )


def _read_pair(files: FileSet, part: str) -> Part:
    images_path, labels_path = files.files[f"{part} images"], files.files[f"{part} labels"]
    if files.form == "npz":
        images, labels = read_only_array(images_path), read_only_array(labels_path)
    else:
        images, labels = read_images(images_path), read_labels(labels_path)
    if files.prefix == "qmnist-" and labels.ndim == 2:
        labels = labels[:, 0]  # the others say who wrote it, and where
    return Part(images, to_labels(str(labels_path), labels), str(images_path), str(labels_path))


def _read_table(path: Path) -> Part:
    images, labels = read_csv(path)
    return Part(images, labels, str(path), str(path))


def _check_arrays(parts: Sequence[Part]) -> None:
    """Checks that there are images with pixels, as many as labels, and of one size."""
    for part in parts:
        if 0 in part.images.shape:
            raise InputError(
                f"{part.images_name}: no pixels, shape {list(part.images.shape[:3])}, expected at least one image and "
                "one pixel; write the file again."
            )
        if len(part.images) != len(part.labels):
            raise InputError(
                f"{part.images_name}: {len(part.images)} images but {len(part.labels)} labels in {part.labels_name}; "
                "expected one label per image."
            )
    size, *others = ["{} x {}".format(*part.images.shape[1:]) for part in parts]
    for part, other in zip(parts[1:], others):
        if other != size:
            raise InputError(
                f"{part.images_name}: images are {other}, expected {size} like the training images; resize them."
            )


def _count_classes(parts: Sequence[Part], classes: int) -> int:
    """Returns the number of classes, after checking every label against it."""
    train = parts[0]
    distinct = np.unique(train.labels)
    largest = int(distinct[-1])
    count = classes or largest + 1
    if not classes and distinct[0] >= 0 and len(distinct) < count:
        absent = int(np.argmax(distinct != np.arange(len(distinct))))
        remedy = f"; if classes without examples are meant, set data.classes to {count} (--data.classes {count})"
        raise InputError(
            f"{train.labels_name}: labels out of range: training labels reach {largest} but only {len(distinct)} "
            f"distinct classes occur (no example of class {absent}); a damaged label? (first at example "
            f"{np.argmax(train.labels == largest)}){remedy if count <= MOST_CLASSES else ''}"
        )
    if not 2 <= count <= MOST_CLASSES and (classes or distinct[0] >= 0):
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
