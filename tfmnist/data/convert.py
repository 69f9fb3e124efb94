"""Writing a data set as picture files, and any source, of whatever size, as plain IDX files."""

import os
from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from tfmnist.data.bulk_decode import EVENTS, DecodingProgress
from tfmnist.data.csv_files import has_labels, read_csv_chunks
from tfmnist.data.folders import is_picture_folder
from tfmnist.data.idx import make_header, write_idx
from tfmnist.data.known_sets import FileSet, find_file_set
from tfmnist.data.layout import BROKEN, OTHERS, LeftOut, Role, check_classes, class_order
from tfmnist.data.mapped import FileMap, gather
from tfmnist.data.parquet_files import find_parquet_files, open_parquet
from tfmnist.data.selection import draw_test
from tfmnist.data.sources import check_source, load_events
from tfmnist.data.split import Digits, Images, Labels, Split
from tfmnist.data.stream_decode import Block, Decoder, Size, decode_stream, fit
from tfmnist.data.streams import Stream, open_archive, open_folder
from tfmnist.errors import InputError, check_name
from tfmnist.system.files import publish, staged_folder

_IDX_NAMES: dict[Role, str] = {"train": "train", "test": "t10k", "validation": "validation"}
_HEADER = 16  # bytes before the images of an IDX file
_CHUNK = 1024  # examples
_STEP = 10_000  # pictures between two events if their number is not known
_TEST_SHARE = 0.15  # as load's
_PHOTOS = ("photo in which no digit could be read", "photos in which no digit could be read")


class Converted(NamedTuple):
    """What `write_idx_folder` has written."""

    counts: dict[Role, int]
    image_shape: Size
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


def write_folder(digits: Digits, destination: Path) -> Generator[DecodingProgress, None, None]:
    """Writes a data set as grey PNGs, `train/<class>/00000.png` and `test/<class>/00000.png`, whole or not at all.

    Validation examples return to the training examples: a file's number is the example's index in the data set.

    Args:
        digits: its class names become folder names.
        destination: must not exist, or be empty.

    Yields:
        About 50 times at most, the last when the folder is complete.

    Raises:
        InputError: the destination is not empty or cannot be written, or a class name cannot name a folder.
    """
    for name in digits.class_names:
        if name.startswith(".") or not name.isprintable() or not name.strip() or set(name) & set('/\\:*?"<>|'):
            raise InputError(
                f"class name {name!r} cannot name a folder, expected printable text that does not begin with a dot and "
                'has none of /\\:*?"<>|; rename the class.'
            )
    done = DecodingProgress(0, 0)
    with _new_folder(destination) as folder:
        for done in _write_pictures(digits, folder):
            if done.done < done.total:
                yield done
    yield done


def write_idx_folder(
    source: str | Path,
    destination: Path,
    *,
    size: Size | None = None,
    read_photos: Callable[[Sequence[bytes]], tuple[Images, list[str]]] | None = None,
    skip_broken: bool = False,
) -> Generator[DecodingProgress, None, Converted]:
    """Writes any source as plain IDX files under MNIST's names, and class names in `labels.txt`, whole or not at all.

    Pictures, and rows of CSV files, are read a few at a time, so that memory does not grow with their number. Pictures
    of a folder or a zip archive are sorted as `read_folder` sorts them; those of other sources stay in their order. If
    the source has no test set, the one that `load` would draw is written.

    Args:
        source: what `load` takes, or a tar or zip archive of class folders, or Parquet files.
        destination: must not exist, or be empty.
        size: the height and width to scale images to, undistorted, on the grey of their edge; None: all have one size.
        read_photos: turns files into images, uint8 `[n, height, width]`, and for each says why it could not, or "";
            replaces decoding and scaling.
        skip_broken: leaves out, and notes, pictures that cannot be decoded.

    Yields:
        `total` is 0 if it is not known.

    Raises:
        InputError: what `load` raises, pictures of unequal size, or a destination that is not empty or not writable.
    """
    check_source(source)
    path = Path(os.path.expanduser(source))
    stream = open_photos(source) if read_photos else _open_stream(source)
    files = None if stream or source == "mnist" else find_file_set(path)
    if not stream and not files and path.is_file() and path.suffix != ".npz":
        raise InputError(
            f"{source}: not a data source, expected a folder of pictures, a .tar, .zip, .parquet, .csv or .npz file, "
            "or IDX files; is it damaged?"
        )
    with _new_folder(destination) as folder, _open_parts() as parts:
        if stream:
            left_out, labels = LeftOut(), dict[str, int]()
            decoder = (lambda examples: read_photos([x.content for x in examples])) if read_photos else Decoder(size)
            blocks = decode_stream(stream, decoder, labels, left_out if skip_broken or read_photos else None)
            yield from _fill(parts, folder, blocks, stream.total)
            class_names = stream.class_names or tuple(sorted(labels, key=class_order))
            check_classes(path, class_names)
            for part in parts.values():
                part.renumber(np.array([class_names.index(name) for name in labels], np.int64))
            notes = (*stream.left_out.note(*OTHERS), *left_out.note(*(_PHOTOS if read_photos else BROKEN)))
        elif files and files.form == "csv":
            yield from _fill(parts, folder, _read_tables(files, size), 0)
            count = max(parts["train"].labels, default=-1) + 1 if "train" in parts else 0
            class_names = files.find_class_names(count)[0] or tuple(map(str, range(count)))
            notes = ()
        else:
            digits = yield from load_events(source, -1, 0, 0, (), 0, _TEST_SHARE, skip_broken, False)
            total = len(digits.train) + len(digits.validation) + len(digits.test)
            yield from _fill(parts, folder, _take_blocks(digits, size), total)
            class_names, notes = digits.class_names, digits.notes
        _check_labels(source, parts, class_names)
        if "test" not in parts:
            parts["test"] = _IdxPart(folder, "test")
            count = parts["train"].move_test(parts["test"])
            notes = (*notes, f"no test set in the source: {count:,} of its examples are held out as one")
        for part in parts.values():
            part.finish(len(class_names))
        (folder / "labels.txt").write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
    counts: dict[Role, int] = {role: len(parts[role].labels) for role in _IDX_NAMES if role in parts}
    yield DecodingProgress(sum(counts.values()), sum(counts.values()))
    return Converted(counts, parts["train"].shape, class_names, notes)


@contextmanager
def _new_folder(destination: Path) -> Generator[Path]:
    """Makes a folder beside the destination, and publishes it there if the block succeeds."""
    check_name(destination)
    destination = Path(os.path.realpath(destination))
    try:
        if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
            raise InputError(f"{destination}: already exists and is not an empty folder; choose another.")
        destination.parent.mkdir(parents=True, exist_ok=True)
        with staged_folder(destination.parent, destination.name) as folder:
            yield folder
            publish(folder, [destination])
    except OSError as error:
        raise InputError(
            f"{destination}: cannot write it: {error.strerror or error}; check folder, space and rights."
        ) from None


def _write_pictures(digits: Digits, folder: Path) -> Iterator[DecodingProgress]:
    train, validation = digits.train, digits.validation
    order = np.arange(len(train) + len(validation))
    known = [split.rows for split in (train, validation) if len(split) and split.rows is not None]
    rows = np.concatenate([order[:0], *known])
    if len(np.unique(rows)) == len(order):  # every example has its own index
        order = rows
    done, total = 0, len(order) + len(digits.test)
    batch = max(-(-total // EVENTS), 256)
    tests = np.arange(len(digits.test))
    width = max(5, *(len(str(numbers.max(initial=0))) for numbers in (order, tests)))
    for part, split, numbers in (
        ("train", train, order[: len(train)]),
        ("train", validation, order[len(train) :]),
        ("test", digits.test, tests),
    ):
        folders = [folder / part / name for name in digits.class_names]
        for label in np.flatnonzero(np.bincount(split.labels)):
            folders[label].mkdir(parents=True, exist_ok=True)
        for start in range(0, len(split), batch):
            images, labels = split.take(np.arange(start, min(start + batch, len(split))))
            for number, label, image in zip(numbers[start:].tolist(), labels.tolist(), images):
                Image.fromarray(image).save(folders[label] / f"{number:0{width}}.png", "PNG")
            done += len(images)
            yield DecodingProgress(done, total)


# Sources


def open_photos(source: str | Path) -> Stream:
    """Opens labelled photos of any size: class folders, an archive of them, or Parquet files.

    Raises:
        InputError: there are none.
    """
    check_source(source)
    stream = _open_stream(source)
    if not stream:
        raise InputError(
            f"{source}: has no photos, expected class folders of them, 0/a.jpg, 1/b.jpg, ..., an archive of these, or "
            "Parquet files; leave out --photos for other data."
        )
    return stream


def _open_stream(source: str | Path) -> Stream | None:
    """Returns the pictures of a source, or None if it has arrays."""
    path = Path(os.path.expanduser(source))
    if source == "mnist":
        return None
    if files := find_parquet_files(path):
        return open_parquet(files)
    if path.is_dir():
        return open_folder(path) if is_picture_folder(path) else None
    return None if path.suffix == ".npz" else open_archive(path)


def _read_tables(files: FileSet, size: Size | None) -> Iterator[Block]:
    roles: tuple[Role, ...] = ("train", "test")
    for role in roles:
        path = files.files.get(f"{role} rows")
        if path and (role == "train" or has_labels(path)):
            for images, labels in read_csv_chunks(path):
                yield role, _fit_all(images, size), labels


def _take_blocks(digits: Digits, size: Size | None) -> Iterator[Block]:
    splits: dict[Role, Split] = {"train": digits.train, "test": digits.test, "validation": digits.validation}
    for role, split in splits.items():
        for start in range(0, len(split), _CHUNK):
            images, labels = split.take(np.arange(start, min(start + _CHUNK, len(split))))
            yield role, _fit_all(images, size), labels


def _fit_all(images: Images, size: Size | None) -> Images:
    return np.stack([fit(image, size) for image in images]) if size else images


# IDX files


Parts = dict[Role, "_IdxPart"]


@contextmanager
def _open_parts() -> Generator[Parts]:
    parts: Parts = {}
    try:
        yield parts
    finally:
        for part in parts.values():
            part.close()


def _fill(parts: Parts, folder: Path, blocks: Iterator[Block], total: int) -> Iterator[DecodingProgress]:
    """Writes blocks of examples, part by part, each to the end of its file."""
    done = shown = 0
    for role, images, labels in blocks:
        if role not in parts:
            parts[role] = _IdxPart(folder, role)
        parts[role].add(images, labels)
        done += len(images)
        if done - shown >= (total // EVENTS or _STEP):
            shown = done
            yield DecodingProgress(done, total)


def _check_labels(source: str | Path, parts: Parts, class_names: tuple[str, ...]) -> None:
    present = set(parts["train"].labels) if "train" in parts else set[int]()
    for label, name in enumerate(class_names):
        if label not in present:
            raise InputError(
                f"{source}: class {name!r} has no training image that can be read, expected at least one for each "
                "class; add some, or remove the class."
            )
    if len(class_names) < 2 or min(present) < 0:
        raise InputError(f"{source}: labels {sorted(present)[:3]}, expected 0, 1, ...; correct them.")


class _IdxPart:
    """The images and labels of one part, on their way into two IDX files."""

    def __init__(self, folder: Path, role: Role) -> None:
        self._folder, self._name = folder, _IDX_NAMES[role]
        self._path = folder / f"{self._name}-images-idx3-ubyte"
        self._file = self._path.open("w+b")
        self._file.seek(_HEADER)
        self.labels = array("i")
        self.shape: Size = (0, 0)

    def add(self, images: Images, labels: Labels) -> None:
        if len(labels):
            self.shape = images.shape[1], images.shape[2]
            self._file.write(np.ascontiguousarray(images).data)
            self.labels.frombytes(labels.astype(np.int32).tobytes())

    def renumber(self, new_labels: Labels) -> None:
        labels = new_labels[np.frombuffer(self.labels, np.int32)] if self.labels else new_labels[:0]
        self.labels = array("i", labels.astype(np.int32).tobytes())

    def move_test(self, test: "_IdxPart") -> int:
        """Moves the examples into `test` that `load` would draw from a source without a test set."""
        labels = np.frombuffer(self.labels, np.int32).astype(np.int64)
        is_drawn = draw_test(labels, _TEST_SHARE)
        rows, drawn = np.flatnonzero(~is_drawn), np.flatnonzero(is_drawn)
        self._file.flush()
        images = FileMap.of(self._file, _HEADER, (len(labels), *self.shape))
        for start in range(0, len(drawn), _CHUNK):
            some = drawn[start : start + _CHUNK]
            test.add(gather(images, some), labels[some])
        self._file.seek(_HEADER)
        self.labels = array("i")
        for start in range(0, len(rows), _CHUNK):  # to places not after their own
            some = rows[start : start + _CHUNK]
            self.add(gather(images, some), labels[some])
            self._file.flush()
        del images  # Windows cannot shorten a mapped file
        self._file.truncate()
        return len(drawn)

    def close(self) -> None:
        self._file.close()

    def finish(self, classes: int) -> None:
        """Writes the header and the labels, of 4 bytes if there are more than 256 classes."""
        wide = classes > 256
        labels: npt.NDArray[Any] = np.array(self.labels, np.int32 if wide else np.uint8)
        self._file.seek(0)
        self._file.write(make_header(self._path, np.dtype(np.uint8), (len(labels), *self.shape)))
        self.close()
        write_idx(self._folder / f"{self._name}-labels-idx1-{'int' if wide else 'ubyte'}", labels)
