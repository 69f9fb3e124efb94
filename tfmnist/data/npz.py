"""`.npz` files as a source: one with all arrays, or KMNIST's four with one each."""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmnist.data.arrays import to_labels
from tfmnist.data.split import Part, Source
from tfmnist.errors import InputError, few
from tfmnist.system.files import one_line

Arrays = dict[str, npt.NDArray[Any]]

NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")
_OTHER_KEYS = {  # MedMNIST's, and capital letters
    f"{letter}_{part}": (f"{part}_{kind}", f"{letter.upper()}_{part}")
    for part in ("train", "val", "test")
    for letter, kind in (("x", "images"), ("y", "labels"))
}


def read_npz(path: Path) -> Source:
    """Reads training, test and perhaps validation arrays and class names; images stay as they are.

    Raises:
        InputError: not an `.npz`, damaged, keys missing, or arrays that cannot be labels or class names.
    """
    others = [name for names in _OTHER_KEYS.values() for name in names]
    keys, arrays = _read(path, [*_OTHER_KEYS, *others, "class_names"])
    names = {key: next((name for name in (key, *other) if name in arrays), "") for key, other in _OTHER_KEYS.items()}
    if missing := [key for key in NPZ_KEYS if not names[key]]:
        remedy = "rename or add them"
        if keys == ["arr_0"]:
            remedy = "of KMNIST's four files (kmnist-train-imgs.npz, ...), name the folder that has them all"
        raise InputError(
            f"{path}: missing {', '.join(missing)}; found {few(keys)}, expected {', '.join(NPZ_KEYS)}; {remedy}."
        )
    array = arrays.get("class_names", np.empty(0, str))
    class_names = tuple(str(name) for name in array.flat)
    lines = [name for name in class_names if name.strip() and name.splitlines() == [name]]
    if array.dtype.kind != "U" or array.ndim != 1 or len(set(lines)) < len(class_names):
        raise InputError(
            f"{path}: class_names is {array.dtype} {list(array.shape)}, expected strings [classes], each one line, "
            "none empty, none twice; correct the array."
        )
    parts = {
        part: Part(arrays[x], to_labels(f"{path}: {y}", arrays[y]), f"{path}: {x}", f"{path}: {y}")
        for part in ("train", "val", "test")
        if (x := names[f"x_{part}"]) and (y := names[f"y_{part}"])
    }
    return Source(parts["train"], parts["test"], class_names, validation=parts.get("val"))


def read_only_array(path: Path) -> npt.NDArray[Any]:
    """Reads an `.npz` with one array without a name, as each of KMNIST's and K49's has."""
    keys, arrays = _read(path, ["arr_0"])
    if not arrays:
        raise InputError(f"{path}: has {few(keys)}, expected arr_0, as KMNIST's files have; copy or download it again.")
    return arrays["arr_0"]


def _read(path: Path, wanted: Iterable[str]) -> tuple[list[str], Arrays]:
    """Returns the names of all arrays in a file, and those wanted that it has."""
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not a readable .npz file, expected one with {', '.join(NPZ_KEYS)}; see np.savez.")
    arrays: Arrays = {}
    name = "(directory)"
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:  # which leaves no file open
            keys = list(file.files)
            for name in [name for name in wanted if name in keys]:
                arrays[name] = np.asarray(file[name])
    except Exception as error:  # zipfile and NumPy raise a dozen kinds for damaged files
        raise InputError(
            f"{path}: cannot read {name}: {one_line(error)}; expected plain numeric arrays, undamaged and without "
            "objects; write the file again with np.savez."
        ) from None
    return keys, arrays
