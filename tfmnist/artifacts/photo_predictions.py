"""Reading a user's own pictures with an exported model: what it was shown, and what it predicts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmnist.artifacts.exported import Exported
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


def read_picture(model: Exported, content: bytes, split: bool = False) -> PhotoPrediction:
    """Reads a picture file, PNG, JPEG, BMP or GIF: as one digit, or with `split` as a number from left to right.

    Raises:
        InputError: the model is of an older version, and the file damaged.
    """
    if split:
        seen, status = split_digits(content, model.image_format, are_digits(model.class_names))
        probabilities = model.predict(seen).probabilities
    else:
        prediction = model.predict_pictures([content])
        seen, probabilities, status = prediction.normalized, prediction.probabilities, Status(prediction.status[0])
    if status != Status.READ:
        return PhotoPrediction(model.class_names, seen, probabilities[:0], split, status.explain())
    return PhotoPrediction(model.class_names, seen, probabilities, split)
