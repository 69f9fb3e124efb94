"""The table of a sweep: what is best, what lies on the front, and whose folders stay."""

import json
from pathlib import Path

import pytest

from tfmnist.recipe import Recipe
from tfmnist.sweeps.sweep_file import Search, Sweep
from tfmnist.sweeps.trials import (
    SeedResult,
    StudyResult,
    SweepTable,
    Trial,
    delete_unkept,
    front,
    kept_trials,
    ranked,
    spread,
    values_in_short,
    write_table,
)

SPACE = '[space]\n"optimizer.learning_rate" = {low = 0.1, high = 1, log = true}\n[search]\n'


def trial(number: int, result: float | None, seconds: float = 1.0) -> Trial:
    values = {"optimizer.learning_rate": 0.1 + number / 10}
    return Trial(number, values, "pruned" if result is None else "done", result, seconds=seconds)


TRIALS = [trial(0, 0.9, 3), trial(1, None), trial(2, 0.95, 3), trial(3, 0.95, 9), trial(4, 0.8, 1), trial(5, 0.8, 2)]


def numbers(trials: list[Trial]) -> list[int]:
    return [trial.number for trial in trials]


def test_the_best_come_first_and_the_earlier_of_equals() -> None:
    assert numbers(ranked(Search(), TRIALS)) == [2, 3, 0, 4, 5, 1]
    assert numbers(ranked(Search(objective="loss"), TRIALS)) == [4, 5, 0, 2, 3, 1]


def test_the_front_has_what_nothing_beats_in_both() -> None:
    assert numbers(front(Search(objective="accuracy and time"), TRIALS)) == [4, 2]
    assert front(Search(), TRIALS) == [] and front(Search(objective="accuracy and time"), TRIALS[1:2]) == []


@pytest.mark.parametrize(
    ("search", "stay"),
    [
        (Search(), {0, 1, 2, 3, 4, 5}),
        (Search(keep="best 2"), {2, 3}),
        (Search(keep="best 1", objective="accuracy and time"), {2, 4}),
        (Search(keep="best 40"), {0, 2, 3, 4, 5}),
    ],
)
def test_whose_folders_stay(search: Search, stay: set[int]) -> None:
    assert kept_trials(search, TRIALS) == stay


def test_folders_of_all_seeds_go_and_nothing_else(tmp_path: Path) -> None:
    sweep = Sweep.parse(SPACE + 'keep = "best 1"\nseeds = [0, 7]', "some")
    names = [f"{number:04}-seed-{seed}" for number in (0, 1, 2, 8) for seed in (0, 7)]
    for name in [*names, "other"]:
        (tmp_path / "trials" / name / "checkpoints").mkdir(parents=True)
    delete_unkept(sweep, tmp_path, TRIALS)  # trial 8 is under way
    left = sorted(folder.name for folder in (tmp_path / "trials").iterdir())
    assert left == ["0002-seed-0", "0002-seed-7", "0008-seed-0", "0008-seed-7", "other"]


def test_the_table_is_plain_and_the_best_recipe_runs(tmp_path: Path) -> None:
    sweep = Sweep.parse(SPACE + 'objective = "accuracy and time"\nsampler = "random"', "some")
    found = write_table(sweep, tmp_path, reversed(TRIALS))
    assert numbers(found.trials) == [0, 1, 2, 3, 4, 5] and numbers(found.front) == [4, 2]
    table = json.loads((tmp_path / "sweep.json").read_text())
    assert (table["best"], table["front"], table["total"], table["recipe"]) == (2, [4, 2], 30, "mlp")
    assert table["trials"] == [trial.to_dict() for trial in TRIALS]
    assert table["space"]["optimizer.learning_rate"]["log"] and table["search"]["objective"] == "accuracy and time"
    best = Recipe.load(tmp_path / "best.toml")
    assert best == found.recipe and best.name == "some-best"
    assert best.optimizer.learning_rate == pytest.approx(0.3)


def test_without_a_result_there_is_no_best(tmp_path: Path) -> None:
    found = write_table(Sweep.parse(SPACE, "some"), tmp_path, TRIALS[1:2])
    assert found.best is found.recipe is None and not (tmp_path / "best.toml").exists()


def test_values_in_short() -> None:
    assert values_in_short({"a.b": 0.123456, "c.d": [1, 2], "e.d": "x"}) == "b 0.1235, c.d [1, 2], e.d x"


def test_spread() -> None:
    assert spread([1.0, 3.0]) == (2.0, pytest.approx(2**0.5)) and spread([1.0]) == (1.0, 0.0)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    sweep = Sweep.parse(SPACE, "some")
    study = StudyResult(Path("best"), (SeedResult("best", 1, 0.5, None, 2.0),))
    write_table(sweep, tmp_path, TRIALS, [study, study], "why")
    table = SweepTable.read(tmp_path)
    assert table.trials == TRIALS and table.search == sweep.search and table.space == sweep.space
    assert table.confirmed == {"best": study.to_table()} and table.unconfirmed == "why"
    text = (tmp_path / "sweep.json").read_text()
    table.write(tmp_path)
    assert (tmp_path / "sweep.json").read_text() == text
