"""A Ray cluster, begun here for these tests, trains what worker processes of this machine would."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import ray

from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.sweeps.executors import Report
from tfmnist.sweeps.packing import Job
from tfmnist.sweeps.ray_workers import RayWorkers
from tfmnist.sweeps.search import search_events
from tfmnist.sweeps.sweep_file import Sweep
from tfmnist.sweeps.trials import SweepResult
from tfmnist.sweeps.workers import make_executor


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    place = tempfile.mkdtemp(prefix="ray-")  # pytest's own is too long a path for its sockets
    os.environ["RAY_TMPDIR"] = place
    yield
    ray.shutdown()
    del os.environ["RAY_TMPDIR"]
    shutil.rmtree(place, ignore_errors=True)


def job(folder: Path, epochs: int) -> Job:
    keys = {"data.per_class": 5, "data.validation": 100, "model.hidden": [8], "train.compile": "graph"}
    recipe = Recipe().replace({**keys, "train.epochs": epochs})
    return Job(folder.name, str(folder), recipe.model_dump(mode="json"))


def reports(workers: RayWorkers, seconds: float = 300) -> Iterator[Report]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield from workers.reports(0.2)


def test_they_train_stop_die_and_go_on(tmp_path: Path) -> None:
    workers = RayWorkers("local", 1)
    try:
        heard = reports(workers)
        workers.submit([job(tmp_path / "one", 2)])
        assert workers.free == 0
        assert [next(heard).kind for _ in range(3)] == ["epoch", "epoch", "done"]
        long = job(tmp_path / "long", 100_000)
        workers.submit([long])
        next(heard)
        workers.stop("long")
        assert next(report for report in heard if report.kind != "epoch").kind == "stopped"
        workers.submit([long])
        first = next(heard)
        (link,) = workers._alive
        ray.kill(link._actor)  # type: ignore[attr-defined]
        crashed = next(report for report in heard if report.kind != "epoch")
        assert crashed.kind == "crashed" and "the worker on the cluster ended" in crashed.figures["reason"]
        assert first.figures["epoch"] > 1 and workers.free == 1
        workers.submit([long])
        assert next(heard).figures["epoch"] > first.figures["epoch"]
    finally:
        workers.close()
    assert len(list((tmp_path / "long" / "checkpoints").iterdir())) == 2


def test_a_sweep_there_has_the_same_table(tmp_path: Path) -> None:
    text = """
        [fixed]
        "data.per_class" = 5
        "data.validation" = 100
        "train.epochs" = 2
        "train.compile" = "graph"
        "model.hidden" = [8]
        [space]
        "optimizer.learning_rate" = [0.001, 0.01, 1e30]
        [search]
        sampler = "grid"
        confirm = 0
    """
    tables: list[Any] = []
    for name in ("there", "here"):
        folder = tmp_path / name
        folder.mkdir()
        with closing(
            make_executor(-1 if name == "here" else 2, 1, folder, ray="local" * (name == "there"))
        ) as executor:
            *_, found = search_events(Sweep.parse(text, "rates"), folder, executor)
        assert isinstance(found, SweepResult)
        tables.append([(trial.state, trial.result, trial.epochs) for trial in found.trials])
    assert tables[0] == tables[1] and [row[0] for row in tables[0]] == ["done", "done", "diverged"]


def test_this_process_is_not_a_cluster(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"workers is -1.* expected 0 or more with a Ray cluster\."):
        make_executor(-1, 1, tmp_path, ray="local")


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:1", "127.0.0.1:port"])
def test_where_there_is_no_cluster_it_says_so(tmp_path: Path, address: str) -> None:
    ray.shutdown()
    with pytest.raises(InputError, match=rf"--ray {address}: .*; expected HOST:PORT of a Ray cluster, auto or local\."):
        RayWorkers(address)
