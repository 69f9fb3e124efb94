"""Tensors in requests and responses: JSON lists and raw bytes to NumPy arrays and back, for both protocols.

Nothing is cast: an integer input takes integers in its range, and no booleans. Errors name the value that does not fit.
"""

import base64
import binascii
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from tfmnist.serving.messages import RequestError, describe

Array = npt.NDArray[Any]
STRING = np.dtype(object)
DATATYPES = {  # the Open Inference Protocol's names
    np.dtype(bool): "BOOL",
    **{np.dtype(f"{kind}{bits}"): f"{kind.upper()}{bits}" for kind in ("uint", "int") for bits in (8, 16, 32, 64)},
    **{np.dtype(f"float{bits}"): f"FP{bits}" for bits in (16, 32, 64)},
    STRING: "BYTES",
}


@dataclass(frozen=True)
class Spec:
    """A tensor that a signature takes or returns."""

    name: str
    dtype: np.dtype[Any]  # `STRING` for text and bytes
    shape: tuple[int | None, ...]  # None where any size will do

    @property
    def datatype(self) -> str:
        """The Open Inference Protocol's name of the dtype."""
        return DATATYPES[self.dtype]

    @property
    def sizes(self) -> list[int]:
        """The shape, with -1 where any size will do."""
        return [-1 if size is None else size for size in self.shape]

    def check_shape(self, shape: Sequence[int]) -> None:
        """Raises a RequestError, 400, unless a tensor of this shape fits."""
        expected = f"expected {self.sizes}"
        if len(shape) != len(self.shape):
            raise RequestError(400, f"{self.name} has rank {len(shape)}, shape {list(shape)[:8]}: {expected}")
        for level, (size, wanted) in enumerate(zip(shape, self.shape)):
            if wanted is not None and size != wanted:
                raise RequestError(400, f"{self.name} has {size} elements at level {level}: {expected}")


def is_base64(value: Any) -> bool:
    """Returns whether a JSON value is an object that encodes bytes: `{"b64": ...}`."""
    return type(value) is dict and value.keys() == {"b64"}


def from_lists(value: Any, spec: Spec) -> Array:
    """Returns nested lists as an array.

    Raises:
        RequestError: 400 if the shape or an element's type does not fit.
    """
    shape, flat = _flatten(value, spec.name)
    spec.check_shape(shape)
    return _convert(flat, spec).reshape(shape)


def from_data(value: Any, spec: Spec, shape: Sequence[int], *, in_base64: bool = False) -> Array:
    """Returns an array of a given shape from its elements in row-major order, in a flat or nested list.

    Raises:
        RequestError: 400 if the number or type of the elements does not fit.
    """
    spec.check_shape(shape)
    nested, flat = _flatten(value, spec.name)
    if len(flat) != math.prod(shape) or not nested:
        raise RequestError(400, f"{spec.name} has {len(flat)} elements in data: expected shape {list(shape)}")
    if spec.dtype == STRING:
        flat = [{"b64": text} for text in flat] if in_base64 else flat
        if not in_base64 and any(type(element) is dict for element in flat):
            raise RequestError(400, f"{spec.name} has an object in data: expected text; send bytes as a binary tensor")
    return _convert(flat, spec).reshape(shape)


def from_bytes(data: memoryview, spec: Spec, shape: Sequence[int]) -> Array:
    """Returns the array in raw little-endian bytes; each string follows its length, 4 bytes.

    Raises:
        RequestError: 400 if there are more or fewer bytes than the shape needs.
    """
    spec.check_shape(shape)
    count = math.prod(shape)
    if spec.dtype == STRING:
        return _convert(_split_strings(data, count, spec.name), spec).reshape(shape)
    if len(data) != count * spec.dtype.itemsize:
        expected = f"{count * spec.dtype.itemsize} for shape {list(shape)} of {spec.datatype}"
        raise RequestError(400, f"{spec.name} has {len(data)} bytes: expected {expected}")
    array = np.frombuffer(data, spec.dtype.newbyteorder("<")).reshape(shape)
    if spec.dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
        raise RequestError(400, f"{spec.name} has bytes over 1: expected 0 or 1 for BOOL")
    return array.astype(spec.dtype, copy=False)


def to_bytes(array: Array) -> bytes:
    """Returns an array as the bytes that `from_bytes` reads."""
    if array.dtype != STRING:
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    elements = [_as_bytes(element) for element in array.flat]
    return b"".join(chain.from_iterable((struct.pack("<I", len(element)), element) for element in elements))


def to_elements(array: Array, *, in_base64: bool = False) -> Any:
    """Returns an array as `to_json` takes it: strings as text, or with `in_base64` as `{"b64": ...}`."""
    if array.dtype != STRING:
        if array.ndim <= 1 and array.dtype.kind != "f":
            return array.tolist()  # ONNX Runtime's int64 is C's long long, which orjson does not know
        return np.ascontiguousarray(array) if array.ndim else array[()]
    elements = [_as_bytes(element) for element in array.flat]
    if in_base64:
        values: list[Any] = [{"b64": base64.b64encode(element).decode()} for element in elements]
    else:
        values = [element.decode("utf-8", "replace") for element in elements]
    for size in array.shape[:0:-1]:
        values = [values[start : start + size] for start in range(0, len(values), size)] if size else []
    if array.size == 0:
        return np.empty(array.shape).tolist()
    return values if array.ndim else values[0]


def are_finite(arrays: Mapping[str, Array]) -> bool:
    """Returns whether all floats are finite."""
    return all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in arrays.values())


def _flatten(value: Any, name: str) -> tuple[list[int], list[Any]]:
    """Returns the shape of nested lists, and their elements."""
    shape: list[int] = []
    elements = [value]
    while elements and list in (kinds := set(map(type, elements))):
        sizes = set(map(len, elements)) if kinds == {list} else set()
        if len(sizes) != 1:
            found = f"lists of {min(sizes)} and of {max(sizes)} elements" if sizes else "lists beside other values"
            raise RequestError(400, f"{name} has {found} at level {len(shape)}: expected lists of equal lengths")
        shape.append(sizes.pop())
        elements = list(chain.from_iterable(elements))
    return shape, elements


def _convert(flat: list[Any], spec: Spec) -> Array:
    """Returns JSON elements, or bytes, as a flat array."""
    dtype, kinds = spec.dtype, set(map(type, flat))
    if dtype == STRING:
        array = np.empty(len(flat), STRING)
        array[:] = [_to_element(element, spec) for element in flat]
        return array
    allowed = {"b": {bool}, "f": {int, float}}.get(dtype.kind, {int})
    if not kinds <= allowed:
        raise _wrong_type(next(element for element in flat if type(element) not in allowed), spec)
    try:
        if dtype == np.uint8:
            return np.frombuffer(bytearray(flat), np.uint8)  # three times as fast as np.array
        with np.errstate(over="raise"):
            return np.array(flat, dtype)
    except (ValueError, OverflowError, FloatingPointError):
        limits: Any = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
        least, most = np.array([limits.min, limits.max]).tolist()  # Python numbers, which compare exactly
        wrong = next(x for x in flat if not (least <= x <= most or x != x or abs(x) == math.inf))
        expected = f"expected {least} to {most}"
        raise RequestError(400, f"{spec.name}: {describe(wrong)} is out of range for {dtype}: {expected}") from None


def _to_element(element: Any, spec: Spec) -> bytes:
    match element:
        case bytes():
            return element
        case str():
            return element.encode("utf-8", "surrogatepass")
        case {"b64": str() as text} if is_base64(element):
            try:
                return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
            except ValueError:
                expected = "expected the standard alphabet, A-Z a-z 0-9 + /, without line breaks"
                raise RequestError(400, f"{spec.name}: invalid base64, {describe(text)}: {expected}") from None
    raise _wrong_type(element, spec)


def _wrong_type(element: Any, spec: Spec) -> RequestError:
    kind = {dict: "Object", str: "String", type(None): "Null", list: "Array"}.get(type(element))
    kind = kind or ("Bool" if type(element) is bool else "Number")
    name = "string" if spec.dtype == STRING else spec.dtype.name
    needed = {"b": "true or false", "f": "a number", "O": 'text or {"b64": ...}'}.get(spec.dtype.kind, "an integer")
    return RequestError(
        400,
        f"JSON Value: {describe(element)} Type: {kind} is not of expected type: {name}; {spec.name} takes {needed}",
    )


def _split_strings(data: memoryview, count: int, name: str) -> list[bytes]:
    elements: list[bytes] = []
    start = 0
    while start < len(data) and len(elements) <= count:
        length = struct.unpack_from("<I", data, start)[0] if start + 4 <= len(data) else 0
        end = start + 4 + length
        if end > len(data):
            raise RequestError(
                400, f"{name}: element {len(elements)} is longer than the data; put its length, 4 bytes, before it"
            )
        elements.append(bytes(data[start + 4 : end]))
        start = end
    if len(elements) != count:
        found = f"over {count}" if len(elements) > count else len(elements)
        raise RequestError(400, f"{name} has {found} strings in its bytes: expected {count}")
    return elements


def _as_bytes(element: Any) -> bytes:
    return element if isinstance(element, bytes) else str(element).encode("utf-8", "surrogatepass")


def count_rows(arrays: Iterable[Array]) -> int:
    """Returns the largest first dimension of the arrays; 1 for scalars."""
    return max((len(array) if array.ndim else 1 for array in arrays), default=0)
