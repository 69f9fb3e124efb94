"""The processes of one training: what TF_CONFIG may say, and how they meet."""

import contextlib
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from tfmnist.errors import InputError, Interrupted
from tfmnist.recipe import Recipe
from tfmnist.runs import cluster
from tfmnist.runs.cluster import Cluster, Peer, check_recipe, free_address, started, threads_of
from tfmnist.system.machine import processors


def config(index: Any = 0, kind: str = "worker", **jobs: Any) -> str:
    jobs = jobs or {"worker": ["a:1", "b:2"]}
    return json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize("text", ["", "{}", config(worker=["a:1"]), config(kind="chief", chief=["a:1"])])
def test_one_process_is_no_cluster(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    assert Cluster.from_environment() is None


def test_a_chief_comes_before_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", config(1, chief=["a:1"], worker=["a:2", "b:2"]))
    found = Cluster.from_environment()
    assert found and found == Cluster(("a:1", "a:2", "b:2"), 2)
    assert not found.is_one_machine and Cluster(("a:1", "a:2"), 0).is_one_machine
    assert found.local_index == 0 and Cluster(found.addresses, 1).local_index == 1
    assert found.threads == processors() and Cluster(found.addresses, 0).threads == max(1, processors() // 2)
    assert threads_of(found, "auto") == processors() and threads_of(found, 3) == 3
    monkeypatch.setenv("TF_CONFIG", found.environment(2)["TF_CONFIG"])
    assert Cluster.from_environment() == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Expecting"),
        ("[]", "has no attribute"),
        (config(2), "this process is worker 2, which is not in the cluster"),
        (config(0, "evaluator"), "this process is evaluator 0"),
        (config(worker=["a:1", "b"]), "address 'b' is not host:port"),
        (config(worker=["a:1", "b:0"]), "address 'b:0' is not host:port"),
        (config(worker=["a:1", "a:1"]), "two processes have the same address"),
        (config(worker=["a:1"], ps=["b:1"]), "has processes of the kind ps"),
        (json.dumps({"cluster": {"worker": ["a:1", "b:1"]}}), "has no 'task'"),
    ],
)
def test_a_wrong_configuration_is_one_line(text: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError) as error:
        Cluster.from_environment()
    assert reason in str(error.value) and "correct it, or unset it." in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def addresses() -> tuple[str, ...]:
    return tuple(free_address() for _ in range(3))


@pytest.fixture
def meeting(addresses: tuple[str, ...]) -> Callable[..., list[Future[str]]]:
    """Lets processes meet, each in a thread; returns what each gets."""

    def meet(*indices: int, stop: threading.Event | None = None) -> list[Future[str]]:
        stop = stop or threading.Event()
        with ThreadPoolExecutor(3) as threads:
            return [threads.submit(Cluster(addresses, i).meet, stop, None, "2" if not i else "") for i in indices]

    return meet


def test_all_get_what_the_chief_says_whoever_comes_first(meeting: Callable[..., list[Future[str]]]) -> None:
    assert [met.result() for met in meeting(0, 1, 2)] == ["2", "2", "2"]
    assert [met.result() for met in meeting(2, 1, 0)] == ["2", "2", "2"]  # at the same address again, at once


def test_a_process_that_is_missing_is_named(
    meeting: Callable[..., list[Future[str]]], addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 1.0)
    chief, peer = meeting(0, 2)
    with pytest.raises(Interrupted, match=rf"process 1 \({addresses[1]}\) did not start within 1 seconds"):
        chief.result()
    with pytest.raises(Interrupted, match=rf"process 0 \({addresses[0]}\), or another, did not start within 1 sec"):
        peer.result()


def test_waiting_can_be_stopped(meeting: Callable[..., list[Future[str]]]) -> None:
    stop = threading.Event()
    stop.set()
    for met in meeting(0, 1, stop=stop):
        with pytest.raises(Interrupted, match="stopped before all processes had started"):
            met.result()


def test_another_version_is_refused_by_all(
    meeting: Callable[..., list[Future[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = iter(["2.21.0", "2.20.0"])
    own = threading.local()

    def version(_: str) -> str:
        own.version = getattr(own, "version", None) or next(versions)
        return own.version

    monkeypatch.setattr(cluster.importlib.metadata, "version", version)
    for met in meeting(0, 1):
        with pytest.raises(
            InputError, match=r"process \d runs TensorFlow 2.2\d.0, process 0 2.2\d.0; install the same"
        ):
            met.result()


def test_another_number_of_processes_is_refused(addresses: tuple[str, ...]) -> None:
    stop = threading.Event()
    with ThreadPoolExecutor(2) as threads:
        chief = threads.submit(Cluster(addresses[:2], 0).meet, stop)
        peer = threads.submit(Cluster(addresses, 2).meet, stop)
        for met in (chief, peer):
            with pytest.raises(InputError, match="process 2 is one of 3, process 0 one of 2; give all the same TF_CON"):
                met.result()


def connect(host: str, port: int) -> socket.socket:
    for _ in range(100):
        with contextlib.suppress(OSError):
            return socket.create_connection((host, port), 1.0)
        time.sleep(0.02)
    raise AssertionError("nothing answers")


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b'{"index": 9}\n', b"x" * 20_000])
def test_a_stranger_is_ignored(sent: bytes, addresses: tuple[str, ...]) -> None:
    with ThreadPoolExecutor(2) as threads:
        chief = threads.submit(Cluster(addresses[:2], 0).meet, threading.Event(), None, "auto")
        host, port = addresses[0].split(":")
        with connect(host, int(port)) as stranger:
            stranger.sendall(sent)
        peer = threads.submit(Cluster(addresses[:2], 1).meet, threading.Event())
        assert chief.result() == peer.result() == "auto"


def test_a_port_in_use_is_named(addresses: tuple[str, ...]) -> None:
    host, port = addresses[0].split(":")
    with socket.create_server((host, int(port))), pytest.raises(InputError, match=f"port {port}, of process 0, cannot"):
        Cluster(addresses, 0).meet(threading.Event())


class Failing(Peer):
    """A process that ends at once."""

    def start(self, environment: Any, folder: str) -> None:
        super().start({**environment, "TF_CONFIG": "{"}, folder)


@pytest.mark.skipif(sys.platform == "win32", reason="processes are not started so on Windows")
def test_a_process_started_here_that_fails_is_named_with_what_it_said() -> None:
    with started([Failing()], free_address()) as (found, check), pytest.raises(Interrupted) as error:
        found.meet(threading.Event(), check)
    assert "process 1 has ended before the training began: TF_CONFIG is '{': Expecting" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "processes", "profiled", "reason"),
    [
        ({}, 0, False, "--processes is 0: expected 1 to"),
        ({}, 1000, False, "--processes is 1000: expected 1 to"),
        ({"train.batch_size": 1}, 2, False, "--processes is 2 but train.batch_size is 1: expected at most one process"),
        ({"train.compile": "xla"}, 2, False, "recipe key 'train.compile' is 'xla': several processes can only"),
        ({}, 2, True, "--profile measures the steps of one process"),
    ],
)
def test_what_several_processes_cannot_train(
    changes: dict[str, Any], processes: int, profiled: bool, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        check_recipe(Recipe.load("mlp").replace(changes), processes, here=True, profiled=profiled)


def test_one_process_may_train_anything() -> None:
    check_recipe(Recipe.load("mlp").replace({"train.compile": "xla"}), 1, here=True, profiled=True)
