"""A user's own arrays as a source: a `.npz` file becomes grey images and labels, checked."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmnist.data.split import Images, Labels, Part, Source
from tfmnist.errors import InputError
from tfmnist.system.files import one_line

NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")
_GREY = np.array([0.299, 0.587, 0.114])  # of red, green, blue: ITU-R BT.601
_CHUNK = 4096  # examples


def read_npz(path: Path) -> Source:
    """Reads training and test arrays, in any form that `tfmnist.load` lists.

    Raises:
        InputError: not an `.npz`, damaged, keys missing, or arrays that cannot be images or labels.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not a readable .npz file, expected one with {', '.join(NPZ_KEYS)}; see np.savez.")
    arrays: dict[str, npt.NDArray[Any]] = {}
    name = "(directory)"
    try:
        with np.load(path, allow_pickle=False) as file:
            keys = list(file.files)
            for name in [name for name in (*NPZ_KEYS, "class_names") if name in keys]:
                arrays[name] = np.asarray(file[name])
    except Exception as error:  # zipfile and NumPy raise a dozen kinds for damaged files
        raise InputError(
            f"{path}: cannot read {name}: {one_line(error)}; expected plain numeric arrays, undamaged "
            "and without objects; write the file again with np.savez."
        ) from None
    if missing := [name for name in NPZ_KEYS if name not in keys]:
        raise InputError(
            f"{path}: missing {', '.join(missing)}; found {', '.join(keys) or 'nothing'}, expected "
            f"{', '.join(NPZ_KEYS)}; rename or add them."
        )
    names = arrays.get("class_names", np.empty(0, str))
    class_names = tuple(str(name) for name in names.flat)
    lines = [name for name in class_names if name.strip() and name.splitlines() == [name]]
    if names.dtype.kind != "U" or names.ndim != 1 or len(set(lines)) < len(class_names):
        raise InputError(
            f"{path}: class_names is {names.dtype} {list(names.shape)}, expected strings [classes], each one line, "
            "none empty, none twice; correct the array."
        )
    parts: list[Part] = []
    for part in ("train", "test"):
        images, labels = f"{path}: x_{part}", f"{path}: y_{part}"
        grey = _to_grey(images, arrays[f"x_{part}"])
        parts.append(Part(grey, _to_labels(labels, arrays[f"y_{part}"]), images, labels))
    return Source(parts[0], parts[1], class_names)


def _first(bad: npt.NDArray[np.bool_]) -> str:
    """Returns the index of the first bad element, as one would type it."""
    return str([int(i) for i in np.unravel_index(np.argmax(bad), bad.shape)])


def _to_grey(name: str, array: npt.NDArray[Any]) -> Images:
    """Converts images of any form that `load` lists to uint8 `[n, height, width]`."""
    if array.dtype.kind not in "uif" or array.ndim not in (3, 4) or array.shape[3:] not in ((), (1,), (3,)):
        raise InputError(
            f"{name}: images are {array.dtype} {list(array.shape)}, expected integers or floats [n, height, width], or "
            "with a last axis of 1 or 3 channels; reshape or convert them."
        )
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.size == 0 or (array.dtype == np.uint8 and array.ndim == 3):
        return np.ascontiguousarray(array.reshape(array.shape[:3]), np.uint8)
    if not (finite := np.isfinite(array)).all():
        raise InputError(
            f"{name}: {np.count_nonzero(~finite)} pixels are NaN or infinite, the first at {_first(~finite)}; expected "
            "finite values; remove or replace them."
        )
    low, high = array.min(), array.max()
    if low < 0 or high > 255:
        at = _first((array < 0) | (array > 255))
        raise InputError(f"{name}: pixels range from {low} to {high}, expected 0 to 255 (first at {at}); rescale them.")
    if array.dtype.kind == "f" and 1 < high < 2:
        raise InputError(f"{name}: pixels reach {high}, expected 0 to 1 or 0 to 255; clip them with np.clip(x, 0, 1).")
    scale = 255 if array.dtype.kind == "f" and high <= 1 else 1
    grey = np.empty(array.shape[:3], np.uint8)
    for start in range(0, len(array), _CHUNK):
        block = array[start : start + _CHUNK] * scale
        grey[start : start + _CHUNK] = np.rint(block @ _GREY if block.ndim == 4 else block)
    return grey


def _to_labels(name: str, array: npt.NDArray[Any]) -> Labels:
    if array.dtype.kind not in "uif" or array.ndim != 1:
        raise InputError(
            f"{name}: labels are {array.dtype} {list(array.shape)}, expected integers [n]; convert them (one-hot rows "
            "by np.argmax(y, axis=1))."
        )
    values = array.astype(np.float64)
    if (bad := (values != np.floor(values)) | ~(np.abs(values) < 2**53)).any():
        raise InputError(
            f"{name}: label {array[np.argmax(bad)]} at example {np.argmax(bad)}, expected whole numbers from 0; "
            "correct it."
        )
    return array.astype(np.int64)
