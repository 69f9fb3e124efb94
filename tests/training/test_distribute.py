"""Several processes that train together: they do what one does, stop and resume alike, and notice when one is gone."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Process = subprocess.Popen[str]

# batch normalisation, dropout, noise, augmentation, averages, penalties, clipping; the last batch has one example
RECIPE = """
[data]
source = {source!r}
validation = 55
[model]
kind = "cnn"
layers = ["conv 4 5x5 /2", "noise 0.1", "dropout 0.2", "conv 8 3x3", "global max"]
[loss]
label_smoothing = 0.1
l2 = 0.0001
[optimizer]
kind = "momentum"
learning_rate = 0.05
clip_norm = 1.0
[augment]
rotate = 10.0
elastic = 1.0
[train]
epochs = {epochs}
batch_size = 32
block = 5
compile = "graph"
average = 0.9
[export]
model = false
report = false
"""


@pytest.fixture
def recipe(small: Path, tmp_path: Path) -> Callable[[int], str]:
    def write(epochs: int) -> str:
        path = tmp_path / "together.toml"
        path.write_text(RECIPE.format(source=str(small), epochs=epochs))
        return str(path)

    return write


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., list[Process]]]:
    """Starts processes as a cluster does, by TF_CONFIG; those that are left at the end are killed."""
    running: list[Process] = []

    def start(count: int, *words: str) -> list[Process]:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
        for one in sockets:
            one.close()
        processes: list[Process] = []
        for index in range(count):
            config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
            pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            command = [sys.executable, "-m", "tfmnist", "train", *(words if not index else ())]
            processes.append(subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes))
            running.append(processes[-1])
        return processes

    yield start
    for process in running:
        process.kill()
        process.communicate()


def end(processes: Sequence[Process]) -> list[tuple[int, str]]:
    """Waits for processes to end; returns their exit codes and last lines on standard error."""
    ends = [(process.communicate(timeout=120)[1].strip().splitlines(), process.returncode) for process in processes]
    return [(code, lines[-1] if lines else "") for lines, code in ends]


def wait_for(path: Path) -> None:
    until = time.monotonic() + 100
    while not list(path.glob("checkpoints/step-*.npz")):
        assert time.monotonic() < until
        time.sleep(0.05)


def losses(path: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (path / "metrics.jsonl").read_text().splitlines()]


def train(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "tfmnist", "train", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_do_what_one_does(recipe: Callable[[int], str], tmp_path: Path) -> None:
    path = recipe(2)
    train(tmp_path, path, "--run-dir", "one")
    said = train(tmp_path, path, "--run-dir", "two", "--processes", "2")
    assert re.search(r"processes 2, [\d.]+ ms per step; on one machine without GPUs, one process is faster\n", said)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    one, two = (dict(np.load(tmp_path / name / "weights.npz")) for name in ("one", "two"))
    largest = max(float(np.abs(array).max()) for array in one.values())
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, rtol=0, atol=1e-4 * largest, err_msg=name)
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("one", "two")]
    assert results[0]["test_accuracy"] == pytest.approx(results[1]["test_accuracy"], abs=0.02)
    assert results[1]["compile"]["processes"] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_training_stops_by_a_signal_to_any_process_and_another_number_resumes_it(
    recipe: Callable[[int], str], begin: Callable[..., list[Process]], tmp_path: Path
) -> None:
    path = recipe(12)
    train(tmp_path, path, "--run-dir", "whole")
    processes = begin(2, path, "--run-dir", "run")
    wait_for(tmp_path / "run")
    processes[1].send_signal(signal.SIGTERM)
    (code, line), (peer_code, peer_line) = end(processes)
    assert (code, peer_code) == (75, 75)
    assert line == "tfmnist: stopped and saved; resume with: tfmnist train --resume run"
    assert "process 0 has saved" in peer_line
    assert 0 < len(losses(tmp_path / "run")) < 12
    train(tmp_path, "--resume", "run")
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_process_that_is_killed_is_named(
    recipe: Callable[[int], str], begin: Callable[..., list[Process]], tmp_path: Path
) -> None:
    path = recipe(100)
    processes = begin(2, path, "--run-dir", "run")
    wait_for(tmp_path / "run")
    processes[1].kill()
    (code, line), _ = end(processes)
    assert code == 75
    assert line == (
        "tfmnist: process 1 has ended or does not answer; start all processes again: tfmnist train --resume run "
        "--processes 2"
    )


def test_one_process_does_not_import_the_module() -> None:
    code = "import sys, tfmnist.cli.train, tfmnist.runs.train; sys.exit('tfmnist.training.distribute' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
