"""Predictions for photos: as text, as JSON, and the problem of a picture without one."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tfmnist.artifacts import photo_predictions
from tfmnist.artifacts.photo_predictions import PhotoPrediction, read_pictures
from tfmnist.errors import InputError
from tfmnist.photos.normalize import ImageFormat

NAMES = ("0", "1", "2")
PROBABILITIES = np.array([[0.25, 0.625, 0.125], [0.0, 0.25, 0.75], [0.5, 0.5, 0.0]], np.float32)


def predicted(count: int = 1, split: bool = False, names: tuple[str, ...] = NAMES) -> PhotoPrediction:
    return PhotoPrediction(names, np.zeros([count, 4, 5], np.uint8), PROBABILITIES[:count], split)


def test_one_digit() -> None:
    prediction = predicted()
    assert str(prediction) == "1  62.5%  (then 0, 25.0%)"
    assert prediction.number == "1"
    assert prediction.to_dict() == {
        "class": "1",
        "probability": 0.625,
        "runner_up": {"class": "0", "probability": 0.25},
        "probabilities": {"0": 0.25, "1": 0.625, "2": 0.125},
    }
    assert json.loads(json.dumps(prediction.to_dict())) == prediction.to_dict()


def test_a_number() -> None:
    prediction = predicted(3, split=True)
    assert prediction.number == "120"  # of two as likely, the first
    lines = ["120", "1  62.5%  (then 0, 25.0%)", "2  75.0%  (then 1, 25.0%)", "0  50.0%  (then 1, 50.0%)"]
    assert str(prediction) == "\n  ".join(lines)
    values = prediction.to_dict()
    assert set(values) == {"number", "digits"} and values["number"] == "120"
    assert [digit["class"] for digit in values["digits"]] == ["1", "2", "0"]
    assert values["digits"][0] == predicted().to_dict()
    json.dumps(values)


def test_a_number_of_one_digit_keeps_its_form() -> None:
    assert str(predicted(1, split=True)) == "1\n  1  62.5%  (then 0, 25.0%)"
    assert set(predicted(1, split=True).to_dict()) == {"number", "digits"}


def test_names_of_several_letters_are_kept_apart() -> None:
    assert predicted(2, split=True, names=("zero", "one", "two")).number == "one two"
    assert predicted(2, split=True, names=("ten", "1", "2")).number == "12"


class Model:
    """Stands in for an exported model: the first byte of a file says how many digits are on it."""

    class_names = NAMES
    image_format = ImageFormat(4, 5, centred=True, dark_on_light=False)

    def __init__(self) -> None:
        self.requests: list[bytes] = []

    def predict_pictures(self, image_bytes: Sequence[bytes]) -> Any:
        (content,) = image_bytes
        self.requests.append(content)
        if content == b"broken":
            raise InputError("a picture cannot be read: it is broken")
        outputs = {"normalized": np.full([1, 4, 5], 7, np.uint8), "probabilities": PROBABILITIES[:1]}
        return type("Outputs", (), {**outputs, "digits": np.array([int(content)])})

    def predict(self, images: NDArray[np.uint8]) -> Any:
        return type("Outputs", (), {"probabilities": PROBABILITIES[: len(images)]})


def read(contents: list[bytes], split: bool = False) -> list[PhotoPrediction]:
    names = [f"{number}.png" for number in range(len(contents))]
    model: Any = Model()
    return list(read_pictures(model, names, contents, split))


def test_pictures_are_read_one_by_one() -> None:
    model: Any = Model()
    predictions = read_pictures(model, ["a", "b"], [b"1", b"broken"])
    first = next(predictions)
    assert (first.number, first.problem, first.split, first.seen.shape) == ("1", "", False, (1, 4, 5))
    assert model.requests == [b"1"]
    with pytest.raises(InputError, match=r"^b: a picture cannot be read: it is broken$"):
        next(predictions)


def test_a_picture_with_none_or_several_digits_is_a_problem_of_its_own() -> None:
    blank, one, many = read([b"0", b"1", b"3"])
    assert blank.problem == "no ink found in it; expected a picture of a digit, dark on light or light on dark."
    assert one.problem == ""
    assert many.problem == "3 digits found in it, expected one; crop it, or read a number with --split-digits."
    for problem in (blank, many):
        assert len(problem.probabilities) == 0 and problem.number == "" and problem.seen.shape == (1, 4, 5)


@pytest.mark.parametrize(("count", "number"), [(1, "1"), (3, "120")])
def test_a_split_picture_is_read_digit_by_digit(count: int, number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        photo_predictions, "split_digits", lambda content, form: np.zeros([count, form.height, form.width], np.uint8)
    )
    (prediction,) = read([b"x"], split=True)
    assert (prediction.number, prediction.problem, prediction.split) == (number, "", True)
    assert prediction.seen.shape == (count, 4, 5)


def test_a_broken_picture_cannot_be_split(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise tf.errors.InvalidArgumentError(None, None, "assertion failed: [not a PNG or JPEG picture] [x]")

    monkeypatch.setattr(photo_predictions, "split_digits", fail)
    with pytest.raises(InputError, match=r"^0.png: a picture cannot be read: not a PNG or JPEG picture\.$"):
        read([b"x"], split=True)


def test_a_blank_picture_cannot_be_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_predictions, "split_digits", lambda content, form: np.zeros([0, 4, 5], np.uint8))
    (prediction,) = read([b"x"], split=True)
    assert prediction.problem.startswith("no ink found in it") and prediction.number == ""
