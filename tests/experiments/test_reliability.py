"""A small, seeded part of the attacks in `experiments/reliability/`, which run for hours by hand."""

import importlib.util
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import tfmnist
from tfmnist.recipe import Recipe

RELIABILITY = Path(__file__).parents[2] / "experiments" / "reliability"

Script = Callable[[str], ModuleType]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    def load(name: str) -> ModuleType:
        monkeypatch.syspath_prepend(str(RELIABILITY.parent))
        spec = importlib.util.spec_from_file_location(name, RELIABILITY / f"{name}.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_damaged_files_are_named_or_change_nothing(script: Script, tmp_path: Path) -> None:
    damage = script("damage")
    run = damage.make_run(tmp_path / "run")
    written = {path.relative_to(run).as_posix() for path in run.rglob("*.*") if path.is_file()}
    assert {"recipe.toml", "metrics.jsonl", "result.json", "weights.npz", "evaluation.npz"} <= written
    text = ["recipe.toml", "metrics.jsonl", "result.json"]
    rows = [*damage.attack(run, 12, ["load"], 1, text), *damage.attack(run, 1, list(damage.USES), 2, text[2:])]
    rows += damage.attack(run, 4, ["load"], 3, ["weights.npz", "evaluation.npz"])
    rows += damage.attack(run, 2, ["predict"], 4, sorted(name for name in written if name.startswith("model/")))
    assert [row for row in rows if row[3] in ("different", "traceback")] == []
    assert sum(row[3] == "named" for row in rows) > 30


def test_mutated_files_and_requests_are_read_or_refused(script: Script, tmp_path: Path) -> None:
    fuzz = script("fuzz")
    for name, (parse, seeds) in fuzz.parsers(tmp_path).items():
        refused, _, _, faults = fuzz.attack(parse, seeds, 60 if name == "pictures" else 200, 1)
        assert not faults, name
        assert refused or name == "pictures", "whose status says what is wrong"


def test_a_run_killed_at_writes_ends_as_one_that_nobody_killed(script: Script, tmp_path: Path) -> None:
    commands, kills = script("commands"), script("kills")
    words, again = kills.prepare("mlp", tmp_path)
    for left in (3, 9):  # writes before the kill
        process = commands.start(words, kills.AT_WRITE.format(left=left, folder=str(tmp_path / "done")))
        process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL
        words = again if (tmp_path / "done" / "recipe.toml").exists() else words
    commands.run_to_the_end(words)
    tfmnist.run(Recipe.load_run(tmp_path / "done"), tmp_path / "whole", progress=False)
    assert commands.outcome(tmp_path / "done") == commands.outcome(tmp_path / "whole")


def test_two_commands_in_one_folder_and_threads_with_one_model(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFMNIST_CACHE", str(tmp_path))  # which the attack sets too
    commands, together = script("commands"), script("together")
    recipe = Recipe.load("mlp").replace({"data.per_class": 30, "train.epochs": 2, "model.hidden": (8,)})
    tfmnist.run(recipe, tmp_path / "finished", progress=False)
    alone = commands.outcome(tmp_path / "finished")
    alone = {"finished": alone, together.FURTHER: alone}
    assert together.attack("export, export", tmp_path / "finished", alone, 0.1) == ("0, 0", "")
    assert together.threads(tmp_path / "finished", calls=10) == 0


def test_runs_and_predictions_leave_neither_threads_nor_open_files(script: Script, tmp_path: Path) -> None:
    growth = script("growth")
    growth.RECIPES["mlp"] = {"data.per_class": 10, "train.epochs": 1, "model.hidden": (4,), "export.report": False}
    for measured in (growth.train(tmp_path, 5, "mlp"), growth.predict(tmp_path / "mlp0", 100)):
        _, threads, files = zip(*measured)
        assert threads[-1] <= threads[1] + 2 and files[-1] <= files[1] + 2, measured
