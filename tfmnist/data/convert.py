"""Writing a data set as picture files, and any source, of whatever size, as plain IDX files."""

import os
import warnings
from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from tfmnist.data.bulk_decode import EVENTS, MANY, SMALL, DecodingProgress, decode, fail_unequal
from tfmnist.data.folders import is_picture_folder
from tfmnist.data.layout import BROKEN, OTHERS, LeftOut, Role, check_classes, class_order, printable
from tfmnist.data.mapped import FileMap, gather
from tfmnist.data.selection import stratify
from tfmnist.data.sources import check_source, load_events
from tfmnist.data.split import MOST_CLASSES, Digits, Images, Labels
from tfmnist.data.streams import Example, Stream, open_archive, open_folder
from tfmnist.errors import InputError, check_name
from tfmnist.seeds import key
from tfmnist.system.files import publish, staged_folder
from tfmnist.system.pictures import read_grey

T = TypeVar("T")
Size = tuple[int, int]  # height, width
Decode = Callable[[Sequence[Example]], tuple[Images, list[str]]]

_IDX_NAMES: dict[Role, str] = {"train": "train", "test": "t10k", "validation": "validation"}
_HEADER = 16  # bytes before the images of an IDX file
_BATCH, _BATCH_BYTES = 1024, 64 << 20  # pictures and bytes, at most, that are decoded at once
_STEP = 10_000  # pictures between two events if their number is not known


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

    Pictures are read one after the other, so memory does not grow with their number. Those of a folder or a zip archive
    are sorted as `read_folder` sorts them, those of a tar archive are not. If the source has no test set, the one that
    `load` would draw is written.

    Args:
        source: what `load` takes, or a tar or zip archive of class folders, or Parquet files.
        destination: must not exist, or be empty.
        size: the height and width to scale pictures to, undistorted, on the grey of their edge; None: all have one size.
        read_photos: turns files into images, uint8 `[n, height, width]`, and for each says why it could not, or "";
            replaces decoding and scaling.
        skip_broken: leaves out, and notes, pictures that cannot be decoded.

    Yields:
        `total` is 0 if it is not known.

    Raises:
        InputError: what `load` raises, pictures of unequal size, or a destination that is not empty or not writable.
    """
    check_source(source)
    with _new_folder(destination) as folder:
        path = Path(os.path.expanduser(source))
        left_out, labels = LeftOut(), dict[str, int]()
        notes, class_names, total = (), (), 0
        if stream := None if source == "mnist" else _open_pictures(path):
            if read_photos:
                decoder: Decode = lambda examples: read_photos([example.content for example in examples])  # noqa: E731
            else:
                decoder = _Decoder(size)
            blocks = _decode_stream(stream, decoder, labels, left_out if skip_broken or read_photos else None)
            total = stream.total
        elif read_photos:
            raise InputError(
                f"{source}: no pictures in it, expected some for --photos: a folder, an archive or Parquet."
            )
        else:
            digits = yield from load_events(source, 0, 0, 0, (), 0, 0.15, skip_broken)
            blocks, notes, class_names = _take_blocks(digits, size), digits.notes, digits.class_names
            total = len(digits.train) + len(digits.test)
        parts: dict[Role, _IdxPart] = {}
        done = shown = 0
        for role, images, part_labels in blocks:
            if role not in parts:
                parts[role] = _IdxPart(folder, _IDX_NAMES[role])
            parts[role].add(images, part_labels)
            done += len(images)
            if done - shown >= (total // EVENTS or _STEP):
                yield DecodingProgress(shown := done, total)
        if stream:
            class_names = stream.class_names or tuple(sorted(labels, key=class_order))
            check_classes(path, class_names)
            new_labels = np.array([class_names.index(name) for name in labels], np.int64)
            for part in parts.values():
                part.renumber(new_labels)
            train_labels = parts["train"].labels if "train" in parts else ()
            for label in sorted(set(range(len(class_names))) - set(train_labels)):
                raise InputError(
                    f"{source}: class {class_names[label]!r} has no training picture that can be read, expected at "
                    "least one for each class; add some, or remove the class."
                )
            notes = (*stream.left_out.note(*OTHERS), *left_out.note(*(BROKEN if not read_photos else _PHOTOS)))
        if "test" not in parts:
            parts["test"] = _IdxPart(folder, _IDX_NAMES["test"])
            drawn = parts["train"].move_test(parts["test"])
            notes = (*notes, f"no test set in the source: {drawn:,} of its examples are held out as one")
        for part in parts.values():
            part.finish(len(class_names))
        (folder / "labels.txt").write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
    counts = {role: len(part.labels) for role, part in parts.items()}
    yield DecodingProgress(done, done)
    return Converted(counts, parts["train"].shape, class_names, notes)


_PHOTOS = ("photo in which no digit could be read", "photos in which no digit could be read")


def fit(picture: Images, size: Size) -> Images:
    """Scales a grey picture to a height and width, undistorted and centred on the median grey of its edge."""
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    fitted = ImageOps.pad(Image.fromarray(picture), size[::-1], Image.Resampling.BILINEAR, int(np.median(edge)))
    return np.asarray(fitted)


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


# Sources as blocks of examples


def _open_pictures(path: Path) -> Stream | None:
    """Returns the pictures of a source, or None if it has arrays."""
    if path.is_dir():
        return open_folder(path) if is_picture_folder(path) else None
    return None if path.suffix == ".npz" else open_archive(path)


def _take_blocks(digits: Digits, size: Size | None) -> Iterator[tuple[Role, Images, Labels]]:
    splits: dict[Role, Any] = {"train": digits.train, "test": digits.test, "validation": digits.validation}
    for role, split in splits.items():
        for start in range(0, len(split), _BATCH):
            images, labels = split.take(np.arange(start, min(start + _BATCH, len(split))))
            yield role, np.stack([fit(image, size) for image in images]) if size else images, labels


def _decode_stream(
    stream: Stream, decoder: Decode, labels: dict[str, int], left_out: LeftOut | None
) -> Iterator[tuple[Role, Images, Labels]]:
    """Decodes examples; numbers classes in `labels` as they come, and names in `left_out` what cannot be read."""
    for batch in _ahead(_batches(stream.examples)):
        images, reasons = decoder(batch)
        for example, reason in zip(batch, reasons):
            labels.setdefault(example.class_name, len(labels))
            if reason and left_out is None:
                raise InputError(
                    f"{printable(example.name)}: a broken picture ({reason}); fix or delete it, or leave broken "
                    "pictures out with --skip-broken."
                )
            if reason and left_out:
                left_out.add(f"{example.name} ({reason})")
        if len(labels) > MOST_CLASSES:
            check_classes(Path(batch[0].name), tuple(labels))
        for role in dict.fromkeys(example.role for example in batch):
            index = [i for i, example in enumerate(batch) if example.role == role and not reasons[i]]
            yield role, images[index], np.array([labels[batch[i].class_name] for i in index], np.int64)


def _batches(examples: Iterator[Example]) -> Iterator[list[Example]]:
    batch: list[Example] = []
    size = 0
    for example in examples:
        batch.append(example)
        size += len(example.content)
        if len(batch) == _BATCH or size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """Yields items, and meanwhile gets the next one in a thread."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


class _Decoder:
    """Decodes examples in grey to one size: `size`, or that of the first, which all must have."""

    def __init__(self, size: Size | None) -> None:
        self._read = partial(_read_fitted, size) if size else read_grey
        self._plain = not size
        self._model, self._shape = "", size
        self._count = 0

    def __call__(self, examples: Sequence[Example]) -> tuple[Images, list[str]]:
        files, count = [example.content for example in examples], len(examples)
        with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
            warnings.simplefilter("ignore")
            shape = self._shape or self._find_shape(examples)
            images = np.empty([count, *shape], np.uint8)
            small = sum(map(len, files)) < SMALL * count
            many = small and self._plain and self._count + count >= MANY
            step = count if small else 8  # threads would only wait for each other over small pictures
            starts = range(0, count, step)
            tasks = pool.map(
                lambda start: list(
                    decode(files[start : start + step], images[start : start + step], many=many, read=self._read)
                ),
                starts,
            )
            reasons = [""] * count
            for start, problems in zip(starts, tasks):
                for index, problem in problems:
                    name = examples[start + index].name
                    if isinstance(problem, tuple):
                        fail_unequal(name, problem, self._model, shape, "scale all to one size, such as --size 28x28")
                    reasons[start + index] = str(problem)
        self._count += count
        return images, reasons

    def _find_shape(self, examples: Sequence[Example]) -> tuple[int, ...]:
        for example in examples:
            for _, problem in decode([example.content], np.empty([1, 0, 0], np.uint8), many=False):
                if isinstance(problem, tuple):
                    self._model, self._shape = example.name, problem
                    return problem
        return 0, 0


def _read_fitted(size: Size, data: bytes) -> Images:
    return fit(read_grey(data), size)


# IDX files


class _IdxPart:
    """The images and labels of one part, on their way into two IDX files."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._file = (folder / f"{name}-images-idx3-ubyte").open("w+b")
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
        count = int(np.floor(0.15 * np.bincount(labels)).sum())
        rows, drawn = stratify(labels, np.arange(len(labels)), count, key(0, "test"))
        self._file.flush()
        images = FileMap.of(self._file, _HEADER, (len(labels), *self.shape))
        for start in range(0, len(drawn), _BATCH):
            some = drawn[start : start + _BATCH]
            test.add(gather(images, some), labels[some])
        self._file.seek(_HEADER)
        self.labels = array("i")
        for start in range(0, len(rows), _BATCH):  # to places not after their own
            some = rows[start : start + _BATCH]
            self.add(gather(images, some), labels[some])
            self._file.flush()
        del images  # Windows cannot shorten a mapped file
        self._file.truncate()
        return len(drawn)

    def finish(self, classes: int) -> None:
        """Writes the header and the labels, of 4 bytes if there are more than 256 classes."""
        labels: npt.NDArray[Any] = np.frombuffer(self.labels, np.int32)
        self._file.seek(0)
        self._file.write(_header(8, (len(labels), *self.shape)))
        self._file.close()
        wide = classes > 256
        name = f"{self._name}-labels-idx1-{'int' if wide else 'ubyte'}"
        body = _header(0x0C if wide else 8, labels.shape) + labels.astype(">i4" if wide else np.uint8).tobytes()
        (self._folder / name).write_bytes(body)


def _header(code: int, shape: tuple[int, ...]) -> bytes:
    return bytes([0, 0, code, len(shape)]) + np.array(shape, ">u4").tobytes()
