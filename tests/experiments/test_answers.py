"""The five sweeps: their files are valid, and tables and figures are made of their results, here made up."""

import contextlib
import doctest
import importlib.util
import io
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tfmnist.sweeps.sweep_file import Sweep
from tfmnist.sweeps.trials import Trial, write_table

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SWEEPS = sorted((EXPERIMENTS / "sweeps").glob("*.toml"))
NAMES = {"width", "optimizer", "batch", "data", "augmentation"}


def made_up_error(name: str, values: dict[str, Any]) -> float | None:
    """What a trial would reach if things were simple; None where it would diverge."""
    if name == "width":
        return 0.5 / values["model.hidden"][0] ** 0.5
    if name == "data":
        examples = 10 * (values["data.per_class"] or 5500)
        return (1 - 0.2 * values["augment.shift"]) * examples**-0.5
    if name == "augmentation":
        return 0.02 - 0.002 * values["augment.shift"] - 0.0002 * values["augment.rotate"]
    kind, rate = values["optimizer.kind"], values["optimizer.learning_rate"]
    share = values.get("train.batch_size", 64) / 64
    best = 0.1 * share**0.8 if kind in ("sgd", "momentum") else 0.003 * share**0.5
    return min(0.9, 0.02 * math.exp(0.1 * math.log(rate / best) ** 2)) if rate < 30 * best else None


def made_up_trial(sweep: Sweep, number: int, values: dict[str, Any]) -> Trial:
    error = made_up_error(sweep.name, values)
    if error is None:
        return Trial(number, values, "diverged", reason="diverged: the loss is nan")
    results = [1 - error * (1 + 0.01 * seed) for seed in sweep.search.seeds]
    epochs = int(values.get("train.epochs", sweep.recipe.train.epochs))
    seconds = values["model.hidden"][0] / 500 if sweep.name == "width" else 0.5
    curve = [
        {"epoch": n, "validation_accuracy": 1 - error * (1 + 1 / n), "validation_loss": 0.1, "seconds": seconds}
        for n in range(1, epochs + 1)
    ]
    return Trial(number, values, "done", sum(results) / len(results), results, 10.0, epochs, curve)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("answers", EXPERIMENTS / "answers.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["answers"] = module  # where dataclasses look up their types
    spec.loader.exec_module(module)
    return module


def run(script: ModuleType, *arguments: Any) -> str:
    """Runs the script in this process, and returns what it prints."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(sys, "argv", ["answers.py", *map(str, arguments)])
        script.main()
    return printed.getvalue()


@pytest.fixture(scope="module")
def folder(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of made-up sweeps, and the script's answers to them."""
    folder = tmp_path_factory.mktemp("answers")
    for path in SWEEPS:
        sweep = Sweep.load(path)
        (folder / "sweeps" / sweep.name).mkdir(parents=True)
        trials = [made_up_trial(sweep, number, values) for number, values in enumerate(sweep.grid())]
        write_table(sweep, folder / "sweeps" / sweep.name, trials)
    run(script, folder / "sweeps", "--out", folder)
    return folder


def answer(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / "results" / f"sweep_{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_files_are_valid(path: Path) -> None:
    sweep = Sweep.load(path)
    assert sweep.search.sampler == "grid" and sweep.trials == len(sweep.grid())
    assert sweep.search.seeds == (0, 1, 2) and not sweep.search.confirm
    assert f"tfmnist sweep experiments/sweeps/{path.name} --workers" in sweep.text


def test_all_five_are_answered(folder: Path) -> None:
    assert {path.stem for path in SWEEPS} == NAMES
    for name in NAMES:
        page = (folder / "results" / f"sweep_{name}.md").read_text(encoding="utf-8")
        assert page.startswith("# ") and f"`tfmnist sweep experiments/sweeps/{name}.toml --workers" in page
        assert "mean ± standard deviation over seeds 0, 1, 2" in page and "nan" not in page
        assert (folder / "images" / f"sweep_{name}.png").read_bytes().startswith(b"\x89PNG")


def test_widths_are_compared_at_equal_times(folder: Path) -> None:
    narrow, *_, widest = answer(folder, "width")["widths"]
    assert narrow["width"] == 16 and narrow["at"]["2"] == []  # over by then
    assert widest["at"]["4"] == []  # not begun
    # 4.096 s an epoch, so 8 s is between the first epoch and the second
    first, second = (1 - 0.5 / 2048**0.5 * (1 + 1 / n) for n in (1, 2))
    share = math.log(8 / 4.096) / math.log(2)
    assert widest["at"]["8"] == [pytest.approx(first + share * (second - first), abs=1e-4)]


def test_optimizers_have_a_best_rate_and_a_good_range(folder: Path) -> None:
    found = answer(folder, "optimizer")["optimizers"]
    assert (found["adam"]["best"], found["sgd"]["best"]) == (0.003, 0.1)
    assert found["adam"]["good"] == [0.001, 0.003, 0.01]
    assert found["adam"]["results"]["0.1"] == []
    assert "| adam | 0.003 | 97.98% ± 0.02 | 0.001 to 0.01 |" in (folder / "results" / "sweep_optimizer.md").read_text()


def test_the_power_of_the_batch_is_found(folder: Path) -> None:
    found = answer(folder, "batch")["optimizers"]
    assert found["adam"]["power"] == pytest.approx([0.5] * 3, abs=0.05)
    assert found["momentum"]["power"] == pytest.approx([0.8] * 3, abs=0.08)


def test_more_data_leaves_fewer_errors(folder: Path) -> None:
    found = answer(folder, "data")
    assert [row["examples"] for row in found["sizes"]] == [100, 300, 1000, 3000, 10000, 55000]
    assert "each doubling of the examples leaves 71 % ± 0 of the errors" in found["notes"][0]


def test_augmentation_is_compared_with_none(folder: Path) -> None:
    none, *_, most = answer(folder, "augmentation")["settings"]
    assert (none["rotate"], none["shift"], none["elastic"], most["rotate"], most["shift"]) == (0, 0, 0, 10, 2)
    assert none["gain"] == [0, 0, 0] and most["gain"][0] == pytest.approx(0.6)


def test_what_has_not_run_is_left_out(script: ModuleType, tmp_path: Path) -> None:
    assert run(script, tmp_path, "--out", tmp_path).count("no answer yet") == 5 and list(tmp_path.iterdir()) == []


def test_examples_in_the_script_are_right(script: ModuleType) -> None:
    found = doctest.testmod(script)
    assert found.attempted == 3 and not found.failed
