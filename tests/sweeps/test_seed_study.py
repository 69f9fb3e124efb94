"""A recipe over several seeds, with trainings that are made up; and both commands as a user has them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.sweeps.executors import Report
from tfmnist.sweeps.packing import Job
from tfmnist.sweeps.seed_study import StudyResult, spread, study_events


class MadeUp:
    """One worker that needs no time; the first training of each seed in `ends` ends its process."""

    workers = 1

    def __init__(self, ends: tuple[int, ...] = (), kind: Any = "crashed", times: int = 1) -> None:
        self.ends, self.kind, self.times = ends, kind, times
        self.job: Job | None = None
        self.seen: list[str] = []

    @property
    def free(self) -> int:
        return 0 if self.job else 1

    def submit(self, jobs: Sequence[Job]) -> None:
        (self.job,) = jobs
        self.seen.append(self.job.name)

    def stop(self, name: str) -> None: ...

    def close(self) -> None: ...

    def reports(self, seconds: float) -> Iterator[Report]:
        assert self.job
        job, self.job = self.job, None
        seed = job.recipe["train"]["seed"]
        if seed in self.ends and self.seen.count(job.name) <= self.times:
            yield Report(job.name, self.kind, {"reason": "made up"})
        else:
            figures = {"test_accuracy": 0.9 + seed / 100, "validation_accuracy": None, "seconds": {"train": 1.0}}
            yield Report(job.name, "done", figures)


def studied(folder: Path, executor: MadeUp, recipe: Recipe | None = None) -> StudyResult:
    *_, last = study_events(recipe or Recipe.load("mlp"), range(3), folder, executor)
    assert isinstance(last, StudyResult)
    return last


def test_a_study_has_mean_and_deviation_over_the_seeds(tmp_path: Path) -> None:
    result = studied(tmp_path / "a", MadeUp(ends=(1,)))
    assert [row.seed for row in result.seeds] == [0, 1, 2]
    assert result.test_accuracy == (pytest.approx(0.91), pytest.approx(0.01))
    kept = json.loads((tmp_path / "a" / "study.json").read_text())
    assert kept["test_accuracy_mean"] == result.test_accuracy[0] and kept["seeds"][2]["test_accuracy"] == 0.92
    assert spread([1.0]) == (1.0, 0.0)


@pytest.mark.parametrize(("kind", "times"), [("crashed", 2), ("diverged", 1), ("refused", 1)])
def test_a_seed_that_fails_is_named(tmp_path: Path, kind: str, times: int) -> None:
    with pytest.raises(InputError, match="seed-1: made up"):
        studied(tmp_path / "a", MadeUp((1,), kind, times))


def test_another_recipe_does_not_go_on_in_its_folder(tmp_path: Path) -> None:
    studied(tmp_path / "a", MadeUp())
    with pytest.raises(InputError, match="holds another recipe"):
        studied(tmp_path / "a", MadeUp(), Recipe.load("cnn"))


# As a user has them


def command(folder: Path, *words: str) -> "subprocess.Popen[str]":
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "tfmnist", *words], cwd=folder, start_new_session=True, **pipes)


def recipe_file(small: Path, folder: Path, epochs: int) -> Path:
    keys = {"data.source": str(small), "data.validation": 100, "model.hidden": [8], "train.compile": "graph"}
    path = folder / "little.toml"
    path.write_text(Recipe().replace({**keys, "train.epochs": epochs}).to_toml())
    return path


def test_a_study_from_the_shell(small: Path, tmp_path: Path) -> None:
    recipe_file(small, tmp_path, 2)
    done = command(tmp_path, "study", "little.toml", "--seeds", "2", "--run-dir", "studied", "--json")
    out, errors = done.communicate()
    assert done.returncode == 0, errors
    rows = json.loads(out)["seeds"]
    for row in rows:
        run = tmp_path / "studied" / f"seed-{row['seed']}"
        assert json.loads((run / "result.json").read_text())["test_accuracy"] == row["test_accuracy"]
    assert len(rows) == 2 and rows[0]["test_accuracy"] != rows[1]["test_accuracy"]


def test_a_sweep_that_is_killed_goes_on_to_the_same_table(small: Path, tmp_path: Path) -> None:
    """The whole tree by SIGKILL, once while trials are trained; then to its end, and once more, with nothing to do."""
    recipe_file(small, tmp_path, 3)
    (tmp_path / "rates.toml").write_text(
        'recipe = "little.toml"\n[space]\n"optimizer.learning_rate" = {low = 1e-4, high = 10, log = true, points = 6}\n'
        '[search]\nsampler = "grid"\nconfirm = 1\n'
    )
    killed = command(tmp_path, "sweep", "rates.toml", "--run-dir", "killed", "--workers", "2")
    assert killed.stdout
    assert killed.stdout.readline().startswith("1/6  trial ")
    children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
    assert len(children) == 2
    for process in (killed.pid, *map(int, children)):
        os.kill(process, signal.SIGKILL)
    killed.communicate()
    tables: list[Any] = []
    for folder in ("killed", "whole", "killed"):
        before = time.time()
        done = command(tmp_path, "sweep", "rates.toml", "--run-dir", folder, "--workers", "2")
        out, errors = done.communicate()
        assert done.returncode == 0, errors
        assert "best     trial" in out and "unswept  test accuracy" in out
        table = json.loads((tmp_path / folder / "sweep.json").read_text())
        tables.append([{k: v for k, v in row.items() if k not in ("seconds", "curve")} for row in table["trials"]])
    assert tables[0] == tables[1] == tables[2]
    assert [row["number"] for row in tables[0]] == list(range(6))
    runs = sorted((tmp_path / "killed" / "trials").iterdir())
    assert len(runs) == 6 and all((run / "metrics.jsonl").stat().st_mtime < before for run in runs)
    metrics = [(run / "metrics.jsonl").read_text().count("\n") for run in runs]
    assert metrics == [3] * 6  # no epoch twice
