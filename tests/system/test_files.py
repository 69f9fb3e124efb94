"""Files: each appears whole or not at all, and damage is noticed."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmnist.system.files import read_npz, write_npz, write_whole

Arrays = dict[str, npt.NDArray[Any]]
ARRAYS: Arrays = {
    "weights/dense_1/kernel": np.linspace(-1, 1, 1_500, dtype=np.float32).reshape(30, 50),
    "optimizer/step": np.array(7, np.int64),
    "empty": np.zeros([0, 3], np.uint8),
    "state": np.array('{"epoch": 3, "name": "ü"}'),
}


def is_same(found: Arrays, wanted: Arrays) -> bool:
    return found.keys() == wanted.keys() and all(
        found[name].dtype == wanted[name].dtype and np.array_equal(found[name], wanted[name]) for name in wanted
    )


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


# write_whole


@pytest.mark.parametrize("content", ["ü\r\n", "", b"\x00\xff", b""])
def test_a_file_holds_what_was_written(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "file"
    path.write_text("something longer that was there before")
    write_whole(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "file", "new")
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_file_may_be_read_by_whom_the_umask_says(tmp_path: Path, umask: None) -> None:
    write_whole(tmp_path / "file", "")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "file", "")


# .npz


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    write_npz(path, ARRAYS)
    assert is_same(read_npz(path), ARRAYS)
    with np.load(path, allow_pickle=False) as plain:
        assert is_same(dict(plain), ARRAYS)


def test_objects_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        write_npz(tmp_path / "arrays.npz", {"a": np.array([{}], dtype=object)})
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "none.npz")


def test_another_file_is_a_value_error(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="damaged"):
        read_npz(path)
    for content in (b"", b"PK", b"not an archive" * 10):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged"):
            read_npz(path)


def test_a_cut_file_is_a_value_error(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    write_npz(path, ARRAYS)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="damaged"):
            read_npz(path)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("npz") / "arrays.npz"


def check_damaged(path: Path, data: bytes) -> None:
    """What is read is either right, where no more than a date has changed, say, or a ValueError."""
    path.write_bytes(data)
    try:
        found = read_npz(path)
    except ValueError as error:
        assert "damaged" in str(error)
    else:
        assert is_same(found, ARRAYS)


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 10**6), st.integers(1, 255), min_size=1, max_size=5))
def test_changed_bytes_are_noticed(scratch: Path, changes: dict[int, int]) -> None:
    write_npz(scratch, ARRAYS)
    data = bytearray(scratch.read_bytes())
    for place, bits in changes.items():
        data[place % len(data)] ^= bits
    check_damaged(scratch, bytes(data))


@pytest.mark.parametrize("bits", [0x01, 0x02, 0x04, 0x06, 0x10, 0x80])
def test_a_changed_byte_of_any_header_is_noticed(scratch: Path, bits: int) -> None:
    write_npz(scratch, ARRAYS)
    whole = scratch.read_bytes()
    end_of_kernel = whole.index(b"PK\x03\x04", 4)
    for place in (*range(200), *range(end_of_kernel, len(whole))):
        check_damaged(scratch, whole[:place] + bytes([whole[place] ^ bits]) + whole[place + 1 :])
