"""`.npz` files: what they may hold becomes the right arrays, what is refused gets one helpful line."""

import re
from pathlib import Path

import numpy as np
import pytest
from samples import Arrays, assert_holds, complaint, make, save_npz

from tfmnist.data.sources import load


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
    for images in (single, {name: np.repeat(array, 3, axis=3) for name, array in single.items()}):
        digits = load(save_npz(tmp_path / "a.npz", arrays, **images), validation=0)
        assert_holds(digits.train, arrays["x_train"], arrays["y_train"])
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
    lists = (["a", "b", "b"], ["a", "b", " "], ["a", "b", "c\nd"])
    for names in (*lists, [0, 1, 2], [["a", "b", "c"]], [b"a", b"b", b"c"]):
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
