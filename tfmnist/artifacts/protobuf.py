"""Protobuf messages without their generated classes: fields that are bytes, strings or messages."""

from collections.abc import Iterator

_BYTES = 2  # the wire type
_SIZES = {1: 8, 5: 4}  # bytes of each fixed-size wire type


def field(number: int, content: bytes) -> bytes:
    """Returns an encoded field; a message is its fields joined."""
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the number and content of each length-delimited field of a message; skips numeric fields.

    Raises:
        ValueError: it is not a message.
    """
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        kind, size = tag & 7, 0
        if kind == _BYTES:
            size, position = _read_varint(message, position)
        elif kind in _SIZES:
            size = _SIZES[kind]
        elif kind == 0:
            _, position = _read_varint(message, position)
        else:
            raise ValueError(f"a field of wire type {kind}")
        if position + size > len(message):
            raise ValueError("a field that is cut off")
        if kind == _BYTES:
            yield tag >> 3, message[position : position + size]
        position += size


def _varint(value: int) -> bytes:
    rest = value >> 7
    return bytes([value & 127 | 128]) + _varint(rest) if rest else bytes([value])


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    """Returns an integer and the position after it."""
    value = shift = 0
    while True:
        if position >= len(message) or shift > 63:
            raise ValueError("a number that does not end")
        byte = message[position]
        value, shift, position = value | (byte & 127) << shift, shift + 7, position + 1
        if byte < 128:
            return value, position
