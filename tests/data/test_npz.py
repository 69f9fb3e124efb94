"""`.npz` files: what they may hold becomes the right arrays, what is refused gets one helpful line."""

import re
from pathlib import Path

import numpy as np
import pytest
from samples import assert_holds, complaint, make, save_npz

from tfmnist.data.sources import load


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


def test_npz_without_all_arrays(tmp_path: Path) -> None:
    arrays = make()
    del arrays["y_test"], arrays["x_train"]
    message = complaint(save_npz(tmp_path / "a.npz", arrays, images=np.zeros(3)))
    assert "missing x_train, y_test; found" in message and "images" in message


@pytest.mark.parametrize("names", [("x_{}", "y_{}"), ("{}_images", "{}_labels"), ("X_{}", "Y_{}")])
def test_names_that_other_tools_give(tmp_path: Path, names: tuple[str, str]) -> None:
    arrays, other = make(), make(test=8, seed=1)
    values = {
        name.format(part): array
        for part, pair in (
            ("train", (arrays["x_train"], arrays["y_train"][:, None])),
            ("val", (other["x_test"], other["y_test"][:, None])),
            ("test", (arrays["x_test"], arrays["y_test"][:, None])),
        )
        for name, array in zip(names, pair)
    }
    path = tmp_path / "a.npz"
    np.savez(path, **values)  # type: ignore[arg-type]
    digits = load(path)
    assert_holds(digits.train, arrays["x_train"], arrays["y_train"])
    assert_holds(digits.validation, other["x_test"], other["y_test"])
    assert_holds(digits.test, arrays["x_test"], arrays["y_test"])
    assert digits.notes == ("the source has its own validation set: 8 examples",)


def test_many_other_arrays_are_listed_shortly(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **{f"array{number}": np.zeros(1) for number in range(500)})  # type: ignore[arg-type]
    assert "array1, " in complaint(path) and "and 490 more, expected x_train" in complaint(path)
    np.savez(path, np.zeros(1))
    assert "found arr_0" in complaint(path) and "name the folder that has them all" in complaint(path)


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
