"""Pictures in folders: every layout and order becomes the right arrays, and the cache never the wrong ones."""

import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_folders import chunk, complaint, image, make, read_folder, save

from tfmnist.data import bulk_decode, folders
from tfmnist.data.bulk_decode import DecodingProgress
from tfmnist.data.folders import is_picture_folder
from tfmnist.data.folders import read_folder as read_folder_events
from tfmnist.data.idx import write_idx
from tfmnist.data.split import Source

MINUTE = 60 * 10**9


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """New files count as old enough for a fingerprint to be trusted."""
    monkeypatch.setattr(folders, "_TICK", -MINUTE)


def assert_same(first: Source, second: Source) -> None:
    assert first.class_names == second.class_names and first.notes == second.notes
    for one, other in zip(first[:2], second[:2], strict=True):
        assert (one is None) == (other is None)
        if one and other:
            np.testing.assert_array_equal(one.images, other.images)
            np.testing.assert_array_equal(one.labels, other.labels)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of pictures of every stretch that is decoded from now on."""
    counts: list[int] = []
    decode = folders.decode_files

    def count(*args: Any) -> Any:
        counts.append(len(args[-1]))
        return decode(*args)

    monkeypatch.setattr(folders, "decode_files", count)
    return counts


# Layouts and order


@pytest.mark.parametrize("test", [2, 0])
def test_train_and_test(tmp_path: Path, test: int) -> None:
    source = read_folder(make(tmp_path / "a", test=test))
    assert source.class_names == ("0", "1", "2") and source.notes == ()
    expected = np.stack([image(seed) for seed in range(1, 10)])
    np.testing.assert_array_equal(source.train.images, expected)
    assert source.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert source.train.images_name == str(tmp_path / "a" / "train")
    parts = [source.train]
    if test:
        assert source.test is not None and source.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
        np.testing.assert_array_equal(source.test.images, np.stack([image(seed) for seed in range(10, 16)]))
        parts.append(source.test)
    else:
        assert source.test is None
    for part in parts:
        assert part.images.dtype == np.uint8 and part.labels.dtype == np.int64
        assert not part.images.flags.writeable and not part.labels.flags.writeable


def test_class_folders_alone(tmp_path: Path) -> None:
    source = read_folder(make(tmp_path / "a") / "train")
    assert source.test is None and source.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert_same(source, read_folder(make(tmp_path / "b", test=0)))


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("car", "train", "test"):
        save(tmp_path / name / "a.png", image())
    assert read_folder(tmp_path).class_names == ("car", "test", "train")
    shutil.rmtree(tmp_path / "car")
    assert f"{tmp_path / 'train'}: no class folders" in complaint(tmp_path)


def test_class_order_is_numeric_and_then_natural(tmp_path: Path) -> None:
    names = ("0", "2", "03", "10", "-1", "A", "a2", "a10", "b", "ünï", "中")
    for name in reversed(names):
        save(tmp_path / name / "x.png", image())
    assert read_folder(tmp_path).class_names == names


@pytest.mark.parametrize(
    "names",
    [
        ["1.png", "2.png", "10.png", "a1.png", "a9.png", "a10.png"],
        ["a1b10.png", "a10b2.png"],  # of one length
        ["0001.png", "0002.png", "0010.png"],
        ["1.JPG", "1.PNG", "1.jpeg", "01.png", "1.png", "2.JpEg", "10.png"],
        ["é1.png", "é2.png", "é10.png"],
    ],
)
def test_pictures_are_in_natural_order(tmp_path: Path, names: list[str]) -> None:
    for value, name in reversed(list(enumerate(names))):
        for label in "01":
            form = "PNG" if name.lower().endswith("png") else "JPEG"
            save(tmp_path / label / name, np.full([8, 8], 8 * value, np.uint8), format=form)
    assert read_folder(tmp_path).train.images[: len(names), 0, 0].tolist() == [8 * value for value in range(len(names))]


@pytest.mark.parametrize(
    ("train", "test", "validation"),
    [("training", "testing", "val"), ("Train", "TEST", "valid"), ("train", "test", "Validation")],
)
def test_names_of_parts(tmp_path: Path, train: str, test: str, validation: str) -> None:
    root = make(tmp_path)
    (root / "train").rename(root / "x")  # in two steps, for systems whose names have no case
    (root / "test").rename(root / "y")
    (root / "x").rename(root / train)
    (root / "y").rename(root / test)
    for name in "02":
        save(root / validation / name / "0.png", image(90))
    source = read_folder(root)
    assert source.test is not None and source.validation is not None
    np.testing.assert_array_equal(source.test.images, np.stack([image(seed) for seed in range(10, 16)]))
    np.testing.assert_array_equal(source.validation.images, np.stack([image(90)] * 2))
    assert source.validation.labels.tolist() == [0, 2] and source.notes == ()
    assert source.validation.images_name == str(root / validation)


def test_validation_without_test(tmp_path: Path) -> None:
    root = make(tmp_path, test=0)
    for name in "02":
        save(root / "val" / name / "0.png", image(90))
    (root / "val" / "0" / "1.png").write_bytes(b"")
    source = read_folder(root, skip_broken=True)
    assert source.test is None and source.validation is not None and len(source.train.images) == 9
    assert source.validation.labels.tolist() == [0, 2]
    assert source.notes == ("left out 1 broken picture: val/0/1.png",)


def test_two_folders_for_one_part(tmp_path: Path) -> None:
    root = make(tmp_path)
    save(root / "val" / "0" / "0.png", image())
    save(root / "valid" / "0" / "0.png", image())
    message = complaint(root)
    assert message.startswith(f"{root}: both ") and "expected one folder for validation" in message


@pytest.mark.parametrize("end", ["png", "JPEG", "jfif", "bmp", "gif", "tif", "tiff", "webp"])
def test_formats_by_content(tmp_path: Path, end: str) -> None:
    grey = np.full([6, 6], 77, np.uint8)
    for label, form in enumerate(("PNG", "BMP", "GIF", "TIFF", "WEBP")):
        save(tmp_path / str(label) / f"0.{end}", grey, format=form, lossless=True)
    np.testing.assert_array_equal(read_folder(tmp_path).train.images, np.stack([grey] * 5))


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    root = make(tmp_path / "a")
    before = read_folder(root, cache=tmp_path / "one")
    for name in (".hidden.png", "._0.png", "Thumbs.db", "desktop.ini"):  # of which nothing is said
        (root / "train" / "1" / name).write_bytes(b"x")
    (root / "README.md").write_text("x")
    (root / "__MACOSX").mkdir()
    save(root / "train" / ".thumbs" / "a.png", image())
    assert_same(before, read_folder(root, cache=tmp_path / "two"))
    for name in ("0.png.txt", "png", "0.svg"):
        (root / "train" / "1" / name).write_bytes(b"x")
    after = read_folder(root, cache=tmp_path / "two")
    note = "left out 3 files or folders that are not pictures in class folders"
    assert after.notes == (f"{note}: train/1/0.png.txt, train/1/0.svg, train/1/png",)
    save(root / "train" / "1" / "deeper" / "a.png", image())
    (root / "train" / "1" / "folder.png").mkdir()
    for path in ("loose.png", "test/loose.png", "unlabelled/a.png"):
        save(root / path, image())
    after = read_folder(root, cache=tmp_path / "two")
    note = note.replace("3", "8")
    assert after.notes == (f"{note}: unlabelled, loose.png, train/1/0.png.txt, ...",)
    assert_same(before, after._replace(notes=()))


def test_other_layouts_are_shown_what_is_expected(tmp_path: Path) -> None:
    for number, paths in enumerate(
        (
            ["0_1.png", "7_2.png"],  # labels in file names
            ["images/1.png", "images/2.png", "labels.csv"],
            ["train/0/a/x.png", "train/1/a/x.png"],
            ["0/train/x.png", "1/train/x.png"],
            ["mnist/train/0/x.png", "mnist/train/1/x.png"],
            ["train/1.png", "train/2.png", "test/3.png"],
        )
    ):
        root = tmp_path / str(number)
        for path in paths:
            save(root / path, image()) if path.endswith("png") else (root / path).write_text("x")
        assert is_picture_folder(root)
        message = complaint(root)
        assert "expected a folder of pictures for each of at least two classes: train/0/a.png" in message and len(
            message
        ) < 400 + len(str(root))


def test_symlinked_folders(tmp_path: Path) -> None:
    root = make(tmp_path / "a")
    (tmp_path / "b" / "test").mkdir(parents=True)
    (tmp_path / "b" / "train").symlink_to(root / "train")
    for name in "012":
        (tmp_path / "b" / "test" / name).symlink_to(root / "test" / name)
    (tmp_path / "c").symlink_to(tmp_path / "b")
    assert is_picture_folder(tmp_path / "c")
    assert_same(read_folder(root), read_folder(tmp_path / "c"))


def test_a_class_may_be_missing_from_test(tmp_path: Path) -> None:
    root = make(tmp_path / "a")
    shutil.rmtree(root / "test" / "1")
    source = read_folder(root)
    assert source.test is not None and source.test.labels.tolist() == [0, 0, 2, 2]
    (root / "test" / "1").mkdir()
    assert_same(source, read_folder(root))


def test_what_is_laid_out_otherwise(tmp_path: Path) -> None:
    root = make(tmp_path / "a")
    save(root / "test" / "7" / "a.png", image())
    message = complaint(root)
    assert f"{root / 'test' / '7'}: a class that {root / 'train'} lacks" in message
    shutil.rmtree(root / "test" / "7")
    (root / "train" / "9").mkdir()
    assert f"{root / 'train' / '9'}: no pictures" in complaint(root)
    for name in "129":
        shutil.rmtree(root / "train" / name)
    assert "the only class folder is 0" in complaint(root)
    shutil.rmtree(root / "train")
    (root / "train").mkdir()
    assert f"{root / 'train'}: no class folders" in complaint(root)
    assert "cannot read it: No such file" in complaint(tmp_path / "absent")
    assert "cannot read it: Not a directory" in complaint(save(tmp_path / "x.png", image()))
    root = make(tmp_path / "b", test=0)
    (root / "test").mkdir()
    assert f"{root / 'test'}: no pictures" in complaint(root) and "remove the folder" in complaint(root)


def test_too_many_classes(tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / str(number)).mkdir()
    assert "1001 class folders, expected 2 to 1000" in complaint(tmp_path)


@pytest.mark.parametrize("name", ["a\nb", " ", b"\xff"])
def test_class_names_that_are_no_line(tmp_path: Path, name: str | bytes) -> None:
    save(tmp_path / "a" / "0.png", image())
    save(tmp_path / os.fsdecode(name) / "0.png", image())
    assert "rename" in complaint(tmp_path)


def test_file_names_of_any_bytes(tmp_path: Path) -> None:
    for name in (b"\xff.png", b"a\nb.png"):
        for label in "01":
            save(tmp_path / label / os.fsdecode(name), image())
    assert len(read_folder(tmp_path).train.images) == 4
    Path(tmp_path, "0", "a\nb.png").write_bytes(b"")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/1/\xff.png")).write_bytes(b"")
    assert "a\\nb.png" in complaint(tmp_path)
    for _ in range(2):
        notes = read_folder(tmp_path, skip_broken=True).notes
        assert len(notes) == 1 and notes[0].isprintable() and "a\\nb.png" in notes[0] and "udcff.png" in notes[0]


def test_is_picture_folder(tmp_path: Path) -> None:
    root = make(tmp_path / "a")
    assert is_picture_folder(root) and is_picture_folder(root / "train")
    assert is_picture_folder(root / "train" / "0")  # pictures, but no class folders
    idx = tmp_path / "idx"
    idx.mkdir()
    write_idx(idx / "train-images-idx3-ubyte", np.zeros([3, 2, 2], np.uint8))
    np.savez(tmp_path / "b.npz", x_train=np.zeros(3))
    (tmp_path / "empty" / "train" / "0").mkdir(parents=True)
    (tmp_path / "text" / "0").mkdir(parents=True)
    (tmp_path / "text" / "0" / "a.txt").touch()
    (tmp_path / "text" / "0" / ".a.png").touch()
    save(tmp_path / "deep" / "a" / "b" / "c.png", image())
    save(idx / "preview" / "a.png", image())
    assert is_picture_folder(tmp_path / "deep")
    for path in (idx, tmp_path / "b.npz", tmp_path / "empty", tmp_path / "text", tmp_path / "none"):
        assert not is_picture_folder(path)
    assert not is_picture_folder(Path("nul\0byte"))


def test_notes_are_of_this_folder(tmp_path: Path, decoded: list[int]) -> None:
    root = make(tmp_path / "a")
    (root / "train" / "1" / "0.png").write_bytes(b"")
    assert read_folder(root, skip_broken=True).notes == ("left out 1 broken picture: train/1/0.png",)
    copy = tmp_path / "b"
    shutil.copytree(root, copy)
    (copy / "train" / "1" / "0.png").rename(copy / "train" / "1" / "0a.jpg")
    decoded.clear()
    assert read_folder(copy, skip_broken=True).notes == ("left out 1 broken picture: train/1/0a.jpg",)
    assert not decoded


# The cache


def test_the_second_time_nothing_is_read(
    tmp_path: Path, decoded: list[int], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make(tmp_path / "a")
    events = list(read_folder_events(root))
    assert events == [DecodingProgress(15, 15)] and decoded == [15]
    first = read_folder(root, cache=tmp_path / "another")
    assert decoded == [15, 15]
    monkeypatch.setattr(bulk_decode, "_read_file", None)
    assert list(read_folder_events(root)) == []
    assert_same(first, read_folder(root))
    mapped: Any = first.train.images.base
    assert isinstance(mapped.base, np.memmap)
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix not in (".npy", ".json", "")]
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("how", ["copied", "copied with times", "touched", "moved", "renamed files", "symlinked"])
def test_the_same_content_is_not_decoded_again(tmp_path: Path, decoded: list[int], how: str) -> None:
    root = make(tmp_path / "a")
    first = read_folder(root)
    decoded.clear()
    other = tmp_path / "b"
    if how == "copied":
        shutil.copytree(root, other, copy_function=shutil.copyfile)
    elif how == "copied with times":
        shutil.copytree(root, other)
    elif how == "symlinked":
        other.symlink_to(root)
    else:
        root.rename(other)
        for path in list(other.rglob("*.png")):
            if how == "touched":
                os.utime(path, (1, 1))
            elif how == "renamed files":
                path.rename(path.with_name(f"x{path.name}"))
    for _ in range(2):
        second = read_folder(other)
        assert decoded == []
        np.testing.assert_array_equal(second.train.images, first.train.images)
        assert second.train.images_name == str(other / "train")


@pytest.mark.parametrize("how", ["content", "class name", "order", "part", "added", "removed"])
def test_other_content_is_decoded(tmp_path: Path, decoded: list[int], how: str) -> None:
    root = make(tmp_path / "a")
    first = read_folder(root)
    decoded.clear()
    path = root / "train" / "1" / "0.png"
    if how == "content":  # with the same time, and the same length since noise cannot be compressed
        state = path.stat()
        content = path.read_bytes()
        at = content.index(b"IDAT")
        pixels = np.frombuffer(zlib.decompress(content[at + 4 : -16]), np.uint8).copy()
        pixels[-1] ^= 1
        changed = content[: at - 4] + chunk(b"IDAT", zlib.compress(pixels.tobytes())) + content[-12:]
        path.write_bytes(changed)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert path.stat().st_size == state.st_size
    elif how == "class name":
        for part in ("train", "test"):
            (root / part / "1").rename(root / part / "1b")
    elif how == "order":
        path.rename(path.with_name("9.png"))
    elif how == "part":
        path.rename(root / "test" / "1" / "9.png")
    elif how == "added":
        save(root / "train" / "0" / "9.png", image(99))
    else:
        path.unlink()
    second = read_folder(root)
    assert len(decoded) == 1
    assert (
        second.class_names != first.class_names
        or second.train.images.shape != first.train.images.shape
        or not np.array_equal(second.train.images, first.train.images)
    )


def test_files_just_written_are_not_trusted_by_their_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file can change twice within a tick of the clock that stamps it."""
    monkeypatch.setattr(folders, "_TICK", MINUTE)
    root = make(tmp_path / "a")
    read_folder(root)
    read = bulk_decode._read_file  # pyright: ignore[reportPrivateUsage]
    count: list[str] = []

    def watch(path: str) -> bytes:
        count.append(path)
        return read(path)

    monkeypatch.setattr(bulk_decode, "_read_file", watch)
    assert list(read_folder_events(root)) == [] and len(count) == 15
    monkeypatch.setattr(folders, "_TICK", -MINUTE)
    read_folder(root)
    count.clear()
    assert list(read_folder_events(root)) == [] and not count


def test_skip_broken_does_not_hide_what_is_broken(tmp_path: Path, decoded: list[int]) -> None:
    root = make(tmp_path / "a")
    (root / "train" / "1" / "0.png").write_bytes(b"")
    lax = read_folder(root, skip_broken=True)
    assert "broken" in complaint(root)
    decoded.clear()
    assert_same(lax, read_folder(root, skip_broken=True))
    whole = make(tmp_path / "b")
    strict = read_folder(whole)
    decoded.clear()
    assert_same(strict, read_folder(whole, skip_broken=True))
    assert not decoded


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    root = make(tmp_path / "a")
    (root / "train" / "1" / "0.png").write_bytes(b"")
    first = read_folder(root, skip_broken=True)
    (tmp_path / "file").write_text("in the way")
    for cache in (tmp_path / "file", tmp_path / "file" / "cache"):
        events = read_folder_events(root, skip_broken=True, cache=cache)
        assert next(events) == DecodingProgress(15, 15)
        with pytest.raises(StopIteration) as end:
            next(events)
        assert_same(first, end.value.value)
        assert not end.value.value.train.images.flags.writeable


def test_a_cache_that_can_only_be_read(tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "a")
    first = read_folder(root)
    decoded.clear()

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("utime", "mkdir", "rename"):
        monkeypatch.setattr(os, name, refuse)
    assert_same(first, read_folder(root))
    assert decoded == []


def test_two_processes_fill_the_cache_at_once(tmp_path: Path, cache: Path) -> None:
    root = make(tmp_path / "a", train=30)
    code = (
        "import sys, pathlib, tfmnist.data.sources as sources\n"
        "sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.readline()\n"
        "source = sources.load(pathlib.Path(sys.argv[1]), validation=0)\n"
        "sys.stdout.write(str(int(source.train.images.sum())))\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    found = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert found == {str(int(read_folder(root).train.images.sum()))}
    assert len(list(cache.iterdir())) == 1


def test_a_damaged_entry_is_made_again(tmp_path: Path, cache: Path, decoded: list[int]) -> None:
    root = make(tmp_path / "a")
    first = read_folder(root, cache=tmp_path / "other")
    read_folder(root)
    decoded.clear()
    (entry,) = cache.iterdir()
    (entry / "entry.json").write_text("{}")
    assert_same(first, read_folder(root))
    assert decoded == [15]
    assert list(read_folder_events(root)) == [] and list(cache.iterdir()) == [entry]
