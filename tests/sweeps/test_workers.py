"""Worker processes, here and on a Ray cluster: they divide the trials, and what dies is replaced."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tfmnist.errors import InputError, TfmnistError
from tfmnist.recipe import Recipe
from tfmnist.runs.result import read_history
from tfmnist.sweeps import workers as workers_module
from tfmnist.sweeps.seed_list import SeedList
from tfmnist.sweeps.workers import Workers


def recipe(small: Path, epochs: int) -> Recipe:
    keys = {"data.source": str(small), "data.validation": 100, "model.hidden": [8], "train.epochs": epochs}
    return Recipe().replace({**keys, "train.compile": "graph", "export.model": False, "export.report": False})


def epochs_of(folder: Path) -> dict[str, int]:
    return {run.name: len(read_history(run)) for run in folder.glob("seed-*")}


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()}


def watch(loop: Iterator[Any], until: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        next(loop)


def test_two_divide_a_study_one_is_killed_and_both_end_with_it(small: Path, tmp_path: Path) -> None:
    source, stop, before = SeedList(recipe(small, 60), (0, 1, 2), tmp_path), threading.Event(), children()
    with closing(Workers(2)) as workers:
        loop = workers.run(source, stop)
        watch(loop, lambda: sum(epochs > 0 for epochs in epochs_of(tmp_path).values()) >= 2)
        pids = children() - before
        assert len(pids) == 2
        os.kill(pids.pop(), signal.SIGKILL)
        list(loop)
        assert source.left() == 0 and source.failures() == [] and set(epochs_of(tmp_path).values()) == {60}
        list(workers.run(again := SeedList(recipe(small, 1), (3,), tmp_path), stop))
        assert again.left() == 0 and len(children() - before) == 2  # the same processes
    assert children() == before


def test_stopping_saves_what_is_trained_within_seconds(small: Path, tmp_path: Path) -> None:
    source, stop, before = SeedList(recipe(small, 100_000), (0,), tmp_path), threading.Event(), children()
    workers = Workers(1)
    loop = workers.run(source, stop)
    watch(loop, lambda: epochs_of(tmp_path).get("seed-0", 0) > 1)
    stop.set()
    began = time.monotonic()
    list(loop)
    assert time.monotonic() - began < 10 and children() == before and source.left() == 1
    assert list((tmp_path / "seed-0" / "checkpoints").iterdir())
    assert [path.name for path in (tmp_path / ".claims").iterdir()] == ["lock"]


def test_a_process_that_has_trained_many_is_replaced(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport sys\nfrom tfmnist.sweeps import worker\n"
        "worker._MOST_TRIALS, sys.argv = 1, sys.argv[2:]\nworker.main()\n"
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    source, before, pids = SeedList(recipe(small, 1), (0, 1, 2), tmp_path / "study"), children(), set[int]()
    (tmp_path / "study").mkdir()
    with closing(Workers(1)) as workers:
        for _ in workers.run(source, threading.Event()):
            pids |= children() - before
    assert len(pids) == 3 and source.left() == 0 and source.failures() == []
    assert children() == before


def test_processes_that_end_before_they_train_are_not_started_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with (
        closing(Workers(1)) as workers,
        pytest.raises(TfmnistError, match="workers end before training: exit code 1"),
    ):
        list(workers.run(SeedList(Recipe(), (0,), tmp_path), threading.Event()))


@pytest.mark.parametrize(("count", "threads"), [(-2, 1), (1, 0)])
def test_impossible_numbers_are_refused(count: int, threads: int) -> None:
    with pytest.raises(InputError, match=rf"workers {count}, threads {threads}: expected -1 or more, and 1 or more\."):
        Workers(count, threads)


@pytest.mark.parametrize(("count", "threads"), [(1_000_000, 1), (1, 1_000_000)])
def test_absurd_numbers_are_refused(count: int, threads: int) -> None:
    with pytest.raises(InputError, match=rf"workers {count}, threads {threads}: expected at most \d+ and \d+ on this "):
        Workers(count, threads)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    folder = tempfile.mkdtemp(prefix="ray-")  # pytest's own is too long a path for its sockets
    os.environ["RAY_TMPDIR"] = folder
    yield ray
    ray.shutdown()
    del os.environ["RAY_TMPDIR"]
    shutil.rmtree(folder, ignore_errors=True)


def test_on_ray_one_is_killed_and_the_study_ends(cluster: Any, small: Path, tmp_path: Path) -> None:
    source, stop = SeedList(recipe(small, 50), (0, 1), tmp_path), threading.Event()
    with closing(Workers(1, ray="local")) as workers:
        loop = workers.run(source, stop)
        watch(loop, lambda: epochs_of(tmp_path))
        (worker,) = workers._alive.values()
        cluster.kill(worker._actor)  # type: ignore[attr-defined]
        watch(loop, worker.ended)
        assert worker.ended().startswith("the worker on the cluster ended: ")
        watch(loop, lambda: epochs_of(tmp_path).get("seed-1"))
        stop.set()
        list(loop)
        assert source.left() <= 1 and not cluster.is_initialized()
    assert epochs_of(tmp_path)["seed-0"] == 50 and source.failures() == []


def test_on_ray_a_node_joins_and_is_killed_and_more_workers_are_wanted_than_fit(
    cluster: Any, small: Path, tmp_path: Path
) -> None:
    from ray.cluster_utils import Cluster

    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300, "health_check_failure_threshold": 2}
    nodes: Any = Cluster(True, head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": quick})
    source, stop = SeedList(recipe(small, 200), tuple(range(4)), tmp_path), threading.Event()
    try:
        with closing(Workers(4, ray=str(nodes.address))) as workers:
            loop = workers.run(source, stop)
            watch(loop, lambda: len(epochs_of(tmp_path)) == 1)
            assert len(workers._alive) <= 2
            node = nodes.add_node(num_cpus=1)
            watch(loop, lambda: len([epochs for epochs in epochs_of(tmp_path).values() if epochs < 200]) == 2)
            nodes.remove_node(node, allow_graceful=False)
            list(loop)
        assert source.left() == 0 and source.failures() == []
        assert epochs_of(tmp_path) == {f"seed-{seed}": 200 for seed in range(4)}
    finally:
        nodes.shutdown()


def test_as_many_workers_as_a_cluster_has_processors_follow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    size = {"CPU": 1.0}
    monkeypatch.setattr(
        workers_module, "connect", lambda address: (SimpleNamespace(cluster_resources=lambda: size), False)
    )
    workers = Workers(0, ray="anywhere:1")
    assert workers.count == 1 and workers._follows_cluster
    size["CPU"] = 3.0
    assert workers._room() == 3


def test_a_cluster_that_asks_for_a_token_says_how_to_give_it(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-c", f"from tfmnist.sweeps.workers import Workers; Workers(ray='{address}')"]
        said = subprocess.run(command, capture_output=True, text=True, check=False).stderr.splitlines()[-1]
    assert f"--ray {address}: " in said
    assert said.endswith(
        "if it asks for a token, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to the token's file."
    )


def test_this_process_is_not_a_cluster() -> None:
    with pytest.raises(InputError, match=r"workers is -1.* expected 0 or more with a Ray cluster\."):
        Workers(-1, ray="local")


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:1", "127.0.0.1:port"])
def test_a_missing_cluster_is_named(cluster: Any, address: str) -> None:
    with pytest.raises(InputError, match=rf"--ray {address}: .*; expected HOST:PORT of a Ray cluster, auto or local;"):
        Workers(ray=address)
