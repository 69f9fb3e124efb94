"""Bodies: compressed ones within a limit, JSON that is not quite JSON, and errors."""

import gzip
import zlib

import numpy as np
import pytest

from tfmnist.serving.messages import (
    LEAST_COMPRESSED,
    RequestError,
    compress,
    decompress,
    describe,
    parse_json,
    parse_object,
    to_json,
)


def test_bodies_are_decompressed_within_the_limit() -> None:
    body = b"digits" * 100
    for encoding, data in (
        ("gzip", gzip.compress(body)),
        ("X-GZIP", gzip.compress(body)),
        ("deflate", zlib.compress(body)),
        ("identity", body),
        ("", body),
        ("deflate, gzip", gzip.compress(zlib.compress(body))),
        ("gzip", gzip.compress(body[:10]) + gzip.compress(b"") + gzip.compress(body[10:])),
    ):
        assert decompress(data, encoding, 600) == body
    for encoding, data, code in (
        ("br", body, 415),
        ("gzip", body, 400),
        ("gzip", gzip.compress(body)[:-9], 400),
        ("gzip", gzip.compress(body + b"x"), 413),
        ("gzip", gzip.compress(bytes(100_000_000)), 413),
        ("deflate", b"", 400),
        ("gzip", gzip.compress(body) + b"more", 400),
        ("deflate", zlib.compress(body) + b"more", 400),
        ("gzip", gzip.compress(body) + gzip.compress(b"x"), 413),
    ):
        with pytest.raises(RequestError) as error:
            decompress(data, encoding, 600)
        assert error.value.code == code


def test_long_answers_are_compressed_if_the_client_accepts_it() -> None:
    body = bytes(LEAST_COMPRESSED)
    for accepted, encoding, undo in (
        ("gzip", "gzip", gzip.decompress),
        ("br, deflate;q=0.5", "deflate", zlib.decompress),
    ):
        short, name = compress(body, accepted)
        assert name == encoding and len(short) < 200 and undo(short) == body
    for accepted in ("", "br", "gzip;q=0", "identity"):
        assert compress(body, accepted) == (body, "")
    assert compress(body[:-1], "gzip") == (body[:-1], "")


def test_json_is_read_leniently_and_written_exactly() -> None:
    assert parse_json(b'\xef\xbb\xbf {"a": [1, 1.0, NaN]} and more')["a"][:2] == [1, 1.0]
    assert parse_json(b"[-Infinity]") == [-np.inf] and parse_json(b"7 8") == 7
    for body in (b"", b"  ", b"{'a': 1}", b"\xff", b"[" * 100_000, b"1" * 5000, b'{"a": 1'):
        with pytest.raises(RequestError) as error:
            parse_json(body)
        assert error.value.code == 400 and error.value.message.startswith("JSON Parse error: ")
    with pytest.raises(RequestError, match="a list of 2: expected a JSON object"):
        parse_object(b"[1, 2]")
    value = {"x": np.array([0.1, 1], np.float32), "y": [np.int64(3)], "z": "é"}
    assert to_json(value) == '{"x":[0.1,1.0],"y":[3],"z":"é"}'.encode()
    assert to_json({"x": np.array([np.nan, 1], np.float32)}, finite=False) == b'{"x":[NaN,1.0]}'


def test_what_values_are_called() -> None:
    values = (None, True, 7, 10**50, "text" * 99, [1], {})
    assert [describe(value) for value in values] == [
        *("null", "true", "7", "a number", f"the text {('text' * 8)[:30]!r}", "a list of 1", "an object")
    ]


def test_an_error_has_a_hint_if_there_is_one() -> None:
    assert RequestError(400, "wrong").to_dict() == {"error": "wrong"}
    assert RequestError(400, "wrong", "do").to_dict() == {"error": "wrong", "hint": "do"}


def test_half_a_character_is_escaped() -> None:
    assert to_json({"id": "\ud800", "data": np.array([1, 2])}) == b'{"id":"\\ud800","data":[1,2]}'
