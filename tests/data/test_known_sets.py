"""Published data sets: read by the names that their files have, upright, with their classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import IDX, Arrays, assert_holds, complaint, make, save_idx

from tfmnist.data.idx import write_idx
from tfmnist.data.known_sets import FileSet, find_file_set
from tfmnist.data.sources import load
from tfmnist.data.split import Digits


def names(prefix: str, test: str = "test", images: str = "idx3-ubyte", labels: str = "idx1-ubyte") -> list[str]:
    return [f"{prefix}{part}-{kind}" for part in ("train", test) for kind in (f"images-{images}", f"labels-{labels}")]


def save(folder: Path, files: Sequence[str], arrays: Arrays, first: int = 0, **types: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(files, arrays.values(), strict=True):
        is_label = "label" in name
        write_idx(folder / name, (array + first * is_label).astype(types.get("labels", "u1") if is_label else "u1"))
    return folder


def sideways(arrays: Arrays) -> Arrays:
    return {name: array.swapaxes(1, 2) if array.ndim == 3 else array for name, array in arrays.items()}


def assert_is(digits: Digits, arrays: Arrays) -> None:
    assert_holds(digits.train, arrays["x_train"], arrays["y_train"])
    assert_holds(digits.test, arrays["x_test"], arrays["y_test"])


def found(path: Path) -> FileSet:
    files = find_file_set(path)
    assert files is not None
    return files


# EMNIST

CLASSES = {"byclass": 62, "bymerge": 47, "balanced": 47, "letters": 26, "digits": 10, "mnist": 10}


@pytest.mark.parametrize("split", list(CLASSES))
@pytest.mark.parametrize("end", ["", ".gz"])
def test_emnist(tmp_path: Path, split: str, end: str) -> None:
    count, first = CLASSES[split], int(split == "letters")
    arrays = make(train=300, classes=count)
    folder = save(tmp_path, [f"{name}{end}" for name in names(f"emnist-{split}-")], sideways(arrays), first)
    digits = load(folder, validation=0)
    assert_is(digits, arrays)
    assert digits.classes == count and digits.notes == ("images are transposed: they lie sideways in EMNIST's files",)
    expected = {"letters": ["Aa", "Bb", "Zz"], "byclass": ["0", "1", "z"], "balanced": ["0", "1", "t"]}
    expected["bymerge"] = expected["balanced"]
    assert [digits.class_names[index] for index in (0, 1, -1)] == expected.get(split, ["0", "1", "9"])
    assert load(folder / f"emnist-{split}-train-images-idx3-ubyte{end}", validation=0).sha256 == digits.sha256
    assert "leave it out" in complaint(folder, transpose=True)


def test_emnist_in_csv_files(tmp_path: Path) -> None:
    arrays = make(shape=(4, 4))
    for part in ("train", "test"):
        rows = zip(arrays[f"y_{part}"] + 1, arrays[f"x_{part}"].swapaxes(1, 2).reshape(-1, 16).tolist())
        (tmp_path / f"emnist-letters-{part}.csv").write_text("\n".join(f"{y},{str(x)[1:-1]}" for y, x in rows))
    digits = load(tmp_path, validation=0)
    assert_is(digits, arrays)
    assert digits.class_names == ("Aa", "Bb", "Cc")
    alone = load(tmp_path / "emnist-letters-test.csv", validation=0)
    assert alone.class_names == digits.class_names and alone.test.rows is not None
    assert_holds(alone.test, arrays["x_test"][alone.test.rows], arrays["y_test"][alone.test.rows])


def test_the_mapping_file_names_the_classes(tmp_path: Path) -> None:
    arrays = make()
    folder = save(tmp_path, names("emnist-letters-"), sideways(arrays), first=1)
    mapping = folder / "emnist-letters-mapping.txt"
    mapping.write_text("1 65 97 \n3 67\n2 66 98\n4 68 100\n")
    assert load(folder, validation=0).class_names == ("Aa", "Bb", "C")
    for text in ("", "1 65\n3 67\n", "1\n2 66\n", "a b\n", "0 -1\n", "\xff"):
        mapping.write_text(text, encoding="latin-1")
        assert "mapping.txt: " in complaint(folder) and len(complaint(folder)) < 400
    mapping.write_text("1 65\n2 66\n")  # of fewer classes than there are
    assert load(folder, validation=0).class_names == ("0", "1", "2")


def test_letters_that_count_from_0(tmp_path: Path) -> None:
    arrays = make()
    assert_is(load(save(tmp_path, names("emnist-letters-"), sideways(arrays)), validation=0), arrays)


# QMNIST


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize(("labels", "columns"), [("idx2-int", 8), ("idx1-int", 0), ("idx1-ubyte", 0)])
def test_qmnist(tmp_path: Path, end: str, labels: str, columns: int) -> None:
    arrays = make(classes=10)
    values = dict(arrays)
    for name in ("y_train", "y_test"):
        if columns:
            values[name] = np.stack(
                [arrays[name], *np.random.default_rng(0).integers(0, 4000, [7, len(arrays[name])])], 1
            )
    files = [name + end for name in names("qmnist-", labels=labels)]
    assert_is(load(save(tmp_path, files, values, labels="u1" if "ubyte" in labels else "i4"), validation=0), arrays)


def test_other_tables_of_labels_are_refused(tmp_path: Path) -> None:
    arrays = make()
    folder = save_idx(tmp_path / "a", arrays)
    write_idx(folder / IDX[1], np.zeros([60, 3], np.int32))
    assert "labels are >i4 [60, 3], expected integers [n]" in complaint(folder)


# KMNIST and K49


@pytest.mark.parametrize(("prefix", "count", "last"), [("kmnist-", 10, "を"), ("k49-", 49, "ゝ")])
def test_kmnist_in_npz_files(tmp_path: Path, prefix: str, count: int, last: str) -> None:
    arrays = make(train=200, classes=count)
    files = [f"{prefix}{part}-{kind}.npz" for part in ("train", "test") for kind in ("imgs", "labels")]
    for name, array in zip(files, arrays.values()):
        np.savez_compressed(tmp_path / name, array.astype(np.uint8))
    digits = load(tmp_path, validation=0)
    assert_is(digits, arrays)
    assert digits.class_names[-1] == last and len(set(digits.class_names)) == count
    assert load(tmp_path / files[0], validation=0).sha256 == digits.sha256
    (tmp_path / files[1]).unlink()
    for source in (tmp_path, tmp_path / files[0]):
        assert f"but not {files[1]}; expected all in one folder" in complaint(source)
    np.savez(tmp_path / files[1], labels=arrays["y_train"])
    assert "has labels, expected arr_0" in complaint(tmp_path)


@pytest.mark.parametrize(
    ("folder", "first"),
    [
        ("FashionMNIST/raw", "T-shirt/top"),
        ("my_fashion_data", "T-shirt/top"),
        ("KMNIST/raw", "お"),
        ("kuzushiji", "お"),
        ("bookmnist", "0"),
        ("MNIST/raw", "0"),
    ],
)
def test_class_names_by_the_path(tmp_path: Path, folder: str, first: str) -> None:
    arrays = make(classes=10)
    digits = load(save(tmp_path / folder, names("", "t10k"), arrays), validation=0)
    assert digits.class_names[0] == first and digits.classes == 10
    assert (digits.notes == ()) == (first == "0")
    assert digits.sha256 == load(save_idx(tmp_path / "plain", arrays), validation=0).sha256
    few = load(save(tmp_path / "few" / folder, names("", "t10k"), make(classes=9)), validation=0)
    assert few.class_names == tuple("012345678")  # not that data set, or not all of it


def test_class_names_in_a_file(tmp_path: Path) -> None:
    folder = save_idx(tmp_path / "fashion", make())
    labels = folder / "labels.txt"
    labels.write_text("ä\nb c\nc\n", encoding="utf-8")
    assert load(folder, validation=0).class_names == ("ä", "b c", "c")
    labels.write_text("a\nb\nc\nd", encoding="utf-8")
    assert "4 names, expected 3" in complaint(folder)
    assert load(folder, validation=0, classes=4).class_names == tuple("abcd")
    for text in ("", "a\n\nb\n", "a\nb\nb\n", "\xff\n"):
        labels.write_text(text, encoding="latin-1")
        assert str(labels) in complaint(folder)


# Where files are


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("name", ["{}", "{}.idx", "dot"])
def test_each_file_in_a_folder_of_its_own(tmp_path: Path, end: str, name: str) -> None:
    arrays = make()
    for file, array in zip(IDX, arrays.values()):
        inner = file.replace("-idx", ".idx") if name == "dot" else file
        folder = tmp_path / "a" / file
        folder.mkdir(parents=True)
        write_idx(folder / (inner + end), array.astype(np.uint8))
    assert_is(load(tmp_path / "a", validation=0), arrays)
    source = next((tmp_path / "a" / IDX[2]).iterdir())
    assert_is(load(source, validation=0), arrays)


def test_the_nearest_files_and_plain_ones_count(tmp_path: Path) -> None:
    near, far, packed = make(seed=1), make(seed=2), make(seed=3)
    save_idx(tmp_path, packed, ".gz")
    save_idx(tmp_path, near)
    save(tmp_path / "old", names("", "t10k"), far)
    assert_is(load(tmp_path, validation=0), near)
    for part in ("train", "test"):
        (tmp_path / f"fashion_{part}.csv").write_text("0,1,2\n")  # the same data again, as some archives have them
    assert found(tmp_path).form == "idx"
    assert {path.name for path in found(tmp_path).files.values()} == set(IDX)


def test_several_data_sets_in_one_folder(tmp_path: Path) -> None:
    letters, digits = make(seed=1), make(seed=2)
    save(tmp_path / "EMNIST/raw", names("emnist-letters-"), sideways(letters), first=1)
    assert_is(load(tmp_path, validation=0), letters)
    save(tmp_path / "EMNIST/raw", names("emnist-digits-"), sideways(digits))
    message = complaint(tmp_path)
    assert "2 data sets, expected one; name one of their files as the source" in message
    assert str(Path("EMNIST/raw/emnist-digits-train-images-idx3-ubyte")) in message
    assert_is(load(tmp_path / "EMNIST/raw/emnist-digits-train-images-idx3-ubyte", validation=0), digits)
    assert_is(load(tmp_path / "EMNIST/raw/emnist-letters-test-labels-idx1-ubyte", validation=0), letters)
    for number in range(40):
        save(tmp_path / "EMNIST/raw", names(f"set{number}-"), digits)
    assert "42 data sets" in complaint(tmp_path) and "and 34 more" in complaint(tmp_path)


@pytest.mark.parametrize(
    ("prefix", "test", "labels"),
    [("", "t10k", "idx1-ubyte"), ("qmnist-", "test", "idx2-int"), ("own-", "test", "idx1-ubyte")],
)
def test_missing_files_are_named(tmp_path: Path, prefix: str, test: str, labels: str) -> None:
    files = names(prefix, test, labels=labels)
    (tmp_path / files[0]).touch()
    (tmp_path / files[1]).mkdir()  # a folder is no file
    message = complaint(tmp_path)
    assert f"has {files[0]}, but not {', '.join(files[1:])}; expected all in one folder" in message


def test_a_folder_without_data(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert "no data found, expected train/<class>/*.png" in complaint(tmp_path)
    (tmp_path / "test.csv").touch()
    assert "has test.csv, but not train.csv" in complaint(tmp_path)


@pytest.mark.parametrize(("dtype", "scale"), [("i1", 0.4), ("i2", 1), ("i4", 1), ("f4", 1 / 255), ("f8", 1)])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_of_other_types_is_converted_as_arrays_are(tmp_path: Path, dtype: str, scale: float, end: str) -> None:
    arrays = make()
    if dtype == "i1":
        arrays |= {name: arrays[name] // 2 for name in ("x_train", "x_test")}
        scale = 1
    for name, array in zip(IDX, arrays.values()):
        write_idx(tmp_path / (name + end), (array * (scale if array.ndim == 3 else 1)).astype(dtype))
    assert_is(load(tmp_path, validation=0), arrays)
    write_idx(tmp_path / IDX[0], np.full([60, 5, 7], -1, np.int16))
    assert "pixels range from -1 to -1" in complaint(tmp_path)
