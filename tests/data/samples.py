"""Small random data sets as arrays and in files, and what loading one says."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tfmnist.data.idx import write_idx
from tfmnist.data.sources import load
from tfmnist.data.split import Split
from tfmnist.errors import InputError

IDX = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
Arrays = dict[str, npt.NDArray[Any]]


def make(train: int = 60, test: int = 12, shape: tuple[int, int] = (5, 7), classes: int = 3, seed: int = 0) -> Arrays:
    """Random images; every class occurs, unequally often."""
    random = np.random.default_rng(seed)
    labels = np.sort(random.integers(0, classes, train) * random.integers(0, 2, train))
    labels[:classes] = np.arange(classes)
    return {
        "x_train": random.integers(0, 256, [train, *shape], np.uint8),
        "y_train": random.permutation(labels),
        "x_test": random.integers(0, 256, [test, *shape], np.uint8),
        "y_test": random.integers(0, classes, test),
    }


def save_npz(path: Path, arrays: Arrays, **changed: Any) -> Path:
    values: dict[str, Any] = {**arrays, **changed}
    np.savez(path, **values)
    return path


def save_idx(folder: Path, arrays: Arrays, end: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    for name, array in zip(IDX, arrays.values(), strict=True):
        write_idx(folder / (name + end), array.astype(np.uint8))
    return folder


def complaint(source: str | Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(source, **{"validation": 0, **options})
    message = str(caught.value)
    assert "\n" not in message
    return message


def assert_holds(split: Split, images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
    np.testing.assert_array_equal(split.images, images)
    np.testing.assert_array_equal(split.labels, labels)
    assert split.images.dtype == np.uint8 and split.labels.dtype == np.int64


def named(path: Path, names: str = "abcd", **options: Any) -> Path:
    """An .npz of `make` whose classes have names."""
    return save_npz(path, make(classes=len(names), **{"train": 80, "test": 20, **options}), class_names=list(names))


def save_pictures(root: Path) -> Path:
    """Pictures in class folders without a test set: 40, 20 and 7 of them."""
    random = np.random.default_rng(0)
    for name, count in (("one", 40), ("two", 20), ("six", 7)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(random.integers(0, 256, [5, 7], np.uint8)).save(root / name / f"{number}.png")
    return root
