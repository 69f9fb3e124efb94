"""Kept digests: found again while the files are as they were, and never once anything differs."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from samples import make, save_idx

from tfmnist.data import digests
from tfmnist.data.digests import kept_digest
from tfmnist.data.idx import read_images, write_idx
from tfmnist.data.sources import load
from tfmnist.data.split import Split


@pytest.fixture(autouse=True)
def _every_file_is_large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(digests, "_LARGE", 0)
    monkeypatch.setattr(digests, "_SETTLED", 0)
    monkeypatch.setenv("TFMNIST_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write_idx(folder / "images", np.random.default_rng(0).integers(0, 256, [20, 3, 4], np.uint8))
    return folder / "images"


def record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256.json")


def is_computed(*arrays: NDArray[Any], about: str = "", meanwhile: Callable[[], Any] = bool) -> bool:
    """Asks for a digest of arrays; whether it was computed, and what else happened then."""
    right = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
    calls: list[str] = []

    def compute() -> str:
        meanwhile()
        calls.append(right)
        return right

    assert kept_digest(arrays, hashlib.sha256(about.encode()), compute) == right
    return bool(calls)


def test_a_digest_is_computed_once(path: Path) -> None:
    assert is_computed(read_images(path))
    assert not is_computed(read_images(path))
    assert sorted(os.listdir(path.parent)) == ["images", "images.sha256.json"]
    state, record = path.stat(), json.loads(record_of(path).read_text())
    times = {"modified_ns": state.st_mtime_ns, "changed_ns": state.st_ctime_ns}
    assert record["file"] == {"size": state.st_size, **times, "inode": state.st_ino}


def test_each_view_and_each_use_of_it_has_its_own(path: Path) -> None:
    images = read_images(path)
    for array, about in ((images, ""), (images, "more"), (images[:5], ""), (images[5:10], ""), (images[:5, :2], "")):
        assert is_computed(array, about=about)
        assert not is_computed(array, about=about)


def changed_byte(path: Path) -> None:
    time.sleep(0.02)  # file systems may count time in ticks of 10 ms
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))


def changed_secretly(path: Path) -> None:
    before = path.stat()
    changed_byte(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    before = path.stat()
    time.sleep(0.02)
    write_idx(path, np.zeros([20, 3, 4], np.uint8))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touched(path: Path) -> None:
    time.sleep(0.02)
    os.utime(path)


@pytest.mark.parametrize("change", [changed_byte, changed_secretly, replaced, touched])
def test_a_file_that_was_touched_is_read_again(path: Path, change: Callable[[Path], Any]) -> None:
    assert is_computed(read_images(path))
    change(path)
    assert is_computed(read_images(path))
    assert not is_computed(read_images(path))
    assert len(json.loads(record_of(path).read_text())["digests"]) == 1  # the old one is gone


@pytest.mark.parametrize("change", [changed_byte, changed_secretly, touched])
def test_a_file_that_changes_meanwhile_leaves_no_record(path: Path, change: Callable[[Path], Any]) -> None:
    images = read_images(path)
    kept_digest([images], hashlib.sha256(), lambda: str(change(path)))
    assert not record_of(path).exists()


def test_a_file_changed_just_now_leaves_no_record(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_SETTLED", 3_000_000_000)
    assert is_computed(read_images(path)) and is_computed(read_images(path))
    os.utime(path, ns=(0, 0))  # its status has changed all the same
    assert is_computed(read_images(path)) and not record_of(path).exists()


def test_a_second_file_counts_too(path: Path) -> None:
    other = path.with_name("others")
    write_idx(other, np.ones([5, 3, 4], np.uint8))
    assert is_computed(read_images(path), read_images(other))
    assert not is_computed(read_images(path), read_images(other))
    changed_secretly(other)
    assert is_computed(read_images(path), read_images(other))


def with_another_digest(text: str) -> str:
    return text.replace(text[-70:-8], text[-70:-8][::-1])


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: text.replace('"inode"', '"node"'),
        with_another_digest,
        lambda text: text[:2] + text[text.index('  "format"') :],  # without its seal
    ],
)
def test_a_damaged_record_is_not_believed(path: Path, damage: Callable[[str], str]) -> None:
    assert is_computed(read_images(path))
    text = record_of(path).read_text()
    record_of(path).write_text(damage(text))
    assert record_of(path).read_text() != text
    assert is_computed(read_images(path))
    assert record_of(path).read_text() == text


def test_where_the_folder_cannot_be_written_the_cache_is_used(path: Path, tmp_path: Path) -> None:
    record_of(path).mkdir()
    assert is_computed(read_images(path))
    assert not is_computed(read_images(path))
    assert len(list((tmp_path / "cache" / "digests").iterdir())) == 1
    assert sorted(os.listdir(path.parent)) == ["images", "images.sha256.json"]


def test_where_nothing_can_be_written_nothing_is_kept(path: Path, tmp_path: Path) -> None:
    record_of(path).mkdir()
    (tmp_path / "cache").write_text("")
    assert is_computed(read_images(path)) and is_computed(read_images(path))


def test_the_oldest_are_dropped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_MOST", 2)
    images = read_images(path)
    assert all(is_computed(images, about=about) for about in "abc")
    assert not is_computed(images, about="b") and not is_computed(images, about="c")
    assert is_computed(images, about="a")


def test_small_files_and_arrays_leave_no_record(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_LARGE", 1000)
    assert is_computed(read_images(path)) and is_computed(np.array(read_images(path)))
    assert os.listdir(path.parent) == ["images"]


def test_a_data_set_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its digests are those of the same data in memory, also when they come from the record."""
    arrays = make()
    folder, packed = save_idx(tmp_path / "plain", arrays), save_idx(tmp_path / "packed", arrays, ".gz")
    expected = [load(packed, validation=n, seed=n) for n in (0, 10, 20)]
    first = [load(folder, validation=n, seed=n) for n in (0, 10, 20)]
    wanted = [(some.train.sha256, some.validation.sha256, some.sha256) for some in expected]
    assert [(some.train.sha256, some.validation.sha256, some.sha256) for some in first] == wanted
    again = [load(folder, validation=n, seed=n) for n in (0, 10, 20)]
    monkeypatch.setattr(Split, "take", None)
    assert [(some.train.sha256, some.validation.sha256, some.sha256) for some in again] == wanted
    labels = arrays["y_train"].astype(np.uint8)
    labels[-1] = (labels[-1] + 1) % 3  # and the images as they were
    write_idx(folder / "train-labels-idx1-ubyte", labels)
    changed = load(folder, validation=0)
    with pytest.raises(TypeError):
        _ = changed.sha256
