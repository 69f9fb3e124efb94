"""Arrays of all forms that people have: on the right scale, or refused in one helpful line."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import Arrays, assert_holds, complaint, make, save_npz

from tfmnist.data.arrays import to_grey, to_labels
from tfmnist.data.sources import load
from tfmnist.data.split import Part


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
    arrays["x_test"] = np.full([12, 1, 2], [127.49, 200])
    digits = load(save_npz(tmp_path / "a.npz", arrays), validation=0)
    assert digits.train.images.tolist() == [[[0, 1]], [[254, 255]], [[3, 255]]]
    assert digits.test.images[7].tolist() == [[127, 200]]


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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x_train": np.zeros([60, 35])}, ["x_train: images are float64 [60, 35]", "expected", "[n, height, width]"]),
        ({"x_train": np.zeros([60, 5, 7, 2])}, ["x_train: images are float64 [60, 5, 7, 2]", "channels"]),
        ({"x_test": np.zeros([12, 5, 7], complex)}, ["x_test: images are complex128 [12, 5, 7]", "convert"]),
        ({"x_test": np.full([12, 5, 7], "a")}, ["x_test: images are <U1"]),
        ({"x_train": np.full([60, 5, 7], 256)}, ["x_train: pixels range from 256 to 256", "0 to 255", "[0, 0, 0]"]),
        ({"x_train": np.arange(2100).reshape(60, 5, 7)}, ["range from 0 to 2099", "first at [7, 1, 4]"]),
        ({"x_train": np.linspace(-1, 1, 2100).reshape(60, 5, 7)}, ["range from -1.0 to 1.0", "(x + 1) / 2"]),
        ({"x_train": np.arange(2100).reshape(60, 5, 7).astype(np.int8)}, ["range from -128 to 127", "rescale them"]),
        ({"x_train": np.linspace(0, 9.5, 2100).reshape(60, 5, 7)}, ["x_train: pixels reach 9.5", "whole numbers"]),
        ({"x_train": np.arange(2100).reshape(60, 5, 7) % 2 * 65535}, ["range from 0 to 65535", "first at [0, 0, 1]"]),
        ({"x_test": np.arange(420).reshape(12, 5, 7) % 2}, ["x_test: pixels reach 1, those of the training images 25"]),
        (
            {"x_train": np.arange(2100).reshape(60, 5, 7) % 2},
            ["x_test: pixels reach 25", "training images 1; expected"],
        ),
        ({"x_train": np.linspace(0, 1, 2100).reshape(60, 5, 7)}, ["x_test: pixels reach 25", "training images 1;"]),
        ({"x_train": np.linspace(0, 1.01, 2100).reshape(60, 5, 7)}, ["pixels reach 1.01", "np.clip"]),
        ({"x_test": np.arange(12 * 30.0).reshape([12, 5, 6]) % 255}, ["x_test: images are 5 x 6, expected 5 x 7"]),
        ({"x_test": np.zeros([0, 5, 7]), "y_test": np.zeros(0, int)}, ["x_test: no pixels", "[0, 5, 7]"]),
        ({"x_train": np.zeros([60, 5, 0, 3])}, ["x_train: no pixels", "[60, 5, 0]"]),
        ({"y_train": np.zeros(59, int)}, ["60 images but 59 labels", "y_train"]),
        ({"y_train": np.eye(3)[np.zeros(60, int)]}, ["y_train: labels are float64 [60, 3]", "np.argmax(y, axis=1)"]),
        ({"y_train": np.zeros([60, 1, 1], int)}, ["y_train: labels are int64 [60, 1, 1]"]),
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


# Grey levels that are whole numbers up to 1, ..., 16


@pytest.mark.parametrize("most", [1, 2, 3, 7, 15, 16])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64, bool])
@pytest.mark.parametrize("channels", [0, 1, 3])
def test_few_grey_levels_are_scaled(tmp_path: Path, most: int, dtype: type[Any], channels: int) -> None:
    if dtype is bool and most > 1:
        return
    arrays = make()
    changed = {name: arrays[name] % (most + 1) for name in ("x_train", "x_test")}
    expected = {name: np.rint(array * (255 / most)) for name, array in changed.items()}
    if channels:
        changed = {name: np.repeat(array[..., None], channels, 3) for name, array in changed.items()}
    changed = {name: array.astype(dtype) for name, array in changed.items()}
    digits = load(save_npz(tmp_path / "a.npz", arrays, **changed), validation=0)
    assert_holds(digits.train, expected["x_train"], arrays["y_train"])
    assert_holds(digits.test, expected["x_test"], arrays["y_test"])
    assert digits.notes == (f"pixels are whole numbers from 0 to {most}: scaled to 0 to 255",)


def test_images_with_17_levels_are_dark_ones(tmp_path: Path) -> None:
    arrays = make()
    changed = {name: arrays[name] % 18 for name in ("x_train", "x_test")}
    digits = load(save_npz(tmp_path / "a.npz", arrays, **changed), validation=0)
    assert_holds(digits.train, changed["x_train"], arrays["y_train"])
    assert digits.notes == ()


def test_the_test_set_is_on_the_scale_of_the_training_set(tmp_path: Path) -> None:
    arrays = make()
    changed = {"x_train": arrays["x_train"] % 9, "x_test": arrays["x_test"] % 5}
    digits = load(save_npz(tmp_path / "a.npz", arrays, **changed), validation=0)
    assert_holds(digits.test, np.rint(changed["x_test"] * (255 / 8)), arrays["y_test"])
    path = save_npz(tmp_path / "a.npz", arrays, x_train=arrays["x_train"] % 9, x_test=arrays["x_test"] % 12)
    digits = load(path, validation=0)
    assert_holds(digits.test, np.rint(np.minimum(arrays["x_test"] % 12, 8) * (255 / 8)), arrays["y_test"])
    assert digits.notes[1] == f"{path}: x_test: pixels above 8 are clipped"
    floats = {name: arrays[name] / 300 for name in ("x_train", "x_test")}
    digits = load(save_npz(tmp_path / "a.npz", arrays, **floats), validation=0)
    assert_holds(digits.test, np.rint(floats["x_test"] * 255), arrays["y_test"])
    assert digits.notes == ()


@pytest.mark.parametrize("value", [0, 1, 255])
def test_uniform_images_are_refused(tmp_path: Path, value: int) -> None:
    arrays = make()
    for name in ("x_train", "x_test"):
        for uniform in (np.full_like(arrays[name], value), np.full_like(arrays[name], value) / 255):
            message = complaint(save_npz(tmp_path / "a.npz", arrays, **{name: uniform}))
            assert f"{name}: all images are of one grey value" in message
    arrays["x_train"][:] = np.arange(60)[:, None, None] * 4
    assert "x_train: all images are of one grey value" in complaint(save_npz(tmp_path / "a.npz", arrays))
    arrays["x_train"][59, 4, 6] = 0
    assert load(save_npz(tmp_path / "a.npz", arrays), validation=0).train.images[59, 4].tolist() == [236] * 6 + [0]


def test_bytes_are_neither_copied_nor_read_to_the_end() -> None:
    images = make()["x_train"]
    images.flags.writeable = False
    part = Part(images, np.zeros(60, np.int64), "images", "labels")
    (same,), notes = to_grey([part])
    assert np.shares_memory(same.images, images) and notes == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_labels_in_one_column(tmp_path: Path, dtype: type[Any]) -> None:
    labels = np.array([[3], [1], [2]], dtype)
    assert to_labels("y", labels).tolist() == to_labels("y", labels[:, 0]).tolist() == [3, 1, 2]
    arrays = make()
    columns = {name: arrays[name][:, None].astype(dtype) for name in ("y_train", "y_test")}
    digits = load(save_npz(tmp_path / "a.npz", arrays, **columns), validation=0)
    assert_holds(digits.train, arrays["x_train"], arrays["y_train"])
    assert_holds(digits.test, arrays["x_test"], arrays["y_test"])
