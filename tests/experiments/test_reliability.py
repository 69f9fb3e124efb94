"""A small, seeded part of the attacks in `experiments/reliability/`, which run for hours by hand."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

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
