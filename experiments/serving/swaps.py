"""Ten version swaps under load, one of a damaged folder and one half copied, then SIGTERM under load.

python experiments/serving/swaps.py MODEL [--connections 64] [--seconds 3]

No request may fail, no accepted request may be lost after SIGTERM, and the server must exit with code 0.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from common import Served, served, test_images

from tfmnist.artifacts.versions import find_version


class Load:
    """Connections that send one image over and over, and count the responses."""

    def __init__(self, port: int, connections: int):
        image = test_images(1)
        tensor = {"name": "images", "datatype": "UINT8", "shape": [1, 28, 28], "data": image.ravel().tolist()}
        body = json.dumps({"inputs": [tensor]}).encode()
        head = f"POST /v2/models/tfmnist/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        self._port, self._request = port, head.encode() + body
        self.codes: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.classes: Counter[int] = Counter()
        self.slowest = 0.0
        self.lost: list[str] = []
        self._stop = False
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(connections)]

    async def _ask(self) -> None:
        while not self._stop:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except ConnectionError:  # the server no longer listens: the request was not accepted
                return
            try:
                while not self._stop and await self._ask_once(reader, writer):
                    pass
            except (OSError, asyncio.IncompleteReadError) as error:
                self.lost.append(repr(error))
            writer.close()

    async def _ask_once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Returns whether the connection stays open."""
        begin = time.perf_counter()
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        answer: dict[str, Any] = json.loads(await reader.readexactly(int(fields["content-length"])))
        self.slowest = max(self.slowest, time.perf_counter() - begin)
        self.codes[head.split(" ")[1]] += 1
        self.versions[str(answer.get("model_version"))] += 1
        if "outputs" in answer:
            self.classes[answer["outputs"][0]["data"][0]] += 1
        return fields.get("connection") != "close"

    async def end(self) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)


def change(folder: Path, good: Path, number: int, kind: str) -> None:
    """Adds a version to a model folder."""
    target = folder / str(number)
    if kind == "half copied":
        shutil.copytree(good, target, ignore=lambda path, names: [name for name in names if ".data" in name])
        return
    staged = folder / f"staged-{number}"
    shutil.copytree(good, staged)
    if kind == "damaged":
        data = next((staged / "variables").glob("*.data*"))
        data.write_bytes(bytes(len(data.read_bytes())))
    staged.rename(target)


def states(server: Served) -> dict[str, str]:
    with urllib.request.urlopen(f"{server.url}/v1/models/tfmnist", timeout=30) as answer:
        return {version["version"]: version["state"] for version in json.load(answer)["model_version_status"]}


async def run(model: str, connections: int, seconds: float) -> int:
    good = find_version(model)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        change(folder, good, 1, "good")
        options = ("--check-seconds", "0.2", "--no-access-log", "--queue", "10000")
        with served(folder, *options, log=Path(scratch) / "log") as server:
            load = Load(server.port, connections)
            await asyncio.sleep(seconds)
            print(f"{'':<24} {'answers':>8} {'slowest':>8} {'memory':>8}")
            newest = 1
            for number, kind in enumerate(
                ["good"] * 3 + ["damaged"] + ["good"] * 3 + ["half copied"] + ["good"] * 2, 2
            ):
                load.slowest, before = 0.0, load.codes.total()
                await asyncio.to_thread(change, folder, good, number, kind)
                until = time.monotonic() + 60
                newest = number if kind == "good" else newest
                while time.monotonic() < until:
                    known = await asyncio.to_thread(states, server)
                    if known.get(str(number)) == ("AVAILABLE" if kind == "good" else "END"):
                        break
                    await asyncio.sleep(0.1)
                await asyncio.sleep(seconds)
                answers = load.codes.total() - before
                print(
                    f"version {number:>2}, {kind:<12} {answers:>8} {load.slowest:>7.3f}s {server.megabytes():>6.0f}MB"
                )
                expect(str(newest) == max(load.versions, key=int), f"version {newest} does not answer")
            expect(set(load.codes) == {"200"} and not load.lost, f"{load.codes} {load.lost}")
            expect(len(load.classes) == 1, f"answers differ: {load.classes}")
            before = load.codes.total()
            os.kill(server.process.pid, signal.SIGTERM)
            begin = time.monotonic()
            code = await asyncio.to_thread(server.process.wait, 60)
            took = time.monotonic() - begin
            await load.end()
            print(
                f"SIGTERM: {load.codes.total() - before} answers more, {len(load.lost)} lost, exit {code}, {took:.1f} s"
            )
            log = (Path(scratch) / "log").read_text()
        print(f"{load.codes.total():,} requests: {dict(load.codes)}, {len(load.lost)} lost")
        expect(code == 0 and set(load.codes) == {"200"} and not load.lost, f"{load.codes} {load.lost[:3]}")
        expect("version 5 refused" in log and "version 9 refused" in log, log[-2000:])
    return 0


def expect(truth: bool, otherwise: str) -> None:
    if not truth:
        sys.exit(otherwise)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of load after each swap")
    arguments = parser.parse_args()
    sys.exit(asyncio.run(run(arguments.model, arguments.connections, arguments.seconds)))
