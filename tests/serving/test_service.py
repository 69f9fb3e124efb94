"""The limits of requests, and what a picture gets."""

import asyncio
import gzip
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tfmnist.serving.messages import RequestError
from tfmnist.serving.models import ServedModel
from tfmnist.serving.service import Limits, Service

PREDICT, INFER = "/v1/models/tfmnist:predict", "/v2/models/tfmnist/infer"
ROW = np.zeros([28, 28], int).tolist()
Client = Any  # the one of conftest.py
MakeClient = Callable[..., Client]


def rows(count: int) -> str:
    return json.dumps({"instances": [ROW] * count})


@pytest.mark.parametrize("path", [PREDICT, INFER, "/read"])
def test_long_bodies_are_refused(make_client: MakeClient, path: str) -> None:
    client = make_client(body=5000)
    for body, headers in (
        (bytes(5001), {}),
        (b"", {"content_length": "5001"}),
        (b"", {"content_length": "1" * 400}),
        (gzip.compress(bytes(100_000_000)), {"content_encoding": "gzip"}),
    ):
        answer = client.post(path, body, **headers)
        assert answer.status_code == 413 and "exceeds 5,000 bytes" in answer.json()["error"]
    answer = asyncio.run(client.ask("POST", path, [bytes(2501), bytes(2500)]))
    assert answer.status_code == 413
    assert client.post(path, b"x", content_encoding="br").status_code == 415
    assert client.post(PREDICT, rows(1)).status_code == 200  # what was refused holds no memory


def test_too_many_rows_are_refused(make_client: MakeClient) -> None:
    client = make_client(rows=3, batch=2)
    assert len(client.post(PREDICT, rows(3)).json()["predictions"]) == 3  # computed in two parts
    answer = client.post(PREDICT, rows(4))
    assert answer.status_code == 400 and "4 rows: expected at most 3" in answer.json()["error"]


def test_bodies_of_all_requests_are_bounded(make_client: MakeClient) -> None:
    client = make_client(held=5000)

    async def ask_together() -> list[int]:
        parts = [rows(1).encode() + bytes(1000)]
        return [answer.status_code for answer in await asyncio.gather(*[client.ask("POST", PREDICT, parts)] * 1)]

    assert asyncio.run(ask_together()) == [200]
    answer = client.post(PREDICT, bytes(5001))
    assert answer.status_code == 429 and answer.headers["retry-after"] == "1"
    assert asyncio.run(ask_together()) == [200]


def test_slow_bodies_and_deadlines(make_client: MakeClient, served: ServedModel) -> None:
    client = make_client(seconds=0.1)

    async def stop_sending() -> Any:
        async def receive() -> Any:
            await asyncio.sleep(10)

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": PREDICT, "raw_path": PREDICT.encode(), "headers": []}
        await client.app({**scope, "query_string": b"", "client": None}, receive, send)
        return sent

    start, body = asyncio.run(stop_sending())
    assert start["status"] == 408 and "did not arrive within 0.1 s" in json.loads(body["body"])["error"]


def test_a_client_that_goes_away_is_no_fault(client: Client) -> None:
    async def leave() -> list[Any]:
        messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
        sent: list[Any] = []

        async def receive() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": PREDICT, "raw_path": PREDICT.encode(), "headers": []}
        await client.app({**scope, "query_string": b"", "client": None}, receive, send)
        return sent

    assert asyncio.run(leave())[0]["status"] == 400


def test_reading_pictures(client: Client, draw: Callable[..., bytes]) -> None:
    for content_type in ("image/png", "application/x-www-form-urlencoded", ""):
        answer = client.post("/read", draw(2), content_type=content_type)
        found = answer.json()
        assert answer.status_code == 200 and found["status"] == 0 and len(found["text"]) == len(found["digits"]) == 2
        assert np.shape(found["digits"][0]["normalized"]) == (28, 28)
    blank = client.post("/read", draw(0)).json()
    assert blank["status"] != 0 and blank["text"] == "" and blank["digits"] == [] and blank["message"]
    assert client.post("/read", b"").json()["status"] != 0
    assert client.get("/read").status_code == 405


def test_a_picture_of_too_many_pixels_is_refused(client: Client) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    answer = client.post("/read", png)
    assert answer.status_code == 400 and "64 megapixels" in answer.json()["error"] and answer.json()["status"] == 3


def test_the_token(served: ServedModel) -> None:
    service = Service(served, Limits(), token="se-cret")
    service.check_token({"authorization": "Bearer se-cret"})
    service.check_token({"authorization": "bearer se-cret"})
    for headers in (
        {},
        {"authorization": "Bearer se-cre"},
        {"authorization": "se-cret"},
        {"authorization": "Basic se-cret"},
        {"authorization": "é"},
    ):
        with pytest.raises(RequestError) as error:
            service.check_token(headers)
        assert error.value.code == 401
    service.batcher.close()
