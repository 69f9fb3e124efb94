"""Request and response bodies: compression, JSON and errors.

JSON is read as TensorFlow Serving reads it: `NaN` and `Infinity` are numbers, and text after the value is ignored.
orjson, five times as fast, handles everything else.
"""

import gzip
import json
import re
import zlib
from typing import Any

import orjson

_SPACE = re.compile(r"\s*")
_LENIENT = json.JSONDecoder()
LEAST_COMPRESSED = 16_384  # bytes: shorter answers are not compressed


class RequestError(Exception):
    """A request that is answered with an error.

    Attributes:
        code: the HTTP status.
        message: what was wrong, in one line.
        hint: the remedy, where the protocol fixes the message.
    """

    def __init__(self, code: int, message: str, hint: str = ""):
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint

    def to_dict(self) -> dict[str, Any]:
        """Returns the body of the response."""
        return {"error": self.message} | ({"hint": self.hint} if self.hint else {})


def decompress(body: bytes, encoding: str, most: int) -> bytes:
    """Returns a decompressed body.

    Raises:
        RequestError: 415 for an encoding other than gzip, deflate and identity, 400 for corrupt data, 413 if the
            decompressed body would exceed `most` bytes.
    """
    for name in reversed([name.strip().lower() for name in encoding.split(",")]):
        if name in ("", "identity"):
            continue
        if name not in ("gzip", "x-gzip", "deflate"):
            raise RequestError(415, f"Content-Encoding {name!r} is not supported: expected gzip, deflate or identity")
        plain, rest = bytearray(), body
        while rest or rest is body:  # gzip data may have several members (RFC 1952)
            decoder = zlib.decompressobj(47)  # detects a gzip or zlib header
            try:
                plain += decoder.decompress(rest, most + 1 - len(plain))
            except zlib.error:
                raise RequestError(400, f"the body is not valid {name} data") from None
            if len(plain) > most:
                raise RequestError(413, f"the body exceeds {most:,} bytes when decompressed; send less at a time")
            if not decoder.eof:
                raise RequestError(400, f"the body's {name} data is truncated")
            rest = decoder.unused_data
            if rest and name == "deflate":
                raise RequestError(400, f"the body has {len(rest):,} bytes after its deflate data")
        body = bytes(plain)
    return body


def compress(body: bytes, accepted: str) -> tuple[bytes, str]:
    """Returns a body, compressed if the client accepts that, and its `Content-Encoding`, "" for none."""
    if len(body) < LEAST_COMPRESSED:
        return body, ""
    words = [re.sub(r"\s", "", word).lower() for word in accepted.split(",")]
    names = [word.partition(";")[0] for word in words if not re.search(r";q=0(\.0*)?$", word)]
    if "gzip" in names:
        return gzip.compress(body, 1), "gzip"
    if "deflate" in names:
        return zlib.compress(body, 1), "deflate"
    return body, ""


def parse_json(body: bytes) -> Any:
    """Returns the first JSON value of a body.

    Raises:
        RequestError: 400 if there is none, or it is nested too deeply.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        text = body.decode("utf-8-sig")
        return _LENIENT.raw_decode(text, _SPACE.match(text).end())[0]  # type: ignore[union-attr]
    except UnicodeDecodeError:
        raise RequestError(400, "JSON Parse error: the body is not UTF-8 text") from None
    except RecursionError:
        raise RequestError(400, "JSON Parse error: nested too deeply") from None
    except ValueError as error:  # also a number of more than 4,300 digits
        reason = f"{error.msg} at offset {error.pos}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise RequestError(400, f"JSON Parse error: {reason}") from None


def parse_object(body: bytes) -> dict[str, Any]:
    """Returns a body's JSON object. Raises a RequestError, 400, if it is not one."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise RequestError(400, f"the body is {describe(value)}: expected a JSON object")
    return value


def to_json(value: Any, *, finite: bool = True) -> bytes:
    """Returns a value as JSON; it may hold NumPy arrays.

    Args:
        value: dictionaries, lists, text, numbers and arrays.
        finite: whether all its numbers are finite; if not, `NaN`, `Infinity` and `-Infinity` are written.
    """
    if finite:
        try:
            return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError:  # a client's text with an unpaired surrogate, which JSON can escape
            pass
    return json.dumps(value, default=lambda array: array.tolist(), separators=(",", ":")).encode()


def describe(value: Any) -> str:
    """Returns a short description of a JSON value, for an error message."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case int() | float():
            return "a number" if len(text := repr(value)) > 30 else text
        case str():
            return f"the text {value[:30]!r}"
        case list():
            return f"a list of {len(value)}"
    return "an object"
