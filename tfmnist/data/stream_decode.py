"""Streamed pictures become blocks of grey images of one size, decoded in threads while the next ones are read."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from tfmnist.data.bulk_decode import SMALL, decode, fail_unequal
from tfmnist.data.layout import LeftOut, Role, check_classes
from tfmnist.data.split import MOST_CLASSES, Images, Labels
from tfmnist.data.streams import Example, Stream
from tfmnist.errors import InputError, printable
from tfmnist.system.pictures import read_grey

T = TypeVar("T")
Size = tuple[int, int]  # height, width
Block = tuple[Role, Images, Labels]  # uint8 [k, height, width], int64 [k]

_BATCH, _BATCH_BYTES = 256, 16 << 20  # pictures and bytes, at most, that are decoded at once


def decode_stream(
    stream: Stream,
    decoder: Callable[[Sequence[Example]], tuple[Images, list[str]]],
    labels: dict[str, int],
    left_out: LeftOut | None,
) -> Iterator[Block]:
    """Decodes examples block by block; numbers the classes in `labels` as they come.

    `decoder` returns an image for each example, and why it cannot be read, or ""; that is counted in `left_out`, if
    given, or an `InputError`.
    """
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
        roles: set[Role] = {example.role for example in batch}
        for role in roles:
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


class Decoder:
    """Decodes examples in grey to one size: `size`, or that of the first, which all must have."""

    def __init__(self, size: Size | None) -> None:
        self._read = partial(_read_fitted, size) if size else read_grey
        self._model, self._shape = "", size

    def __call__(self, examples: Sequence[Example]) -> tuple[Images, list[str]]:
        files, count = [example.content for example in examples], len(examples)
        with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
            warnings.simplefilter("ignore")
            shape = self._shape or self._find_shape(examples)
            images = np.empty([count, *shape], np.uint8)
            small = sum(map(len, files)) < SMALL * count
            step = count if small else 1  # threads would only wait for each other over small pictures
            starts = range(0, count, step)
            tasks = pool.map(
                lambda start: list(decode(files[start : start + step], images[start : start + step], self._read)),
                starts,
            )
            reasons = [""] * count
            for start, problems in zip(starts, tasks):
                for index, problem in problems:
                    name = examples[start + index].name
                    if isinstance(problem, tuple):
                        fail_unequal(name, problem, self._model, shape, "scale all to one size, such as --size 28x28")
                    reasons[start + index] = str(problem)
        return images, reasons

    def _find_shape(self, examples: Sequence[Example]) -> tuple[int, ...]:
        for example in examples:
            for _, problem in decode([example.content], np.empty([1, 0, 0], np.uint8)):
                if isinstance(problem, tuple):
                    self._model, self._shape = example.name, problem
                    return problem
        return 0, 0


def _read_fitted(size: Size, data: bytes) -> Images:
    return fit(read_grey(data), size)


def fit(picture: Images, size: Size) -> Images:
    """Scales a grey picture to a height and width, undistorted and centred on the median grey of its edge."""
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    height, width = size
    fitted = ImageOps.pad(Image.fromarray(picture), (width, height), Image.Resampling.BILINEAR, int(np.median(edge)))
    return np.asarray(fitted)
