"""Streams of labelled pictures: folders and archives of every kind give the same examples, damage gives one line."""

import bz2
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from picture_folders import image, make, save

from tfmnist.data.streams import Example, Stream, open_archive, open_folder
from tfmnist.errors import InputError

Pack = Callable[[Path, dict[str, bytes]], Path]


def pack_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def pack_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def contents(root: Path, above: str = "") -> dict[str, bytes]:
    return {
        above + path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if not path.is_dir()
    }


def opened(path: Path) -> Stream:
    stream = open_archive(path)
    assert stream
    return stream


def bare(examples: list[Example]) -> list[tuple[str, str, bytes]]:
    return [(example.role, example.class_name, example.content) for example in examples]


def complaint(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        list(opened(path).examples)
    message = str(caught.value)
    assert message.isprintable() and message.startswith(str(path)) and len(message) < 500 + 2 * len(str(path))
    return message


@pytest.mark.parametrize("mode", ["", "w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("above", ["", "./", "data/mnist_png/"])
def test_archives_hold_what_the_folder_holds(tmp_path: Path, mode: str, above: str) -> None:
    root = make(tmp_path / "a", train=12, classes=("2", "10", "b"))
    save(root / "val" / "b" / "1.png", image(70))
    stream = open_folder(root)
    expected = list(stream.examples)
    assert stream.total == len(expected) == 43
    assert [example.class_name for example in expected[::12]] == ["2", "10", "b", "2"]
    assert expected[10].name == str(root / "train" / "2" / "10.png")
    files = contents(root, above)
    path = pack_tar(tmp_path / "x", files, mode) if mode else pack_zip(tmp_path / "x", files)
    found = list(opened(path).examples)
    if mode:
        assert sorted(bare(found)) == sorted(bare(expected))
        assert [example.name for example in found] == [f"{path}: {name}" for name in files]
    else:
        assert bare(found) == bare(expected)


def test_class_folders_alone(tmp_path: Path) -> None:
    files = {"x/7/a.png": b"a", "x/0/b.jpg": b"b"}
    for path in (pack_zip(tmp_path / "a.zip", files), pack_tar(tmp_path / "a.tar", files)):
        assert sorted(bare(list(opened(path).examples))) == [("train", "0", b"b"), ("train", "7", b"a")]


@pytest.mark.parametrize("pack", [pack_zip, pack_tar])
def test_what_is_left_out(tmp_path: Path, pack: Pack) -> None:
    files = {"0/a.png": b"", "1/a.png": b"", "__MACOSX/0/._a.png": b"", "0/.DS_Store": b"", "1/Thumbs.db": b""}
    stream = opened(pack(tmp_path / "a", files))
    assert len(list(stream.examples)) == 2 and not stream.left_out.count
    stream = opened(pack(tmp_path / "b", {**files, "1/a.txt": b"", "README": b""}))
    assert len(list(stream.examples)) == 2 and stream.left_out.names == ["1/a.txt", "README"]


@pytest.mark.parametrize("pack", [pack_zip, pack_tar])
def test_other_layouts(tmp_path: Path, pack: Pack) -> None:
    for number, names in enumerate(
        (["0.png"], ["a/train/0/x.png", "b/train/0/x.png"], ["train/0/a/x.png", "train/1/a/x.png"])
    ):
        message = complaint(pack(tmp_path / str(number), dict.fromkeys(names, b"")))
        assert "expected a folder of pictures for each of at least two classes" in message
    assert "no pictures in it" in complaint(pack(tmp_path / "a", {"README": b""}))
    for name in ("train-images-idx3-ubyte.gz", "x/train.csv", "x_train.npy"):
        message = complaint(pack(tmp_path / "b", {name: b""}))
        assert message == f"{tmp_path / 'b'}: has no pictures but {name}; unpack it first."


def test_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    (tmp_path / "b").write_bytes(bz2.compress(b"text"))
    assert open_archive(tmp_path / "a") is None and open_archive(tmp_path / "b") is None


def test_damaged_archives(tmp_path: Path) -> None:
    files = {f"{number % 2}/{number}.png": bytes(range(256)) * 20 for number in range(30)}
    for number, path in enumerate(
        (
            pack_tar(tmp_path / "a", files),
            pack_tar(tmp_path / "b", files, "w:gz"),
            pack_tar(tmp_path / "c", files, "w:xz"),
        )
    ):
        path.write_bytes(path.read_bytes()[: 80_000 if not number else -60])
        assert "cannot read the archive: " in complaint(path)
    path = pack_zip(tmp_path / "d", files)
    whole = bytearray(path.read_bytes())
    whole[200] ^= 255
    path.write_bytes(whole)
    assert "cannot read the archive: " in complaint(path)
    whole[6] |= 1  # encrypted, as the local header says
    at = whole.index(b"PK\1\2")
    whole[at + 8] |= 1  # and the directory
    path.write_bytes(whole)
    assert "cannot read the archive: " in complaint(path)


def test_links_in_a_tar(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a", "w") as archive:
        for name, kind, link in (("0/a.png", tarfile.REGTYPE, ""), ("1/b.png", tarfile.SYMTYPE, "/etc/passwd")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            archive.addfile(member)
    assert "cannot read the archive: " in complaint(tmp_path / "a")
