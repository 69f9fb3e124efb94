"""Layouts of class folders: orders of names, what is a picture by its name, notes."""

from pathlib import Path

import pytest

from tfmnist.data.layout import (
    LeftOut,
    check_classes,
    class_order,
    is_picture_name,
    list_groups,
    natural_order,
)
from tfmnist.errors import InputError


def test_orders() -> None:
    assert sorted(["b10", "b2", "a", "10"], key=natural_order) == ["10", "a", "b2", "b10"]
    assert sorted(["b", "10", "-1", "9", "09"], key=class_order) == ["09", "9", "10", "-1", "b"]


@pytest.mark.parametrize("name", ["a.png", "A.JPG", "x.y.tiff", "1.heic"])
def test_names_of_pictures(name: str) -> None:
    assert is_picture_name(name) and not is_picture_name(f".{name}") and not is_picture_name(f"{name}.txt")


def test_notes() -> None:
    left_out = LeftOut()
    assert left_out.note("thing", "things") == ()
    left_out.add("a\n")
    assert left_out.note("thing", "things") == (r"left out 1 thing: a\n",)
    left_out.add("b", "c")
    assert left_out.note("thing", "things") == (r"left out 3 things: a\n, b, c",)
    left_out.add(*map(str, range(5000)))
    assert left_out.note("thing", "things") == (r"left out 5,003 things: a\n, b, c, ...",)
    assert len(left_out.names) == 3


def test_classes() -> None:
    check_classes(Path("x"), ["a", "b"])
    for names in (["a"], [], list(map(str, range(1001))), ["a", " "], ["a", "b\nc"]):
        with pytest.raises(InputError):
            check_classes(Path("x"), names)


def test_groups_come_class_by_class(tmp_path: Path) -> None:
    for path in ("train/10/b2.png", "train/10/b10.png", "train/9/a.png", "val/10/c.jpg", "test/9/d.webp"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"12")
    left_out = LeftOut()
    groups = [(role, name, list(files)) for role, name, files in list_groups(tmp_path, left_out)]
    assert groups == [
        ("train", "9", ["a.png"]),
        ("train", "10", ["b2.png", "b10.png"]),
        ("test", "9", ["d.webp"]),
        ("validation", "10", ["c.jpg"]),
    ]
    assert not left_out.count
