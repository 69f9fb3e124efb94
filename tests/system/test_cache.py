"""The cache: what comes out is what went in, or nothing, whatever happened to the files in between."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tfmnist.system.cache import ArrayCache, find_cache

KEY = "0123456789abcdef" * 4


def arrays(seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    return {
        "images": np.random.default_rng(seed).integers(0, 256, (4, 3, 2), np.uint8),
        "skipped": np.array([1, 7], np.int64),
        "empty": np.empty(0, np.int64),
    }


def assert_same(found: dict[str, npt.NDArray[Any]] | None, expected: dict[str, npt.NDArray[Any]]) -> None:
    assert found is not None and found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype and not found[name].flags.writeable


def number(value: int) -> str:
    return f"{value:064x}"


def test_write_and_open(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "cache"
    cache = ArrayCache(folder)
    assert cache.open(KEY) is None and not cache.has("")
    assert_same(cache.write(KEY, arrays()), arrays())
    assert_same(ArrayCache(folder).open(KEY), arrays())
    assert cache.open(number(1)) is None
    assert cache.has(KEY[:16]) and not cache.has("f")
    assert os.listdir(folder) == [KEY]
    images = (cache.open(KEY) or {})["images"]
    assert type(images) is np.ndarray and isinstance(images.base, np.memmap)


def test_fingerprints(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path)
    cache.remember(KEY, "early")  # no such entry: nothing happens
    assert os.listdir(tmp_path) == []
    cache.write(KEY, arrays())
    cache.write(number(1), arrays(1))
    assert cache.find("one") is None
    cache.remember(KEY, "one")
    cache.remember(number(1), "two")
    assert_same(cache.find("one"), arrays())
    assert_same(cache.find("two"), arrays(1))
    for count in range(20):
        cache.remember(KEY, f"x{count}")
        os.utime(tmp_path / KEY / "seen" / f"x{count}", (count, count))
    assert len(os.listdir(tmp_path / KEY / "seen")) == 16 and cache.find("x19") and not cache.find("x0")


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "flipped": lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "longer": lambda data: data + b" x",
    "list": lambda data: b"[]",
    "nothing said": lambda data: b"{}",
    "no text": lambda data: b"\xff\xfe\xfd",
}


@pytest.mark.parametrize("name", ["images.npy", "skipped.npy", "empty.npy", "entry.json"])
@pytest.mark.parametrize("damage", [*DAMAGE, "gone", "folder"])
def test_a_damaged_entry_counts_as_missing(tmp_path: Path, name: str, damage: str) -> None:
    cache = ArrayCache(tmp_path)
    cache.write(KEY, arrays())
    cache.remember(KEY, "one")
    path = tmp_path / KEY / name
    data = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "gone":
        path.write_bytes(DAMAGE[damage](data))
    assert cache.open(KEY) is None and cache.find("one") is None
    assert_same(cache.write(KEY, arrays()), arrays())
    assert path.read_bytes() == data and os.listdir(tmp_path) == [KEY]


def test_eight_entries_are_kept_and_other_files_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / ("0" * 64)).mkdir()
    (tmp_path / ("f" * 64)).touch()
    cache = ArrayCache(tmp_path)
    assert cache.find("one") is None and cache.open("0" * 64) is None and cache.open("f" * 64) is None
    for value in range(1, 11):
        cache.write(number(value), arrays(value))
        assert_same(cache.open(number(1)), arrays(1))  # used, so it stays
    assert sorted(os.listdir(tmp_path)) == [*(number(value) for value in (1, *range(4, 11))), "f" * 64, "notes.txt"]


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    for name, age in (("old", 2 * 24 * 3600), ("young", 60)):
        path = tmp_path / f".new-{name}"
        path.mkdir()
        (path / "file").touch()
        os.utime(path, (time.time() - age, time.time() - age))
    ArrayCache(tmp_path).write(KEY, arrays())
    assert not (tmp_path / ".new-old").exists() and (tmp_path / ".new-young").exists()


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "cache", Path(os.devnull)):
        cache = ArrayCache(folder)
        assert cache.write(KEY, arrays()) is None and cache.find("one") is None and not cache.has("")
        cache.remember(KEY, "one")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert ArrayCache(tmp_path / "full").write(KEY, arrays()) is None
    assert os.listdir(tmp_path / "full") == []


def test_another_process_is_faster(tmp_path: Path) -> None:
    cache = ArrayCache(tmp_path)
    cache.write(KEY, arrays())
    before = (tmp_path / KEY / "images.npy").stat().st_ino
    assert_same(cache.write(KEY, arrays()), arrays())
    assert (tmp_path / KEY / "images.npy").stat().st_ino == before and os.listdir(tmp_path) == [KEY]


def test_another_process_is_faster_by_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ArrayCache(tmp_path)
    rename = os.rename

    def overtake(path: Path, target: Path) -> None:
        shutil.copytree(path, target)
        rename(path, target)  # which refuses, since the target exists

    monkeypatch.setattr(os, "rename", overtake)
    assert_same(cache.write(KEY, arrays()), arrays())
    assert os.listdir(tmp_path) == [KEY]


def test_an_entry_removed_while_it_is_used(tmp_path: Path) -> None:
    found = ArrayCache(tmp_path).write(KEY, arrays())
    shutil.rmtree(tmp_path)
    assert_same(found, arrays())


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/xdg")
    monkeypatch.setenv("TFMNIST_CACHE", "~/own")
    assert find_cache() == Path("/home/ada/own")
    monkeypatch.delenv("TFMNIST_CACHE")
    assert find_cache() == Path("/var/xdg/tfmnist")
    for value in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert find_cache() == Path("/home/ada/.cache/tfmnist")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # type: ignore[misc]  # no home at all
    assert ArrayCache(find_cache()).write(KEY, arrays()) is None
