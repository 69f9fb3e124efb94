"""Sources: every kind becomes the right data set, wrong ones are refused in one helpful line, and splits are exact."""

import hashlib
import shlex
import shutil
import tarfile
import tracemalloc
import zipfile
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import IDX, assert_holds, complaint, make, named, save_idx, save_npz, save_pictures

from tfmnist.data import sources
from tfmnist.data.idx import write_idx
from tfmnist.data.sources import load
from tfmnist.data.split import Digits, Part, Source
from tfmnist.errors import InputError

# Digits


@pytest.fixture(scope="module")
def mnist() -> Digits:
    return load()


def test_mnist(mnist: Digits) -> None:
    assert (len(mnist.train), len(mnist.validation), len(mnist.test)) == (55_000, 5_000, 10_000)
    assert mnist.classes == 10 and mnist.class_names == tuple("0123456789")
    assert mnist.image_shape == (28, 28) and mnist.source == "mnist"
    assert np.bincount(mnist.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    counts = np.bincount(mnist.train.labels) + np.bincount(mnist.validation.labels)
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    with pytest.raises(FrozenInstanceError):
        mnist.source = "other"  # type: ignore[misc]


def test_sha256_is_of_the_content_in_its_order(mnist: Digits, tmp_path: Path) -> None:
    whole = load(validation=0)
    digest = hashlib.sha256(b"uint8 (28, 28) int64 60000 10000")
    for array in (whole.train.images, whole.train.labels, whole.test.images, whole.test.labels):
        digest.update(array.tobytes())
    assert whole.sha256 == digest.hexdigest()
    assert mnist.sha256 == whole.sha256 == load(seed=7, validation=301).sha256

    arrays = make()
    path = save_npz(tmp_path / "a.npz", arrays)
    first = load(path, validation=9)
    assert first.train.images.shape == (51, 5, 7)  # selecting does not change it
    folder = save_idx(tmp_path / "folder", arrays, ".gz")
    assert first.sha256 == load(path, validation=20, seed=3).sha256 == load(folder, validation=5).sha256
    others: set[str] = set()
    for name, array in arrays.items():
        changed = array.copy()
        changed.flat[-1] = (changed.flat[-1] + 1) % 3
        others.add(load(save_npz(tmp_path / "b.npz", arrays, **{name: changed}), validation=0).sha256)
    wider = {name: np.swapaxes(arrays[name], 1, 2) for name in ("x_train", "x_test")}
    order = np.arange(59, -1, -1)
    turned = {name: arrays[name][order] for name in ("x_train", "y_train")}
    others.update(
        load(save_npz(tmp_path / "b.npz", arrays, **change), validation=0).sha256 for change in (wider, turned)
    )
    assert len(others - {first.sha256}) == 6


# Validation


def validation_rows(digits: Digits) -> list[int]:
    assert digits.validation.rows is not None
    return digits.validation.rows.tolist()


def test_validation_is_stratified_exactly(mnist: Digits) -> None:
    labels = load(validation=0).train.labels
    fraction = np.bincount(labels) * 5000 / 60000
    quota = np.floor(fraction).astype(int)
    quota[np.argsort(-(fraction - quota), kind="stable")[: 5000 - quota.sum()]] += 1
    assert np.bincount(mnist.validation.labels).tolist() == quota.tolist()


def test_validation_and_training_examples_are_the_source_ones(tmp_path: Path) -> None:
    arrays = make()
    digits = load(save_npz(tmp_path / "a.npz", arrays), validation=13, seed=5)
    train, validation = digits.train.rows, digits.validation.rows
    assert train is not None and validation is not None
    assert_holds(digits.train, arrays["x_train"][train], arrays["y_train"][train])
    assert_holds(digits.validation, arrays["x_train"][validation], arrays["y_train"][validation])
    assert_holds(digits.test, arrays["x_test"], arrays["y_test"])


def test_validation_depends_on_the_seed_and_on_it_alone(mnist: Digits, tmp_path: Path) -> None:
    np.random.seed(1)  # noqa: NPY002 - the global generator must not matter
    assert validation_rows(load()) == validation_rows(mnist)
    assert validation_rows(load(seed=1)) != validation_rows(mnist)
    assert hashlib.sha256(np.array(validation_rows(mnist), "<i8").tobytes()).hexdigest() == GOLDEN
    arrays = make()
    first = load(save_npz(tmp_path / "a.npz", arrays), validation=9)
    second = load(save_npz(tmp_path / "b.npz", arrays, x_train=255 - arrays["x_train"]), validation=9)
    assert validation_rows(first) == validation_rows(second)


# Of the rows of the default split: it must never change, or results of old runs could not be repeated.
GOLDEN = "442f1c029046f12f0b2e532955c0e339b1cb379e4ffd3dbcc08c6c07c9bee731"


def test_no_validation(tmp_path: Path) -> None:
    arrays = make()
    digits = load(save_npz(tmp_path / "a.npz", arrays), validation=0)
    assert len(digits.validation) == 0 and digits.validation.images.shape == (0, 5, 7)
    assert digits.validation.labels.dtype == np.int64
    assert digits.train.rows is None
    assert_holds(digits.train, arrays["x_train"], arrays["y_train"])


# Folders


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_folder(tmp_path: Path, end: str) -> None:
    arrays = make(shape=(9, 4), classes=26, train=200)
    folder = save_idx(tmp_path / "letters", arrays, end)
    digits = load(str(folder), validation=20)
    assert digits.classes == 26 and digits.class_names[25] == "25" and digits.image_shape == (9, 4)
    assert digits.source == str(folder)
    whole = load(folder, validation=0)
    assert_holds(whole.train, arrays["x_train"], arrays["y_train"])
    assert_holds(whole.test, arrays["x_test"], arrays["y_test"])


def test_plain_folder_stays_on_disk(tmp_path: Path) -> None:
    folder = save_idx(tmp_path / "big", make(train=2000, test=100, shape=(64, 64)))
    tracemalloc.start()
    digits = load(folder, validation=100)
    digits.train.take(np.arange(10))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_folder_called_mnist_is_reached_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_idx(tmp_path / "mnist", make())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("mnist", validation=0).image_shape == (28, 28)
    for source in ("./mnist", Path("mnist"), "~/mnist"):
        assert load(source, validation=0).image_shape == (5, 7)


def test_folder_with_files_that_do_not_fit(tmp_path: Path) -> None:
    arrays = make()
    folder = save_idx(tmp_path / "a", arrays)
    write_idx(folder / IDX[1], arrays["y_train"][:-1].astype(np.uint8))
    message = complaint(folder)
    assert "60 images but 59 labels" in message and IDX[0] in message and IDX[1] in message
    save_idx(folder, make(shape=(4, 4)))
    write_idx(folder / IDX[2], arrays["x_test"])
    assert "images are 5 x 7, expected 4 x 4" in complaint(folder) and IDX[2] in complaint(folder)
    for shape in ([0, 28, 28], [2, 0, 28], [2, 28, 0]):
        write_idx(folder / IDX[0], np.zeros(shape, np.uint8))
        assert f"no pixels, shape {shape}, expected at least one" in complaint(folder) and IDX[0] in complaint(folder)
    shutil.copy(folder / IDX[1], folder / IDX[0])
    assert "is this the labels file?" in complaint(folder)


@pytest.mark.parametrize("source", ["minst", "mnits", "MNIST"])
def test_misspelt_source(source: str) -> None:
    message = complaint(source)
    assert repr(source) in message and "'mnist' (embedded)" in message and ".npz" in message
    assert ("did you mean 'mnist'?" in message) or source == "MNIST"


@pytest.mark.parametrize("source", ["/absent/folder", "absent.npz", "x" * 5000, "nul\0byte"])
def test_absent_source(source: str) -> None:
    assert "does not exist: expected 'mnist' (embedded), a folder" in complaint(source)


# Files that are no data set


def archives(folder: Path) -> dict[Path, str]:
    """An archive of each kind, and what it is called."""
    member = folder / f"{'long' * 40}.png"
    member.touch()
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for number in range(3000):
            archive.writestr(f"{number}{'x' * 200}.png", b"")
    for name, mode in (("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a b.tar.xz", "w:xz")):
        with tarfile.open(folder / name, mode) as archive:  # type: ignore[call-overload]
            archive.add(member)
    (folder / "a.parquet").write_bytes(b"PAR1" + bytes(9))
    (folder / "a.png").write_bytes(b"\x89PNG\r\n")
    (folder / "my-images").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]))
    kinds = ["a zip archive of 3,000 files", *["a tar archive"] * 3, "a Parquet file", *["not a data source"] * 2]
    names = ["a.zip", "a.tar", "a.tar.gz", "a b.tar.xz", "a.parquet", "a.png", "my-images"]
    return dict(zip([folder / name for name in names], kinds, strict=True))


def test_archives_are_to_be_unpacked_or_converted(tmp_path: Path) -> None:
    for path, kind in archives(tmp_path).items():
        message = complaint(path)
        assert message.startswith(f"{path}: {kind}, expected a folder, an .npz, a .csv or IDX files; unpack it first")
        assert message.endswith(f"tfmnist data convert {shlex.quote(str(path))} DEST")
        assert len(message) < 250 + 2 * len(str(path))


def test_an_archive_called_npz(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("0.png", b"")
    assert "found 0.png, expected x_train" in complaint(tmp_path / "a.npz")


def test_a_damaged_archive(tmp_path: Path) -> None:
    archives(tmp_path)
    path = tmp_path / "a.zip"
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02")] ^= 1  # its table of contents
    path.write_bytes(content)
    assert "a zip archive" in complaint(path)


# Images that lie sideways


def test_images_are_transposed_where_asked_for(tmp_path: Path) -> None:
    arrays = make()
    whole = load(save_npz(tmp_path / "a.npz", arrays), validation=0)
    assert load(tmp_path / "a.npz", validation=0, transpose=False).sha256 == whole.sha256
    turned = {name: arrays[name].swapaxes(1, 2) for name in ("x_train", "x_test")}
    for source in (save_npz(tmp_path / "b.npz", arrays, **turned), save_idx(tmp_path / "c", arrays | turned)):
        digits = load(source, validation=6, transpose=True)
        assert digits.image_shape == (5, 7) and digits.sha256 == whole.sha256 and digits.notes == ()
        assert load(source, validation=6).sha256 != whole.sha256


def test_transposing_a_file_on_disk_copies_it_once(tmp_path: Path) -> None:
    folder = save_idx(tmp_path / "big", make(train=2000, test=100, shape=(64, 64)))
    tracemalloc.start()
    load(folder, validation=100, transpose=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * 2100 * 64 * 64


# Labels and classes


def test_damaged_label_is_named(tmp_path: Path) -> None:
    arrays = make(classes=10, train=300)
    arrays["y_train"][17] = 200
    folder = save_idx(tmp_path / "a", arrays)
    message = complaint(folder)
    assert IDX[1] in message and "training labels reach 200 but only 11 distinct classes occur" in message
    assert "no example of class 10" in message and "first at example 17" in message
    assert "set data.classes to 201 (--data.classes 201)" in message
    assert load(folder, validation=0, classes=201).classes == 201


def test_damaged_label_beyond_any_class_count(tmp_path: Path) -> None:
    arrays = make()
    arrays["y_train"][3] = 2**50
    message = complaint(save_npz(tmp_path / "a.npz", arrays))
    assert f"reach {2**50}" in message and "first at example 3" in message and "data.classes" not in message


def test_classes_can_be_given(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", make())
    digits = load(path, validation=10, classes=5)
    assert digits.classes == 5 and digits.class_names == tuple("01234") and len(digits.validation) == 10
    message = complaint(path, classes=2)
    assert "y_train: label 2" in message and "expected 0 to 1 (data.classes)" in message
    for classes in (-3, 1, 1001):
        assert f"data.classes is {classes}, expected 2 to 1000" in complaint(path, classes=classes)


@pytest.mark.parametrize(("classes", "shape"), [(2, (1, 1)), (26, (28, 28)), (1000, (3, 2))])
def test_any_size_and_number_of_classes(tmp_path: Path, classes: int, shape: tuple[int, int]) -> None:
    arrays = make(train=4 * classes, classes=classes, shape=shape)
    digits = load(save_npz(tmp_path / "a.npz", arrays), validation=classes)
    assert digits.classes == classes and digits.image_shape == shape and len(digits.validation) == classes
    assert set(digits.train.labels.tolist()) == set(range(classes))
    arrays["y_train"][arrays["y_train"] == 0] = 1
    assert "no example of class 0" in complaint(save_npz(tmp_path / "a.npz", arrays)) or classes == 2


# Some of the classes, some of the examples


def test_only_some_classes_are_numbered_in_the_order_asked_for(tmp_path: Path) -> None:
    path = named(tmp_path / "a.npz")
    whole, digits = load(path, validation=0), load(path, validation=6, only=["d", "b"])
    assert digits.class_names == ("d", "b") and digits.classes == 2
    for old, new in ((3, 0), (1, 1)):
        for whole_split, parts in ((whole.train, [digits.train, digits.validation]), (whole.test, [digits.test])):
            images = [image.tobytes() for split in parts for image in split.images[split.labels == new]]
            assert sorted(images) == sorted(image.tobytes() for image in whole_split.images[whole_split.labels == old])
    assert len(digits.validation) == 6 and set(digits.validation.labels.tolist()) == {0, 1}
    assert len(digits.test) == np.isin(whole.test.labels, [1, 3]).sum()
    assert load(path, validation=0, only=list("abcd")).sha256 == whole.sha256
    assert load(path, validation=6, only=["d", "b"]).sha256 == load(path, validation=0, only=["d", "b"]).sha256


def test_classes_without_examples_are_named(tmp_path: Path) -> None:
    arrays = make(classes=3)
    path = save_npz(tmp_path / "a.npz", arrays, y_test=arrays["y_test"] % 2)
    assert "no test examples of 2, expected some" in complaint(path, only=["2"])
    message = complaint(path, only=["3"], classes=4)
    assert "no training examples of 3, expected some; change data.only" in message


def test_so_many_of_each_class_are_trained_on(tmp_path: Path) -> None:
    path = named(tmp_path / "a.npz", train=200)
    whole = load(path, validation=20)
    first, again, other = (load(path, validation=20, per_class=7, seed=seed) for seed in (0, 0, 1))
    for digits in (first, other):
        assert np.bincount(digits.train.labels).tolist() == [7] * 4
    assert first.train.rows is not None and again.train.rows is not None and other.train.rows is not None
    assert first.train.rows.tolist() == again.train.rows.tolist() != other.train.rows.tolist()
    assert validation_rows(first) == validation_rows(whole)  # what validates does not depend on how few are trained on
    assert set(first.train.rows.tolist()).isdisjoint(validation_rows(first))
    assert first.test.sha256 == whole.test.sha256
    both = load(path, validation=0, per_class=7, only=["d", "a"])
    assert np.bincount(both.train.labels).tolist() == [7, 7]


# Sources without a test part


@pytest.fixture(scope="module")
def untested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pictures(tmp_path_factory.mktemp("untested") / "pictures")


def test_a_test_set_is_drawn_where_there_is_none(untested: Path) -> None:
    drawn = [load(untested, validation=8, seed=seed) for seed in (0, 1, 2)]
    for digits in drawn:
        assert digits.class_names == ("one", "six", "two")
        assert np.bincount(digits.test.labels).tolist() == [6, 1, 3]  # 15 % of 40, 7 and 20, rounded down
        assert digits.notes == ("no test set in the source: 10 of its examples are held out as one",)
        parts = [split.rows for split in (digits.train, digits.validation, digits.test)]
        assert sorted(np.concatenate([rows for rows in parts if rows is not None]).tolist()) == list(range(67))
    assert drawn[0].test.rows is not None and drawn[1].test.rows is not None
    assert drawn[0].test.rows.tolist() == drawn[1].test.rows.tolist()
    assert len({digits.test.sha256 for digits in drawn}) == len({digits.sha256 for digits in drawn}) == 1
    assert len({digits.validation.sha256 for digits in drawn}) == 3
    assert load(untested, validation=0, per_class=3).test.sha256 == drawn[0].test.sha256
    assert load(untested, validation=0).sha256 == drawn[0].sha256


@pytest.mark.parametrize(("fraction", "counts"), [(0.5, [20, 3, 10]), (0.05, [2, 0, 1]), (0.99, [39, 6, 19])])
def test_the_share_of_the_test_set(untested: Path, fraction: float, counts: list[int]) -> None:
    digits = load(untested, validation=0, test_share=fraction)
    assert np.bincount(digits.test.labels, minlength=3).tolist() == counts
    assert set(digits.train.labels.tolist()) == {0, 1, 2}


def test_a_share_of_nothing_is_an_error(untested: Path) -> None:
    message = complaint(untested, test_share=0.01)
    assert "no test examples of one, six, two, expected some; change data.only or data.test_share" in message


def test_a_drawn_test_set_of_some_classes(untested: Path) -> None:
    digits = load(untested, validation=3, only=["two", "six"])
    assert digits.class_names == ("two", "six") and np.bincount(digits.test.labels).tolist() == [3, 1]
    assert len(digits.train) == 27 - 4 - 3
    whole = load(untested, validation=0)
    assert whole.train.rows is not None and digits.test.rows is not None
    assert set(digits.test.rows.tolist()).isdisjoint(whole.train.rows.tolist())  # drawn whatever classes are kept


def test_a_source_with_a_test_part_keeps_it(mnist: Digits, tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", make())
    assert mnist.notes == load(path, validation=0).notes == ()
    assert load(path, validation=0, test_share=0.9).sha256 == load(path, validation=0).sha256


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"test_share": 1.0}, "data.test_share"),
        ({"test_share": -0.5}, "data.test_share"),
        ({"per_class": -1}, "data.per_class"),
    ],
)
def test_arguments_out_of_range(untested: Path, options: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load(untested, validation=0, **options)


def test_a_drawn_test_set_is_the_same_whatever_classes_are_kept(untested: Path) -> None:
    whole, some = load(untested, validation=0), load(untested, validation=0, only=["two", "six"])
    assert whole.train.rows is not None and some.test.rows is not None
    assert set(some.test.rows.tolist()).isdisjoint(whole.train.rows.tolist())


# Sources with a validation part


def test_a_validation_part_of_the_source_is_the_validation_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, other = make(), make(train=10, test=9, seed=1)

    def read(path: Path) -> Source:
        train, validation, test = (
            Part(images, labels, f"{path}: x", f"{path}: y")
            for images, labels in (
                (arrays["x_train"], arrays["y_train"]),
                (other["x_train"], other["y_train"]),
                (arrays["x_test"], arrays["y_test"]),
            )
        )
        return Source(train, test, ("a", "b", "c"), ("a note",), validation)

    path = save_npz(tmp_path / "a.npz", arrays)
    monkeypatch.setattr(sources, "read_npz", read)
    digits = load(path, validation=5000)
    assert digits.notes == ("a note", "the source has its own validation set: 10 examples")
    assert_holds(digits.train, arrays["x_train"], arrays["y_train"])
    assert_holds(digits.validation, other["x_train"], other["y_train"])
    assert load(path, validation=3, seed=5).sha256 == digits.sha256

    without = load(path, validation=0)
    assert len(without.validation) == 0 and len(without.train) == 60 and without.sha256 != digits.sha256
    assert without.notes[-1] == "the source has its own validation set: not used, since data.validation is 0"

    few = load(path, validation=1, only=["c", "a"], per_class=2)
    kept = other["y_train"] != 1
    assert_holds(few.validation, other["x_train"][kept], np.array([1, -1, 0])[other["y_train"][kept]])
    assert len(few.train) == 4

    other["x_train"] = other["x_train"][:, :4]
    assert "images are 4 x 7, expected 5 x 7" in complaint(path)
