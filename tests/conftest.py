"""What all tests share: a quiet TensorFlow that cannot import Keras, and small real data."""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.modules.setdefault("keras", None)  # type: ignore[arg-type]  # the package promises to work without

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from tfmnist.data.sources import load  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What runs keep for the next is kept for this session alone."""
    os.environ["TFMNIST_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .npz of 600 training and 200 test images of MNIST, all ten classes in both."""
    digits = load("mnist", validation=0)
    arrays: dict[str, Any] = {}
    for name, split, count in (("train", digits.train, 600), ("test", digits.test, 200)):
        arrays[f"x_{name}"], arrays[f"y_{name}"] = split.images[:count], split.labels[:count]
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, **arrays)
    return path
