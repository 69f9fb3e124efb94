"""Reading a user's own pictures with an exported model: what it was shown, and what it predicts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist.artifacts.exported import Exported, unreadable
from tfmnist.errors import InputError
from tfmnist.photos.normalize import split_digits


@dataclass(frozen=True, eq=False)
class PhotoPrediction:
    """What a model predicts for one picture, or with `split` for each of its k digits; otherwise, k is 1."""

    class_names: tuple[str, ...]
    seen: npt.NDArray[np.uint8]  # [k, height, width]: what the model was shown
    probabilities: npt.NDArray[np.float32]  # [k, classes]
    split: bool = False
    problem: str = ""  # why there is no prediction, in one line

    @property
    def number(self) -> str:
        """The names of the most probable classes, one after the other."""
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
            "runner_up": {"class": names[second], "probability": float(row[second])},
            "probabilities": dict(zip(names, row.tolist())),
        }

    def __str__(self) -> str:
        lines = [
            f"{digit['class']}  {digit['probability']:.1%}  "
            f"(then {digit['runner_up']['class']}, {digit['runner_up']['probability']:.1%})"
            for digit in map(self._digit, self.probabilities)
        ]
        return "\n  ".join([self.number, *lines]) if self.split else lines[0]


def read_pictures(
    model: Exported, names: Sequence[str], contents: Sequence[bytes], split: bool = False
) -> Iterator[PhotoPrediction]:
    """Reads picture files, PNG or JPEG, one by one: each as one digit, or with `split` as a number from left to right.

    Raises:
        InputError: one is no picture, damaged or too large.
    """
    for name, content in zip(names, contents):
        try:
            if split:
                seen = split_digits(content, model.image_format)
                probabilities, count = model.predict(seen).probabilities, len(seen)
            else:
                prediction = model.predict_pictures([content])
                seen, probabilities, count = prediction.normalized, prediction.probabilities, int(prediction.digits[0])
        except tf.errors.InvalidArgumentError as error:
            raise InputError(f"{name}: {unreadable(error)}") from None
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        problem = ""
        if count == 0:
            problem = "no ink found in it; expected a picture of a digit, dark on light or light on dark."
        elif count > 1 and not split:
            problem = f"{count} digits found in it, expected one; crop it, or read a number with --split-digits."
        yield PhotoPrediction(model.class_names, seen, probabilities[:0] if problem else probabilities, split, problem)
