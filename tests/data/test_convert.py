"""Writing a data set as picture files: what is read back is what was written, whole or not at all."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_folders import image, read_folder
from PIL import Image

from tfmnist.data.bulk_decode import DecodingProgress
from tfmnist.data.convert import write_folder
from tfmnist.data.folders import is_picture_folder
from tfmnist.data.split import Digits, Split
from tfmnist.errors import InputError


def digits(validation: int = 4) -> Digits:
    labels = np.array([2, 0, 1, 1, 0, 2, 0, 1, 2, 0, 1, 2])
    images = np.stack([image(number) for number in range(12)])
    test = Split(np.stack([image(90 + number) for number in range(3)]), np.array([1, 2, 0]))
    held = np.array([1, 5, 7, 10][:validation], np.int64)
    train = Split(images, labels, np.setdiff1d(np.arange(12), held) if validation else None)
    return Digits(train, Split(images, labels, held), test, ("a", "b", "ç 3"), "x")


@pytest.mark.parametrize("validation", [0, 4])
def test_write_folder(tmp_path: Path, validation: int) -> None:
    data = digits(validation)
    destination = tmp_path / "new" / "folder"
    events = list(write_folder(data, destination))
    assert events[-1] == DecodingProgress(15, 15) and [event.total for event in events] == [15] * len(events)
    assert os.listdir(tmp_path / "new") == ["folder"]
    names = sorted(path.relative_to(destination).as_posix() for path in destination.rglob("*.png"))
    whole = digits(0)
    expected = [f"train/{data.class_names[label]}/{row:05}.png" for row, label in enumerate(whole.train.labels)]
    expected += ["test/b/00000.png", "test/ç 3/00001.png", "test/a/00002.png"]
    assert names == sorted(expected)
    with Image.open(destination / "train" / "ç 3" / "00005.png") as picture:
        assert picture.format == "PNG" and picture.mode == "L"
        np.testing.assert_array_equal(np.asarray(picture), image(5))
    assert destination.stat().st_mode & 0o777 == (tmp_path / "new").stat().st_mode & 0o777
    source = read_folder(destination)
    order = np.argsort(whole.train.labels, kind="stable")
    np.testing.assert_array_equal(source.train.images, whole.train.images[order])
    np.testing.assert_array_equal(source.train.labels, whole.train.labels[order])
    assert source.test is not None and source.class_names == data.class_names
    np.testing.assert_array_equal(source.test.images, whole.test.images[[2, 0, 1]])


@pytest.mark.parametrize(
    ("rows", "names"), [([9, 4], ["00004", "00009"]), ([4, 4], ["00000", "00001"]), (None, ["00000", "00001"])]
)
def test_numbers_are_places_in_the_data_set(tmp_path: Path, rows: list[int] | None, names: list[str]) -> None:
    whole = digits(0)
    images, labels = whole.train.images, whole.train.labels
    train = Split(images[[9, 4]], labels[[9, 4]]) if rows is None else Split(images, labels, np.array(rows))
    list(write_folder(Digits(train, whole.validation, whole.test, whole.class_names, "x"), tmp_path / "a"))
    assert sorted(path.stem for path in (tmp_path / "a" / "train").rglob("*.png")) == names


def test_write_into_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    list(write_folder(digits(), tmp_path / "link"))
    assert is_picture_folder(tmp_path / "real") and (tmp_path / "link").is_symlink()


def test_write_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = write_folder(digits(), tmp_path / "a")
    next(events)
    assert not (tmp_path / "a").exists()
    events.close()
    assert os.listdir(tmp_path) == []

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(InputError, match=r"a: cannot write the pictures: No space left on device; check"):
        list(write_folder(digits(), tmp_path / "a"))
    assert os.listdir(tmp_path) == []


def test_write_refuses(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for path in (tmp_path / "full", tmp_path / "full" / "file"):
        with pytest.raises(InputError, match="already exists and is not an empty folder"):
            list(write_folder(digits(), path))
    data = digits()
    for name in ("", ".", "..", ".a", "T-shirt/top", "a\0", " ", "a\\b"):
        named = Digits(data.train, data.validation, data.test, ("a", "b", name), "x")
        with pytest.raises(InputError, match=r"^class name .* cannot name a folder"):
            list(write_folder(named, tmp_path / "new"))
    assert not (tmp_path / "new").exists()
