"""`tfmnist sweep` and `tfmnist study` as a user has them, killed and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfmnist.recipe import Recipe

SWEEP = """
recipe = "little.toml"
[space]
"optimizer.learning_rate" = {low = 1e-4, high = 10, log = true, points = 4}
[search]
sampler = "grid"
confirm = 0
"""


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    """A folder with a small sweep, whose trials take half a second, and a long one."""
    keys = {"data.source": str(small), "data.validation": 100, "model.hidden": [8], "train.compile": "graph"}
    for name, epochs in (("little", 40), ("long", 100_000)):
        recipe = Recipe().replace({**keys, "train.epochs": epochs, "export.report": False, "export.model": False})
        (tmp_path / f"{name}.toml").write_text(recipe.to_toml())
    (tmp_path / "rates.toml").write_text(SWEEP)
    (tmp_path / "endless.toml").write_text(SWEEP.replace("little", "long"))
    return tmp_path


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "tfmnist", *words], cwd=folder, **pipes)


def finish(process: "subprocess.Popen[str]") -> str:
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return out


def children(process: "subprocess.Popen[str]") -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def wait(until: Callable[[], object], process: "subprocess.Popen[str]", seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.02)


def epochs(sweep: Path) -> dict[str, list[float]]:
    """The timings of the epochs of each trial, by which trainings can be distinguished."""
    paths = sorted((sweep / "trials").glob("*/metrics.jsonl"))
    return {path.parent.name: [json.loads(row)["seconds"] for row in path.read_text().splitlines()] for path in paths}


def count(sweep: Path) -> int:
    return sum(map(len, epochs(sweep).values()))


def table(sweep: Path) -> list[Any]:
    rows = json.loads((sweep / "sweep.json").read_text())["trials"]
    return [{key: row[key] for key in ("number", "values", "state", "result", "results", "epochs")} for row in rows]


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def check_trained_once(sweep: Path, seen: dict[str, list[float]]) -> None:
    """Each epoch that was on disk was not trained again, but for the last one, which may not have been saved."""
    final = epochs(sweep)
    for trial, timings in seen.items():
        assert timings[:-1] == final[trial][: max(0, len(timings) - 1)]


def test_a_study(folder: Path) -> None:
    rows = json.loads(finish(start(folder, "study", "little.toml", "--seeds", "2", "--run-dir", "a", "--json")))[
        "seeds"
    ]
    for row in rows:
        result = json.loads((folder / "a" / f"seed-{row['seed']}" / "result.json").read_text())
        assert result["test_accuracy"] == row["test_accuracy"]
    assert len(rows) == 2 and rows[0]["test_accuracy"] != rows[1]["test_accuracy"]


def test_a_sweep_that_is_killed_has_the_same_table(folder: Path) -> None:
    """The whole tree twice, the command alone once, then a worker; and in this process."""
    whole = start(folder, "sweep", "rates.toml", "--run-dir", "whole", "--workers", "-1")
    wait(lambda: count(folder / "whole") > 12, whole)
    kill(whole.pid)
    whole.communicate()
    seen = epochs(folder / "whole")
    out = finish(start(folder, "sweep", "rates.toml", "--run-dir", "whole", "--workers", "-1"))
    assert "best     trial" in out
    check_trained_once(folder / "whole", seen)
    for how in ("tree", "tree", "command", "worker"):
        killed = start(folder, "sweep", "rates.toml", "--run-dir", "killed", "--workers", "2")
        before = count(folder / "killed")
        wait(lambda: count(folder / "killed") > before + 6, killed)  # noqa: B023
        workers = children(killed)
        assert len(workers) == 2
        kill(*{"tree": (killed.pid, *workers), "command": (killed.pid,), "worker": workers[:1]}[how])
        if how != "worker":
            killed.communicate()
        seen = epochs(folder / "killed")
    finish(killed)
    assert table(folder / "killed") == table(folder / "whole")
    check_trained_once(folder / "killed", seen)
    assert [len(timings) for timings in epochs(folder / "killed").values()] == [40] * 4
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_two_commands_share_a_sweep_and_one_is_killed(folder: Path) -> None:
    words = ["sweep", "rates.toml", "--workers", "1", "--storage", f"sqlite:///{folder}/shared.db"]
    killed = start(folder, *words, "--run-dir", "one")
    wait(lambda: count(folder / "one") > 5, killed)
    other = start(folder, *words, "--run-dir", "other")
    kill(killed.pid, *children(killed))
    killed.communicate()
    wait(lambda: count(folder / "other"), other)
    finish(start(folder, *words, "--run-dir", "one"))
    finish(other)
    divided = [set(epochs(folder / name)) for name in ("one", "other")]
    assert not divided[0] & divided[1] and divided[0] | divided[1] == {f"{number:04}" for number in range(4)}
    finish(start(folder, *words, "--run-dir", "one"))
    assert [row["state"] for row in table(folder / "one")] == ["done"] * 4


@pytest.mark.parametrize("workers", ["1", "-1"])
def test_ctrl_c_stops_within_seconds(folder: Path, workers: str) -> None:
    process = start(folder, "sweep", "endless.toml", "--run-dir", "a", "--workers", workers)
    wait(lambda: count(folder / "a") > 2, process)
    pids = children(process)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=30)[1]
    assert time.monotonic() - began < 10 and process.returncode == 75
    assert errors == "tfmnist: stopped; 0 of 4 trials finished; run the same command to resume.\n"
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert list((folder / "a" / "trials" / "0000" / "checkpoints").iterdir())
