"""The typed files of a run folder: each type alone reads and writes its file."""

import json
import shlex
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from tfmnist.data.split import Split
from tfmnist.errors import InputError
from tfmnist.reports.page import checked
from tfmnist.system.files import file_sha256, read_npz, write_npz, write_whole
from tfmnist.system.seals import seal, unseal

RESULT, DIVERGED, HISTORY, WEIGHTS = "result.json", "diverged.json", "metrics.jsonl", "weights.npz"
REPORT = "report.html"
EVALUATION, INSPECTION = "evaluation.npz", "inspection.npz"
_MISTAKES = 32  # whose images are saved


class DataSummary(BaseModel):
    """The data of a run, as `result.json` has it."""

    model_config = ConfigDict(extra="allow")

    source: str
    sha256: str
    train: int
    validation: int
    test: int
    classes: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, int]
    form: dict[str, Any] | None = None
    """The `ImageFormat` of the images; runs of early versions have none."""


class Result(BaseModel):
    """`result.json`, which exists once a run is finished; unknown keys are preserved."""

    model_config = ConfigDict(extra="allow")

    sha256: str = ""
    """Of the other lines of the file, once it is written; missing in runs of early versions."""
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
    data: DataSummary
    compile: dict[str, Any] | None = None
    versions: dict[str, str]
    processors: int | None = None
    best_epoch: int | None = None
    model: str | None = None
    seconds: Mapping[str, float | None] = {}
    date: datetime | None = None
    """When the run was finished; this and the next three are missing in runs of early versions."""
    host: str | None = None
    processor: str | None = None
    command: str | None = None
    """The command, or the Python program, that finished the run."""
    git_commit: str | None = None
    """Of the folder in which the command ran; missing if that is not in a repository."""
    files: dict[str, str] = {}
    """The SHA-256 of the other files that hold results, by name; none in runs of early versions."""

    @classmethod
    def read(cls, run: Path) -> Self:
        """Reads the result of a finished run.

        Raises:
            InputError: the run is not finished or diverged, or the file is damaged or was changed.
        """
        if not (run / RESULT).exists() and (divergence := Divergence.find(run)):
            raise InputError(f"{run}: {divergence.message}")
        with checked(run, how_to_finish(run), _how_to_repair(run)) as file:
            content = file(RESULT).read_bytes()
            unseal(content)
            return cls.model_validate_json(content)

    @classmethod
    def find(cls, run: Path) -> Self | None:
        """Reads the result of a run; None if it is not finished or the file is damaged."""
        try:
            return cls.read(run)
        except InputError:
            return None

    @classmethod
    def find_complete(cls, run: Path, epochs: int) -> Self | None:
        """Returns the result of a run after so many epochs; None if it, or a file that it lists, is not intact."""
        result = cls.find(run)
        if result is None or result.epochs != epochs:
            return None
        try:
            for name in result.files:
                result.check(run / name)
        except (OSError, ValueError):
            return None
        return result

    def check(self, path: Path) -> Path:
        """Returns the path of one of the run's files; raises a ValueError if the file was changed, or an OSError."""
        if (expected := self.files.get(path.name)) and file_sha256(path) != expected:
            raise ValueError(f"changed after the run wrote it, as the SHA-256 in {RESULT} shows")
        return path

    def write(self, run: Path) -> None:
        """Writes the file whole, and sets `sha256`."""
        values = {key: value for key, value in self.to_dict().items() if key != "sha256"}
        text = seal(json.dumps(values, indent=2) + "\n")
        write_whole(run / RESULT, text)
        self.sha256 = json.loads(text)["sha256"]

    @staticmethod
    def delete(run: Path) -> None:
        """Deletes the file if there is one, and the report: the run is not finished any more.

        Nobody reads its other results then.
        """
        for name in (RESULT, REPORT):
            (run / name).unlink(missing_ok=True)

    def to_dict(self) -> dict[str, Any]:
        """Returns what the file holds, as JSON types."""
        return self.model_dump(mode="json", exclude_unset=True)


class Divergence(BaseModel):
    """`diverged.json`: why a run stopped for good. The file is deleted when the run is resumed, say with fixed code."""

    model_config = ConfigDict(extra="allow")

    reason: str
    date: datetime

    @classmethod
    def find(cls, run: Path) -> Self | None:
        """Reads the file; None if there is none. Raises an `InputError` if it is damaged."""
        if not (run / DIVERGED).exists():
            return None
        with checked(run, "delete it, and resume the run to see whether it diverges.") as file:
            return cls.model_validate_json(file(DIVERGED).read_text(encoding="utf-8"))

    def write(self, run: Path) -> None:
        """Writes the file whole."""
        write_whole(run / DIVERGED, json.dumps(self.model_dump(mode="json"), indent=2) + "\n")

    @staticmethod
    def delete(run: Path) -> None:
        """Deletes the file if there is one."""
        (run / DIVERGED).unlink(missing_ok=True)

    @property
    def message(self) -> str:
        """What happened, where, why, and what to do, in one line."""
        return f"{self.reason} Start a new run; this one would diverge again if resumed."


def how_to_finish(run: Path) -> str:
    """Returns the remedy for a file that only a finished run has."""
    return f"is this a run folder? Finish the run with 'tfmnist train --resume {shlex.quote(str(run))}'."


def _how_to_repair(run: Path) -> str:
    return f"'tfmnist train --resume {shlex.quote(str(run))}' writes it again from the last checkpoint."


@contextmanager
def intact_files(run: Path, result: Result | None) -> Generator[Callable[[str], Path]]:
    """Yields a function from a file's name to its path, as `checked` does, which also compares the file's digest.

    Args:
        run: the run's folder.
        result: its result; None while there is none, to compare nothing.
    """
    with checked(run, how_to_finish(run), _how_to_repair(run)) as file:
        yield lambda name: result.check(file(name)) if result else file(name)


def digests(run: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file that holds results of a run, except `result.json`."""
    return {name: file_sha256(run / name) for name in (HISTORY, WEIGHTS, EVALUATION, INSPECTION)}


def read_weights(run: Path) -> dict[str, NDArray[Any]]:
    """Reads the final weights of a run by name. Raises an `InputError` if it is not finished or they are damaged."""
    with intact_files(run, Result.read(run)) as file:
        return read_npz(file(WEIGHTS))


class EpochRow(BaseModel):
    """One line of `metrics.jsonl`."""

    model_config = ConfigDict(extra="allow")

    epoch: int
    step: int
    loss: float | None
    accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float | None
    seconds: float
    images_per_second: float

    @classmethod
    def read_all(cls, run: Path) -> list[Self]:
        """Reads `metrics.jsonl`. Raises OSError or ValueError if it is missing or damaged."""
        return [cls.model_validate_json(line) for line in (run / HISTORY).read_text(encoding="utf-8").splitlines()]


def write_history(run: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes `metrics.jsonl`, one line per epoch."""
    write_whole(run / HISTORY, "".join(json.dumps(row) + "\n" for row in rows))


def load_history(run: Path) -> list[dict[str, Any]]:
    """Returns the rows of `metrics.jsonl`, one per epoch. Raises OSError or ValueError if it is missing or damaged."""
    return [row.model_dump() for row in EpochRow.read_all(run)]


def read_history(run: Path) -> list[dict[str, Any]]:
    """Like `load_history`, but returns no rows if the file is missing or damaged."""
    try:
        return load_history(run)
    except (OSError, ValueError):
        return []


@dataclass(frozen=True, eq=False)
class Evaluation:
    """`evaluation.npz`: predictions for n test examples of C classes, and the m most confident mistakes."""

    labels: NDArray[np.int64]  # [n]
    probabilities: NDArray[np.float32]  # [n, C]
    loss: NDArray[np.floating]  # []
    class_names: NDArray[np.str_]  # [C]
    mistake_index: NDArray[np.int64]  # [m] in [0, n), the most confident first
    mistake_images: NDArray[np.uint8]  # [m, H, W]

    @property
    def classes(self) -> NDArray[np.int64]:
        """The predicted class of each example, `[n]`."""
        return self.probabilities.argmax(axis=1)

    @classmethod
    def of(cls, split: Split, probabilities: NDArray[np.float32], loss: float, class_names: Iterable[str]) -> Self:
        """Returns the evaluation of a split from its probabilities, float32 `[n, C]`."""
        confidence = probabilities.max(axis=1)
        wrong = np.flatnonzero(probabilities.argmax(axis=1) != split.labels)
        mistakes = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MISTAKES]
        names = np.array(list(class_names))
        return cls(split.labels, probabilities, np.array(loss), names, mistakes, split.take(mistakes)[0])

    @classmethod
    def read(cls, run: Path) -> Self:
        """Reads the file. Raises OSError, ValueError or KeyError if it is missing or damaged."""
        arrays = read_npz(run / EVALUATION)
        evaluation = cls(**{field.name: arrays[field.name] for field in fields(cls)})
        evaluation._check()
        return evaluation

    def _check(self) -> None:
        """Raises a ValueError if the arrays do not fit together."""
        examples, classes = len(self.labels), len(self.class_names)
        mistakes = len(self.mistake_index)
        shapes = (
            (self.labels.shape, (examples,)),
            (self.probabilities.shape, (examples, classes)),
            (self.loss.shape, ()),
            (self.class_names.shape, (classes,)),
            (self.mistake_index.shape, (mistakes,)),
            (self.mistake_images.shape[:1], (mistakes,)),
            ((self.mistake_images.ndim,), (3,)),
        )
        if not examples or any(actual != expected for actual, expected in shapes):
            raise ValueError(f"its arrays do not fit together, for {examples} examples of {classes} classes")
        if not np.isfinite(self.probabilities).all():
            raise ValueError("a probability is not finite")
        for values, below in ((self.labels, classes), (self.mistake_index, examples)):
            if values.dtype.kind not in "iu" or (len(values) and not 0 <= values.min() <= values.max() < below):
                raise ValueError(f"an index is not from 0 to {below - 1}")

    def write(self, run: Path) -> None:
        """Writes the file whole."""
        write_npz(run / EVALUATION, {field.name: getattr(self, field.name) for field in fields(self)})


@dataclass(frozen=True, eq=False)
class Inspection:
    """`inspection.npz`: what `tfmnist.training.inspection.inspect` returns, for figures."""

    first_layer: str
    first_weights: NDArray[np.float32] | None  # [k, h, w]; None without dense layers and convolutions
    picture: NDArray[np.uint8] | None  # [H, W]; None without convolutions in sequence
    maps: dict[str, NDArray[np.float32]]  # [k, h, w] each
    originals: NDArray[np.uint8] | None  # [r, H, W]; None without augmentation
    augmented: NDArray[np.uint8] | None  # [r, c, H, W]

    @classmethod
    def read(cls, run: Path) -> Self | None:
        """Reads the file; None if there is none, as in runs of early versions.

        Raises OSError, ValueError or KeyError if it is damaged.
        """
        if not (run / INSPECTION).exists():
            return None
        arrays = read_npz(run / INSPECTION)
        names: list[str] = arrays["map_names"].tolist() if "picture" in arrays else []
        return cls(
            layer := str(arrays["first_layer"]),
            arrays["first_weights"] if layer else None,
            arrays.get("picture"),
            {name: arrays[f"map_{index}"] for index, name in enumerate(names)},
            arrays["augmented_originals"] if "augmented" in arrays else None,
            arrays.get("augmented"),
        )
