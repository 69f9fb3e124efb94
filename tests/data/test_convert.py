"""Writing a data set as picture files, and any as IDX files: what is read back is the same, whole or not at all."""

import gzip
import io
import os
import shutil
import tarfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_folders import image, make, read_folder, save
from PIL import Image

from tfmnist.data.bulk_decode import DecodingProgress
from tfmnist.data.convert import Converted, write_folder, write_idx_folder
from tfmnist.data.folders import is_picture_folder
from tfmnist.data.sources import load
from tfmnist.data.split import Digits, Images, Split
from tfmnist.errors import InputError

KINDS = ("images-idx3-ubyte", "labels-idx1-ubyte")


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
    with pytest.raises(InputError, match=r"a: cannot write it: No space left on device; check"):
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


# Any source as IDX files


def convert(source: str | Path, destination: Path, **options: Any) -> Converted:
    events = write_idx_folder(source, destination, **options)
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


def assert_equal_data(source: str | Path, destination: Path) -> None:
    for validation in (0, 3):
        first, second = load(source, validation=validation), load(destination, validation=validation)
        assert first.sha256 == second.sha256 and first.class_names == second.class_names
        assert first.validation.sha256 == second.validation.sha256 and first.test.sha256 == second.test.sha256


@pytest.mark.parametrize(("test", "validation"), [(2, 0), (0, 0), (2, 2), (0, 2)])
def test_a_folder_as_idx_is_the_same_data(tmp_path: Path, test: int, validation: int) -> None:
    root = make(tmp_path / "a", train=15, test=test, classes=("2", "10", "ç 3"))
    for number in range(validation):
        save(root / "val" / "2" / f"{number}.png", image(200 + number))
    converted = convert(root, tmp_path / "b")
    assert_equal_data(root, tmp_path / "b")
    assert converted.image_shape == (5, 7) and converted.class_names == ("2", "10", "ç 3")
    held = [] if test else ["no test set in the source: 6 of its examples are held out as one"]
    assert converted.notes == tuple(held)
    tests = 3 * test or 6
    expected = {"train": 45 if test else 39, "test": tests, "validation": validation}
    assert converted.counts == {role: count for role, count in expected.items() if count}
    assert list(converted.counts)[:2] == ["train", "test"]
    names = ["labels.txt", *(f"{name}-{kind}" for name in ("t10k", "train") for kind in KINDS)]
    names += [f"validation-{kind}" for kind in KINDS] if validation else []
    assert sorted(os.listdir(tmp_path / "b")) == sorted(names)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_an_archive_as_idx(tmp_path: Path) -> None:
    root = make(tmp_path / "a", train=9)
    shutil.make_archive(str(tmp_path / "x"), "zip", tmp_path, "a")
    shutil.make_archive(str(tmp_path / "y"), "gztar", tmp_path, "a")
    convert(tmp_path / "x.zip", tmp_path / "b")
    assert_equal_data(root, tmp_path / "b")
    converted = convert(tmp_path / "y.tar.gz", tmp_path / "c")
    assert converted.counts == {"train": 27, "test": 6}
    expected, found = load(root, validation=0), load(tmp_path / "c", validation=0)
    rows = [sorted(zip(map(bytes, data.train.images), data.train.labels.tolist())) for data in (expected, found)]
    assert rows[0] == rows[1] and found.class_names == ("0", "1", "2")


def test_arrays_as_idx(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, [40, 4, 4], np.uint8), np.arange(40) % 4
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images[:8], y_test=labels[:8])
    convert(tmp_path / "a.npz", tmp_path / "b")
    assert_equal_data(tmp_path / "a.npz", tmp_path / "b")
    convert(tmp_path / "b", tmp_path / "c")
    assert_equal_data(tmp_path / "b", tmp_path / "c")
    convert("mnist", tmp_path / "m", size=(14, 14))
    assert load(tmp_path / "m", validation=0).train.images.shape == (60000, 14, 14)


@pytest.mark.parametrize("end", [".csv", ".csv.gz"])
def test_tables_as_idx(tmp_path: Path, end: str) -> None:
    random = np.random.default_rng(0)
    rows = [",".join(map(str, [number % 3, *random.integers(0, 256, 16)])) for number in range(30)]
    text = "\n".join(["label," + ",".join(f"pixel{i}" for i in range(16)), *rows])
    path = tmp_path / f"train{end}"
    path.write_bytes(gzip.compress(text.encode()) if end.endswith("gz") else text.encode())
    convert(path, tmp_path / "b")
    assert_equal_data(path, tmp_path / "b")
    path.write_text(text.replace("\n0,", "\n5,"))
    with pytest.raises(InputError, match="class '0' has no training image"):
        convert(path, tmp_path / "c")


def test_many_classes_have_wide_labels(tmp_path: Path) -> None:
    for number in range(300):
        for part in ("train", "test"):
            save(tmp_path / "a" / part / str(number) / "0.png", np.array([[number % 256, number // 256]], np.uint8))
    convert(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b" / "train-labels-idx1-int").stat().st_size == 8 + 4 * 300
    assert_holds(load(tmp_path / "b", validation=0).train, load(tmp_path / "a", validation=0).train)


def assert_holds(split: Split, expected: Split) -> None:
    np.testing.assert_array_equal(split.images, expected.images)
    np.testing.assert_array_equal(split.labels, expected.labels)


def test_photos_as_idx(tmp_path: Path) -> None:
    root = make(tmp_path / "a")

    def read_photos(files: Sequence[bytes]) -> tuple[Images, list[str]]:
        images = np.stack([np.full([3, 3], len(data) % 256, np.uint8) for data in files])
        return images, ["too small" if data == (root / "train/1/0.png").read_bytes() else "" for data in files]

    converted = convert(root, tmp_path / "b", read_photos=read_photos)
    note = f"left out 1 photo in which no digit could be read: {root / 'train/1/0.png'} (too small)"
    assert converted.notes == (note,) and converted.counts["train"] == 8 and converted.image_shape == (3, 3)
    with pytest.raises(InputError, match="mnist: has no photos, expected class folders"):
        convert("mnist", tmp_path / "c", read_photos=read_photos)


def test_what_cannot_be_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "a", classes=("0", "1"))
    (root / "train/1/2.png").write_bytes(b"")
    with pytest.raises(InputError, match="a broken picture"):
        convert(root, tmp_path / "b")
    converted = convert(root, tmp_path / "b", skip_broken=True)
    assert converted.notes == (f"left out 1 broken picture: {root / 'train/1/2.png'} (the file is empty)",)
    for name in ("0", "1"):
        (root / f"train/1/{name}.png").write_bytes(b"")
    with pytest.raises(InputError, match="class '1' has no training image that can be read"):
        convert(root, tmp_path / "c", skip_broken=True)
    with pytest.raises(InputError, match="already exists and is not an empty folder"):
        convert("mnist", tmp_path / "b")
    with pytest.raises(InputError, match="does not exist"):
        convert(tmp_path / "nowhere", tmp_path / "c")
    (tmp_path / "x.tar").write_bytes(bytes(100))
    with pytest.raises(InputError, match=r"x\.tar: not a data source, expected .*; is it damaged\?$"):
        convert(tmp_path / "x.tar", tmp_path / "c")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfmnist.data.convert.write_idx", full)
    with pytest.raises(InputError, match=r"c: cannot write it: No space left on device; check"):
        convert(make(tmp_path / "d"), tmp_path / "c")
    assert not (tmp_path / "c").exists() and not list(tmp_path.glob(".*"))


def test_memory_stays_flat(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        png = io.BytesIO()
        Image.fromarray(image(shape=(64, 64))).save(png, "PNG")
        files = {f"{number % 2}/{number}.png": png.getvalue() for number in range(count)}
        with tarfile.open(path := tmp_path / f"{count}.tar", "w") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        del files
        tracemalloc.start()
        convert(path, tmp_path / str(count))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(4000) < peak(1000) + 2**20  # three thousand more files would be 20 MB, their images 12 MB
