"""Pictures in folders: every layout, order and kind becomes the right arrays, and the cache never the wrong ones."""

import io
import os
import shutil
import struct
import subprocess
import sys
import zlib
from functools import cache as once
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import tfmnist.data.folders as folders
from tfmnist.data.bulk_decode import DecodingProgress
from tfmnist.data.convert import write_folder
from tfmnist.data.folders import is_picture_folder, read_folder, read_folder_events
from tfmnist.data.idx import write_idx
from tfmnist.data.split import Digits, Source, Split
from tfmnist.errors import InputError

Bytes = npt.NDArray[np.uint8]
MINUTE = 60 * 10**9


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own; and files count as old enough at once for a fingerprint to be trusted."""
    path = tmp_path_factory.mktemp("cache") / "tfmnist"
    monkeypatch.setenv("TFMNIST_CACHE", str(path))
    monkeypatch.setattr(folders, "_TICK", -MINUTE)
    return path


def image(seed: int = 0, shape: tuple[int, ...] = (5, 7)) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path: Path, array: npt.NDArray[Any], mode: str = "", **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path, **options)
    return path


def make(root: Path, train: int = 3, test: int = 2, classes: tuple[str, ...] = ("0", "1", "2")) -> Path:
    """A folder of random pictures, each another; without `test` none for test."""
    seed = 0
    for part, count in (("train", train), ("test", test)):
        for name in classes:
            for number in range(count):
                save(root / part / name / f"{number}.png", image(seed := seed + 1))
    return root


def complaint(root: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read_folder(root, **options)
    message = str(caught.value)
    assert message.isprintable()
    return message


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
    decode = folders._decode_files  # pyright: ignore[reportPrivateUsage]

    def count(*args: Any) -> Any:
        counts.append(len(args[-1]))
        return decode(*args)

    monkeypatch.setattr(folders, "_decode_files", count)
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
    assert not is_picture_folder(tmp_path)


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


def test_other_files_are_ignored(tmp_path: Path) -> None:
    root = make(tmp_path / "a")
    before = read_folder(root, cache=tmp_path / "one")
    for name in ("notes.txt", ".hidden.png", "._0.png", "0.gif", "0.png.txt", "png"):
        (root / "train" / "1" / name).write_bytes(b"x")
        (root / name).write_bytes(b"x")
    save(root / "train" / ".thumbs" / "a.png", image())
    save(root / "train" / "1" / "deeper" / "a.png", image())
    (root / "train" / "1" / "folder.png").mkdir()
    assert_same(before, read_folder(root, cache=tmp_path / "two"))


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
    assert not is_picture_folder(root / "train" / "0")  # pictures, but no class folders
    idx = tmp_path / "idx"
    idx.mkdir()
    write_idx(idx / "train-images-idx3-ubyte", np.zeros([3, 2, 2], np.uint8))
    np.savez(tmp_path / "b.npz", x_train=np.zeros(3))
    (tmp_path / "empty" / "train" / "0").mkdir(parents=True)
    (tmp_path / "text" / "0").mkdir(parents=True)
    (tmp_path / "text" / "0" / "a.txt").touch()
    (tmp_path / "text" / "0" / ".a.png").touch()
    save(tmp_path / "deep" / "a" / "b" / "c.png", image())
    for path in (idx, tmp_path / "b.npz", tmp_path / "empty", tmp_path / "text", tmp_path / "deep", tmp_path / "none"):
        assert not is_picture_folder(path)
    assert not is_picture_folder(Path("nul\0byte"))


# Kinds of pictures


def read_one(tmp_path: Path, name: str) -> Bytes:
    """Reads a picture at `tmp_path/0/name` together with itself as another class."""
    shutil.copytree(tmp_path / "0", tmp_path / "1")
    found = read_folder(tmp_path).train.images
    shutil.rmtree(tmp_path / "1")
    np.testing.assert_array_equal(found[0], found[1])
    return found[0]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_grey_comes_out_byte_for_byte(tmp_path: Path, mode: str) -> None:
    save(tmp_path / "0" / "a.png", image(), mode)
    np.testing.assert_array_equal(read_one(tmp_path, "a.png"), image())


@pytest.mark.parametrize("form", ["colour.png", "colour.jpg", "palette.png", "cmyk.jpg", "bits.png", "four.png"])
def test_luminosity_is_pillows(tmp_path: Path, form: str) -> None:
    picture = Image.fromarray(image(shape=(5, 7, 3)))
    modes = {"palette": "P", "cmyk": "CMYK", "bits": "1", "four": "P"}
    picture = picture.convert(modes.get(form.split(".")[0], "RGB"))
    (tmp_path / "0").mkdir()
    path = tmp_path / "0" / form
    options: dict[str, Any] = {"bits": 4} if form == "four.png" else {}
    picture.save(path, **options)
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert("L"))
    np.testing.assert_array_equal(read_one(tmp_path, form), expected)


@pytest.mark.parametrize("clear", [None, 3 * 257])
def test_16_bits(tmp_path: Path, clear: int | None) -> None:
    deep = image().astype(np.uint16) * 257
    deep[0, 0] = 3 * 257
    data = io.BytesIO()
    Image.fromarray(deep).save(data, "PNG")
    content = data.getvalue()
    if clear is not None:  # which Pillow does not write for 16 bits
        at = content.index(b"IDAT") - 4
        content = content[:at] + chunk(b"tRNS", struct.pack(">H", clear)) + content[at:]
    save(tmp_path / "0" / "a.png", image()).write_bytes(content)
    expected = (deep >> 8).astype(np.uint8)
    if clear is not None:
        expected[expected == 3] = 255
    np.testing.assert_array_equal(read_one(tmp_path, "a.png"), expected)


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    ink = np.zeros([5, 7, 4], np.uint8)
    ink[..., 3] = image()
    save(tmp_path / "0" / "a.png", ink)
    np.testing.assert_array_equal(read_one(tmp_path, "a.png"), 255 - image())
    save(tmp_path / "0" / "a.png", np.stack([image(1) * 0, image()], axis=-1))
    np.testing.assert_array_equal(read_one(tmp_path, "a.png"), 255 - image())
    grey = np.arange(35, dtype=np.uint8).reshape(5, 7)
    for mode in ("L", "P", "RGB"):
        clear: Any = (4, 4, 4) if mode == "RGB" else 4
        save(tmp_path / "0" / "a.png", grey, mode, transparency=clear)
        np.testing.assert_array_equal(read_one(tmp_path, "a.png"), np.where(grey == 4, 255, grey))


@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    stored = np.kron(np.array([[0, 80, 120], [160, 200, 250]], np.uint8), np.ones([8, 8], np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "0" / "a.jpg", stored, quality=100, exif=exif)
    turned = {
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.T,
        6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).T,
        8: np.rot90(stored),
    }.get(orientation, stored)
    found = read_one(tmp_path, "a.jpg")
    assert found.shape == turned.shape
    np.testing.assert_allclose(found.astype(int), turned, atol=2)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.fixture
def with_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow decodes grey PNGs, eight at once, however few there are."""
    monkeypatch.setattr(folders, "_MANY", 0)
    monkeypatch.setattr(folders, "_GROUP", 8)
    folders._load_decoder.cache_clear()  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(folders, "_load_decoder", once(folders._load_decoder.__wrapped__))  # pyright: ignore


def grey_png(filtered: Bytes) -> bytes:
    """A PNG of uint8 `[height, 1 + width]`, each row the number of its filter before its bytes."""
    height, stride = filtered.shape
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", stride - 1, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(filtered.tobytes())) + chunk(b"IEND", b"")


@pytest.mark.usefixtures("with_tensorflow")
@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=8, max_size=8),
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
)
def test_tensorflow_decodes_to_pillows_values(kinds: list[list[int]], seed: int, width: int) -> None:
    rows = image(seed, (len(kinds), 6, width + 1))
    rows[..., 0] = kinds
    files = [grey_png(row) for row in rows]
    found = np.zeros([8, 6, width], np.uint8)
    assert folders._decode_grey(files, found) == set(range(8))  # pyright: ignore[reportPrivateUsage]
    for data, got in zip(files, found, strict=True):
        with Image.open(io.BytesIO(data)) as opened:
            np.testing.assert_array_equal(got, np.asarray(opened))


@pytest.mark.usefixtures("with_tensorflow")
@settings(deadline=None, max_examples=100)
@given(st.dictionaries(st.integers(0, 10**6), st.integers(1, 255), min_size=1, max_size=3), st.integers(0, 30))
def test_tensorflow_accepts_no_damage_that_pillow_rejects(changes: dict[int, int], cut: int) -> None:
    data = io.BytesIO()
    Image.fromarray(image()).save(data, "PNG")
    damaged = bytearray(data.getvalue())
    for place, bits in changes.items():
        damaged[place % len(damaged)] ^= bits
    files = [bytes(damaged[: len(damaged) - cut])] * 8
    found = np.zeros([8, 5, 7], np.uint8)
    if folders._decode_grey(files, found):  # pyright: ignore[reportPrivateUsage]
        np.testing.assert_array_equal(found[0], folders._decode(files[0]))  # pyright: ignore[reportPrivateUsage]


@pytest.mark.usefixtures("with_tensorflow")
@pytest.mark.parametrize("skip_broken", [False, True])
def test_tensorflow_beside_pillow(tmp_path: Path, skip_broken: bool) -> None:
    """Pictures of every kind among those that TensorFlow decodes, and a broken one that Pillow has to name."""
    for number in range(70):
        mode = {13: "RGB", 20: "P"}.get(number, "")
        save(tmp_path / "01"[number // 40] / f"{number:02}.png", image(number), mode)
    clear = np.arange(35, dtype=np.uint8).reshape(5, 7)
    save(tmp_path / "0" / "30.png", clear, transparency=4)
    expected = np.stack([image(number) for number in range(70)])
    expected[30] = np.where(clear == 4, 255, clear)
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


def test_tensorflow_is_imported_for_many_pictures_only(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, tfmnist.data.folders as folders\n"
        "folders.read_folder(pathlib.Path(sys.argv[1]))\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(make(tmp_path))], check=False).returncode == 0


def test_smooth_pictures_of_every_filter(tmp_path: Path) -> None:
    expected: list[Bytes] = []
    for number in range(40):
        small = Image.fromarray(image(number, (4, 4)))
        array = np.asarray(small.resize((28, 28), Image.Resampling.BICUBIC))
        save(tmp_path / "01"[number // 20] / f"{number:02}.png", array)
        expected.append(array)
    np.testing.assert_array_equal(read_folder(tmp_path).train.images, np.stack(expected))


@pytest.mark.parametrize("side", [28, 150])
def test_pictures_decoded_by_threads(tmp_path: Path, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_SMALL", 0)
    for number in range(30):
        save(tmp_path / str(number % 3) / f"{number:02}.png", image(number, (side, side)))
    expected = [image(number, (side, side)) for label in range(3) for number in range(label, 30, 3)]
    np.testing.assert_array_equal(read_folder(tmp_path).train.images, np.stack(expected))
    (tmp_path / "1" / "13.png").write_bytes(b"")
    (tmp_path / "1" / "16.png").write_bytes(b"")
    assert "13.png: a broken picture (the file is empty)" in complaint(tmp_path)
    assert read_folder(tmp_path, skip_broken=True).notes == ("left out 2 broken pictures: 1/13.png, 1/16.png",)


def test_chunks_beside_the_pixels(tmp_path: Path) -> None:
    text = PngInfo()
    text.add_text("title", "a digit")
    save(tmp_path / "0" / "a.png", image(1), pnginfo=text, dpi=(72, 72))
    save(tmp_path / "0" / "b.png", image(2), dpi=(72, 72))
    save(tmp_path / "1" / "c.png", image(3))
    content = (tmp_path / "1" / "c.png").read_bytes()
    at = content.index(b"IDAT") - 4
    pixels = content[at + 8 : content.index(b"IEND") - 8]
    split = chunk(b"IDAT", pixels[:5]) + chunk(b"IDAT", pixels[5:])
    (tmp_path / "1" / "c.png").write_bytes(content[:at] + split + chunk(b"IEND", b""))
    np.testing.assert_array_equal(read_folder(tmp_path).train.images, np.stack([image(n) for n in (1, 2, 3)]))


def test_the_kind_is_read_off_the_content(tmp_path: Path) -> None:
    save(tmp_path / "0" / "a.jpg", image(), format="PNG")
    np.testing.assert_array_equal(read_one(tmp_path, "a.jpg"), image())


# Pictures that do not fit, or are broken


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("end", ["png", "jpg"])
@pytest.mark.parametrize("skip_broken", [False, True])
def test_another_size(tmp_path: Path, part: str, end: str, skip_broken: bool) -> None:
    root = make(tmp_path)
    save(root / part / "1" / f"9.{end}", image(shape=(7, 5)))
    message = complaint(root, skip_broken=skip_broken)
    assert f"{root / part / '1' / f'9.{end}'}: 5x7 pixels, expected 7x5 like train/0/0.png; resize" in message


def broken_pictures() -> dict[str, bytes]:
    data = io.BytesIO()
    Image.fromarray(image()).save(data, "PNG")
    png = data.getvalue()
    data = io.BytesIO()
    Image.fromarray(image()).save(data, "JPEG")
    jpeg = data.getvalue()
    at = png.index(b"IDAT")
    flipped = png[: at + 8] + bytes([png[at + 8] ^ 255]) + png[at + 9 :]
    side = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    filtered = image(shape=(5, 8))
    filtered[:, 0] = 5
    return {
        "empty": b"",
        "text": b"not a picture",
        "gif": b"GIF89a" + bytes(30),
        "signature": png[:8],
        "cut png": png[: at + 20],
        "cut jpeg": jpeg[: len(jpeg) // 2],
        "jpeg head": jpeg[:3],
        "flipped": flipped,
        "bomb": png[:8] + chunk(b"IHDR", side) + chunk(b"IDAT", b"") + chunk(b"IEND", b""),
        "filter": png[: at - 4] + chunk(b"IDAT", zlib.compress(filtered.tobytes())) + chunk(b"IEND", b""),
    }


@pytest.mark.parametrize("kind", broken_pictures())
@pytest.mark.parametrize("place", ["train/0/0.png", "train/1/2.png", "test/2/1.png"])
def test_a_broken_picture(tmp_path: Path, kind: str, place: str) -> None:
    root = make(tmp_path)
    whole = read_folder(root)
    (root / place).write_bytes(broken_pictures()[kind])
    for _ in range(2):
        message = complaint(root)
        assert message.startswith(f"{root / place}: a broken picture (")
        assert message.endswith("leave broken pictures out with data.skip_broken true (--data.skip_broken true).")
        assert read_folder(root, skip_broken=True).notes == (f"left out 1 broken picture: {place}",)
    source = read_folder(root, skip_broken=True)
    part, label, name = place.split("/")
    per_class = 3 if part == "train" else 2
    row = int(label) * per_class + int(name[0])
    for one, other, changed in ((source.train, whole.train, "train"), (source.test, whole.test, "test")):
        assert one is not None and other is not None
        for got, old in ((one.images, other.images), (one.labels, other.labels)):
            np.testing.assert_array_equal(got, np.delete(old, row, axis=0) if changed == part else old)


def test_notes_name_three(tmp_path: Path) -> None:
    root = make(tmp_path / "a", train=12)
    for number in (10, 2, 3, 7):
        (root / "train" / "1" / f"{number}.png").write_bytes(b"")
    expected = ("left out 4 broken pictures: train/1/2.png, train/1/3.png, train/1/7.png, ...",)
    assert read_folder(root, skip_broken=True).notes == expected
    assert "train/1/2.png: a broken picture (the file is empty)" in complaint(root)


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


@pytest.mark.parametrize("place", ["train/1", "test/2"])
def test_a_class_of_broken_pictures(tmp_path: Path, place: str) -> None:
    root = make(tmp_path)
    for path in (root / place).iterdir():
        path.write_bytes(b"")
    count = 3 if "train" in place else 2
    message = complaint(root, skip_broken=True)
    assert f"{root / place / '0.png'}: a broken picture" in message and f"all {count} of its class" in message


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


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([("PNG", "L"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "L"), ("JPEG", "CMYK")]),
    st.dictionaries(st.integers(0, 10**6), st.integers(1, 255), max_size=4),
    st.integers(0, 60),
)
def test_any_damage_is_a_picture_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, form: tuple[str, str], changes: dict[int, int], cut: int
) -> None:
    root = make(tmp_path_factory.mktemp("damage"), train=1, test=0, classes=("0", "1"))
    path = save(root / "train" / "1" / "a.png", image(), form[1], format=form[0])
    data = bytearray(path.read_bytes())
    for place, bits in changes.items():
        data[place % len(data)] ^= bits
    path.write_bytes(data[: len(data) - cut])
    try:
        source = read_folder(root, skip_broken=True)
    except InputError as error:
        assert "pixels, expected 7x5" in str(error)
    else:
        assert len(source.train.images) == 3 - len(source.notes)


# The cache


def test_the_second_time_nothing_is_decoded(tmp_path: Path, decoded: list[int], cache: Path) -> None:
    root = make(tmp_path / "a")
    events = list(read_folder_events(root))
    assert events == [DecodingProgress(15, 15)] and decoded == [15]
    first = read_folder(root)
    assert list(read_folder_events(root)) == [] and decoded == [15]
    assert_same(first, read_folder(root, cache=tmp_path / "another"))
    assert decoded == [15, 15]
    mapped: Any = first.train.images.base
    assert isinstance(mapped.base, np.memmap)
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix not in (".npy", ".json", "")]
    assert [path.name for path in cache.iterdir() if path.name.startswith(".")] == []


def test_the_second_time_nothing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(tmp_path / "a")
    first = read_folder(root)
    monkeypatch.setattr(folders, "_read_file", None)
    assert_same(first, read_folder(root))


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
    read = folders._read_file  # pyright: ignore[reportPrivateUsage]
    count: list[str] = []

    def watch(path: str) -> bytes:
        count.append(path)
        return read(path)

    monkeypatch.setattr(folders, "_read_file", watch)
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


def entries(cache: Path) -> list[Path]:
    return sorted(path for path in cache.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("name", ["images.npy", "skipped.npy", "entry.json"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, cache: Path, decoded: list[int], name: str) -> None:
    root = make(tmp_path / "a")
    first = read_folder(root, cache=tmp_path / "other")
    read_folder(root)
    decoded.clear()
    (entry,) = entries(cache)
    data = (entry / name).read_bytes()
    (entry / name).unlink()  # the mapped one stays as it is
    (entry / name).write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    assert_same(first, read_folder(root))
    assert decoded == [15]
    assert list(read_folder_events(root)) == [] and decoded == [15]
    assert (entry / name).read_bytes() == data and entries(cache) == [entry]


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


def test_an_entry_removed_while_it_is_used(tmp_path: Path, cache: Path) -> None:
    root = make(tmp_path / "a")
    source = read_folder(root)
    shutil.rmtree(cache)
    np.testing.assert_array_equal(source.train.images[0], image(1))
    assert_same(source, read_folder(root))


def test_two_processes_fill_the_cache_at_once(tmp_path: Path, cache: Path) -> None:
    root = make(tmp_path / "a", train=30)
    code = (
        "import sys, pathlib, tfmnist.data.folders as folders\n"
        "sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.readline()\n"
        "source = folders.read_folder(pathlib.Path(sys.argv[1]))\n"
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


def test_events_stop_anywhere(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_STRETCH", 4)
    root = make(tmp_path / "a")
    events = read_folder_events(root)
    assert next(events) == DecodingProgress(4, 15)
    events.close()
    assert not cache.exists()
    assert list(read_folder_events(root)) == [DecodingProgress(done, 15) for done in (4, 8, 12, 15)]


def test_about_fifty_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_STRETCH", 1)
    events = list(read_folder_events(make(tmp_path / "a", train=60)))
    assert 40 <= len(events) <= 50 and events[-1] == DecodingProgress(186, 186)


# Writing


def digits(validation: int = 4) -> Digits:
    labels = np.array([2, 0, 1, 1, 0, 2, 0, 1, 2, 0, 1, 2])
    images = np.stack([image(number) for number in range(12)])
    held = np.array([1, 5, 7, 10][:validation], np.int64)
    train = np.setdiff1d(np.arange(12), held)
    test = Split(np.stack([image(90 + number) for number in range(3)]), np.array([1, 2, 0]))
    if not validation:
        return Digits(Split(images, labels), Split(images[:0], labels[:0]), test, ("a", "b", "ç 3"), "x")
    return Digits(Split(images, labels, train), Split(images, labels, held), test, ("a", "b", "ç 3"), "x")


@pytest.mark.parametrize("validation", [0, 4])
def test_write_folder(tmp_path: Path, validation: int) -> None:
    data = digits(validation)
    destination = tmp_path / "new" / "folder"
    events = list(write_folder(data, destination))
    assert events[-1] == DecodingProgress(15, 15) and [event.total for event in events] == [15] * len(events)
    assert os.listdir(tmp_path / "new") == ["folder"]
    names = sorted(path.relative_to(destination).as_posix() for path in destination.rglob("*.png"))
    whole = digits(0)
    expected = [f"train/{data.class_names[label]}/{row:05}.png" for row, label in enumerate(whole.train.labels)]
    expected += ["test/b/00000.png", "test/ç 3/00001.png", "test/a/00002.png"]
    assert names == sorted(expected)
    with Image.open(destination / "train" / "ç 3" / "00005.png") as picture:
        assert picture.format == "PNG" and picture.mode == "L"
        np.testing.assert_array_equal(np.asarray(picture), image(5))
    assert destination.stat().st_mode & 0o777 == (tmp_path / "new").stat().st_mode & 0o777
    source = read_folder(destination)
    order = np.argsort(whole.train.labels, kind="stable")
    np.testing.assert_array_equal(source.train.images, whole.train.images[order])
    np.testing.assert_array_equal(source.train.labels, whole.train.labels[order])
    assert source.test is not None and source.class_names == data.class_names
    np.testing.assert_array_equal(source.test.images, whole.test.images[[2, 0, 1]])


@pytest.mark.parametrize(
    ("rows", "names"), [([9, 4], ["00004", "00009"]), ([4, 4], ["00000", "00001"]), (None, ["00000", "00001"])]
)
def test_numbers_are_places_in_the_data_set(tmp_path: Path, rows: list[int] | None, names: list[str]) -> None:
    whole = digits(0)
    images, labels = whole.train.images, whole.train.labels
    train = Split(images[[9, 4]], labels[[9, 4]]) if rows is None else Split(images, labels, np.array(rows))
    list(write_folder(Digits(train, whole.validation, whole.test, whole.class_names, "x"), tmp_path / "a"))
    assert sorted(path.stem for path in (tmp_path / "a" / "train").rglob("*.png")) == names


def test_write_into_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    list(write_folder(digits(), tmp_path / "link"))
    assert is_picture_folder(tmp_path / "real") and (tmp_path / "link").is_symlink()


def test_write_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = write_folder(digits(), tmp_path / "a")
    next(events)
    assert not (tmp_path / "a").exists()
    events.close()
    assert os.listdir(tmp_path) == []

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(InputError, match=r"a: cannot write the pictures: No space left on device; check"):
        list(write_folder(digits(), tmp_path / "a"))
    assert os.listdir(tmp_path) == []


def test_write_refuses(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for path in (tmp_path / "full", tmp_path / "full" / "file"):
        with pytest.raises(InputError, match="is there already and not an empty folder"):
            list(write_folder(digits(), path))
    data = digits()
    for name in ("", ".", "..", ".a", "T-shirt/top", "a\0", " ", "a\\b"):
        named = Digits(data.train, data.validation, data.test, ("a", "b", name), "x")
        with pytest.raises(InputError, match=r"^class name .* cannot be a folder's"):
            list(write_folder(named, tmp_path / "new"))
    assert not (tmp_path / "new").exists()
