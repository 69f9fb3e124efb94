"""Measures memory, threads and open files over many runs and predictions in one process, and in a server.

    python experiments/reliability/growth.py [--runs 20] [--predictions 10000] [--minutes 60]

Each part is measured at five moments, the first after it has warmed up: nothing should grow from there on. Linux only.
"""

import argparse
import contextlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

import tfmnist

sys.path.append(str(Path(__file__).parents[1]))
from tables import markdown

RECIPES = {
    "mlp": {"data.per_class": 100, "train.epochs": 2, "model.hidden": (32,)},
    "cnn-fast": {"data.per_class": 20, "train.epochs": 1},
}
MOMENTS = 5
PAUSE = 0.1  # seconds of each client between requests
WHAT = ("megabytes", "threads", "open files")


def measure(process: int) -> list[int]:
    """Returns the megabytes, threads and open files of a process."""
    folder = Path("/proc") / str(process)
    pages = int((folder / "statm").read_text().split()[1])
    return [
        pages * os.sysconf("SC_PAGESIZE") >> 20,
        len(list((folder / "task").iterdir())),
        len(list((folder / "fd").iterdir())),
    ]


def repeat(work: Callable[[], object], times: int, process: int) -> list[list[int]]:
    """Works a number of times; returns the measurements after a fifth of it, two fifths and so on."""
    measured: list[list[int]] = []
    for moment in range(MOMENTS):
        for _ in range(times * moment // MOMENTS, times * (moment + 1) // MOMENTS):
            work()
        measured.append(measure(process))
    return measured


def train(folder: Path, times: int, kind: str) -> list[list[int]]:
    """Trains networks, each in a folder of its own, in this process."""
    recipe, numbers = tfmnist.Recipe.load(kind).replace(RECIPES[kind]), iter(range(times))
    return repeat(lambda: tfmnist.run(recipe, folder / f"{kind}{next(numbers)}", progress=False), times, os.getpid())


def predict(model: Path, times: int) -> list[list[int]]:
    """Predicts batches of changing size, in this process."""
    exported, rng = tfmnist.load_exported(model), np.random.default_rng(0)
    return repeat(
        lambda: exported.predict(rng.integers(0, 256, [rng.integers(1, 65), 28, 28], np.uint8)), times, os.getpid()
    )


def serve(model: Path, minutes: float) -> list[list[int]]:
    """Sends images and pictures to a server for some time, on four connections."""
    command = [sys.executable, "-m", "tfmnist", "serve", str(model), "--port", "0", "--no-access-log"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    posts = requests()
    answered, end = [0] * 4, time.monotonic() + 60 * minutes

    def ask(client: int, port: int) -> None:
        while time.monotonic() < end:
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                for path, body in posts * 20:
                    connection.request("POST", path, body)
                    response = connection.getresponse()
                    answer = response.read()
                    if response.status != 200:
                        raise RuntimeError(f"{path}: {response.status} {answer[:200]}")
                    answered[client] += 1
                    time.sleep(PAUSE)

    try:
        assert server.stdout
        port = int(re.findall(r"http://127.0.0.1:(\d+)", server.stdout.readline())[0])
        with ThreadPoolExecutor(len(answered)) as clients:
            asking = [clients.submit(ask, client, port) for client in range(len(answered))]
            measured: list[list[int]] = []
            for moment in range(MOMENTS):
                time.sleep(max(0.0, end - 12 * minutes * (MOMENTS - 1 - moment) - 1 - time.monotonic()))
                measured.append(measure(server.pid))
            for client in asking:
                client.result()
        print(f"{sum(answered):,} requests answered", flush=True)
        return measured
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


def requests() -> list[tuple[str, bytes]]:
    """Returns paths and bodies of requests: one image, and one picture."""
    digit = tfmnist.load("mnist").test.images[0]
    picture = io.BytesIO()
    Image.fromarray(255 - digit).resize((200, 200)).save(picture, "PNG")
    image = json.dumps({"instances": [digit.tolist()]}).encode()
    return [("/v1/models/tfmnist:predict", image), ("/read", picture.getvalue())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="of each of two recipes")
    parser.add_argument("--predictions", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=60, help="of requests to a server")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        for kind in RECIPES:
            show(f"{kind}, {given.runs} runs", train(folder, given.runs, kind))
        model = folder / "mlp0"
        show(f"{given.predictions:,} predictions", predict(model, given.predictions))
        show(f"a server, {given.minutes:g} minutes", serve(model, given.minutes))


def show(work: str, measured: list[list[int]]) -> None:
    """Prints a table of the measurements."""
    head = [f"after {moment + 1}/{MOMENTS}" for moment in range(MOMENTS)]
    rows = [[what, *map(str, values)] for what, values in zip(WHAT, zip(*measured))]
    print(f"\n{markdown([work, *head], rows)}", flush=True)


if __name__ == "__main__":
    main()
