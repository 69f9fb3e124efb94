"""IDX files: what is read is what was written, and every kind of damage is an error that says what to do."""

import gzip
import hashlib
import re
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import tfmnist.data.idx as idx
from tfmnist.data.idx import make_header, read_idx, read_images, read_labels, write_idx
from tfmnist.data.mapped import find_map
from tfmnist.errors import InputError

MNIST = Path(idx.__file__).parent / "mnist"
DIGESTS = {  # SHA-256 of MNIST's files as they were published
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
NAMES = list(DIGESTS)
IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
LABELS = np.array([3, 1, 2], np.uint8)


def header(*sizes: int, magic: int | None = None) -> bytes:
    return struct.pack(f">{1 + len(sizes)}I", 0x0800 + len(sizes) if magic is None else magic, *sizes)


def complaint(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    return message


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_embedded_files_are_read_byte_for_byte(name: str) -> None:
    read = read_images if "images" in name else read_labels
    array = read(MNIST / f"{name}.gz")
    assert array.shape == ((60_000 if "train" in name else 10_000), 28, 28)[: array.ndim]
    content = header(*array.shape) + array.tobytes()
    assert hashlib.sha256(content).hexdigest() == DIGESTS[name]


@settings(deadline=None, max_examples=60)
@given(array=npst.arrays(np.uint8, npst.array_shapes(min_dims=1, max_dims=5, min_side=0, max_side=5)), gz=st.booleans())
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, array: npt.NDArray[np.uint8], gz: bool) -> None:
    path = tmp_path_factory.mktemp("round") / ("a.gz" if gz else "a")
    write_idx(path, array)
    back = read_idx(path)
    assert back.shape == array.shape and back.dtype == np.uint8
    np.testing.assert_array_equal(back, array)
    assert not back.flags.writeable
    content = path.read_bytes()
    assert (gzip.decompress(content) if gz else content) == header(*array.shape) + array.tobytes()


def test_compression_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    plain, packed = header(3) + LABELS.tobytes(), gzip.compress(header(3) + LABELS.tobytes())
    for name, content in (("plain.gz", plain), ("packed", packed)):
        assert read_labels(written(tmp_path / name, content)).tolist() == [3, 1, 2]


def test_plain_file_is_mapped_not_read(tmp_path: Path) -> None:
    images = read_images(written(tmp_path / "a", header(2, 3, 4) + IMAGES.tobytes()))
    assert find_map(images) and type(images) is np.ndarray


def test_compressed_file_is_held_once(tmp_path: Path) -> None:
    random = np.random.default_rng(0).integers(0, 256, [2048, 64, 64], np.uint8)
    path = written(tmp_path / "big.gz", gzip.compress(header(*random.shape) + random.tobytes(), 1))
    tracemalloc.start()
    images = read_images(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(images, random)
    assert peak < 1.5 * random.nbytes


def test_equal_arrays_become_equal_files_and_no_leftovers(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz", "a.gz"):
        write_idx(tmp_path / name, IMAGES)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert (tmp_path / "a.gz").read_bytes()[4:8] == bytes(4)  # no time in it
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gz", "b.gz"]


def test_a_mapped_array_survives_its_file_being_replaced(tmp_path: Path) -> None:
    strided = IMAGES.transpose(2, 0, 1)[::-1]
    write_idx(tmp_path / "a", strided)
    before = read_images(tmp_path / "a")
    write_idx(tmp_path / "a", IMAGES[:1] + 100)
    np.testing.assert_array_equal(before, strided)
    np.testing.assert_array_equal(read_images(tmp_path / "a"), IMAGES[:1] + 100)


@pytest.mark.parametrize(
    ("dtype", "code"),
    [("u1", 0x08), ("i1", 0x09), (">i2", 0x0B), ("<i2", 0x0B), ("i4", 0x0C), ("f4", 0x0D), ("<f8", 0x0E)],
)
@pytest.mark.parametrize("name", ["a", "a.gz"])
def test_all_element_types(tmp_path: Path, dtype: str, code: int, name: str) -> None:
    array = (np.arange(24).reshape(2, 3, 4) - (0 if dtype == "u1" else 9)).astype(dtype)
    write_idx(tmp_path / name, array)
    content = header(2, 3, 4, magic=code << 8 | 3) + array.astype(np.dtype(dtype).newbyteorder(">")).tobytes()
    back = (gzip.decompress if name == "a.gz" else bytes)((tmp_path / name).read_bytes())
    assert back == content and make_header(tmp_path, array.dtype, array.shape) == content[:16]
    read = read_images(tmp_path / name)
    np.testing.assert_array_equal(read, array)
    assert read.dtype.newbyteorder("=") == np.dtype(dtype).newbyteorder("=") and not read.flags.writeable
    assert bool(find_map(read)) == (name == "a")


def test_labels_may_have_columns(tmp_path: Path) -> None:
    write_idx(tmp_path / "a", IMAGES[0].astype(np.int32))
    assert read_labels(tmp_path / "a").tolist() == IMAGES[0].tolist()


def test_write_refuses_other_types(tmp_path: Path) -> None:
    message = complaint(lambda path: write_idx(path, np.zeros([2], np.int64)), tmp_path / "a")
    assert "int64 [2]" in message and "expected uint8, int8, int16, int32, float32, float64 with 1 to 64" in message
    assert "uint8 []" in complaint(lambda path: write_idx(path, np.array(1, np.uint8)), tmp_path / "a")
    assert "No such file" in complaint(lambda path: write_idx(path, LABELS), tmp_path / "absent" / "a")


def test_missing_and_unreadable(tmp_path: Path) -> None:
    assert "No such file" in complaint(read_idx, tmp_path / "absent")
    assert "check the path" in complaint(read_idx, tmp_path / "absent")
    assert "directory" in complaint(read_idx, tmp_path)


def test_empty(tmp_path: Path) -> None:
    assert "empty (0 bytes)" in complaint(read_idx, written(tmp_path / "a", b""))
    assert "holds 0 bytes, expected at least 4" in complaint(read_idx, written(tmp_path / "a.gz", gzip.compress(b"")))


def test_a_stream_that_unpacks_to_far_more_than_announced_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    with gzip.open(path, "wb", 1) as stream:
        stream.write(header(2, 3, 4))
        for _ in range(200):
            stream.write(bytes(2**20))
    length = int(re.search(r"too long: (\d+) bytes or more", complaint(read_idx, path)).group(1))  # type: ignore
    assert 2**26 < length < 2**27


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("read", "content", "words"),
    [
        (read_images, header(3) + bytes(3), ["0x00000801", "expected 0x00000803 (images)", "is this the labels file?"]),
        (read_labels, header(1, 1, 1), ["0x00000803", "expected 0x00000801 (labels)", "is this the images file?"]),
        (read_images, b"\x89PNG\r\n", ["0x89504e47", "expected 0x00000803 (images)"]),
        (read_images, header(1, 1) + bytes(1), ["0x00000802", "is this the labels file?"]),
        (read_labels, header(1, 1, 1, 1) + bytes(1), ["0x00000804", "expected 0x00000801 (labels)", "of labels?"]),
        (read_idx, b"\x89PNG\r\n", ["not an IDX file", "0x89504e47", "expected 0x0000TTNN"]),
        (read_idx, header(1, magic=0x0701) + bytes(4), ["element type is 0x07", "expected 0x08", "0x0b, 0x0c"]),
        (read_idx, header(), ["0 dimensions", "expected 1 to 64"]),
        (read_idx, header(*[1] * 65) + bytes(1), ["65 dimensions", "expected 1 to 64"]),
        (read_idx, b"\0\0\x08", ["header is cut off", "holds 3 bytes", "expected at least 4"]),
        (read_images, header(1, 2, 3)[:-1], ["header is cut off", "holds 15 bytes", "expected at least 16"]),
        (read_images, header(2, 3, 4) + bytes(23), ["cut off: 23 bytes", "expected 24 (2 x 3 x 4)", "again"]),
        (read_images, header(2, 3, 4) + bytes(25), ["too long: 25 bytes", "expected 24 (2 x 3 x 4)"]),
        (read_labels, header(2**32 - 1) + bytes(9), ["cut off: 9 bytes", "expected 4294967295"]),
        (read_images, header(*[2**32 - 1] * 3) + bytes(9), ["cut off: 9 bytes", "expected 792281624"]),
        (read_images, header(2, 3, 4, magic=0x0D03) + bytes(95), ["cut off: 95 bytes", "expected 96 (2 x 3 x 4)"]),
        (read_images, header(0, 2**32 - 1, 2**32 - 1), ["0 x 4294967295", "expected a shape"]),
    ],
)
def test_damage(
    tmp_path: Path, pack: Callable[[bytes], bytes], read: Callable[[Path], object], content: bytes, words: list[str]
) -> None:
    message = complaint(read, written(tmp_path / "a", pack(content)))
    assert all(word in message for word in words), message


def test_broken_gzip(tmp_path: Path) -> None:
    packed = gzip.compress(header(64, 64) + np.random.default_rng(0).bytes(4096))
    damaged = bytearray(packed)
    damaged[len(packed) - 8] ^= 1  # the checksum
    garbled = packed[:10] + b"\xff" * (len(packed) - 10)
    for content in (packed[:-9], packed[:12], packed[:3], bytes(damaged), garbled, packed + b"more"):
        message = complaint(read_idx, written(tmp_path / "a.gz", content))
        assert "broken gzip stream" in message and "expected a complete .gz" in message
        assert "again" in message


@settings(deadline=None, max_examples=100)
@given(cut=st.integers(0, 60), at=st.integers(0, 60), flip=st.integers(0, 255), gz=st.booleans())
def test_no_damage_gets_past(tmp_path_factory: pytest.TempPathFactory, cut: int, at: int, flip: int, gz: bool) -> None:
    content = bytearray(header(2, 3, 4) + IMAGES.tobytes())
    content = bytearray(gzip.compress(content, mtime=0)) if gz else content
    content[at % len(content)] ^= flip
    path = written(tmp_path_factory.mktemp("damage") / "a", bytes(content[: len(content) - cut]))
    try:
        assert read_idx(path).dtype == np.uint8
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path / "a.gz", IMAGES)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gzip.GzipFile, "write", full)
    message = complaint(lambda path: write_idx(path, IMAGES[:1]), tmp_path / "a.gz")
    assert "No space left" in message
    monkeypatch.undo()
    assert len(read_images(tmp_path / "a.gz")) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["a.gz"]
