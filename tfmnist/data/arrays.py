"""Arrays as people have them become grey images and labels; all parts of a source on one scale."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tfmnist.data.split import Images, Integers, Part, compact
from tfmnist.errors import InputError

Array = npt.NDArray[Any]

_GREY = np.array([0.299, 0.587, 0.114])  # of red, green, blue: ITU-R BT.601
_CHUNK = 4096  # examples
FEW_LEVELS = 16  # whole numbers up to this are grey levels of their own, not dark ones of 256
_CLEAR = 128  # no need to look further in images that reach it


class _Pixels(NamedTuple):
    """The pixels of a part: their largest value, at least `_CLEAR` if larger, and whether all are whole numbers."""

    high: float
    whole: bool


def to_grey(parts: Sequence[Part]) -> tuple[list[Part], tuple[str, ...]]:
    """Converts images to uint8 `[n, height, width]`, on the scale that the first part, the training set, has.

    Whole numbers up to 1, ..., 16 are scaled by the largest in the training set, floats up to 1 by 255; all others
    are 0 to 255. Arrays that need no change are not read to the end, and not copied.

    Args:
        parts: images bool, integers or floats `[n, height, width]`, `[n, height, width, 1]` or, converted to grey,
            `[n, height, width, 3]`.

    Returns:
        The parts, and notes for the user.

    Raises:
        InputError: another type or shape, values that no scale fits, or nothing but uniform images.
    """
    parts = [part._replace(images=_check_form(part.images_name, part.images)) for part in parts]
    pixels = [_measure(part) for part in parts if part.images.size]
    if len(pixels) < len(parts):
        return parts, ()  # no pixels: refused where shapes are checked
    high, notes = pixels[0].high, ()
    is_small = high <= FEW_LEVELS
    if is_small and pixels[0].whole:
        notes = (f"pixels are whole numbers from 0 to {high:g}: scaled to 0 to 255",)
    elif 1 < high <= FEW_LEVELS:
        raise InputError(
            f"{parts[0].images_name}: pixels reach {high:g}, expected 0 to 1, 0 to 255, or whole numbers; rescale "
            "them, or clip them with np.clip(x, 0, 1)."
        )
    limit = 255 if not is_small else high if pixels[0].whole else 1
    for part, (other, _) in zip(parts[1:], pixels[1:]):
        most = FEW_LEVELS if pixels[0].whole else 1
        if other > most if is_small else other <= FEW_LEVELS and high >= _CLEAR:
            raise InputError(
                f"{part.images_name}: pixels reach {other:g}, those of the training images {high:g}; expected one "
                "scale for all; rescale them, or clip them with np.clip."
            )
        if other > limit:
            notes = (*notes, f"{part.images_name}: pixels above {high:g} are clipped")
    return [part._replace(images=_convert(part.images, limit)) for part in parts], notes


def to_labels(name: str, array: Array) -> Integers:
    """Copies whole numbers of any type, `[n]` or `[n, 1]`, as `compact` integers `[n]`."""
    if array.dtype.kind not in "uif" or array.ndim not in (1, 2) or array.shape[1:] not in ((), (1,)):
        raise InputError(
            f"{name}: labels are {array.dtype} {list(array.shape)}, expected integers [n]; convert them (one-hot rows "
            "by np.argmax(y, axis=1))."
        )
    array = array.reshape(len(array))
    if array.dtype.kind != "f" and array.itemsize < 8:
        return compact(array)
    values = array.astype(np.float64)
    if (bad := (values != np.floor(values)) | ~(np.abs(values) < 2**53)).any():
        raise InputError(
            f"{name}: label {array[np.argmax(bad)]} at example {np.argmax(bad)}, expected whole numbers from 0; "
            "correct it."
        )
    return compact(array.astype(np.int64))


def _check_form(name: str, array: Array) -> Array:
    if array.dtype.kind not in "buif" or array.ndim not in (3, 4) or array.shape[3:] not in ((), (1,), (3,)):
        raise InputError(
            f"{name}: images are {array.dtype} {list(array.shape)}, expected integers or floats [n, height, width], or "
            "with a last axis of 1 or 3 channels; reshape or convert them."
        )
    if array.dtype == np.bool_:
        array = array.view(np.uint8)
    return array[..., 0] if array.shape[3:] == (1,) else array


def _measure(part: Part) -> _Pixels:
    """Checks all pixels; of bytes, only as many as it takes to see that they reach the upper half of 0 to 255."""
    top, whole, is_uniform = 0.0, True, True
    first = part.images.flat[0]
    for start in range(0, len(part.images), _CHUNK):
        block = part.images[start : start + _CHUNK]
        flat = block.reshape(len(block), -1)
        low, high = flat.min(axis=1), flat.max(axis=1)
        if not (np.isfinite(low) & np.isfinite(high)).all():
            count = sum(np.count_nonzero(~np.isfinite(image)) for image in part.images)
            raise InputError(
                f"{part.images_name}: {count} pixels are NaN or infinite, the first at "
                f"{_first(~np.isfinite(block), start)}; expected finite values; remove or replace them."
            )
        if low.min() < 0 or high.max() > 255:
            least, most = part.images.min(), part.images.max()
            is_normalised = block.dtype.kind == "f" and least < 0
            undo = "undo the normalisation, (x + 1) / 2 for -1 to 1" if is_normalised else "rescale them"
            raise InputError(
                f"{part.images_name}: pixels range from {least} to {most}, expected 0 to 255 (first at "
                f"{_first((block < 0) | (block > 255), start)}); {undo}."
            )
        top = max(top, float(high.max()))
        whole = whole and (block.dtype.kind != "f" or bool((block == np.rint(block)).all()))
        is_uniform = is_uniform and bool((low == (high if flat.shape[1] > 1 else first)).all())
        if top >= _CLEAR and not is_uniform and block.dtype == np.uint8:
            break
    if is_uniform:
        raise InputError(
            f"{part.images_name}: all images are of one grey value, expected digits in them; write the images again."
        )
    return _Pixels(top, whole)


def _convert(array: Array, limit: float) -> Images:
    """Scales 0 to `limit` to 0 to 255, chunk by chunk."""
    if limit == 255 and array.dtype == np.uint8 and array.ndim == 3:
        return np.ascontiguousarray(array)
    grey = np.empty(array.shape[:3], np.uint8)
    for start in range(0, len(array), _CHUNK):
        block = array[start : start + _CHUNK]
        if limit != 255:
            block = np.minimum(block, limit) * (255 / limit)
        grey[start : start + _CHUNK] = np.rint(block @ _GREY if block.ndim == 4 else block)
    return grey


def _first(bad: npt.NDArray[np.bool_], start: int) -> str:
    """Returns the index of the first bad element, as one would type it."""
    index = [int(i) for i in np.unravel_index(np.argmax(bad), bad.shape)]
    return str([start + index[0], *index[1:]])
