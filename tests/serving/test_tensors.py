"""Tensors: what goes out comes in again, whatever the dtype and shape."""

from typing import Any

import numpy as np
import pytest

from tfmnist.serving.messages import RequestError, parse_json, to_json
from tfmnist.serving.tensors import (
    DATATYPES,
    STRING,
    Spec,
    are_finite,
    count_rows,
    from_bytes,
    from_data,
    from_lists,
    to_bytes,
    to_elements,
)


def example(dtype: np.dtype[Any], shape: list[int]) -> np.ndarray[Any, Any]:
    array = np.random.default_rng(1).integers(0, 2 if dtype == np.bool_ else 100, shape)
    if dtype == STRING:
        made = np.empty(shape, STRING)
        made.flat[:] = [f"é{value}".encode() for value in array.flat]
        return made
    return array.astype(dtype)


@pytest.mark.parametrize("shape", [[3, 2], [0, 2], [1], [], [2, 3, 4]])
@pytest.mark.parametrize("dtype", DATATYPES, ids=DATATYPES.values())
def test_out_and_in_again(dtype: np.dtype[Any], shape: list[int]) -> None:
    array = example(dtype, shape)
    spec = Spec("x", dtype, (None,) * len(shape))
    again = [from_bytes(memoryview(to_bytes(array)), spec, shape)]
    if shape:
        elements = parse_json(to_json(to_elements(array.ravel())))
        again.append(from_data(elements, spec, shape))
    if 0 not in shape:
        again.append(from_lists(parse_json(to_json(to_elements(array))), spec))
    if dtype == STRING and 0 not in shape:
        again.append(from_lists(to_elements(array, in_base64=True), spec))
    for other in again:
        assert other.dtype == dtype and other.shape == tuple(shape)
        np.testing.assert_array_equal(other, array)


def test_integers_of_other_names() -> None:
    array = np.array([1, 2], np.longlong)
    assert to_json([*zip(to_elements(array))]) == b"[[1],[2]]" and to_json(to_elements(np.array(3))) == b"3"
    assert DATATYPES[array.dtype] == "INT64" and to_json(to_elements(array[np.newaxis])) == b"[[1,2]]"


def test_names_of_the_protocol() -> None:
    names = "BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 BYTES"
    assert list(DATATYPES.values()) == names.split()
    assert Spec("x", np.dtype(np.uint8), (None, 28)).datatype == "UINT8"
    assert Spec("x", np.dtype(np.uint8), (None, 28)).sizes == [-1, 28]


@pytest.mark.parametrize(
    ("dtype", "value", "words"),
    [
        (np.int8, 128, "128 is out of range for int8: expected -128 to 127"),
        (np.uint64, -1, "-1 is out of range for uint64"),
        (np.int64, 1 << 63, "out of range for int64"),
        (np.bool_, 1, "1 Type: Number is not of expected type: bool; x takes true or false"),
        (np.float16, 1e6, "out of range for float16"),
        (np.float32, "1", "Type: String is not of expected type: float32; x takes a number"),
        (np.int32, 1.0, "1.0 Type: Number is not of expected type: int32; x takes an integer"),
    ],
)
def test_what_does_not_fit_is_named(dtype: Any, value: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words) as error:
        from_lists([0 if dtype != np.bool_ else False, value], Spec("x", np.dtype(dtype), (None,)))
    assert error.value.code == 400


def test_bytes_that_are_no_booleans() -> None:
    with pytest.raises(RequestError, match="bytes over 1"):
        from_bytes(memoryview(b"\x02"), Spec("x", np.dtype(bool), (None,)), [1])


def test_elements_need_a_list() -> None:
    with pytest.raises(RequestError, match="1 elements in data"):
        from_data(7, Spec("x", np.dtype(np.int64), (None,)), [1])


def test_rows_and_finiteness() -> None:
    assert count_rows([np.zeros([3, 2]), np.zeros(4)]) == 4 and count_rows([np.array(1)]) == 1 and count_rows([]) == 0
    assert are_finite({"x": np.ones(2), "y": np.array([b"x"], STRING)}) and not are_finite({"x": np.array([np.inf])})
