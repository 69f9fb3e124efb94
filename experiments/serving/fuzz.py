"""Fuzzes `tfmnist serve` with 10,000 requests: it must send no 5xx except 503 and 504, not grow, and not stop.

python experiments/serving/fuzz.py MODEL [--requests 10000] [--environments FOLDER]

Half of them come from schemathesis over /openapi.json, in its own environment; the others are made here: random bytes,
decompression bombs, deep JSON, wrong types, invalid numbers, huge shapes, broken pictures. Meanwhile some connections
send a byte now and then.
"""

import argparse
import asyncio
import base64
import contextlib
import gzip
import io
import json
import random
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from common import Served, environment, served, test_images
from PIL import Image

PREDICT, INFER, READ = "/v1/models/tfmnist:predict", "/v2/models/tfmnist/infer", "/read"
SLOW = 50  # connections that send a byte now and then
ODD: list[Any] = [None, True, -1, 0, 1e308, 10**40, "", "\0", "é" * 9, [], {}, [[]], [[], 1], {"b64": "-_"}, {"b64": 1}]
ODD += [float("nan"), float("inf"), -0.0, "a" * 10_000, [[[0] * 28] * 28] * 3, {"x": [1, {"y": []}]}, 1 << 63, 2**64]


class Maker:
    """Makes requests; the same seed makes the same ones."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        image = test_images(1)[0]
        self.image: Any = image.tolist()
        self.pictures = [self._encode(image, kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")]

    def _encode(self, image: Any, kind: str) -> bytes:
        file = io.BytesIO()
        Image.fromarray(255 - np.kron(image, np.ones([4, 4], np.uint8))).save(file, kind)
        return file.getvalue()

    def make(self) -> tuple[str, bytes, dict[str, str]]:
        """Returns a path, a body and headers."""
        kinds = [self.raw, self.bomb, self.deep, self.types, self.types, self.shapes, self.picture, self.binary]
        return self.random.choice([*kinds, self.path])()

    def raw(self) -> tuple[str, bytes, dict[str, str]]:
        body = self.random.randbytes(self.random.choice([0, 1, 10, 1000, 100_000]))
        names = ["Content-Encoding", "Inference-Header-Content-Length", "Content-Type", "Accept-Encoding", "Accept"]
        values = ["gzip", "deflate", "br", "0", "-1", "5", "99999999999999999999", "text/html", "x" * 1000, "\xff"]
        headers = {self.random.choice(names): self.random.choice(values) for _ in range(self.random.randrange(4))}
        return self.random.choice([PREDICT, INFER, READ]), body, headers

    def bomb(self) -> tuple[str, bytes, dict[str, str]]:
        size = self.random.choice([10**6, 10**8])
        path = self.random.choice([PREDICT, INFER, READ])
        if self.random.random() < 0.5:
            return path, gzip.compress(b'{"instances": [' + bytes(size), 1, mtime=0), {"Content-Encoding": "gzip"}
        side = self.random.choice([2000, 8000, 30_000, 2**31 - 1])

        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        rows = zlib.compress(bytes(min(side // 8 + 1, 4000)) * min(side, 8000), 9)
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
        png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
        return (READ, png, {}) if path == READ else self._in_base64(png)

    def _in_base64(self, content: bytes) -> tuple[str, bytes, dict[str, str]]:
        row = {"b64": base64.b64encode(content).decode()}
        return PREDICT, json.dumps({"signature_name": "image_bytes", "instances": [row]}).encode(), {}

    def deep(self) -> tuple[str, bytes, dict[str, str]]:
        depth = self.random.choice([10, 900, 2000, 1_000_000])
        left, right = self.random.choice([("[", "]"), ('{"instances":', "}"), ('[{"a":', "}]")])
        body = '{"instances": ' + left * depth + "1" + right * depth + "}"
        return self.random.choice([PREDICT, INFER]), body.encode(), {}

    def types(self) -> tuple[str, bytes, dict[str, str]]:
        """Returns a valid request with something odd somewhere."""
        if self.random.random() < 0.5:
            path, request = PREDICT, {"instances": [self.image], "signature_name": "serving_default"}
        else:
            tensor = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "data": self.image, "parameters": {}}
            path, request = INFER, {"id": "a", "parameters": {}, "inputs": [tensor], "outputs": [{"name": "classes"}]}
        request = json.loads(json.dumps(request))
        node: Any = request
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = self.random.choice(keys)
            if isinstance(node[key], dict | list) and node[key] and self.random.random() < 0.7:
                node = node[key]
                continue
            node[key] = self.random.choice(ODD)
            return path, json.dumps(request).encode(), {}

    def shapes(self) -> tuple[str, bytes, dict[str, str]]:
        sizes = [0, 1, 2, 28, -1, 2**31, 2**63 - 1, 10**30, 784, 28.0, "28", None]
        shape = [self.random.choice(sizes) for _ in range(self.random.choice([0, 1, 3, 3, 3, 100]))]
        tensor = {"name": "images", "shape": shape, "datatype": self.random.choice(["UINT8", "FP32", "BYTES", "X"])}
        tensor["data"] = self.random.choice([self.image, [0] * 784, [], 0])
        return INFER, json.dumps({"inputs": [tensor]}).encode(), {}

    def picture(self) -> tuple[str, bytes, dict[str, str]]:
        content = bytearray(self.random.choice(self.pictures))
        for _ in range(self.random.choice([0, 1, 10, 100])):
            content[self.random.randrange(len(content))] = self.random.randrange(256)
        content = content[: self.random.choice([len(content), len(content) // 2, 20])]
        return (READ, bytes(content), {}) if self.random.random() < 0.5 else self._in_base64(bytes(content))

    def binary(self) -> tuple[str, bytes, dict[str, str]]:
        size = self.random.choice([784, 0, 783, 10**18, -1, "784"])
        tensor = {"name": "images", "shape": [1, 28, 28], "datatype": "UINT8", "parameters": {"binary_data_size": size}}
        text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
        length = self.random.choice([len(text), len(text), len(text) - 1, 0, 10**9, "x"])
        return INFER, text + self.random.randbytes(784), {"Inference-Header-Content-Length": str(length)}

    def path(self) -> tuple[str, bytes, dict[str, str]]:
        parts = ["v1", "v2", "models", "tfmnist", "versions", "99999999999999999999", "%00", "%2e%2e", "..", "ready"]
        parts += ["tfmnist:predict", "tfmnist:", "labels", "%ff", "infer", "page", "health", "x" * 3000, "metadata"]
        path = "/" + "/".join(self.random.choice(parts) for _ in range(self.random.randrange(1, 6)))
        return path, self.random.randbytes(self.random.choice([0, 100])), {}


async def ask(port: int, path: str, body: bytes, headers: dict[str, str]) -> str:
    """Sends a request and returns the status; "closed" if the server closes the connection without an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with contextlib.suppress(ConnectionError):
        writer.write(head.encode("latin-1") + b"\r\n" + body)
        answer = await asyncio.wait_for(reader.read(), 120)
        writer.close()
        if answer:
            return answer.split(b" ", 2)[1].decode()
    return "closed"


async def send_slowly(port: int, maker: Maker) -> None:
    """Sends requests byte by byte, forever."""
    starts = [b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n", b"GET / HT", b"", b"POST "]
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            writer.write(maker.random.choice(starts))
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.5)
        writer.close()


async def fuzz(server: Served, count: int, seed: int) -> Counter[str]:
    """Sends our own requests, sixteen at a time."""
    maker, codes = Maker(seed), Counter[str]()
    slow = [asyncio.create_task(send_slowly(server.port, Maker(n))) for n in range(SLOW)]
    queue = iter(range(count))
    slowest = 0.0

    async def work() -> None:
        nonlocal slowest
        for number in queue:
            path, body, headers = maker.make()
            begin = time.perf_counter()
            code = await ask(server.port, path, body, headers)
            slowest = max(slowest, time.perf_counter() - begin)
            if code.startswith("5") and code not in ("503", "504"):
                print(f"request {number}: {code} for {path} {headers} {body[:200]!r}")
            codes[code] += 1
            if number % max(1, count // 10) == 0:
                print(f"{number:>6} requests, {server.megabytes():.0f} MB", flush=True)

    await asyncio.gather(*(work() for _ in range(16)))
    image = json.dumps({"instances": [maker.image]}).encode()
    assert await ask(server.port, PREDICT, image, {}) == "200", "a right request is no longer answered"
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    print(f"slowest answer {slowest:.2f} s")
    return codes


def run_schemathesis(python: Path, server: Served, count: int) -> bool:
    """Runs schemathesis over the OpenAPI description, with about `count` requests in all."""
    options = ["--checks", "not_a_server_error", "--exclude-path-regex", "unload", "--phases", "fuzzing", "--no-shrink"]
    options += [
        "--max-examples",
        str(max(1, count // 100)),
        "--continue-on-failure",
        "--max-time",
        "600",
        "--seed",
        "1",
    ]
    command = [python, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", *options]
    with tempfile.TemporaryDirectory() as folder:  # it writes a cache into the current folder
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1200)
    print("\n".join((done.stdout + done.stderr).splitlines()[-25:]))
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--environments", type=Path, help="folder for the environment; a temporary one by default")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    half = arguments.requests // 2
    with tempfile.TemporaryDirectory() as scratch:
        python = environment((arguments.environments or Path(scratch)).resolve(), "schemathesis", ["schemathesis"])
        log = Path(scratch) / "log"
        with served(arguments.model, "--timeout", "20", log=log) as server:
            asyncio.run(fuzz(server, max(half // 5, 1), arguments.seed + 1))  # warm up: one-time allocations
            before = server.megabytes()
            codes = asyncio.run(fuzz(server, half, arguments.seed))
            after = server.megabytes()
            described = run_schemathesis(python, server, half)
            end = server.megabytes()
            alive = server.process.poll() is None
        lines = log.read_text().splitlines()
    answered = Counter(line.split()[5] for line in lines if len(line.split()) > 6 and line.endswith(" ms"))
    wrong = {code for code in {*codes, *answered} if code.startswith("5") and code not in ("503", "504")}
    print(f"own requests: {dict(sorted(codes.items()))}")
    print(f"all answers:  {dict(sorted(answered.items()))}, {sum(answered.values()):,} in all")
    print(f"memory {before:.0f} MB before, {after:.0f} MB after them, {end:.0f} MB after schemathesis")
    print("alive" if alive else "it stopped", "and", "no wrong 5xx" if not wrong else f"wrong: {wrong}")
    return int(bool(wrong) or not alive or not described or end > 1.3 * before)


if __name__ == "__main__":
    sys.exit(main())
