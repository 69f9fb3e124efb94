"""Measures requests per second with 64 connections: `tfmnist serve`, with and without batching, and other servers.

python experiments/serving/load.py MODEL [--seconds 60] [--rounds 1] [--only NAME ...] [--environments FOLDER]

Each request has one image, in TensorFlow Serving's JSON. The servers take turns, on the same processors as the load;
the others are each installed in their own environment. FastAPI serves an untrained network of the cnn's size.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from common import environment, served, test_images

from tfmnist.artifacts.versions import find_version

OTHERS = {
    "KServe SDK": ("kserve_server.py", ["kserve", "tensorflow>=2.21,<3"]),
    "LitServe": ("litserve_server.py", ["litserve", "tensorflow>=2.21,<3"]),
    "FastAPI + Keras": ("keras_server.py", ["fastapi", "uvicorn", "httptools", "tensorflow>=2.21,<3"]),
}
OURS = {"tfmnist serve": ["--batching"], "tfmnist serve, without batching": ["--no-batching"]}
PATH = "/v1/models/tfmnist:predict"


class Connection(asyncio.Protocol):
    """Sends each request as soon as the previous one is answered."""

    def __init__(self, request: bytes, until: float, results: "Results", done: "asyncio.Future[None]"):
        self._request, self._until, self._results, self._done = request, until, results, done
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._begin = time.perf_counter()
        self._received = b""
        self._transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return
        self._results.codes[head[9:12].decode()] += 1
        self._results.seconds.append(time.perf_counter() - self._begin)
        if time.perf_counter() < self._until:
            self._send()
        else:
            self._done.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._results.codes["lost"] += 1
            self._done.set_result(None)


class Results:
    """The results of one server's requests."""

    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.seconds: list[float] = []


async def ask(port: int, connections: int, seconds: float) -> Results:
    body = json.dumps({"instances": test_images(1).tolist()}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    loop, results, until = asyncio.get_running_loop(), Results(), time.perf_counter() + seconds
    waiting: list[asyncio.Future[None]] = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        waiting.append(done)
        make = lambda done=done: Connection(head.encode() + body, until, results, done)  # noqa: E731
        await loop.create_connection(make, "127.0.0.1", port)
    await asyncio.wait(waiting, timeout=seconds + 60)
    return results


def megabytes(process: int) -> float:
    """Returns the memory of a process and its children, counting shared pages once."""
    total = 0.0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            total += int(line.split()[1]) / 1024 if line.startswith("Pss:") else 0
        for task in Path(f"/proc/{process}/task").iterdir():
            total += sum(megabytes(int(child)) for child in (task / "children").read_text().split())
    return total


@contextlib.contextmanager
def started(name: str, model: str, environments: Path) -> Iterator[tuple[int, int]]:
    """Starts a server; yields its port and process."""
    if name in OURS:
        with served(model, "--no-access-log", *OURS[name]) as server:
            yield server.port, server.process.pid
        return
    script, packages = OTHERS[name]
    python = environment(environments, f"load-{script.removesuffix('.py')}", packages)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [python, Path(__file__).parent / "others" / script, find_version(model), str(port)]
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=nowhere, stderr=nowhere, env=quiet, start_new_session=True)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                ready = json.dumps({"instances": test_images(1).tolist()}).encode()
                request = urllib.request.Request(f"http://127.0.0.1:{port}{PATH}", ready)
                request.add_header("Content-Type", "application/json")
                urllib.request.urlopen(request, timeout=30).read()
                break
            time.sleep(0.2)
        else:
            raise SystemExit(f"{name} does not answer")
        yield port, process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the session started here
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=[*OURS, *OTHERS], choices=[*OURS, *OTHERS])
    parser.add_argument("--environments", type=Path, help="folder for the environments; a temporary one by default")
    arguments = parser.parse_args()
    rows: dict[str, list[tuple[float, float, float, float, int]]] = {name: [] for name in arguments.only}
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(arguments.rounds):
            for name in arguments.only:
                with started(name, arguments.model, (arguments.environments or Path(scratch)).resolve()) as (
                    port,
                    process,
                ):
                    asyncio.run(ask(port, arguments.connections, min(3.0, arguments.seconds)))  # warm
                    results = asyncio.run(ask(port, arguments.connections, arguments.seconds))
                    times, memory = sorted(results.seconds), megabytes(process)
                wrong = results.codes.total() - results.codes["200"]
                rate = results.codes["200"] / arguments.seconds
                p50, p99 = times[len(times) // 2], times[len(times) * 99 // 100]
                rows[name].append((rate, 1000 * p50, 1000 * p99, memory, wrong))
    print("| server | requests/s | p50, ms | p99, ms | memory, MB | errors |\n|---|---|---|---|---|---|")
    for name, found in rows.items():
        rate, p50, p99, memory, _ = (median(column) for column in zip(*found))
        wrong = sum(row[4] for row in found)
        print(f"| {name} | {rate:,.0f} | {p50:.1f} | {p99:.1f} | {memory:.0f} | {wrong} |")


if __name__ == "__main__":
    sys.exit(main())
