"""Sources: what they accept becomes the right arrays, what they refuse gets one helpful line, and splits are exact."""

import gc
import hashlib
import math
import re
import shutil
import threading
import tracemalloc
import weakref
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tfmnist.data.bulk_decode import DecodingProgress
from tfmnist.data.idx import read_images, write_idx
from tfmnist.data.selection import stratify
from tfmnist.data.sources import load
from tfmnist.data.split import Digits, Split
from tfmnist.errors import InputError
from tfmnist.recipe import Data
from tfmnist.runs.build import load_events, load_labelled, load_section

IDX = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
Arrays = dict[str, npt.NDArray[Any]]


def make(train: int = 60, test: int = 12, shape: tuple[int, int] = (5, 7), classes: int = 3, seed: int = 0) -> Arrays:
    """Random images of some size; every class occurs, unequally often."""
    random = np.random.default_rng(seed)
    labels = np.sort(random.integers(0, classes, train) * random.integers(0, 2, train))
    labels[:classes] = np.arange(classes)
    return {
        "x_train": random.integers(0, 256, [train, *shape], np.uint8),
        "y_train": random.permutation(labels),
        "x_test": random.integers(0, 256, [test, *shape], np.uint8),
        "y_test": random.integers(0, classes, test),
    }


def save_npz(path: Path, arrays: Arrays, **changed: Any) -> Path:
    values: dict[str, Any] = {**arrays, **changed}
    np.savez(path, **values)
    return path


def save_idx(folder: Path, arrays: Arrays, end: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    for name, array in zip(IDX, arrays.values(), strict=True):
        write_idx(folder / (name + end), array.astype(np.uint8))
    return folder


def complaint(source: str | Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(source, **{"validation": 0, **options})
    message = str(caught.value)
    assert "\n" not in message
    return message


def assert_holds(split: Split, images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> None:
    np.testing.assert_array_equal(split.images, images)
    np.testing.assert_array_equal(split.labels, labels)
    assert split.images.dtype == np.uint8 and split.labels.dtype == np.int64


# Split


@pytest.mark.parametrize("rows", [None, [], [0], [9, 3, 3, 0, 7]])
@pytest.mark.parametrize("mapped", [False, True])
def test_split(tmp_path: Path, rows: list[int] | None, mapped: bool) -> None:
    arrays = make(train=10)
    images, labels = arrays["x_train"], arrays["y_train"]
    if mapped:
        write_idx(tmp_path / "images", images)
        images = read_images(tmp_path / "images")
    split = Split(images, labels, None if rows is None else np.array(rows, np.int64))
    chosen = list(range(10)) if rows is None else rows
    assert len(split) == len(chosen) and split.image_shape == (5, 7)
    assert repr(split) == f"Split({len(chosen)} of 5 x 7)"
    assert_holds(split, arrays["x_train"][chosen], labels[chosen])
    assert split.images is split.images or rows is None
    assert len(split) == len(chosen) and split.image_shape == (5, 7)


@settings(deadline=None)
@given(data=st.data(), rows=st.none() | st.lists(st.integers(0, 9), min_size=1, max_size=12), whole=st.booleans())
def test_take_is_indexing(data: st.DataObject, rows: list[int] | None, whole: bool) -> None:
    arrays = make(train=10)
    split = Split(arrays["x_train"], arrays["y_train"], None if rows is None else np.array(rows, np.int64))
    if whole:
        assert split.images.shape == (len(split), 5, 7)
    shape = data.draw(st.lists(st.integers(0, 3), max_size=3))
    flat = data.draw(
        st.lists(st.integers(0, len(split) - 1), min_size=int(np.prod(shape)), max_size=int(np.prod(shape)))
    )
    positions = np.array(flat, np.int64).reshape(shape)
    images, labels = split.take(positions)
    assert images.shape == (*shape, 5, 7) and images.dtype == np.uint8 and labels.dtype == np.int64
    np.testing.assert_array_equal(images, split.images[positions])
    np.testing.assert_array_equal(labels, split.labels[positions])


def test_take_refuses_positions_out_of_range() -> None:
    arrays = make(train=10)
    for rows in (None, np.arange(4)):
        with pytest.raises(IndexError):
            Split(arrays["x_train"], arrays["y_train"], rows).take(np.array([10]))


def test_take_gathers_without_copying_the_base(tmp_path: Path) -> None:
    write_idx(tmp_path / "images", np.zeros([4000, 64, 64], np.uint8))
    split = Split(read_images(tmp_path / "images"), np.zeros(4000, np.int64), np.arange(0, 4000, 2))
    tracemalloc.start()
    split.take(np.arange(16).reshape(4, 4))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 64 * 64 + 100_000


def test_arrays_are_read_only_and_the_callers_are_not() -> None:
    arrays = make(train=10)
    images, labels, rows = arrays["x_train"], arrays["y_train"], np.arange(4)
    for split in (Split(images, labels), Split(images, labels, rows)):
        for array in (split.images, split.labels):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
    assert images.flags.writeable and labels.flags.writeable and rows.flags.writeable
    assert np.shares_memory(Split(images, labels).images, images)


def test_images_let_go_of_the_base() -> None:
    base = np.zeros([10, 2, 2], np.uint8)
    gone = weakref.ref(base)
    split = Split(base, np.arange(10), np.arange(5))
    del base
    assert len(split.take(np.arange(3))[0]) == 3 and gone() is not None
    assert split.images.shape == (5, 2, 2)
    gc.collect()
    assert gone() is None
    assert split.take(np.array([4]))[1].tolist() == [4]
    assert split.rows is not None and split.rows.tolist() == [0, 1, 2, 3, 4]


def test_take_while_another_thread_selects() -> None:
    images = np.broadcast_to(np.arange(200, dtype=np.uint8)[:, None, None], [200, 8, 8])
    wrong: list[int] = []

    def work(split: Split) -> None:
        for _ in range(20):
            pixels, labels = split.take(np.arange(100))
            wrong.extend(labels[pixels[:, 0, 0] != labels].tolist())

    for _ in range(20):
        split = Split(images, np.arange(200), np.arange(199, 99, -1))
        thread = threading.Thread(target=work, args=(split,))
        thread.start()
        assert split.images[0, 0, 0] == 199
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("images", "labels", "rows", "words"),
    [
        (np.zeros([6, 4], np.uint8), np.zeros(6, int), None, r"images are uint8 \[6, 4\], expected uint8 \[n, height"),
        (np.zeros([6, 4, 4]), np.zeros(6, int), None, r"images are float64 \[6, 4, 4\], expected uint8"),
        (np.zeros([6, 4, 4], np.uint8), np.zeros([6, 2], int), None, r"labels are int64 \[6, 2\], expected integers"),
        (np.zeros([6, 4, 4], np.uint8), np.zeros(6), None, r"labels are float64 \[6\], expected integers"),
        (np.zeros([6, 4, 4], np.uint8), np.zeros(5, int), None, "6 images but 5 labels"),
        (np.zeros([6, 4, 4], np.uint8), np.zeros(6, int), np.array([0, 6]), "rows range from 0 to 6, expected 0 to 5"),
        (np.zeros([6, 4, 4], np.uint8), np.zeros(6, int), np.array([-1]), "rows range from -1 to -1, expected 0 to 5"),
        (np.zeros([6, 4, 4], np.uint8), np.zeros(6, int), np.ones(6, bool), r"rows are bool \[6\], expected int64"),
    ],
)
def test_split_refuses(images: Any, labels: Any, rows: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Split(images, labels, rows)


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


def held_rows(digits: Digits) -> list[int]:
    assert digits.validation.rows is not None
    return digits.validation.rows.tolist()


def test_validation_is_stratified_exactly(mnist: Digits) -> None:
    labels = load(validation=0).train.labels
    share = np.bincount(labels) * 5000 / 60000
    quota = np.floor(share).astype(int)
    quota[np.argsort(-(share - quota), kind="stable")[: 5000 - quota.sum()]] += 1
    assert np.bincount(mnist.validation.labels).tolist() == quota.tolist()


@settings(deadline=None, max_examples=150)
@given(
    counts=st.lists(st.integers(0, 30), min_size=2, max_size=8),
    share=st.floats(0.01, 0.9),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_split(counts: list[int], share: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = labels[np.random.default_rng(0).permutation(len(labels))]
    validation = int(share * len(labels))
    if not validation:
        return
    try:
        train, held = stratify(labels, np.arange(len(labels)), validation, seed)
    except InputError as error:
        assert str(validation) in str(error) and min(count for count in counts if count) < 9
        return
    assert len(held) == validation and sorted([*train, *held]) == list(range(len(labels)))
    assert np.all(np.diff(train) > 0) and np.all(np.diff(held) > 0) and train.dtype == held.dtype == np.int64
    got = np.bincount(labels[held], minlength=len(counts))
    exact = np.array(counts) * validation / len(labels)
    assert np.all(got >= np.floor(exact))
    if all(math.ceil(part) < count for part, count in zip(exact, counts, strict=True) if count):  # all can round up
        assert np.all(got - exact < 1)
    assert all(left > 0 for left, count in zip(np.array(counts) - got, counts, strict=True) if count)


def test_validation_and_training_examples_are_the_source_ones(tmp_path: Path) -> None:
    arrays = make()
    digits = load(save_npz(tmp_path / "a.npz", arrays), validation=13, seed=5)
    train, held = digits.train.rows, digits.validation.rows
    assert train is not None and held is not None
    assert_holds(digits.train, arrays["x_train"][train], arrays["y_train"][train])
    assert_holds(digits.validation, arrays["x_train"][held], arrays["y_train"][held])
    assert_holds(digits.test, arrays["x_test"], arrays["y_test"])


def test_validation_depends_on_the_seed_and_on_it_alone(mnist: Digits, tmp_path: Path) -> None:
    np.random.seed(1)  # noqa: NPY002 - the global generator must not matter
    assert held_rows(load()) == held_rows(mnist)
    assert held_rows(load(seed=1)) != held_rows(mnist)
    assert hashlib.sha256(np.array(held_rows(mnist), "<i8").tobytes()).hexdigest() == GOLDEN
    arrays = make()
    first = load(save_npz(tmp_path / "a.npz", arrays), validation=9)
    second = load(save_npz(tmp_path / "b.npz", arrays, x_train=255 - arrays["x_train"]), validation=9)
    assert held_rows(first) == held_rows(second)


# Of the rows of the default split: it must never change, or results of old runs could not be repeated.
GOLDEN = "442f1c029046f12f0b2e532955c0e339b1cb379e4ffd3dbcc08c6c07c9bee731"


def test_no_validation(tmp_path: Path) -> None:
    arrays = make()
    digits = load(save_npz(tmp_path / "a.npz", arrays), validation=0)
    assert len(digits.validation) == 0 and digits.validation.images.shape == (0, 5, 7)
    assert digits.validation.labels.dtype == np.int64
    assert digits.train.rows is None
    assert_holds(digits.train, arrays["x_train"], arrays["y_train"])


@pytest.mark.parametrize("validation", [-1, 58, 60, 5000])
def test_impossible_validation(tmp_path: Path, validation: int) -> None:
    path = save_npz(tmp_path / "a.npz", make())
    message = complaint(path, validation=validation)
    assert f"data.validation is {validation}, expected 0 to 57" in message
    assert "60 training examples" in message and "3 classes" in message and "for example, to 6, or to 0" in message
    assert len(load(path, validation=6).validation) == 6


def test_rare_class_keeps_its_last_example(tmp_path: Path) -> None:
    arrays = make(train=41)
    arrays["y_train"] = np.repeat([0, 1, 2], [20, 20, 1])
    digits = load(save_npz(tmp_path / "a.npz", arrays), validation=20)
    assert np.bincount(digits.train.labels).tolist() == [10, 10, 1]


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


def test_dotted_names_and_plain_before_gz(tmp_path: Path) -> None:
    arrays, others = make(), make(seed=1)
    folder = save_idx(tmp_path / "both", arrays)
    save_idx(folder, others, ".gz")
    for name in IDX:
        (folder / name).rename(folder / name.replace("-idx", ".idx"))
    assert_holds(load(folder, validation=0).train, arrays["x_train"], arrays["y_train"])


def test_folder_called_mnist_is_reached_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_idx(tmp_path / "mnist", make())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("mnist", validation=0).image_shape == (28, 28)
    for source in ("./mnist", Path("mnist"), "~/mnist"):
        assert load(source, validation=0).image_shape == (5, 7)


def test_folder_without_all_files(tmp_path: Path) -> None:
    folder = save_idx(tmp_path / "a", make(), ".gz")
    (folder / f"{IDX[3]}.gz").unlink()
    message = complaint(folder)
    assert str(folder) in message and IDX[3] in message and IDX[0] not in message
    assert all(name in complaint(tmp_path) for name in IDX)


def test_folder_with_files_that_do_not_fit(tmp_path: Path) -> None:
    arrays = make()
    folder = save_idx(tmp_path / "a", arrays)
    write_idx(folder / IDX[1], arrays["y_train"][:-1].astype(np.uint8))
    message = complaint(folder)
    assert "60 images but 59 labels" in message and IDX[0] in message and IDX[1] in message
    save_idx(folder, make(shape=(4, 4)))
    write_idx(folder / IDX[2], arrays["x_test"])
    assert "images are 5 x 7, expected 4 x 4" in complaint(folder) and IDX[2] in complaint(folder)
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


# .npz


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint64, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("unit", [False, True])
def test_npz_number_types(tmp_path: Path, dtype: type[np.generic], unit: bool) -> None:
    arrays = make()
    if np.dtype(dtype) == np.int8:
        arrays["x_train"] //= 2
        arrays["x_test"] //= 2
    if unit and np.dtype(dtype).kind != "f":
        return
    changed = {name: (arrays[name] / (255 if unit else 1)).astype(dtype) for name in ("x_train", "x_test")}
    changed |= {name: arrays[name].astype(dtype) for name in ("y_train", "y_test")}
    digits = load(save_npz(tmp_path / "a.npz", changed), validation=0)
    assert_holds(digits.train, arrays["x_train"], arrays["y_train"])
    assert_holds(digits.test, arrays["x_test"], arrays["y_test"])


def test_npz_floats_are_rounded(tmp_path: Path) -> None:
    arrays = make(train=3, shape=(1, 2))
    arrays["x_train"] = np.array([[[0.4, 0.6]], [[254.4, 254.6]], [[3.0, 255.0]]])
    arrays["x_test"] = np.full([12, 1, 2], 0.499)
    digits = load(save_npz(tmp_path / "a.npz", arrays), validation=0)
    assert digits.train.images.tolist() == [[[0, 1]], [[254, 255]], [[3, 255]]]
    assert np.all(digits.test.images == 127)


def test_npz_channels(tmp_path: Path) -> None:
    arrays = make()
    single = {name: arrays[name][..., None] for name in ("x_train", "x_test")}
    assert_holds(
        load(save_npz(tmp_path / "a.npz", arrays, **single), validation=0).train, arrays["x_train"], arrays["y_train"]
    )
    grey = {name: np.repeat(array, 3, axis=3) for name, array in single.items()}
    assert_holds(
        load(save_npz(tmp_path / "a.npz", arrays, **grey), validation=0).train, arrays["x_train"], arrays["y_train"]
    )
    colour = np.zeros([60, 1, 4, 3], np.uint8)
    colour[:, 0] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]]
    for scale, dtype in ((1, np.uint8), (255, np.float32), (1, np.float64)):
        changed = {"x_train": (colour / scale).astype(dtype), "x_test": (colour[:12] / scale).astype(dtype)}
        digits = load(save_npz(tmp_path / "a.npz", arrays, **changed), validation=0)
        assert digits.train.images[59].tolist() == [[76, 150, 29, 18]]


def test_npz_larger_than_one_block(tmp_path: Path) -> None:
    arrays = make(train=5000, shape=(2, 3))
    changed = {name: arrays[name] / 255 for name in ("x_train", "x_test")}
    digits = load(save_npz(tmp_path / "a.npz", arrays, **changed), validation=100)
    whole = load(save_npz(tmp_path / "b.npz", arrays), validation=0)
    assert_holds(whole.train, arrays["x_train"], arrays["y_train"])
    assert digits.sha256 == whole.sha256


def test_npz_class_names(tmp_path: Path) -> None:
    arrays = make()
    path = tmp_path / "a.npz"
    assert load(save_npz(path, arrays, class_names=["a", "b c", "ü"]), validation=0).class_names == ("a", "b c", "ü")
    four = save_npz(path, arrays, class_names=list("abcd"))
    assert "class_names has 4 names, expected 3" in complaint(four) and "--data.classes 4" in complaint(four)
    assert load(four, validation=0, classes=4).class_names == tuple("abcd")
    for names in (
        [0, 1, 2],
        ["a", "b", "b"],
        ["a", "b", " "],
        ["a", "b", "c\nd"],
        [["a", "b", "c"]],
        [b"a", b"b", b"c"],
    ):
        message = complaint(save_npz(path, arrays, class_names=np.array(names)))
        assert "class_names" in message and "expected strings" in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x_train": np.zeros([60, 35])}, ["x_train: images are float64 [60, 35]", "expected", "[n, height, width]"]),
        ({"x_train": np.zeros([60, 5, 7, 2])}, ["x_train: images are float64 [60, 5, 7, 2]", "channels"]),
        ({"x_test": np.zeros([12, 5, 7], bool)}, ["x_test: images are bool [12, 5, 7]", "convert"]),
        ({"x_test": np.full([12, 5, 7], "a")}, ["x_test: images are <U1"]),
        ({"x_train": np.full([60, 5, 7], 256)}, ["x_train: pixels range from 256 to 256", "0 to 255", "[0, 0, 0]"]),
        ({"x_train": np.arange(2100).reshape(60, 5, 7)}, ["range from 0 to 2099", "first at [7, 1, 4]"]),
        ({"x_train": np.linspace(-1, 1, 2100).reshape(60, 5, 7)}, ["range from -1.0 to 1.0", "rescale"]),
        ({"x_train": np.linspace(0, 1.01, 2100).reshape(60, 5, 7)}, ["pixels reach 1.01", "np.clip"]),
        ({"x_test": np.zeros([12, 5, 6])}, ["x_test: images are 5 x 6, expected 5 x 7"]),
        ({"x_test": np.zeros([0, 5, 7]), "y_test": np.zeros(0, int)}, ["x_test: no pixels", "[0, 5, 7]"]),
        ({"x_train": np.zeros([60, 5, 0, 3])}, ["x_train: no pixels", "[60, 5, 0]"]),
        ({"y_train": np.zeros(59, int)}, ["60 images but 59 labels", "y_train"]),
        ({"y_train": np.eye(3)[np.zeros(60, int)]}, ["y_train: labels are float64 [60, 3]", "np.argmax(y, axis=1)"]),
        ({"y_test": np.full(12, "a")}, ["y_test: labels are <U1 [12]", "expected integers"]),
        ({"y_test": np.linspace(0, 2, 12)}, ["y_test: label 0.1818", "at example 1", "whole numbers"]),
        ({"y_test": np.array([0.0] * 11 + [np.nan])}, ["y_test: label nan at example 11", "whole numbers"]),
        ({"y_test": np.array([0.0] * 11 + [np.inf])}, ["y_test: label inf at example 11"]),
        ({"y_test": np.array([0] * 11 + [2**64 - 1], np.uint64)}, ["y_test: label 18446744073709551615"]),
        ({"y_test": np.array([0, 1, 3] + [0] * 9)}, ["y_test: label 3 at example 2", "expected 0 to 2", "training"]),
        ({"y_test": np.array([0, -1] + [0] * 10)}, ["y_test: label -1 at example 1", "expected 0 to 2"]),
        ({"y_train": np.array([0, 1, 2, -5] * 15)}, ["y_train: label -5 at example 3", "expected 0 to 2"]),
        ({"y_train": np.zeros(60, int)}, ["y_train: the number of classes is 1", "expected 2 to 1000"]),
        ({"y_train": np.array([{}] * 60)}, ["cannot read y_train", "without objects"]),
    ],
)
def test_npz_refuses(tmp_path: Path, change: Arrays, words: list[str]) -> None:
    path = save_npz(tmp_path / "a.npz", make(), **change)
    message = complaint(path)
    assert str(path) in message and all(word in message for word in words), message


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_npz_names_pixels_that_are_not_finite(tmp_path: Path, bad: float) -> None:
    arrays = make()
    images = arrays["x_train"] / 255
    images[[7, 9], 2, 3] = bad
    message = complaint(save_npz(tmp_path / "a.npz", arrays, x_train=images))
    assert "x_train: 2 pixels are NaN or infinite, the first at [7, 2, 3]" in message and "finite" in message


def test_npz_without_all_arrays(tmp_path: Path) -> None:
    arrays = make()
    del arrays["y_test"], arrays["x_train"]
    message = complaint(save_npz(tmp_path / "a.npz", arrays, images=np.zeros(3)))
    assert "missing x_train, y_test; found" in message and "images" in message


def test_files_that_are_no_npz(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", make())
    whole = path.read_bytes()
    np.save(tmp_path / "b.npy", np.zeros(3))
    for content in (b"", b"text", (tmp_path / "b.npy").read_bytes(), whole[: len(whole) // 2]):
        path.write_bytes(content)
        assert f"{path}: not a readable .npz file, expected one with x_train" in complaint(path)
    damaged = bytearray(whole)
    damaged[whole.index(b"\x93NUMPY") + 200] ^= 0xFF
    path.write_bytes(damaged)
    assert re.search(r"cannot read x_train: Bad CRC-32.*; expected", complaint(path))


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


def named(path: Path, names: str = "abcd", **options: Any) -> Path:
    """An .npz of `make` whose classes have names."""
    return save_npz(path, make(classes=len(names), **{"train": 80, "test": 20, **options}), class_names=list(names))


def test_only_some_classes_are_numbered_in_the_order_asked_for(tmp_path: Path) -> None:
    path = named(tmp_path / "a.npz")
    whole, digits = load(path, validation=0), load(path, validation=6, only=["d", "b"])
    assert digits.class_names == ("d", "b") and digits.classes == 2
    for old, new in ((3, 0), (1, 1)):
        for theirs, ours in ((whole.train, [digits.train, digits.validation]), (whole.test, [digits.test])):
            found = [image.tobytes() for split in ours for image in split.images[split.labels == new]]
            assert sorted(found) == sorted(image.tobytes() for image in theirs.images[theirs.labels == old])
    assert len(digits.validation) == 6 and set(digits.validation.labels.tolist()) == {0, 1}
    assert len(digits.test) == np.isin(whole.test.labels, [1, 3]).sum()
    assert load(path, validation=0, only=list("abcd")).sha256 == whole.sha256
    assert load(path, validation=6, only=["d", "b"]).sha256 == load(path, validation=0, only=["d", "b"]).sha256


def test_mnist_of_two_digits(mnist: Digits) -> None:
    digits = load(only=["7", "1"])
    assert digits.class_names == ("7", "1") and np.bincount(digits.test.labels).tolist() == [1028, 1135]
    assert len(digits.train) + len(digits.validation) == 6265 + 6742 and len(digits.validation) == 5000


@pytest.mark.parametrize(
    ("only", "words"),
    [
        (["a", "c", "a"], ["'data.only' is ['a', 'c', 'a']", "no class twice"]),
        (["a", "e"], ["'data.only' has 'e': no such class", "known: a, b, c, d"]),
    ],
)
def test_classes_that_are_not_there_are_named(tmp_path: Path, only: list[str], words: list[str]) -> None:
    message = complaint(named(tmp_path / "a.npz"), only=only)
    assert all(word in message for word in words)
    assert "did you mean 'seven'?" in complaint(
        save_npz(tmp_path / "b.npz", make(classes=2), class_names=["seven", "one"]), only=["sevne"]
    )


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
    assert held_rows(first) == held_rows(whole)  # what validates does not depend on how few are trained on
    assert set(first.train.rows.tolist()).isdisjoint(held_rows(first))
    assert first.test.sha256 == whole.test.sha256
    both = load(path, validation=0, per_class=7, only=["d", "a"])
    assert np.bincount(both.train.labels).tolist() == [7, 7]


def test_too_few_of_a_class_are_named(tmp_path: Path) -> None:
    arrays = make(train=60)
    arrays["y_train"] = np.repeat([0, 1, 2], [30, 20, 10])
    path = save_npz(tmp_path / "a.npz", arrays)
    assert np.bincount(load(path, validation=0, per_class=10).train.labels).tolist() == [10, 10, 10]
    message = complaint(path, validation=6, per_class=10)
    assert "'data.per_class' is 10: class '2' has 9 training examples; lower it, or data.validation" in message


# Sources without a test part


@pytest.fixture(scope="module")
def untested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in class folders, none set apart as a test set: 40, 20 and 7 of them."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for name, count in (("one", 40), ("two", 20), ("six", 7)):
        (root / name).mkdir()
        for number in range(count):
            Image.fromarray(random.integers(0, 256, [5, 7], np.uint8)).save(root / name / f"{number}.png")
    return root


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFMNIST_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("cache")
def test_a_test_set_is_drawn_where_there_is_none(untested: Path) -> None:
    drawn = [load(untested, validation=8, seed=seed) for seed in (0, 1, 2)]
    for digits in drawn:
        assert digits.class_names == ("one", "six", "two")
        assert np.bincount(digits.test.labels).tolist() == [6, 1, 3]  # 15 % of 40, 7 and 20, rounded down
        assert digits.notes == ("no test set in the source: 10 of its examples are drawn for one",)
        parts = [split.rows for split in (digits.train, digits.validation, digits.test)]
        assert sorted(np.concatenate([rows for rows in parts if rows is not None]).tolist()) == list(range(67))
    assert drawn[0].test.rows is not None and drawn[1].test.rows is not None
    assert drawn[0].test.rows.tolist() == drawn[1].test.rows.tolist()
    assert len({digits.test.sha256 for digits in drawn}) == len({digits.sha256 for digits in drawn}) == 1
    assert len({digits.validation.sha256 for digits in drawn}) == 3
    assert load(untested, validation=0, per_class=3).test.sha256 == drawn[0].test.sha256
    assert load(untested, validation=0).sha256 == drawn[0].sha256


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(("share", "counts"), [(0.5, [20, 3, 10]), (0.05, [2, 0, 1]), (0.99, [39, 6, 19])])
def test_the_share_of_the_test_set(untested: Path, share: float, counts: list[int]) -> None:
    digits = load(untested, validation=0, test_share=share)
    assert np.bincount(digits.test.labels, minlength=3).tolist() == counts
    assert set(digits.train.labels.tolist()) == {0, 1, 2}


@pytest.mark.usefixtures("cache")
def test_a_share_of_nothing_is_an_error(untested: Path) -> None:
    message = complaint(untested, test_share=0.01)
    assert "no test examples of one, six, two, expected some; change data.only or data.test_share" in message


@pytest.mark.usefixtures("cache")
def test_a_drawn_test_set_of_some_classes(untested: Path) -> None:
    digits = load(untested, validation=3, only=["two", "six"])
    assert digits.class_names == ("two", "six") and np.bincount(digits.test.labels).tolist() == [3, 1]
    assert len(digits.train) == 27 - 4 - 3


def test_a_source_with_a_test_part_keeps_it(mnist: Digits, tmp_path: Path) -> None:
    path = save_npz(tmp_path / "a.npz", make())
    assert mnist.notes == load(path, validation=0).notes == ()
    assert load(path, validation=0, test_share=0.9).sha256 == load(path, validation=0).sha256


# A recipe's section


def test_a_section_is_loaded_with_all_its_keys(tmp_path: Path) -> None:
    path = named(tmp_path / "a.npz", train=200)
    section = Data(source=str(path), validation=9, classes=4, only=("c", "a"), per_class=5, test_share=0.3)
    ours = load_section(section, 3)
    theirs = load(path, validation=9, seed=3, classes=4, only=("c", "a"), per_class=5, test_share=0.3)
    for left, right in ((ours.train, theirs.train), (ours.validation, theirs.validation), (ours.test, theirs.test)):
        assert left.sha256 == right.sha256
    assert ours.class_names == ("c", "a") and len(ours.validation) == 9 and len(ours.train) == 10


@pytest.mark.usefixtures("cache")
def test_broken_pictures_are_left_out_where_asked_for(untested: Path, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    shutil.copytree(untested, root)
    (root / "two" / "3.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"two.3\.png"):
        load_section(Data(source=str(root), validation=0), 0)
    digits = load_section(Data(source=str(root), validation=0, skip_broken=True), 0)
    assert len(digits.train) + len(digits.test) == 66
    assert len(digits.notes) == 2 and "3.png" in digits.notes[0] and "no test set" in digits.notes[1]


@pytest.mark.usefixtures("cache")
def test_events_come_where_pictures_are_decoded(untested: Path, tmp_path: Path) -> None:
    def follow(source: Path | str) -> tuple[list[Any], Digits]:
        events, loading = [], load_events(Data(source=str(source), validation=3), 1)
        try:
            while True:
                events.append(next(loading))
        except StopIteration as end:
            return events, end.value

    events, digits = follow(untested)
    assert events and all(isinstance(event, DecodingProgress) for event in events)
    assert events[-1].done == events[-1].total == 67
    assert follow(untested)[0] == []  # the cache has them
    assert digits.sha256 == follow(untested)[1].sha256 == load(untested, validation=3, seed=1).sha256
    for source in ("mnist", save_npz(tmp_path / "a.npz", make()), save_idx(tmp_path / "idx", make())):
        events, digits = follow(source)
        assert events == [] and digits.sha256 == load(source, validation=3, seed=1).sha256
    with pytest.raises(InputError, match="does not exist"):
        follow(tmp_path / "nothing")


# Data for a model


def labelled(path: Path, names: str, **options: Any) -> Digits:
    return load_labelled(Data(source=str(path), **{"validation": 0, **options}), list(names), 0)


def test_data_with_the_models_classes_is_as_it_is(tmp_path: Path) -> None:
    path = named(tmp_path / "a.npz")
    digits = labelled(path, "abcd", validation=8)
    assert digits.sha256 == load(path, validation=0).sha256
    assert len(digits.validation) == 8 and digits.class_names == tuple("abcd")


@pytest.mark.parametrize("names", ["dcba", "bd", "dab", "xbyd"])
def test_labels_become_places_among_the_models_classes(tmp_path: Path, names: str) -> None:
    path = named(tmp_path / "a.npz")
    whole, digits = load(path, validation=0), labelled(path, names, validation=4)
    assert digits.class_names == tuple(names)
    for theirs, ours in ((whole.train, [digits.train, digits.validation]), (whole.test, [digits.test])):
        for old, name in enumerate("abcd"):
            wanted = sorted(image.tobytes() for image in theirs.images[theirs.labels == old] if name in names)
            found = [s.images[s.labels == names.index(name)] for s in ours if name in names]
            assert sorted(image.tobytes() for images in found for image in images) == wanted


def test_data_may_lack_classes_of_the_model(tmp_path: Path) -> None:
    arrays = make(classes=2)
    changed = {name: np.array([3, 7])[arrays[name]] for name in ("y_train", "y_test")}
    digits = labelled(save_npz(tmp_path / "a.npz", arrays, **changed), "0123456789")
    assert digits.class_names == tuple("0123456789")
    np.testing.assert_array_equal(digits.test.labels, changed["y_test"])
    fewer = labelled(save_npz(tmp_path / "b.npz", arrays), "0123456789")
    np.testing.assert_array_equal(fewer.test.labels, arrays["y_test"])


def test_data_without_any_of_the_models_classes(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        labelled(named(tmp_path / "a.npz"), "xy")
    message = str(caught.value)
    assert "its classes are a, b, c, d, expected some of the model's, x, y" in message and message.isprintable()


def test_data_that_cannot_be_loaded_for_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        labelled(tmp_path / "nothing", "ab")
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(InputError, match=r"not a readable \.npz"):
        labelled(tmp_path / "a.npz", "ab")


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: Any) -> Path:
    monkeypatch.setenv("TFMNIST_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for name, count in (("one", 40), ("two", 20), ("six", 7)):
        (tmp_path / "p" / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(random.integers(0, 256, [5, 7], np.uint8)).save(tmp_path / "p" / name / f"{number}.png")
    return tmp_path / "p"


def test_a_drawn_test_set_is_the_same_whatever_classes_are_kept(pictures: Path) -> None:
    whole, some = load(pictures, validation=0), load(pictures, validation=0, only=["two", "six"])
    assert whole.train.rows is not None and some.test.rows is not None
    assert set(some.test.rows.tolist()).isdisjoint(whole.train.rows.tolist())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"test_share": 1.0}, "data.test_share"),
        ({"test_share": -0.5}, "data.test_share"),
        ({"per_class": -1}, "data.per_class"),
    ],
)
def test_arguments_out_of_range(pictures: Path, options: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load(pictures, validation=0, **options)


def test_numbered_classes_of_a_model_are_found(tmp_path: Path) -> None:
    x, y = np.zeros([40, 4, 4], np.uint8), np.array([3, 7] * 20)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    digits = load_labelled(Data(source=str(tmp_path / "a.npz"), validation=0), ["7", "3"], 0)
    assert digits.test.labels[:2].tolist() == [1, 0]
