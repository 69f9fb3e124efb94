"""Predictions for photos: as text, as JSON, and the problem of a picture without one."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tfmnist.artifacts import photo_predictions
from tfmnist.artifacts.photo_predictions import PhotoPrediction, read_files, read_pictures
from tfmnist.errors import InputError
from tfmnist.photos.files import AT_ONCE
from tfmnist.photos.normalize import ImageFormat
from tfmnist.photos.status import Status
from tfmnist.system.pictures import PNG

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
        "sure": True,
        "runner_up": {"class": "0", "probability": 0.25},
        "probabilities": {"0": 0.25, "1": 0.625, "2": 0.125},
    }
    assert json.loads(json.dumps(prediction.to_dict())) == prediction.to_dict()


def test_an_answer_below_the_threshold_is_not_sure() -> None:
    for threshold, sure in ((0.5, [True, True, True]), (0.625, [True, True, False]), (0.63, [False, True, False])):
        prediction = replace(predicted(3, split=True), threshold=threshold)
        assert [digit["sure"] for digit in prediction.to_dict()["digits"]] == sure
        assert [line.endswith("%)  not sure") for line in str(prediction).splitlines()[1:]] == [not s for s in sure]


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
    """Stands in for an exported model: the first byte of a file is its status."""

    class_names = NAMES
    threshold = 0.5
    image_format = ImageFormat(4, 5, centred=True, dark_on_light=False)

    def predict_pictures(self, image_bytes: Sequence[bytes]) -> Any:
        if b"" in image_bytes:
            raise InputError("a picture cannot be read")
        count = len(image_bytes)
        outputs: dict[str, Any] = {"normalized": np.full([count, 4, 5], 7, np.uint8)}
        outputs["probabilities"] = np.repeat(PROBABILITIES[:1], count, axis=0)
        return type(
            "Outputs",
            (),
            {**outputs, "status": np.array([int(content.removeprefix(PNG) or 0) for content in image_bytes], int)},
        )

    def predict(self, images: NDArray[np.uint8]) -> Any:
        return type("Outputs", (), {"probabilities": PROBABILITIES[: len(images)]})


def read(content: bytes, split: bool = False) -> PhotoPrediction:
    model: Any = Model()
    (prediction,) = read_pictures(model, [content], split)
    return prediction


def test_a_picture_is_read() -> None:
    prediction = read(b"0")
    assert (prediction.number, prediction.problem, prediction.split) == ("1", "", False)
    assert prediction.seen.shape == (1, 4, 5) and prediction.to_dict() == predicted().to_dict()


@pytest.mark.parametrize("status", list(Status)[1:])
def test_a_picture_that_is_not_read_has_a_problem_and_no_class(status: Status) -> None:
    prediction = read(str(int(status)).encode())
    assert prediction.problem == status.explain() and prediction.number == ""
    assert len(prediction.probabilities) == 0 and prediction.seen.shape == (1, 4, 5)


@pytest.mark.parametrize(("count", "number"), [(1, "1"), (3, "120")])
def test_a_split_picture_is_read_digit_by_digit(count: int, number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def split_digits(*arguments: Any) -> tuple[NDArray[np.uint8], Status]:
        asked.extend(arguments)
        return np.zeros([count, 4, 5], np.uint8), Status.READ

    monkeypatch.setattr(photo_predictions, "split_digits", split_digits)
    prediction = read(b"x", split=True)
    assert asked == [b"x", Model.image_format, True]
    assert (prediction.number, prediction.problem, prediction.split) == (number, "", True)
    assert prediction.seen.shape == (count, 4, 5)


@pytest.mark.parametrize("status", [Status.BLANK, Status.DAMAGED, Status.TOUCHING])
def test_a_picture_that_cannot_be_split(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros([2 * (status == Status.TOUCHING), 4, 5], np.uint8)
    monkeypatch.setattr(photo_predictions, "split_digits", lambda *_: (images, status))
    prediction = read(b"x", split=True)
    assert prediction.problem == status.explain() and prediction.number == "" and prediction.split


def test_one_picture_that_an_old_model_cannot_read_does_not_keep_the_others_from_being_read() -> None:
    model: Any = Model()
    predictions = read_pictures(model, [b"0", b"", b"0"])
    assert [prediction.problem for prediction in predictions] == ["", "a picture cannot be read", ""]
    assert [prediction.number for prediction in predictions] == ["1", "", "1"]


def test_files_are_read_in_their_order(tmp_path: Path) -> None:
    model: Any = Model()
    paths = [str(tmp_path / f"{number}.png") for number in range(2 * AT_ONCE + 3)]
    for path in paths[1:]:
        Path(path).write_bytes(PNG)
    read = list(read_files(model, [*paths, paths[2]], contents=dict.fromkeys(paths[2:], b"0")))
    assert [path for path, _ in read] == [*paths, paths[2]]
    assert [prediction.number for _, prediction in read[2:]] == ["1"] * len(paths[1:])
    assert read[0][1].problem.startswith(paths[0]) and "No such file" in read[0][1].problem
