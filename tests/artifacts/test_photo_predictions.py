"""Readings: what is said of a picture, as text and as JSON, and what is said where there is nothing to say."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tfmnist.artifacts import photo_predictions as reading
from tfmnist.artifacts.photo_predictions import PhotoPrediction, read_pictures
from tfmnist.errors import InputError

NAMES = ("0", "1", "2")
SHARES = np.array([[0.25, 0.625, 0.125], [0.0, 0.25, 0.75], [0.5, 0.5, 0.0]], np.float32)


def made(count: int = 1, split: bool = False, names: tuple[str, ...] = NAMES) -> PhotoPrediction:
    return PhotoPrediction(names, np.zeros([count, 4, 5], np.uint8), SHARES[:count], split)


def test_one_digit() -> None:
    found = made()
    assert str(found) == "1  62.5%  (then 0, 25.0%)"
    assert found.number == "1"
    assert found.to_dict() == {
        "class": "1",
        "probability": 0.625,
        "runner_up": {"class": "0", "probability": 0.25},
        "probabilities": {"0": 0.25, "1": 0.625, "2": 0.125},
    }
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


def test_a_number() -> None:
    found = made(3, split=True)
    assert found.number == "120"  # of two as likely, the first
    assert str(found) == "120\n  1  62.5%  (then 0, 25.0%)\n  2  75.0%  (then 1, 25.0%)\n  0  50.0%  (then 1, 50.0%)"
    values = found.to_dict()
    assert set(values) == {"number", "digits"} and values["number"] == "120"
    assert [digit["class"] for digit in values["digits"]] == ["1", "2", "0"]
    assert values["digits"][0] == made().to_dict()
    json.dumps(values)


def test_a_number_of_one_digit_keeps_its_form() -> None:
    assert str(made(1, split=True)) == "1\n  1  62.5%  (then 0, 25.0%)"
    assert set(made(1, split=True).to_dict()) == {"number", "digits"}


def test_names_of_several_letters_are_kept_apart() -> None:
    assert made(2, split=True, names=("zero", "one", "two")).number == "one two"
    assert made(2, split=True, names=("ten", "1", "2")).number == "12"


class Model:
    """Stands in for an exported model: the first byte of a file says how many digits are on it."""

    class_names = NAMES
    card: dict[str, Any] = {"form": {"height": 4, "width": 5, "centred": True, "light_ground": False}}  # noqa: RUF012

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def predict_pictures(self, image_bytes: Sequence[bytes]) -> Any:
        (content,) = image_bytes
        self.asked.append(content)
        if content == b"broken":
            raise InputError("a picture cannot be read: it is broken")
        found = {"normalized": np.full([1, 4, 5], 7, np.uint8), "probabilities": SHARES[:1]}
        return type("Found", (), {**found, "digits": np.array([int(content)])})

    def predict(self, images: NDArray[np.uint8]) -> Any:
        return type("Found", (), {"probabilities": SHARES[: len(images)]})


def read(contents: list[bytes], split: bool = False) -> list[PhotoPrediction]:
    names = [f"{number}.png" for number in range(len(contents))]
    model: Any = Model()
    return list(read_pictures(model, names, contents, split))


def test_pictures_are_read_one_by_one() -> None:
    model: Any = Model()
    readings = read_pictures(model, ["a", "b"], [b"1", b"broken"])
    first = next(readings)
    assert (first.number, first.problem, first.split, first.seen.shape) == ("1", "", False, (1, 4, 5))
    assert model.asked == [b"1"]
    with pytest.raises(InputError, match=r"^b: a picture cannot be read: it is broken$"):
        next(readings)


def test_a_picture_with_none_or_several_digits_is_a_problem_of_its_own() -> None:
    blank, one, many = read([b"0", b"1", b"3"])
    assert blank.problem == "no ink found on it; expected a picture of a digit, dark on light or light on dark."
    assert one.problem == ""
    assert many.problem == "3 digits found on it, expected one; crop it, or read a number with --split-digits."
    for problem in (blank, many):
        assert len(problem.probabilities) == 0 and problem.number == "" and problem.seen.shape == (1, 4, 5)


@pytest.mark.parametrize(("count", "number"), [(1, "1"), (3, "120")])
def test_a_split_picture_is_read_digit_by_digit(count: int, number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        reading, "split_digits", lambda content, form: np.zeros([count, form.height, form.width], np.uint8)
    )
    (found,) = read([b"x"], split=True)
    assert (found.number, found.problem, found.split, found.seen.shape) == (number, "", True, (count, 4, 5))


def test_a_blank_picture_cannot_be_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "split_digits", lambda content, form: np.zeros([0, 4, 5], np.uint8))
    (found,) = read([b"x"], split=True)
    assert found.problem.startswith("no ink found on it") and found.number == ""
