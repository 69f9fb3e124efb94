"""The benchmark's driver, on contenders that need no framework: turns, failures, ratios, goals, what is kept."""

import json
import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "experiments" / "benchmarks"

TINY = """
import os
import time
from turns import Contender, Goal

WORK, UNIT, STEPS = "next to nothing", "turn", 10
PIDS = os.environ["TINY_PIDS"]


def contender(cost):
    with open(PIDS, "a") as file:
        file.write(f"{os.getpid()}\\n")
    print("a framework says hello")
    os.system("echo so does its library")
    taken = 0

    def turn():
        nonlocal taken
        taken += 1
        print("and a turn is noisy")
        return {"seconds": cost * (10 if taken == 1 else 1 + taken % 2), "cost": cost * taken}

    return Contender(turn, lambda: 0.5 + 0.01 * taken, note=f"{cost} | or so")


def no_start():
    raise ImportError("no module\\nof that name")


def no_second_turn():
    turns = iter([{"seconds": 1.0}])
    return Contender(lambda: next(turns))


def dies():
    os._exit(3)


CONTENDERS = {
    "no start": no_start,
    "tfmnist": lambda: contender(1.0),
    "dies": dies,
    "twice": lambda: contender(2.0),
    "no second turn": no_second_turn,
    "thrice": lambda: contender(3.0),
}
GOALS = [
    Goal("twice", 2.0),
    Goal("thrice | twice | dies", 2.5),
    Goal("thrice", 3.0, measure="cost", turns="first"),
    Goal("tfmnist", 0.5, own="twice"),
    Goal("no second turn", 1.0),
]
"""
LIMITED = """
from turns import Contender, Goal

WORK, UNIT, STEPS = "something", "turn", None
CONTENDERS = {
    "tfmnist": lambda: Contender(lambda: {"seconds": 4.0}),
    "limit": lambda: Contender(lambda: {"seconds": 2.0}),
    "tfmnist, something else": lambda: Contender(lambda: {"seconds": 400.0, "step_us": 7.0}),
}
OTHER_WORK = ("tfmnist, something else",)
GOALS = [Goal("limit", 0.4)]
"""


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs the driver, whose warnings are errors."""
    command = [sys.executable, "-W", "error", str(BENCHMARKS / "run.py"), *arguments]
    own = {"TINY_PIDS": str(folder / "pids"), "MPLCONFIGDIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=os.environ | own, cwd=folder, capture_output=True, text=True, timeout=120)


def results_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "benchmarks.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two workloads that were run, the second after the first."""
    folder = tmp_path_factory.mktemp("benchmarks")
    (folder / "tiny.py").write_text(TINY, encoding="utf-8")
    (folder / "limited.py").write_text(LIMITED, encoding="utf-8")
    for name in ("tiny", "limited"):
        done = run(folder, f"{name}.py", "--turns", "4", "--out", "out")
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        (folder / f"{name}.txt").write_text(done.stdout, encoding="utf-8")
    return folder


def test_turns_are_answered_whatever_else_is_printed(folder: Path) -> None:
    found = results_of(folder)["workloads"]["tiny"]["contenders"]["twice"]
    assert [turn["cost"] for turn in found["turns"]] == [2.0, 4.0, 6.0, 8.0]
    assert {"cpu_seconds", "idle_cpu_seconds", "peak_rss_mb"} <= found["turns"][0].keys()
    assert found["setup_seconds"] >= 0 and 0 < found["peak_rss_mb"] < 500
    assert (found["precision"], found["note"], found["accuracy"]) == ("float32", "2.0 | or so", 0.54)


def test_the_first_turn_stands_apart(folder: Path) -> None:
    found = results_of(folder)["workloads"]["tiny"]["contenders"]["tfmnist"]
    assert (found["first"], found["median"], found["fastest"], found["slowest"]) == (10.0, 1.0, 1.0, 2.0)
    assert found["us_a_step"] == 1e5
    assert found["figures"] == {"cost": 3.0}


def test_contenders_that_fail_say_why_and_stop_no_other(folder: Path) -> None:
    found = results_of(folder)["workloads"]["tiny"]["contenders"]
    errors = {name: values["error"] for name, values in found.items() if values["error"]}
    assert errors == {
        "no start": "ImportError: no module of that name",
        "dies": "ended with exit code 3",
        "no second turn": "StopIteration:",
    }
    assert len(found["no second turn"]["turns"]) == 1
    assert all(len(found[name]["turns"]) == 4 for name in ("tfmnist", "twice", "thrice"))


def test_ratios_and_goals(folder: Path) -> None:
    tiny = results_of(folder)["workloads"]["tiny"]
    ratios = [tiny["contenders"][name]["ratio"] for name in ("tfmnist", "twice", "thrice", "no start")]
    assert ratios == [1.0, 2.0, 3.0, None]
    assert [(goal["rival"], goal["measured"], goal["reached"]) for goal in tiny["goals"]] == [
        ("twice", 2.0, True),
        ("twice", 2.0, False),  # the best of those that are left
        ("thrice", 3.0, True),
        ("tfmnist", 0.5, True),
        ("no second turn", None, False),
    ]


def test_the_limit_is_a_row_and_its_share_a_goal(folder: Path) -> None:
    limited = results_of(folder)["workloads"]["limited"]
    assert limited["contenders"]["limit"]["ratio"] == 0.5
    assert [(goal["goal"], goal["measured"], goal["reached"]) for goal in limited["goals"]] == [(0.4, 0.5, True)]


def test_other_work_has_figures_but_no_ratio(folder: Path) -> None:
    other = results_of(folder)["workloads"]["limited"]["contenders"]["tfmnist, something else"]
    assert (other["median"], other["figures"], other["ratio"]) == (400.0, {"step_us": 7.0}, None)


def test_the_machine_stands_beside_each_workload(folder: Path) -> None:
    for result in results_of(folder)["workloads"].values():
        assert result["machine"]["processors"] >= 1 and result["machine"]["load"] >= 0
    page = (folder / "out" / "benchmarks.md").read_text(encoding="utf-8")
    assert len(re.findall(r"Measured 20.* processors, .*AMX; load before \d+\.\d; python 3", page)) == 2
    text = (folder / "tiny.txt").read_text(encoding="utf-8")
    assert "AMX; load before" in " ".join(text.split())


def test_the_figure_fits_a_screen(folder: Path) -> None:
    picture = (folder / "out" / "benchmarks.png").read_bytes()
    width, height = struct.unpack(">II", picture[16:24])
    assert picture.startswith(b"\x89PNG") and width <= 2100 and height <= 1400


def test_panels_keep_their_order_in_columns_of_about_equal_height() -> None:
    code = "import summary; print(summary.in_columns({'a': 5, 'b': 5, 'c': 10, 'd': 4, 'e': 4}, 3))"
    done = subprocess.run([sys.executable, "-c", code], cwd=BENCHMARKS, capture_output=True, text=True)
    assert done.stdout.strip() == "[['a', 'b'], ['c'], ['d', 'e']]", done.stderr


def test_results_of_other_workloads_are_kept(folder: Path) -> None:
    results = results_of(folder)
    assert list(results["workloads"]) == ["tiny", "limited"]
    assert all(result["date"] for result in results["workloads"].values())
    assert results["versions"]["python"]
    page = (folder / "out" / "benchmarks.md").read_text(encoding="utf-8")
    assert "## tiny" in page and "## limited" in page
    assert "| no start | failed: ImportError: no module of that name |" in page


def test_what_a_terminal_shows_fits_80_columns(folder: Path) -> None:
    text = (folder / "tiny.txt").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 80
    assert "dies failed: ended with exit code 3" in text
    assert "## " not in text and "limited" not in text


def test_no_worker_is_left(folder: Path) -> None:
    pids = [int(line) for line in (folder / "pids").read_text().splitlines()]
    assert len(pids) == 3
    for pid in pids:
        command = Path(f"/proc/{pid}/cmdline")
        assert not command.exists() or b"turns.py" not in command.read_bytes()


def test_a_worker_ends_with_its_driver(folder: Path) -> None:
    own = os.environ | {"TINY_PIDS": str(folder / "other_pids")}
    command = [sys.executable, str(BENCHMARKS / "turns.py"), str(folder / "tiny.py"), "tfmnist"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=own, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as worker:
        assert worker.stdin and worker.stdout
        assert b"setup_seconds" in worker.stdout.readline()
        worker.stdin.close()  # as when the driver is killed
        began = time.monotonic()
        assert worker.wait(30) == 0 and time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nothing"], "workload 'nothing' does not exist"), (["mlp", "--turns", "1"], "--turns is 1")],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2 and message in done.stderr
