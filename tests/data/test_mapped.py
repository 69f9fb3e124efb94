"""Mapped files: rows are read without their pages staying in memory."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from tfmnist.data import mapped
from tfmnist.data.mapped import FileMap, gather
from tfmnist.errors import InputError


def test_rows_of_a_large_mapped_file_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "_LARGE", 1 << 20)
    array = np.random.default_rng(0).integers(0, 256, [6000, 28, 28], np.uint8)
    path = tmp_path / "array"
    path.write_bytes(b"a header" + array.tobytes())
    with path.open("rb") as file:
        array_on_disk = FileMap.of(file, 8, array.shape)
    path.rename(tmp_path / "older")
    path.write_bytes(bytes(array.nbytes + 8))  # another file of that name is not ours
    rows = np.random.default_rng(1).permutation(6000)[:5000].reshape(50, 100)
    np.testing.assert_array_equal(gather(array_on_disk, rows), array[rows])
    np.testing.assert_array_equal(gather(array_on_disk[1000:3000], rows % 2000), array[1000:3000][rows % 2000])
    (mapping,) = [part for part in Path("/proc/self/smaps").read_text().split("VmFlags") if str(tmp_path) in part]
    assert re.findall(r"^Rss: +(\d+) kB", mapping, re.MULTILINE) == ["0"]
    runs = np.array([7, 8, 9, 9, 10, 5999, 0, 1])
    np.testing.assert_array_equal(gather(array_on_disk, runs), array[runs])
    for wrong in (6000, -1):
        with pytest.raises(IndexError):
            gather(array_on_disk, np.array([wrong]))
    assert gather(array_on_disk, np.zeros([0], np.int64)).shape == (0, 28, 28)
    np.testing.assert_array_equal(gather(array_on_disk[:, 3:9], rows), array[:, 3:9][rows])  # not in one piece


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="the file is read through its map")
def test_a_file_that_was_cut_short_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "_LARGE", 0)
    path = tmp_path / "array"
    path.write_bytes(bytes(1000))
    with path.open("rb") as file:
        array_on_disk, numbers = FileMap.of(file, 0, (100, 10)), FileMap.of(file, 0, (1000,))
    os.truncate(path, 505)
    assert not gather(array_on_disk, np.arange(50)).any() and not gather(numbers, np.arange(0, 500, 5)).any()
    with pytest.raises(InputError) as caught:
        gather(array_on_disk, np.arange(60))
    expected = (
        "was cut short while it was read: it ends before byte 505, expected 1000 bytes as at first; restore the file."
    )
    assert str(caught.value) == f"{path}: {expected}"


def test_a_map_closes_its_file(tmp_path: Path) -> None:
    path = tmp_path / "array"
    path.write_bytes(bytes(100))
    with path.open("rb") as file:
        array_on_disk = FileMap.of(file, 0, (100,))
    assert str(path) in _open_files()
    del array_on_disk
    assert str(path) not in _open_files()


def _open_files() -> list[str]:
    return [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
