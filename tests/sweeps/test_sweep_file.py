"""Sweep files: what they mean, and what is refused before anything is trained."""

from pathlib import Path
from typing import Any

import pytest

from tfmnist.errors import InputError
from tfmnist.sweeps.sweep_file import Sweep

SPACE = '[space]\n"optimizer.learning_rate" = {low = 0.001, high = 0.1, log = true, points = 3}\n'


def parse(text: str, name: str = "some") -> Sweep:
    return Sweep.parse(text, name)


def test_a_grid_has_every_combination_once_and_both_ends() -> None:
    sweep = parse(SPACE + '"train.batch_size" = [10, 20]\n[search]\nsampler = "grid"\n')
    points = sweep.grid()
    assert [point["train.batch_size"] for point in points] == [10, 20] * 3
    assert [point["optimizer.learning_rate"] for point in points[::2]] == pytest.approx([0.001, 0.01, 0.1])
    assert sweep.trials == 6


def test_a_grid_of_whole_numbers_has_each_once() -> None:
    sweep = parse('[space]\n"train.epochs" = {low = 1, high = 3, points = 9}\n[search]\nsampler = "grid"\n')
    assert [point["train.epochs"] for point in sweep.grid()] == [1, 2, 3]


def test_a_condition_leaves_a_key_out_elsewhere() -> None:
    text = """
        [space]
        "optimizer.kind" = ["adam", "momentum"]
        "optimizer.momentum" = {choice = [0.5, 0.9], when = {"optimizer.kind" = "momentum"}}
        [search]
        sampler = "grid"
    """
    assert parse(text).grid() == [
        {"optimizer.kind": "adam"},
        {"optimizer.kind": "momentum", "optimizer.momentum": 0.5},
        {"optimizer.kind": "momentum", "optimizer.momentum": 0.9},
    ]


def test_a_condition_may_be_about_the_recipe() -> None:
    space = '[space]\n"optimizer.beta1" = {choice = [0.8, 0.9], when = {"optimizer.kind" = "%s"}}\n'
    text = space + '[search]\nsampler = "grid"\n'
    assert len(parse(text % "adam").grid()) == 2
    with pytest.raises(InputError, match="cannot occur"):
        parse(text % "sgd")


def test_fixed_keys_and_the_recipe_are_the_trials(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[model]\nhidden = [7]\n[loss]\nkind = "quadratic"\n')
    (tmp_path / "a sweep.toml").write_text('recipe = "mine.toml"\n[fixed]\n"train.epochs" = 2\n' + SPACE)
    sweep = Sweep.load(tmp_path / "a sweep.toml")
    recipe = sweep.recipe_of({"optimizer.learning_rate": 0.5}, seed=4, suffix="best")
    assert (sweep.name, recipe.name) == ("a-sweep", "a-sweep-best")
    assert recipe.model.hidden == (7,) and recipe.loss.kind == "quadratic"
    assert (recipe.train.epochs, recipe.train.seed, recipe.optimizer.learning_rate) == (2, 4, 0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[space]\n"optimizer.learning_rat" = [1.0]', "'optimizer.learning_rat' does not exist; did you mean"),
        (
            '[space]\n"optimizer.learning_rate" = [1.0, -1.0]',
            "'optimizer.learning_rate' is -1.0: expected a value greater",
        ),
        ('[space]\n"model.dropout" = {low = 0, high = 1}', "'model.dropout' is 1.0: expected a value less than 1"),
        ('[space]\n"model.dropout" = {low = 0.5, high = 0.5}', "low 0.5 must be below high 0.5"),
        ('[space]\n"model.dropout" = {low = 0, high = 0.5, log = true}', "with log it must be above 0"),
        ('[space]\n"model.dropout" = {low = 0.1}', "expected both low and high"),
        ('[space]\n"model.dropout" = {}', "expected a list of values, or low and high"),
        ('[space]\n"model.dropout" = []', "expected a list of values, or low and high"),
        ('[space]\n"model.dropout" = {low = 0.1, high = 0.5, logs = true}', "did you mean 'log'"),
        ('[space]\n"train.epochs" = {low = 1, high = 2.5}', "'train.epochs' reaches 2.5: expected whole numbers"),
        ('[space]\n"train.seed" = [1, 2]', "set search.seeds"),
        ('[space]\n"train.tensorboard" = [true]', "'train.tensorboard' has no effect on the training of a trial"),
        ('[space]\n"train.log_steps" = {low = 1, high = 9}', "'train.log_steps' has no effect on the training"),
        (
            '[space]\n"model.dropout" = {low = 0.1, high = 0.5, when = {"a.b" = 1}}',
            "'a.b' does not exist",
        ),
        (
            '[space]\n"model.dropout" = {low = 0.1, high = 0.5, when = {"model.bias" = true}}\n"model.bias" = [true]',
            "comes after it",
        ),
        ('[space]\n"model.dropout" = {low = 0.1, high = 0.5}\n[search]\nsampler = "grid"', "points, e.g. 5"),
        ('[search]\nsampler = "tpe"', "there is no \\[space\\]"),
        ("[space]", "'space' is {}"),
        (SPACE + '[search]\nsampler = "best"', "'search.sampler' is 'best': expected 'grid'"),
        (SPACE + "[search]\ntrials = -1", "'search.trials' is -1: expected greater than or equal to 0"),
        (SPACE + "[search]\nseeds = []", "'search.seeds' is \\[\\]"),
        (SPACE + "[serch]\ntrials = 1", "'serch' does not exist; did you mean 'search'"),
        (SPACE + '[fixed]\n"train.epoch" = 1', "'train.epoch' does not exist; did you mean 'epochs'"),
        (SPACE + '[fixed]\n"data.validation" = 0', "trials are compared by validation"),
        ('[space]\n"data.validation" = [1000, 0]', "'data.validation' is 0: trials are compared by validation"),
        ('[space]\n"train.block" = {low = 1.5, high = 9}', "'train.block' reaches 1.5: expected whole numbers"),
        (SPACE + '[search]\npruner = "median"\n[fixed]\n"train.epochs" = 1', "trials are pruned between epochs"),
        ('recipe = "mpl"\n' + SPACE, "recipe 'mpl' is neither shipped nor a .toml file; did you mean 'mlp'?"),
        ("[space", "not valid TOML"),
        (SPACE + '[search]\nkeep = "some"', "keep is 'some': expected 'all', or for example 'best 5'"),
        (SPACE + '[search]\nsampler = "cmaes"\nobjective = "accuracy and time"', "cmaes searches for one result"),
        (
            '[space]\n"loss.kind" = ["quadratic"]\n"loss.label_smoothing" = [0.1]\n[search]\nsampler = "grid"',
            "point .* of the grid: .*belongs to cross_entropy.* Add when",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.toml: cannot read the sweep"):
        Sweep.load(tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("search", "trials"), [("", 30), ("trials = 7", 7), ('sampler = "grid"', 3), ("trials = 2", 2)]
)
def test_the_number_of_trials(search: str, trials: Any) -> None:
    assert parse(f"{SPACE}[search]\n{search}\n").trials == trials


def test_a_sweep_can_be_sent_as_json() -> None:
    sweep = parse(SPACE + '"model.hidden" = [[16], [32, 16]]\n[search]\nsampler = "grid"\n')
    again = Sweep.model_validate_json(sweep.model_dump_json())
    assert again == sweep and again.grid() == sweep.grid() and again.trials == 6
