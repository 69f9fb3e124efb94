"""Reading a user's own pictures with an exported model: what it saw, what it says, and what is wrong with a picture."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from tfmnist.artifacts.exported import Exported, unreadable
from tfmnist.errors import InputError
from tfmnist.photos.normalize import Form, split_digits


@dataclass(frozen=True, eq=False)
class PhotoPrediction:
    """What a model says of one picture.

    Attributes:
        class_names: a name a class.
        seen: uint8 `[k, height, width]`, what the model was shown: k is 1, or with splitting the number of digits.
        probabilities: float32 `[k, classes]`.
        split: whether the picture was to be split into digits.
        problem: why there is nothing to say, in one line; empty where there is.
    """

    class_names: tuple[str, ...]
    seen: npt.NDArray[np.uint8]
    probabilities: npt.NDArray[np.float32]
    split: bool = False
    problem: str = ""

    @property
    def number(self) -> str:
        """The names of the likeliest classes, one after the other."""
        names = [self.class_names[int(row.argmax())] for row in self.probabilities]
        return ("" if max(map(len, names), default=1) == 1 else " ").join(names)

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON can hold it."""
        digits = [self._digit(row) for row in self.probabilities]
        return {"number": self.number, "digits": digits} if self.split else digits[0]

    def _digit(self, row: npt.NDArray[np.float32]) -> dict[str, Any]:
        names, (best, second) = self.class_names, np.argsort(-row, kind="stable")[:2].tolist()
        return {
            "class": names[best],
            "probability": float(row[best]),
            "runner_up": {"class": names[second], "probability": float(row[second])},
            "probabilities": {name: float(share) for name, share in zip(names, row)},
        }

    def __str__(self) -> str:
        found = [self._digit(row) for row in self.probabilities]
        lines = [
            f"{digit['class']}  {digit['probability']:.1%}  "
            f"(then {digit['runner_up']['class']}, {digit['runner_up']['probability']:.1%})"
            for digit in found
        ]
        return "\n  ".join([self.number, *lines]) if self.split else lines[0]


def read_pictures(
    model: Exported, names: Sequence[str], contents: Sequence[bytes], split: bool = False
) -> Iterator[PhotoPrediction]:
    """Reads picture files one by one.

    Args:
        model: an exported model.
        names: the files' names, for messages.
        contents: their bytes: PNG or JPEG.
        split: read each as a number of several digits, from left to right, instead of as one digit.

    Raises:
        InputError: one is no picture, damaged or too large.
    """
    empty = np.empty(0, np.float32)
    for name, content in zip(names, contents):
        try:
            if split:
                seen = _split(content, Form.from_dict(model.card["form"]))
                shares, count = model.predict(seen).probabilities, len(seen)
            else:
                found = model.predict_pictures([content])
                seen, shares, count = found.normalized, found.probabilities, int(found.digits[0])
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        problem = ""
        if count == 0:
            problem = "no ink found on it; expected a picture of a digit, dark on light or light on dark."
        elif count > 1 and not split:
            problem = f"{count} digits found on it, expected one; crop it, or read a number with --split-digits."
        yield PhotoPrediction(model.class_names, seen, empty if problem else shares, split, problem)


def _split(content: bytes, form: Form) -> npt.NDArray[np.uint8]:
    try:
        return split_digits(content, form)
    except tf.errors.InvalidArgumentError as error:
        raise unreadable(error) from None
