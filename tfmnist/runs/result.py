"""The typed files of a run folder: each is read and written here alone."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from tfmnist.data.split import Split
from tfmnist.system.files import write_npz


class Result(BaseModel):
    """The keys of `result.json` that the page shows; others may stand beside them."""

    name: str
    test_accuracy: float
    test_accuracy_ci95: tuple[float, float]
    test_loss: float
    validation_accuracy: float | None
    epochs: int
    steps: int
    parameters: int
    seed: int
    weights_sha256: str
    seconds: dict[str, float | None]
    data: dict[str, Any]
    versions: dict[str, Any]


class Row(BaseModel):
    """The values of a line of `metrics.jsonl` that are drawn."""

    epoch: int
    loss: float | None
    accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The arrays of `evaluation.npz`, of n examples, C classes and m mistakes, the surest first."""

    labels: NDArray[np.int64]  # [n]
    probabilities: NDArray[np.float32]  # [n, C]
    class_names: NDArray[np.str_]  # [C]
    mistake_index: NDArray[np.int64]  # [m] in [0, n)
    mistake_images: NDArray[np.uint8]  # [m, H, W]
    loss: NDArray[np.floating]  # []

    def __post_init__(self) -> None:
        kinds = {"labels": "i1", "probabilities": "f2", "class_names": "U1", "mistake_index": "i1"}
        for key, (kind, axes) in {**kinds, "mistake_images": "u3", "loss": "f0"}.items():
            array: NDArray[Any] = getattr(self, key)
            if (array.dtype.kind, array.ndim) != (kind, int(axes)):
                raise ValueError(f"{key!r} is {array.dtype} {list(array.shape)}")
        (n, classes), m = self.probabilities.shape, len(self.mistake_index)
        if (len(self.labels), len(self.class_names), len(self.mistake_images)) != (n, classes, m):
            raise ValueError("its arrays do not fit together")
        for key, indices, limit in (("labels", self.labels, classes), ("mistake_index", self.mistake_index, n)):
            if indices.size and not 0 <= indices.min() <= indices.max() < limit:
                raise ValueError(f"{key!r} is not in [0, {limit})")


@dataclass(frozen=True, eq=False)
class Inspection:
    """The arrays of `inspection.npz`; those of a network without convolutions, or without augmentation, are None."""

    first_layer: NDArray[np.str_]  # []
    first_weights: NDArray[np.float32]  # [k, h, w]
    picture: NDArray[np.uint8] | None  # [H, W]
    maps: dict[str, NDArray[np.float32]]  # [k, h, w] each
    originals: NDArray[np.uint8] | None  # [r, H, W]
    changed: NDArray[np.uint8] | None  # [r, c, H, W]


def read_inspection(arrays: Mapping[str, NDArray[Any]]) -> Inspection:
    """Returns the arrays of a file, checked. Raises a ValueError or KeyError."""

    def array(key: str, kind: str, axes: int) -> NDArray[Any]:
        found = arrays[key]
        if (found.dtype.kind, found.ndim) != (kind, axes) or not found.size:
            raise ValueError(f"{key!r} is {found.dtype} {list(found.shape)}")
        if kind == "f" and not np.isfinite(found).all():
            raise ValueError(f"{key!r} is not finite")
        return found

    picture = originals = changed = None
    maps: dict[str, NDArray[np.float32]] = {}
    if "picture" in arrays:
        picture = array("picture", "u", 2)
        names: list[str] = array("map_names", "U", 1).tolist()
        maps = {name: array(f"map_{place}", "f", 3) for place, name in enumerate(names)}
    if "augmented" in arrays:
        originals, changed = array("augmented_originals", "u", 3), array("augmented", "u", 4)
        if (len(changed), *changed.shape[2:]) != originals.shape:
            raise ValueError("its arrays do not fit together")
    return Inspection(array("first_layer", "U", 0), array("first_weights", "f", 3), picture, maps, originals, changed)


def read_result(path: Path) -> dict[str, Any] | None:
    """Returns what `result.json` says, or None where the run is not finished."""
    try:
        return json.loads((path / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def read_history(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a run's `metrics.jsonl`, one an epoch; none where it has none."""
    try:
        return [json.loads(line) for line in (path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return []


_MISTAKES = 32


def write_evaluation(path: Path, split: Split, shares: np.ndarray, loss: float, class_names: tuple[str, ...]) -> None:
    """Writes what a report needs of an evaluation: labels, probabilities, and the surest mistakes with their images."""
    predictions, sureness = shares.argmax(axis=1), shares.max(axis=1)
    wrong = np.flatnonzero(predictions != split.labels)
    surest = wrong[np.argsort(-sureness[wrong], kind="stable")][:_MISTAKES]
    arrays = {
        "labels": split.labels,
        "probabilities": shares,
        "loss": np.array(loss),
        "class_names": np.array(class_names),
        "mistake_index": surest,
        "mistake_images": split.take(surest)[0],
    }
    write_npz(path, arrays)
