"""The server as a process on a real port: it ends without losing a request, and swaps versions without failing one."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tfmnist.errors import InputError
from tfmnist.serving.server import bind

PREDICT = "/v1/models/tfmnist:predict"
ROWS = json.dumps({"instances": [[[0] * 28] * 28]})


class Server:
    """`tfmnist serve` in a process of its own."""

    def __init__(self, folder: Path, *options: str):
        command = [sys.executable, "-m", "tfmnist", "serve", str(folder), "--port", "0", *options]
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes)
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert "http://127.0.0.1:" in line, self.process.communicate()
        self.port = int(line.rpartition(":")[2])

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def get(self, path: str) -> tuple[int, Any]:
        connection = self.connect()
        connection.request("GET", path)
        answer = connection.getresponse()
        found = answer.status, json.loads(answer.read())
        connection.close()
        return found

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, errors = self.process.communicate(timeout=60)
        return self.process.returncode, out, errors


class Load:
    """Threads that ask again and again, and note what each request got."""

    def __init__(self, server: Server, threads: int = 4):
        self.answers: list[tuple[int, Any]] = []
        self.lost: list[str] = []  # sent without an answer
        self._server, self._stop = server, threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        connection = self._server.connect()
        while not self._stop.is_set():
            if connection.sock is None:
                try:
                    connection.connect()
                except ConnectionError:  # nobody listens any more
                    break
            try:
                connection.request("POST", "/v2/models/tfmnist/infer", self.request())
                answer = connection.getresponse()
                self.answers.append((answer.status, json.loads(answer.read())))
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                connection.close()
        connection.close()

    @staticmethod
    def request() -> str:
        tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 28, 28], "data": [0] * 784}
        return json.dumps({"inputs": [tensor]})

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    assert condition()


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def make(folder: Path, *options: str) -> Server:
        servers.append(Server(folder, *options))
        return servers[-1]

    yield make
    for server in servers:
        server.process.kill()
        server.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_loses_no_request(
    exported: Path, start: Callable[..., Server], number: signal.Signals
) -> None:
    server = start(exported, "--no-access-log")
    load = Load(server)
    wait_for(lambda: len(load.answers) > 50)
    code, _, errors = server.stop(number)
    load.end()
    assert code == 0 and load.lost == [] and {code for code, _ in load.answers} == {200}
    assert "Traceback" not in errors
    with pytest.raises(ConnectionRefusedError):
        server.get("/")


def test_an_idle_connection_does_not_hold_it(exported: Path, start: Callable[..., Server]) -> None:
    server = start(exported)
    connection = server.connect()
    connection.request("GET", "/v2/health/ready")
    assert connection.getresponse().read() == b'{"ready":true}'
    silent = socket.create_connection(("127.0.0.1", server.port))
    silent.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\n")
    code, _, errors = server.stop()
    assert code == 0 and "GET /v2/health/ready 200" in errors
    connection.close()
    silent.close()


def test_versions_are_swapped_under_load_without_a_failed_request(
    model_folder: Path, start: Callable[..., Server]
) -> None:
    server = start(model_folder, "--check-seconds", "0.1", "--no-access-log")
    load = Load(server, threads=2)

    def served() -> int:
        return int(load.answers[-1][1]["model_version"]) if load.answers else 0

    wait_for(lambda: served() == 1)
    damaged = Path(shutil.copytree(model_folder / "1", model_folder / "damaged"))
    pb = damaged / "saved_model.pb"
    pb.write_bytes(pb.read_bytes()[:-1] + b"?")
    damaged.rename(model_folder / "2")
    (model_folder / "3").mkdir()
    shutil.copy(model_folder / "1" / "saved_model.pb", model_folder / "3")  # half copied
    wait_for(lambda: len(server.get("/v1/models/tfmnist")[1]["model_version_status"]) == 3)
    assert served() == 1
    shutil.copytree(model_folder / "1", model_folder / "writing")
    (model_folder / "writing").rename(model_folder / "4")
    wait_for(lambda: served() == 4)
    load.end()
    code, status = server.get("/v1/models/tfmnist")
    found = {version["version"]: version for version in status["model_version_status"]}
    assert code == 200 and found["4"]["state"] == "AVAILABLE"
    assert found["2"]["status"]["error_code"] == found["3"]["status"]["error_code"] == "DATA_LOSS"
    assert load.lost == [] and {code for code, _ in load.answers} == {200}
    code, _, errors = server.stop()
    assert code == 0 and "version 2 refused" in errors and "version 3 refused" in errors


def test_requests_share_a_connection_and_may_be_chunked(exported: Path, start: Callable[..., Server]) -> None:
    server = start(exported)
    connection = server.connect()
    for body in (ROWS.encode(), iter([ROWS[:100].encode(), ROWS[100:].encode()])):
        connection.request("POST", PREDICT, body, {"content-type": "text/plain"}, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 200 and len(json.loads(answer.read())["predictions"]) == 1
    connection.request("POST", PREDICT, bytes(40_000_000))
    answer = connection.getresponse()
    assert answer.status == 413 and "error" in json.loads(answer.read())
    connection.close()


def test_addresses() -> None:
    first = bind("127.0.0.1", 0)
    port = first.getsockname()[1]
    first.listen()
    for host, number, words in (
        ("127.0.0.1", port, f"--port {port}: Address already in use; choose another --port"),
        ("127.0.0.1", 80_000, "--port 80000: expected 0 to 65535"),
        ("127.0.0.1", -1, "--port -1: expected 0 to 65535"),
        ("no.such.host.invalid", 0, "--host no.such.host.invalid: not known"),
        ("192.0.2.1", 0, "--host 192.0.2.1 --port 0: "),
    ):
        with pytest.raises(InputError) as error:
            bind(host, number)
        assert words in str(error.value)
    first.close()
    if os.path.exists("/proc/net/if_inet6") and os.path.getsize("/proc/net/if_inet6"):
        bind("::1", 0).close()
