"""Decoding many pictures: whatever decodes them, the values are Pillow's, and broken ones are named or left out."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_folders import complaint, image, make, read_folder, save
from PIL import Image

from tfmnist.data import bulk_decode
from tfmnist.data.bulk_decode import DecodingProgress
from tfmnist.data.folders import read_folder as read_folder_events


@pytest.mark.parametrize("skip_broken", [False, True])
def test_pictures_of_every_kind(tmp_path: Path, skip_broken: bool) -> None:
    for number in range(70):
        mode = {13: "RGB", 20: "P"}.get(number, "")
        save(tmp_path / "01"[number // 40] / f"{number:02}.png", image(number), mode)
    clear = np.arange(0, 245, 7).astype(np.uint8).reshape(5, 7)
    save(tmp_path / "0" / "30.png", clear, transparency=28)
    exif = Image.Exif()
    exif[0x0112] = 3
    save(tmp_path / "0" / "31.png", image(31), exif=exif)
    expected = np.stack([image(number) for number in range(70)])
    expected[30] = np.where(clear == 28, 255, clear)
    expected[31] = image(31)[::-1, ::-1]
    np.testing.assert_array_equal(read_folder(tmp_path).train.images, expected)
    cut = (tmp_path / "1" / "50.png").read_bytes()[:60]
    (tmp_path / "1" / "50.png").write_bytes(cut)
    if skip_broken:
        source = read_folder(tmp_path, skip_broken=True)
        assert source.notes == ("left out 1 broken picture: 1/50.png",)
        np.testing.assert_array_equal(source.train.images, np.delete(expected, 50, axis=0))
    else:
        assert "50.png: a broken picture (" in complaint(tmp_path)
    save(tmp_path / "1" / "60.png", image(shape=(7, 5)))
    (tmp_path / "1" / "50.png").unlink()
    assert "60.png: 5x7 pixels, expected 7x5 like 0/00.png" in complaint(tmp_path, skip_broken=skip_broken)


def test_tensorflow_is_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, tfmnist.data.sources as sources\n"
        "sources.load(pathlib.Path(sys.argv[1]), validation=0)\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(make(tmp_path))], check=False).returncode == 0


@pytest.mark.parametrize("side", [28, 150])
def test_pictures_decoded_by_threads(tmp_path: Path, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_decode, "SMALL", 0)
    for number in range(30):
        save(tmp_path / str(number % 3) / f"{number:02}.png", image(number, (side, side)))
    expected = [image(number, (side, side)) for label in range(3) for number in range(label, 30, 3)]
    np.testing.assert_array_equal(read_folder(tmp_path).train.images, np.stack(expected))
    (tmp_path / "1" / "13.png").write_bytes(b"")
    (tmp_path / "1" / "16.png").write_bytes(b"")
    assert "13.png: a broken picture (the file is empty)" in complaint(tmp_path)
    assert read_folder(tmp_path, skip_broken=True).notes == ("left out 2 broken pictures: 1/13.png, 1/16.png",)


# Pictures that do not fit, or are broken


@pytest.mark.parametrize(("part", "end", "skip_broken"), [("train", "png", True), ("test", "jpg", False)])
def test_another_size(tmp_path: Path, part: str, end: str, skip_broken: bool) -> None:
    root = make(tmp_path)
    save(root / part / "1" / f"9.{end}", image(shape=(7, 5)))
    message = complaint(root, skip_broken=skip_broken)
    assert (
        f"{root / part / '1' / f'9.{end}'}: 5x7 pixels, expected 7x5 like train/0/0.png; scale all to one size"
        in message
    )


@pytest.mark.parametrize("skip_broken", [False, True])
@pytest.mark.parametrize("name", ["train/0/0.png", "train/1/2.png", "test/2/1.png"])
def test_a_broken_picture(tmp_path: Path, name: str, skip_broken: bool) -> None:
    root = make(tmp_path)
    whole = read_folder(root)
    (root / name).write_bytes((root / name).read_bytes()[:60])
    part, label, file = name.split("/")
    row = int(label) * (3 if part == "train" else 2) + int(file[0])
    for _ in range(2):  # the second time from the cache, where nothing is broken
        if skip_broken:
            source = read_folder(root, skip_broken=True)
            assert source.notes == (f"left out 1 broken picture: {name}",)
            for one, other, changed in ((source.train, whole.train, "train"), (source.test, whole.test, "test")):
                assert one is not None and other is not None
                for got, old in ((one.images, other.images), (one.labels, other.labels)):
                    np.testing.assert_array_equal(got, np.delete(old, row, axis=0) if changed == part else old)
        else:
            message = complaint(root)
            assert message.startswith(f"{root / name}: a broken picture (damaged: ")
            assert message.endswith("leave broken pictures out with data.skip_broken true (--data.skip_broken true).")


def test_notes_name_three(tmp_path: Path) -> None:
    root = make(tmp_path / "a", train=12)
    for number in (10, 2, 3, 7):
        (root / "train" / "1" / f"{number}.png").write_bytes(b"")
    expected = ("left out 4 broken pictures: train/1/2.png, train/1/3.png, train/1/7.png, ...",)
    assert read_folder(root, skip_broken=True).notes == expected
    assert "train/1/2.png: a broken picture (the file is empty)" in complaint(root)


@pytest.mark.parametrize("folder", ["train/1", "test/2"])
def test_a_class_of_broken_pictures(tmp_path: Path, folder: str) -> None:
    root = make(tmp_path)
    for path in (root / folder).iterdir():
        path.write_bytes(b"")
    count = 3 if "train" in folder else 2
    message = complaint(root, skip_broken=True)
    assert f"{root / folder / '0.png'}: a broken picture" in message and f"all {count} of its class" in message


def test_nothing_but_broken_pictures(tmp_path: Path) -> None:
    root = make(tmp_path)
    for path in root.rglob("*.png"):
        path.write_bytes(b"text")
    assert "all 15 pictures are broken, the first train/0/0.png" in complaint(root, skip_broken=True)


@pytest.mark.parametrize("skip_broken", [False, True])
def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skip_broken: bool) -> None:
    root = make(tmp_path)
    opened = open

    def refuse(path: Any, *args: Any, **options: Any) -> Any:
        if str(path).endswith("test/1/0.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr("builtins.open", refuse)
    message = complaint(root, skip_broken=skip_broken)
    assert message.startswith(f"{root / 'test' / '1' / '0.png'}: cannot read the picture: Permission denied")
    monkeypatch.undo()
    (root / "test" / "1" / "0.png").unlink()
    (root / "test" / "1" / "0.png").symlink_to(tmp_path / "nowhere")
    assert "0.png: cannot read it: No such file" in complaint(root, skip_broken=skip_broken)


def test_broken_pictures_warn_nobody(tmp_path: Path) -> None:
    """Pillow warns of some damage; the user gets one line, or the picture."""
    root = make(tmp_path, classes=("0", "1"))
    exif = Image.Exif()
    exif[0x0112] = 1
    data = exif.tobytes()
    save(root / "train" / "1" / "9.jpg", image(), exif=data[:-4])
    assert len(read_folder(root).train.images) == 7


# Progress


def test_events_stop_anywhere(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_decode, "_STRETCH", 4)
    root = make(tmp_path / "a")
    events = read_folder_events(root)
    assert next(events) == DecodingProgress(4, 15)
    events.close()
    assert not cache.exists()
    assert list(read_folder_events(root)) == [DecodingProgress(done, 15) for done in (4, 8, 12, 15)]


def test_about_fifty_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_decode, "_STRETCH", 1)
    events = list(read_folder_events(make(tmp_path / "a", train=60)))
    assert 40 <= len(events) <= 50 and events[-1] == DecodingProgress(186, 186)
