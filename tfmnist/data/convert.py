"""Writing a data set as picture files."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tfmnist.data.bulk_decode import EVENTS, DecodingProgress
from tfmnist.data.split import Digits
from tfmnist.errors import InputError, check_name
from tfmnist.system.files import publish, staged_folder


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
    check_name(destination)
    destination = Path(os.path.realpath(destination))
    for name in digits.class_names:
        if name.startswith(".") or not name.isprintable() or not name.strip() or set(name) & set('/\\:*?"<>|'):
            raise InputError(
                f"class name {name!r} cannot name a folder, expected printable text that does not begin with a dot and "
                'has none of /\\:*?"<>|; rename the class.'
            )
    try:
        if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
            raise InputError(f"{destination}: already exists and is not an empty folder; choose another.")
        destination.parent.mkdir(parents=True, exist_ok=True)
        with staged_folder(destination.parent, destination.name) as folder:
            done = DecodingProgress(0, 0)
            for done in _write_pictures(digits, folder):
                if done.done < done.total:
                    yield done
            publish(folder, [destination])
        yield done
    except OSError as error:
        raise InputError(
            f"{destination}: cannot write the pictures: {error.strerror or error}; check folder, space and rights."
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
