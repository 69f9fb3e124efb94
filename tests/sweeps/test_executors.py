"""Who trains: in this process and in worker processes the same comes out, also where one is killed."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfmnist.recipe import Recipe
from tfmnist.runs.train import resume
from tfmnist.sweeps.executors import Executor, InProcess, Report
from tfmnist.sweeps.packing import Job
from tfmnist.sweeps.workers import LocalWorkers
from tfmnist.system.files import read_npz
from tfmnist.training.checkpoint import list_checkpoints


@pytest.fixture(params=["in process", "workers"])
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Executor]:
    made: Executor = InProcess() if request.param == "in process" else LocalWorkers(2, tmp_path / "log")
    yield made
    made.close()


def job(small: Path, folder: Path, **changes: Any) -> Job:
    keys = {"data.source": str(small), "data.validation": 100, "model.hidden": [8], "train.epochs": 2}
    keys |= {"train.compile": "graph"} | {name.replace("__", "."): value for name, value in changes.items()}
    return Job(folder.name, str(folder), Recipe().replace(keys).model_dump(mode="json"))


def follow(executor: Executor, count: int = 1, seconds: float = 120) -> list[Report]:
    """Returns the reports until so many jobs are over."""
    found: list[Report] = []
    until = time.monotonic() + seconds
    while sum(report.kind != "epoch" for report in found) < count:
        assert time.monotonic() < until, found
        found.extend(executor.reports(0.2))
    return found


def processes(executor: LocalWorkers) -> list[Any]:
    return [worker._process for worker in executor._alive]  # type: ignore[attr-defined]


def test_a_job_is_trained_and_not_judged(executor: Executor, small: Path, tmp_path: Path) -> None:
    assert executor.free == executor.workers
    executor.submit([job(small, tmp_path / "one")])
    assert executor.free == executor.workers - 1
    reports = follow(executor)
    assert [report.kind for report in reports] == ["epoch", "epoch", "done"]
    last, end = reports[-2].figures, reports[-1].figures
    assert end["validation_accuracy"] == last["validation_accuracy"] and end["epochs"] == 2
    assert not (tmp_path / "one" / "result.json").exists() and not (tmp_path / "one" / "model").exists()
    executor.submit([job(small, tmp_path / "one")])  # again: it is trained already
    assert [report.kind for report in follow(executor)] == ["done"]
    done = resume(tmp_path / "one")
    assert done.result["validation_accuracy"] == end["validation_accuracy"] and done.result["model"] == "model/1"


def test_what_goes_wrong_is_a_report_and_the_next_job_is_trained(
    executor: Executor, small: Path, tmp_path: Path
) -> None:
    executor.submit([job(small, tmp_path / "diverges", optimizer__kind="sgd", optimizer__learning_rate=1e30)])
    assert "diverged: the loss is" in follow(executor)[-1].figures["reason"]
    executor.submit([job(tmp_path / "nothing.npz", tmp_path / "refused")])
    report = follow(executor)[-1]
    assert report.kind == "refused" and "does not exist" in report.figures["reason"]
    executor.submit([job(small, tmp_path / "good")])
    assert follow(executor)[-1].kind == "done"


def test_a_job_is_stopped_and_goes_on_to_the_same_weights(executor: Executor, small: Path, tmp_path: Path) -> None:
    executor.submit([job(small, tmp_path / "stopped", train__epochs=300)])
    while not list(executor.reports(0.2)):  # its first epoch
        pass
    executor.stop("stopped")
    assert follow(executor)[-1].kind == "stopped" and executor.free == executor.workers
    lines = (tmp_path / "stopped" / "metrics.jsonl").read_text().count("\n")
    assert 1 <= lines < 300 and not (tmp_path / "stopped" / "result.json").exists()
    executor.submit([job(small, tmp_path / name, train__epochs=300) for name in ("stopped", "whole")[: executor.free]])
    assert {report.kind for report in follow(executor, min(2, executor.workers))} == {"epoch", "done"}
    if executor.workers == 1:
        executor.submit([job(small, tmp_path / "whole", train__epochs=300)])
        follow(executor)
    ours, theirs = (read_npz(list_checkpoints(tmp_path / name / "checkpoints")[-1]) for name in ("stopped", "whole"))
    assert all(np.array_equal(ours[name], values) for name, values in theirs.items() if name not in ("state", "recipe"))


def test_a_worker_that_is_killed_is_a_report_and_its_job_goes_on(small: Path, tmp_path: Path) -> None:
    executor = LocalWorkers(1, tmp_path / "log")
    try:
        task = job(small, tmp_path / "killed", train__epochs=30)
        executor.submit([task])
        while not list(executor.reports(0.2)):
            pass
        (process,) = processes(executor)
        process.kill()
        report = follow(executor)[-1]
        assert report.kind == "crashed" and "SIGKILL" in report.figures["reason"]
        assert executor.free == 1
        executor.submit([task])
        assert follow(executor)[-1].kind == "done"
        executor.submit([job(small, tmp_path / "whole", train__epochs=30)])
        assert follow(executor)[-1].kind == "done"
    finally:
        executor.close()
    ours, theirs = (resume(tmp_path / name).result["weights_sha256"] for name in ("killed", "whole"))
    assert ours == theirs
    weights = read_npz(tmp_path / "whole" / "weights.npz")
    assert all(np.isfinite(values).all() for values in weights.values())


def test_closing_saves_what_is_trained_and_leaves_no_process(small: Path, tmp_path: Path) -> None:
    executor = LocalWorkers(2, tmp_path / "log")
    for name in ("a", "b"):
        executor.submit([job(small, tmp_path / name, train__epochs=100_000)])
    seen: set[str] = set()
    while len(seen) < 2:
        seen |= {report.name for report in executor.reports(0.2)}
    begun = processes(executor)
    executor.close()
    assert len(begun) == 2 and all(process.poll() is not None for process in begun)
    assert all(list((tmp_path / name / "checkpoints").iterdir()) for name in ("a", "b"))


def test_a_folder_that_was_hardly_begun_is_begun_again(small: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / ".recipe.toml-x3f").write_text("half a rec")
    executor = InProcess()
    executor.submit([job(small, tmp_path / "one")])
    assert follow(executor)[-1].kind == "done"
