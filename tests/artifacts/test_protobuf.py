"""Messages of protobuf: TensorFlow's own classes read what is written, and write what is read."""

import pytest
import tensorflow as tf

from tfmnist.artifacts.protobuf import field, fields


@pytest.mark.parametrize("size", [0, 1, 127, 128, 20_000])
def test_fields_are_those_of_protobuf(size: int) -> None:
    content = bytes(size)
    proto = tf.train.BytesList(value=[content, b"x"])
    message = field(1, content) + field(1, b"x")
    assert message == proto.SerializeToString()
    assert list(fields(message)) == [(1, content), (1, b"x")]
    assert next(fields(field(300, content))) == (300, content), "numbers over 15 take two bytes"


def test_numbers_are_passed_over() -> None:
    feature = tf.make_tensor_proto([1.0, 2.0])  # dtype is a number, the shape a message, the content bytes
    found = list(fields(feature.SerializeToString()))
    assert [number for number, _ in found] == [2, 4] and found[1][1] == feature.tensor_content
    assert list(fields(bytes([1 << 3 | 1]) + bytes(8) + bytes([2 << 3 | 5]) + bytes(4) + field(3, b"y"))) == [(3, b"y")]


@pytest.mark.parametrize("message", [b"\x0a", b"\x0a\x05abc", b"\xff" * 12, b"\x0b", b"\x80"])
def test_what_is_no_message(message: bytes) -> None:
    with pytest.raises(ValueError):
        list(fields(message))
