"""Evaluating a model on labelled photos: what it refuses counts as wrong, and is named."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tfmnist
from tfmnist.data.split import Split
from tfmnist.errors import InputError
from tfmnist.runs import photo_evaluation
from tfmnist.runs.events import Run
from tfmnist.runs.photo_evaluation import PhotoEvaluation, evaluate_photos

Evaluate = Callable[..., PhotoEvaluation]
BLANK = "no digit found in it; expected one, dark on light or light on dark; write darker, or come closer"
NO_PICTURE = "not a PNG, JPEG, BMP, GIF, TIFF or WebP picture"


@pytest.fixture(scope="module")
def model(done: Run) -> tfmnist.Exported:
    return tfmnist.load_exported(done.path)


@pytest.fixture(scope="module")
def test(small: Path) -> Split:
    split = tfmnist.load(small, validation=0).test
    return Split(split.images[:50], split.labels[:50])


def write(folder: Path, split: Split, kind: str = "png") -> Path:
    """Class folders; MNIST's images are left as they are by the model."""
    for index, (image, label) in enumerate(zip(split.images, split.labels)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(255 - image).save(folder / str(label) / f"{index}.{kind}")
    return folder


def test_photos_are_read_as_predict_reads_them(model: tfmnist.Exported, test: Split, tmp_path: Path) -> None:
    write(tmp_path / "x/test", test, "bmp")
    write(tmp_path / "x/train", Split(test.images[:30], test.labels[:30]))
    evaluation = evaluate_photos(model, str(tmp_path / "x"), "test", "cross_entropy")
    metrics = tfmnist.evaluate(model, test)
    assert (evaluation.part, evaluation.count, evaluation.notes) == ("test", 50, ())
    assert evaluation.refused.total() == 0 and evaluation.first_refused == ()
    np.testing.assert_array_equal(evaluation.read.confusion, metrics.confusion)
    assert evaluation.read.loss == pytest.approx(metrics.loss, rel=1e-5)
    assert evaluate_photos(model, str(tmp_path / "x"), "train", "quadratic").count == 30
    with pytest.raises(InputError, match="its validation part is empty; choose another with --split"):
        evaluate_photos(model, str(tmp_path / "x"), "validation", "cross_entropy")


def test_what_is_refused_is_wrong_and_named(
    model: tfmnist.Exported, test: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_evaluation, "AT_ONCE", 7)
    folder = write(tmp_path / "x", test)
    for number in range(5):
        Image.new("L", (90, 70), 230).save(folder / "3" / f"blank {number}.webp")
    (folder / "4" / "text.jpg").write_text("a text")
    (folder / "4" / "notes.txt").touch()
    evaluation = evaluate_photos(model, str(folder), "test", "cross_entropy")
    assert evaluation.part == "all" and evaluation.count == 56 and evaluation.read.count == 50
    assert evaluation.refused == {BLANK: 5, NO_PICTURE: 1}
    assert evaluation.first_refused == tuple(f"{folder}/3/blank {number}.webp: {BLANK}" for number in range(5))
    assert evaluation.notes[0] == "no test part in the data: all of it is evaluated"
    assert evaluation.notes[1].endswith("not a picture in a class folder: 4/notes.txt") and len(evaluation.notes) == 2
    values = evaluation.to_dict()
    correct = tfmnist.evaluate(model, test).correct
    assert values["accuracy"] == correct / 56 and evaluation.read.accuracy == correct / 50
    assert values["accuracy_ci95"][0] < values["accuracy"] < values["accuracy_ci95"][1]
    assert (values["count"], values["correct"], values["refused"]) == (56, correct, {BLANK: 5, NO_PICTURE: 1})


def test_an_archive_is_read_without_unpacking_it(model: tfmnist.Exported, test: Split, tmp_path: Path) -> None:
    write(tmp_path / "x", test)
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as archive:
        archive.add(tmp_path / "x", "photos")
    evaluation = evaluate_photos(model, str(tmp_path / "x.tgz"), "test", "cross_entropy")
    assert evaluation.count == 50 and evaluation.read.correct == tfmnist.evaluate(model, test).correct


def test_classes_are_matched_by_name(model: tfmnist.Exported, test: Split, tmp_path: Path) -> None:
    folder = write(tmp_path / "x", test)
    (folder / "1").rename(folder / "one")
    evaluation = evaluate_photos(model, str(folder), "test", "cross_entropy")
    others, ones = test.labels != 1, int(np.sum(test.labels == 1))
    assert evaluation.count == int(np.sum(others))
    assert f"left out {ones} pictures of classes that the model lacks: " in evaluation.notes[1]
    assert evaluation.read.correct == tfmnist.evaluate(model, Split(test.images[others], test.labels[others])).correct
    for path in list(folder.iterdir()):
        path.rename(folder / f"digit {path.name}")
    with pytest.raises(InputError, match=r"its classes are digit 0, .*, expected some of the model's, 0, 1, 2"):
        evaluate_photos(model, str(folder), "test", "cross_entropy")


def test_a_source_of_which_nothing_is_read(model: tfmnist.Exported, tmp_path: Path) -> None:
    for name in "01":
        (tmp_path / "x" / name).mkdir(parents=True)
        (tmp_path / "x" / name / "a.png").touch()
    evaluation = evaluate_photos(model, str(tmp_path / "x"), "test", "cross_entropy")
    assert evaluation.to_dict()["accuracy"] == 0 and evaluation.read.count == 0 and evaluation.read.loss == 0
    assert evaluation.refused == {"the file is empty": 2}
