"""Reads a user's own pictures with an exported model: what it was shown, and what it predicts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmnist.artifacts.exported import Exported
from tfmnist.errors import InputError, printable
from tfmnist.photos.files import AT_ONCE, read_photo
from tfmnist.photos.normalize import are_digits, split_digits
from tfmnist.photos.status import Status


@dataclass(frozen=True, eq=False)
class PhotoPrediction:
    """What a model predicts for one picture, or with `split` for each of its k digits; otherwise, k is 1."""

    class_names: tuple[str, ...]
    seen: npt.NDArray[np.uint8]  # [k, height, width]: what the model was shown
    probabilities: npt.NDArray[np.float32]  # [k, classes]
    split: bool = False
    problem: str = ""  # why there is no prediction, in one line
    threshold: float = 0.0  # an answer of a lower probability is not sure

    @property
    def number(self) -> str:
        """The names of the most probable classes, joined."""
        names = [self.class_names[int(row.argmax())] for row in self.probabilities]
        return ("" if max(map(len, names), default=1) == 1 else " ").join(names)

    def to_dict(self) -> dict[str, Any]:
        """Returns the prediction as JSON types."""
        digits = [self._digit(row) for row in self.probabilities]
        return {"number": self.number, "digits": digits} if self.split else digits[0]

    def _digit(self, row: npt.NDArray[np.float32]) -> dict[str, Any]:
        names, (best, second) = self.class_names, np.argsort(-row, kind="stable")[:2].tolist()
        return {
            "class": names[best],
            "probability": float(row[best]),
            "sure": float(row[best]) >= self.threshold,
            "runner_up": {"class": names[second], "probability": float(row[second])},
            "probabilities": dict(zip(names, row.tolist())),
        }

    def __str__(self) -> str:
        lines = [
            f"{printable(digit['class'])}  {digit['probability']:.1%}  "
            f"(then {printable(digit['runner_up']['class'])}, {digit['runner_up']['probability']:.1%})"
            f"{'' if digit['sure'] else '  not sure'}"
            for digit in map(self._digit, self.probabilities)
        ]
        return "\n  ".join([printable(self.number), *lines]) if self.split else lines[0]


def read_files(
    model: Exported, paths: Sequence[str], split: bool = False, contents: Mapping[str, bytes] = MappingProxyType({})
) -> Iterator[tuple[str, PhotoPrediction]]:
    """Reads picture files, several at once; yields each path with its prediction, which may be a problem.

    Args:
        model: the exported model.
        paths: the files' paths.
        split: whether to read each picture as a number.
        contents: bytes of files that were already read.
    """
    for start in range(0, len(paths), AT_ONCE):
        part = paths[start : start + AT_ONCE]
        files = [contents.get(path) or _try_to_read(path) for path in part]
        predictions = iter(read_pictures(model, [file for file in files if isinstance(file, bytes)], split))
        for path, file in zip(part, files):
            yield path, next(predictions) if isinstance(file, bytes) else _refuse(model, split, str(file))


def read_pictures(model: Exported, contents: Sequence[bytes], split: bool = False) -> list[PhotoPrediction]:
    """Reads picture files, PNG, JPEG, BMP or GIF: as one digit each, or with `split` as numbers from left to right."""
    try:
        if split:
            return [_read_number(model, content) for content in contents]
        outputs = model.predict_pictures(contents)
    except InputError as error:
        if len(contents) == 1:
            return [_refuse(model, split, str(error))]
        # models of version 0.1 read none if one is damaged
        return [prediction for content in contents for prediction in read_pictures(model, [content], split)]
    return [
        _predict(model, seen[np.newaxis], probabilities[np.newaxis], Status(status))
        for seen, probabilities, status in zip(outputs.normalized, outputs.probabilities, outputs.status.tolist())
    ]


def _read_number(model: Exported, content: bytes) -> PhotoPrediction:
    seen, status = split_digits(content, model.image_format, are_digits(model.class_names))
    return _predict(model, seen, model.predict(seen).probabilities, status, split=True)


def _predict(model: Exported, seen: Any, probabilities: Any, status: Status, split: bool = False) -> PhotoPrediction:
    if status == Status.READ:
        return PhotoPrediction(model.class_names, seen, probabilities, split, threshold=model.threshold)
    return PhotoPrediction(model.class_names, seen, probabilities[:0], split, status.explain())


def _try_to_read(path: str) -> bytes | InputError:
    try:
        return read_photo(path)
    except InputError as error:
        return error


def _refuse(model: Exported, split: bool, problem: str) -> PhotoPrediction:
    seen = np.zeros([0, model.image_format.height, model.image_format.width], np.uint8)
    return PhotoPrediction(model.class_names, seen, np.zeros([0, len(model.class_names)], np.float32), split, problem)
