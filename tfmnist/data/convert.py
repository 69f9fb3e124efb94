"""Writing a data set as picture files."""

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tfmnist.data.bulk_decode import EVENTS, DecodingProgress
from tfmnist.data.split import Digits
from tfmnist.errors import InputError, check_name


def write_folder(digits: Digits, destination: Path) -> Generator[DecodingProgress, None, None]:
    """Writes a data set as grey PNGs, `train/<class>/00000.png` and `test/<class>/00000.png`; all of it or nothing.

    Validation examples go back to where they were drawn from: a file's number is the example's place in the data set.

    Args:
        digits: its class names become folder names.
        destination: must not exist, or be empty.

    Yields:
        About 50 times at most, the last when all is in place.

    Raises:
        InputError: the destination is not empty or cannot be written, or a class name is no name for a folder.

    Example:
        >>> from tfmnist.data.split import Split
        >>> two, none = (Split(np.full([n, 2, 3], 9, np.uint8), np.arange(n)) for n in (2, 0))
        >>> with tempfile.TemporaryDirectory() as name:
        ...     events = list(write_folder(Digits(two, none, two, ("a", "b"), ""), Path(name, "new")))
        ...     events[-1], sorted(path.relative_to(name).as_posix() for path in Path(name).rglob("*.png"))[:2]
        (DecodingProgress(done=4, total=4), ['new/test/a/00000.png', 'new/test/b/00001.png'])
    """
    check_name(destination)
    destination = Path(os.path.realpath(destination))
    for name in digits.class_names:
        if name.startswith(".") or not name.isprintable() or not name.strip() or set(name) & set('/\\:*?"<>|'):
            raise InputError(
                f"class name {name!r} cannot be a folder's, expected printable text that does not begin with a dot and "
                'has none of /\\:*?"<>|; rename the class.'
            )
    try:
        if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
            raise InputError(f"{destination}: is there already and not an empty folder; choose another.")
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}-") as scratch:
            folder = Path(scratch, "folder")  # with the rights of any new folder, which the temporary one lacks
            done = DecodingProgress(0, 0)
            for done in _write_pictures(digits, folder):
                if done.done < done.total:
                    yield done
            if hasattr(os, "sync"):  # once for all: flushing every file by itself takes minutes
                os.sync()
            if destination.exists():
                destination.rmdir()
            folder.rename(destination)
        yield done
    except OSError as error:
        raise InputError(
            f"{destination}: cannot write the pictures: {error.strerror or error}; check folder, space and rights."
        ) from None


def _write_pictures(digits: Digits, folder: Path) -> Iterator[DecodingProgress]:
    train, held = digits.train, digits.validation
    order = np.arange(len(train) + len(held))
    known = [split.rows for split in (train, held) if len(split) and split.rows is not None]
    rows = np.concatenate([order[:0], *known])
    if len(np.unique(rows)) == len(order):  # all have a place, and each its own
        order = rows
    done, total = 0, len(order) + len(digits.test)
    batch = max(-(-total // EVENTS), 256)
    tests = np.arange(len(digits.test))
    wide = max(5, *(len(str(numbers.max(initial=0))) for numbers in (order, tests)))
    for part, split, numbers in (
        ("train", train, order[: len(train)]),
        ("train", held, order[len(train) :]),
        ("test", digits.test, tests),
    ):
        places: list[Path] = [folder / part / name for name in digits.class_names]
        for label in np.flatnonzero(np.bincount(split.labels)):
            places[label].mkdir(parents=True, exist_ok=True)
        for start in range(0, len(split), batch):
            images, labels = split.take(np.arange(start, min(start + batch, len(split))))
            for number, label, image in zip(numbers[start:].tolist(), labels.tolist(), images):
                Image.fromarray(image).save(places[int(label)] / f"{number:0{wide}}.png", "PNG")
            done += len(images)
            yield DecodingProgress(done, total)
