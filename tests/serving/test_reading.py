"""Pictures read as a person wants them: numbers from left to right, in any format, or why not."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tfmnist
from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.versions import write_manifest
from tfmnist.errors import InputError
from tfmnist.photos.status import Status
from tfmnist.serving.reading import EXAMPLE_PICTURE, read_number


@pytest.mark.parametrize("strokes", [1, 3])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP"])
def test_a_number(expected: tfmnist.Exported, draw: Callable[..., bytes], strokes: int, kind: str) -> None:
    found = read_number(expected, draw(strokes, kind))
    assert found["status"] == 0 and found["message"] == "" and len(found["digits"]) == strokes
    assert found["text"] == "".join(digit["class"] for digit in found["digits"])
    for digit in found["digits"]:
        assert list(digit["probabilities"]) == list("0123456789") and digit["normalized"].shape == (28, 28)
        assert digit["confidence"] == digit["probabilities"][digit["class"]] == max(digit["probabilities"].values())
        assert digit["sure"]
        prediction = expected.predict(digit["normalized"][np.newaxis])
        assert digit["class"] == str(prediction.classes[0])


def test_why_nothing_was_read(expected: tfmnist.Exported, draw: Callable[..., bytes]) -> None:
    for content, status, words in (
        (draw(0), Status.BLANK, "no digit found"),
        (b"no picture", Status.NO_PICTURE, "PNG, JPEG"),
        (b"", Status.NO_PICTURE, "empty"),
        (draw()[:-200], Status.DAMAGED, "damaged"),
        (draw(kind="WEBP")[:-50], Status.WEBP, "damaged"),
    ):
        found = read_number(expected, content)
        assert found["text"] == "" and found["digits"] == [] and found["status"] == status and words in found["message"]


def test_classes_that_are_no_digits(tmp_path: Path, draw: Callable[..., bytes]) -> None:
    names = [f"letter {letter}" for letter in "abcdefghij"]
    folder = tfmnist.export(tfmnist.MLP((28, 28), [8], 10, seed=1), tmp_path / "letters", class_names=names)
    found = read_number(tfmnist.load_exported(folder), draw())
    assert found["text"] == found["digits"][0]["class"] and found["text"] in names


def test_an_export_without_its_format(exported: Path, tmp_path: Path) -> None:
    version = Path(shutil.copytree(exported / "1", tmp_path / "1"))
    card = ModelCard.read(version)
    ModelCard(**{key: value for key, value in card.to_dict().items() if key != "form"}).write(version)
    write_manifest(version)
    with pytest.raises(InputError, match="without the format of its images"):
        read_number(tfmnist.load_exported(version), EXAMPLE_PICTURE)
