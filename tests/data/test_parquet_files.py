"""Parquet files of pictures, in every form that their columns have; read here if pyarrow is installed."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_folders import image, save

from tfmnist.data.convert import write_idx_folder
from tfmnist.data.parquet_files import find_parquet_files, open_parquet
from tfmnist.data.sources import load
from tfmnist.data.streams import Example
from tfmnist.errors import InputError


def test_finding_files(tmp_path: Path) -> None:
    for name in ("train-1.parquet", "train-0.parquet", "data/x.parquet", "a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find_parquet_files(tmp_path)] == ["train-0.parquet", "train-1.parquet"]
    assert find_parquet_files(tmp_path / "train-0.parquet") == [tmp_path / "train-0.parquet"]
    assert find_parquet_files(tmp_path / "a.png") == []
    for path in tmp_path.glob("*.parquet"):
        path.unlink()
    assert find_parquet_files(tmp_path) == [tmp_path / "data/x.parquet"]


def test_pyarrow_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"needs pyarrow: pip install 'tfmnist\[parquet\]'"):
        open_parquet([tmp_path / "a.parquet"])


def write(path: Path, images: list[Any], labels: list[Any], names: tuple[str, ...] = (), column: str = "image") -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = arrow.table({column: images, "label": labels})
    if names:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    parquet.write_table(table, path)
    return path


def png(tmp_path: Path, number: int) -> bytes:
    return save(tmp_path / "x.png", image(number, (4, 4))).read_bytes()


def examples(*paths: Path) -> list[Example]:
    return list(open_parquet(paths).examples)


@pytest.mark.parametrize("form", ["struct", "bytes", "flat", "rows"])
def test_forms_of_images(tmp_path: Path, form: str) -> None:
    def encode(number: int) -> Any:
        data, pixels = png(tmp_path, number), image(number, (4, 4))
        forms = {
            "struct": {"bytes": data, "path": None},
            "bytes": data,
            "flat": pixels.ravel(),
            "rows": pixels.tolist(),
        }
        return forms[form]

    write(
        tmp_path / "train.parquet",
        [encode(number) for number in range(600)],
        [n % 3 for n in range(600)],
        ("a", "c", "b"),
    )
    write(tmp_path / "test.parquet", [encode(number) for number in range(3)], [0, 1, 2], ("a", "c", "b"))
    list(write_idx_folder(tmp_path, tmp_path / "idx"))
    digits = load(tmp_path / "idx", validation=0)
    assert digits.class_names == ("a", "c", "b") and digits.test.labels.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(digits.train.images, np.stack([image(number, (4, 4)) for number in range(600)]))
    assert digits.train.labels.tolist() == [n % 3 for n in range(600)]


def test_labels_without_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [png(tmp_path, 0)] * 2, ["cat", "dog"], column="img")
    assert [example[:3] for example in examples(path)] == [
        ("train", "cat", f"{path}: row 0"),
        ("train", "dog", f"{path}: row 1"),
    ]
    path = write(tmp_path / "valid-0.parquet", [png(tmp_path, 0)], [7])
    assert [example[:2] for example in examples(path)] == [("validation", "7")]


def test_what_cannot_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [png(tmp_path, 0)], [-1], ("a", "b"))
    with pytest.raises(InputError, match="cannot read row 0: its label is -1, expected a class"):
        examples(path)
    with pytest.raises(InputError, match="row 0: pixels are int64, 0 to 300, expected"):
        examples(write(path, [[0, 300, 0, 1]], [1]))
    with pytest.raises(InputError, match="columns picture, label, expected 'image' and 'label'"):
        examples(write(path, [[0]], [1], column="picture"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="cannot read the Parquet file"):
        examples(path)
