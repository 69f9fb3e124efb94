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

from tfmnist.system.files import publish, read_npz, staged_folder, whole_file, write_npz, write_whole

Arrays = dict[str, npt.NDArray[Any]]
ARRAYS: Arrays = {
    "weights/dense_1/kernel": np.linspace(-1, 1, 1_500, dtype=np.float32).reshape(30, 50),
    "optimizer/step": np.array(7, np.int64),
    "empty": np.zeros([0, 3], np.uint8),
    "state": np.array('{"epoch": 3, "name": "ü"}'),
}


def is_same(found: Arrays, expected: Arrays) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == expected[name].dtype and np.array_equal(found[name], expected[name]) for name in expected
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


def test_a_file_is_written_in_pieces(tmp_path: Path) -> None:
    with whole_file(tmp_path / "file") as file:
        file.write(b"one ")
        assert not (tmp_path / "file").exists()
        file.write(b"two")
    assert (tmp_path / "file").read_bytes() == b"one two"
    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "file") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert (tmp_path / "file").read_bytes() == b"one two" and os.listdir(tmp_path) == ["file"]


# staged folders


def test_a_folder_appears_whole_under_the_first_free_name(tmp_path: Path, umask: None) -> None:
    (tmp_path / "1").touch()
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "a").touch()
    (tmp_path / "3").mkdir()  # an empty one is free
    with staged_folder(tmp_path, "new") as folder:
        assert folder.name.startswith(".new-") and folder.parent == tmp_path
        (folder / "deep").mkdir()
        write_whole(folder / "deep" / "file", "content")
        candidates = (tmp_path / str(number) for number in range(1, 9))
        assert publish(folder, candidates) == tmp_path / "3"
    assert (tmp_path / "3" / "deep" / "file").read_text() == "content"
    assert (tmp_path / "3").stat().st_mode & 0o777 == 0o750
    assert sorted(os.listdir(tmp_path)) == ["1", "2", "3"]


@pytest.mark.parametrize("files", [3, 300])
def test_a_folder_is_flushed_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    calls: list[str] = []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda handle: calls.append("fsync") or fsync(handle))
    monkeypatch.setattr(os, "sync", lambda: calls.append("sync"))
    monkeypatch.setattr(os, "rename", lambda *paths: calls.append("rename") or rename(*paths))
    with staged_folder(tmp_path, "new") as folder:
        for number in range(files):
            (folder / str(number)).touch()
        publish(folder, [tmp_path / "a"])
    flushes = ["fsync"] * (files + 1) if files < 256 else ["sync"]
    assert calls == [*flushes, "rename", "fsync"]


def test_a_folder_that_is_not_published_is_deleted(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(OSError, match="taken"), staged_folder(tmp_path, "new") as folder:
        (folder / "file").touch()
        publish(folder, [tmp_path / "taken"])
    with pytest.raises(KeyboardInterrupt), staged_folder(tmp_path, "new"):
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["taken"]


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


def test_what_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "file", "")
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "none.npz")


def test_another_file_and_a_cut_one_are_value_errors(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    np.save(tmp_path / "one.npy", np.zeros(3))
    write_npz(path, ARRAYS)
    whole = path.read_bytes()
    cut = [whole[:length] for length in range(0, len(whole), 97)]
    for content in (*cut, b"PK", b"not an archive" * 10, (tmp_path / "one.npy").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged"):
            read_npz(path)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("npz") / "arrays.npz"


def check_damaged(path: Path, data: bytes) -> None:
    """Damaged bytes either raise a ValueError or, if only a date has changed, say, are read as the right arrays."""
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
    for index, bits in changes.items():
        data[index % len(data)] ^= bits
    check_damaged(scratch, bytes(data))


def test_a_changed_byte_of_any_header_is_noticed(scratch: Path) -> None:
    write_npz(scratch, ARRAYS)
    whole = scratch.read_bytes()
    end_of_kernel = whole.index(b"PK\x03\x04", 4)
    for index in (*range(0, 200, 3), *range(end_of_kernel, len(whole), 3)):
        bits = (0x01, 0x02, 0x04, 0x06, 0x10, 0x80)[index // 3 % 6]
        check_damaged(scratch, whole[:index] + bytes([whole[index] ^ bits]) + whole[index + 1 :])
