"""CSV files: label and pixels of every row, whatever the header, and the line that is wrong."""

import gzip
import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from samples import assert_holds, complaint, make

import tfmnist.data.csv_files as csv_files
from tfmnist.data.csv_files import has_labels, read_csv, read_csv_chunks
from tfmnist.data.sources import load
from tfmnist.errors import InputError

PIXELS = [f"pixel{index}" for index in range(9)]
ARRAYS = make(shape=(3, 3))
IMAGES, LABELS = ARRAYS["x_train"], ARRAYS["y_train"]


def text(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], header: str = "", delimiter: str = ",") -> str:
    rows = [delimiter.join(map(str, [label, *image.ravel()])) for image, label in zip(images, labels)]
    return "\n".join([header, *rows] if header else rows) + "\n"


def written(path: Path, content: str | bytes) -> Path:
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


HEADER = ",".join(["label", *PIXELS])
PLAIN = text(IMAGES, LABELS)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        text(IMAGES, LABELS, HEADER),
        text(IMAGES, LABELS, HEADER.replace(",", ";"), ";"),
        PLAIN.replace(",", "\t"),
        "\ufeff" + text(IMAGES, LABELS, HEADER),
        text(IMAGES, LABELS, HEADER).replace("\n", "\r\n"),
        text(IMAGES, LABELS, '"' + HEADER.replace(",", '","') + '"'),
        text(IMAGES, LABELS, ",".join(map(str, range(10)))),  # as pandas numbers the columns
        PLAIN.rstrip("\n"),
        PLAIN + "\n\n",
        PLAIN.replace(",", ".0,").replace("\n", ".0\n"),
        "\n".join(
            ",".join([*row.split(",")[1:], row.split(",")[0]]) for row in text(IMAGES, LABELS, HEADER).split("\n")
        ),
    ],
)
def test_rows_are_read(tmp_path: Path, name: str, content: str) -> None:
    path = written(tmp_path / name, content)
    images, labels = read_csv(path)
    np.testing.assert_array_equal(images, IMAGES)
    assert labels.tolist() == LABELS.tolist() and images.dtype == np.uint8 and labels.dtype == np.int64
    assert has_labels(path)


def test_a_file_without_labels(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", text(IMAGES, LABELS, HEADER.replace("label", "id")))
    assert not has_labels(path)
    with pytest.raises(InputError, match="no labels, expected a column that the header calls 'label'"):
        read_csv(path)


def test_chunks_are_the_rows_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.csv", text(IMAGES, LABELS, HEADER))
    monkeypatch.setattr(csv_files, "_CHUNK", 200)
    chunks = list(read_csv_chunks(path))
    assert len(chunks) > 5
    np.testing.assert_array_equal(np.concatenate([images for images, _ in chunks]), IMAGES)
    assert np.concatenate([labels for _, labels in chunks]).tolist() == LABELS.tolist()


def test_memory_is_bounded(tmp_path: Path) -> None:
    arrays = make(train=20_000, shape=(28, 28))
    row = text(arrays["x_train"][:100], arrays["y_train"][:100])
    path = written(tmp_path / "a.csv", row * 200)  # 56 MB
    tracemalloc.start()
    count = sum(len(labels) for _, labels in read_csv_chunks(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000 and peak < 60_000_000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["the first line is empty"]),
        (HEADER, ["no rows"]),
        ("1" * 2_000_000, ["the first line is too long"]),
        ("1,2,3,4\n", ["3 pixels in a row", "expected a square number"]),
        ("7\n", ["0 pixels in a row"]),
        (PLAIN.replace("\n", "\n1,2\n", 1), ["line 2 has 2 columns, expected 10 as in the first line"]),
        (text(IMAGES, LABELS, HEADER) + "1,2,3\n", ["line 62 has 3 columns, expected 10"]),
        (PLAIN + "\n1,2,3,4,5,6,256,8,9,10\n", ["line 62 has '256' in column 7", "a pixel", "from 0 to 255"]),
        (PLAIN + "1,2,3,4,5,-6,7,8,9,10\n", ["line 61 has '-6' in column 6"]),
        (PLAIN + "1,2,3,4,5,0.5,7,8,9,10\n", ["line 61 has '0.5' in column 6"]),
        (PLAIN + "1,2,3,4,5,,7,8,9,10\n", ["line 61 has '' in column 6"]),
        (PLAIN + "1,2,3,4,5,nan,7,8,9,10\n", ["line 61 has 'nan' in column 6"]),
        (PLAIN + "x,2,3,4,5,6,7,8,9,10\n", ["line 61 has 'x' in column 1", "a label, a whole number"]),
        (PLAIN + "inf,2,3,4,5,6,7,8,9,10\n", ["line 61 has 'inf' in column 1", "a label"]),
        (PLAIN + "0.5,2,3,4,5,6,7,8,9,10\n", ["line 61 has '0.5' in column 1", "a label"]),
        (PLAIN + "y" * 500 + ",2,3,4,5,6,7,8,9,10\n", ["line 61 has 'yyyy", "... in column 1"]),
        (PLAIN.encode("utf-16"), ["cannot read it", "expected a CSV file in UTF-8"]),
        (gzip.compress(PLAIN.encode(), mtime=0)[:-9], ["cannot read it", "again"]),
    ],
)
def test_refuses(tmp_path: Path, content: str | bytes, words: list[str]) -> None:
    message = complaint(written(tmp_path / "a.csv", content))
    assert all(word in message for word in [str(tmp_path / "a.csv"), *words]) and len(message) < 400, message


def test_kaggles_folder_and_file(tmp_path: Path) -> None:
    written(tmp_path / "train.csv", text(IMAGES, LABELS, HEADER))
    rows = "\n".join(",".join(map(str, image.ravel())) for image in IMAGES)
    written(tmp_path / "test.csv", ",".join(PIXELS) + "\n" + rows)
    written(tmp_path / "sample_submission.csv", "ImageId,Label\n1,0\n")
    digits = load(tmp_path, validation=0)
    assert len(digits.train) + len(digits.test) == 60 and digits.classes == 3
    assert digits.notes[0] == "test.csv has no labels: it is not used" and "no test set" in digits.notes[1]
    assert load(tmp_path / "train.csv", validation=0).sha256 == digits.sha256
    assert digits.train.rows is not None
    assert_holds(digits.train, IMAGES[digits.train.rows], LABELS[digits.train.rows])


def test_a_pair_of_files(tmp_path: Path) -> None:
    written(tmp_path / "mnist_train.csv", PLAIN)
    written(tmp_path / "mnist_test.csv.gz", text(ARRAYS["x_test"], ARRAYS["y_test"]))
    for source in (tmp_path, tmp_path / "mnist_train.csv"):
        digits = load(source, validation=0)
        assert_holds(digits.train, IMAGES, LABELS)
        assert_holds(digits.test, ARRAYS["x_test"], ARRAYS["y_test"])
        assert digits.notes == ("mnist_test.csv.gz is the test set",)
    alone = load(tmp_path / "mnist_test.csv.gz", validation=0)
    assert len(alone.train) + len(alone.test) == 12


def test_a_few_rows_give_a_test_set_too(tmp_path: Path) -> None:
    images = np.tile(IMAGES[:1], [24, 1, 1])
    digits = load(written(tmp_path / "few.csv", text(images, np.arange(24) % 6, HEADER)), validation=0)
    assert (len(digits.train), len(digits.test), digits.classes) == (21, 3, 6)


def test_few_grey_levels_and_other_sizes(tmp_path: Path) -> None:
    arrays = make(shape=(8, 8))
    images = arrays["x_train"] % 17
    digits = load(written(tmp_path / "a.csv", text(images, LABELS)), validation=0)
    assert digits.image_shape == (8, 8) and digits.train.images.max() == 255
    assert any("from 0 to 16: scaled" in note for note in digits.notes)
    assert len(list(itertools.islice(read_csv_chunks(tmp_path / "a.csv"), 2))) == 1
