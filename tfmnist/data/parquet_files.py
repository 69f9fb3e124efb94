"""Labelled pictures in Parquet files, as Hugging Face writes them: a column of images and one of labels.

Needs pyarrow, the extra `parquet`.
"""

import io
import json
import math
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tfmnist.data.layout import ROLES, Role
from tfmnist.data.streams import Example, Stream
from tfmnist.errors import InputError
from tfmnist.system.files import one_line

_IMAGES, _LABELS = ("image", "img", "pixels"), ("label", "labels", "class")
_ROWS = 256  # read at once


def find_parquet_files(path: Path) -> list[Path]:
    """Returns a Parquet file, or those of a folder, perhaps in its folder `data/`, in the order of their names."""
    if not path.is_dir():
        return [path] if path.suffix == ".parquet" else []
    return sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet"))


def open_parquet(files: Sequence[Path]) -> Stream:
    """Streams the pictures of Parquet files, in their order; the part is what a file's name begins with, or training.

    Images are files, in bytes or in a struct with `bytes`, or lists of pixels from 0 to 255; labels are integers, with
    names if Hugging Face's schema has them, or strings.

    Raises:
        InputError: pyarrow is not installed, a column is missing, or a file is damaged.
    """
    try:
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError:
        raise InputError(
            f"{files[0]}: reading Parquet needs pyarrow: pip install 'tfmnist[parquet]', or save it as .npz."
        ) from None
    stream = Stream(iter(()))
    opened: list[tuple[Path, Any, str, str]] = []
    for path in files:
        try:
            file = parquet.ParquetFile(path)
            names: list[str] = file.schema_arrow.names
            about = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        except Exception as error:  # pyarrow raises several kinds
            raise InputError(f"{path}: cannot read the Parquet file: {one_line(error)}; download it again.") from None
        image, label = (next((name for name in wanted if name in names), "") for wanted in (_IMAGES, _LABELS))
        if not image or not label:
            raise InputError(
                f"{path}: columns {', '.join(names)}, expected 'image' and 'label'; rename them, or save it as .npz."
            )
        feature = about.get("info", {}).get("features", {}).get(label, {})
        stream.class_names = stream.class_names or tuple(feature.get("names", ()))
        stream.total += file.metadata.num_rows
        opened.append((path, file, image, label))
    stream.examples = (example for one in opened for example in _read(*one, stream.class_names))
    return stream


def _read(path: Path, file: Any, image: str, label: str, class_names: tuple[str, ...]) -> Iterator[Example]:
    word = re.match("[a-z]*", path.name.lower())
    role: Role = ROLES.get(word[0] if word else "", "train")
    number = 0
    try:
        for batch in file.iter_batches(_ROWS, columns=[image, label]):
            for content, which in zip(batch.column(image).to_pylist(), batch.column(label).to_pylist()):
                name = class_names[which] if class_names and isinstance(which, int) else str(which)
                if which is None or which == -1:
                    raise ValueError(f"its label is {which}, expected a class")
                yield Example(role, name, f"{path}: row {number}", _to_file(content))
                number += 1
    except Exception as error:  # pyarrow raises several kinds
        raise InputError(
            f"{path}: cannot read row {number}: {one_line(error)}; correct it, or download the file again."
        ) from None


def _to_file(content: Any) -> bytes:
    """Returns a picture file; pixels become a PNG."""
    if isinstance(content, dict):
        content = content["bytes"]
    if isinstance(content, bytes):
        return content
    pixels = np.array(content)
    side = math.isqrt(pixels.size)
    if pixels.ndim != 2:
        pixels = pixels.reshape(side, side)
    if pixels.dtype.kind not in "iu" or pixels.min() < 0 or pixels.max() > 255:
        raise ValueError(f"pixels are {pixels.dtype}, {pixels.min()} to {pixels.max()}, expected integers of 0 to 255")
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG", compress_level=0)
    return file.getvalue()
