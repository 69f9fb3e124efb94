"""Sweep files: what they mean, and what is refused before anything is trained."""

import time
from pathlib import Path
from typing import Any

import pytest

from tfmnist.errors import InputError
from tfmnist.sweeps.sweep_file import Sweep

WHEN = '{choice = [0.5], when = {"optimizer.kind" = "momentum"}}'
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


@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_keys_need_no_quotes(sampler: str) -> None:
    quoted = """
        [fixed]
        "train.epochs" = 3
        "data.per_class" = 10
        [space]
        "optimizer.kind" = ["adam", "momentum"]
        "optimizer.learning_rate" = {low = 0.001, high = 0.1, points = 3}
        "optimizer.momentum" = {choice = [0.5, 0.9], when = {"optimizer.kind" = "momentum"}}
        "model.hidden" = [[8], [16, 8]]
    """
    bare = """
        [fixed]
        train.epochs = 3
        "data".per_class = 10
        [space.optimizer]
        kind = ["adam", "momentum"]
        learning_rate = {low = 0.001, high = 0.1, points = 3}
        [space.optimizer.momentum]
        choice = [0.5, 0.9]
        when.optimizer.kind = "momentum"
        [space.model]
        hidden = [[8], [16, 8]]
    """
    search = f"[search]\nsampler = '{sampler}'"
    one, other = parse(quoted + search), parse(bare + search)
    assert (one.space, one.recipe) == (other.space, other.recipe)


def test_options_of_own_code_need_no_quotes(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def half(logits, labels, gamma=1.0):\n    return logits[:, 0] * gamma\n")
    head = f'[fixed]\nloss.kind = "{tmp_path}/own.py:half"\n'
    for space in ("loss.options.gamma = [1.0, 2.0]", '"loss.options".gamma = [1.0, 2.0]'):
        assert list(parse(f"{head}[space]\n{space}").space) == ["loss.options.gamma"]
    assert parse(head + "loss.options.gamma = 3.0\n" + SPACE).recipe.loss.options == {"gamma": 3.0}


RANGE = '"%s" = {low = 0.1, high = 0.9, points = %d}\n'
LISTS = "".join(f'"{section}.{key}" = [{values}]\n' for section, key, values in (
    ("model", "hidden", "[1], [2], [3], [4], [5], [6], [7], [8], [9], [10]"),
    *(("optimizer", key, "0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95") for key in ("beta1", "beta2", "epsilon")),
    *(("augment", key, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10") for key in ("rotate", "shear", "shift", "elastic")),
    ("train", "batch_size", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"),
))  # fmt: skip


@pytest.mark.parametrize(
    ("space", "complaint"),
    [
        ("".join(RANGE % (f"optimizer.{key}", 1000) for key in ("learning_rate", "beta1", "beta2")), "1,000,000,000 c"),
        (RANGE % ("optimizer.beta1", 10**12), r"beta1.points' is 1000000000000: expected less than or equal to 10000"),
        (LISTS, "the grid has 1,000,000,000 combinations: expected at most 10,000; give fewer values, or set search.s"),
        (
            "".join(RANGE % (f"optimizer.{key}", 9000) for key in ("beta1", "beta2", "epsilon", "learning_rate")),
            "6,561,000,000,000,000 c",
        ),
    ],
)
@pytest.mark.parametrize("trials", [0, 4])
def test_a_grid_too_large_is_refused_before_it_is_listed(space: str, complaint: str, trials: int) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=complaint):
        parse(f'[space]\n{space}[search]\nsampler = "grid"\ntrials = {trials}\n')
    assert time.monotonic() - began < 5


def test_trials_drawn_at_random_are_not_listed() -> None:
    space = "".join(RANGE % (f"optimizer.{key}", 1000) for key in ("learning_rate", "beta1", "beta2"))
    assert parse(f'[space]\n{space}[search]\nsampler = "random"\ntrials = {10**9}').trials == 10**9


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
        (
            '[space]\n"optimizer.epsilon" = [[1]]\n"optimizer.epsilonn" = {low = 0.1, high = 1}\n'
            '[search]\nsampler = "random"',
            "'optimizer.epsilonn' does not exist; did you mean",
        ),
        (
            '[space]\n"model.dropout" = {low = 0, high = ' + "9" * 4000 + "}",
            r"999\.\.\. \(4,000 characters\): expected less",
        ),
        ('[space]\n"model.dropout" = {low = -1e300, high = 1}', "low' is -1e\\+300: expected greater"),
        ('[space]\n"model.dropout" = {low = nan, high = 1}', "low' is nan: expected"),
        (
            SPACE + "[search]\ntrials = " + "9" * 4000,
            r"\(4,000 characters\): expected less than or equal to 1000000000",
        ),
        (SPACE + "[search]\nseed = " + "9" * 4000, r"search.seed' is 9.*\(4,000 characters\): expected less"),
        (SPACE + "[search]\nminutes = " + "9" * 4000, r"search.minutes' is 9.*\(4,000 characters\): expected"),
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
        (SPACE + '[fixed]\n"train.epoch" = 1', "'train.epoch' does not exist; did you mean 'train.epochs'"),
        (SPACE + '[fixed]\n"lr" = 1', "fixed: recipe key 'lr' does not exist; did you mean 'optimizer.learning_rate'"),
        (SPACE + '[fixed]\n"train.lr" = 1', "did you mean 'optimizer.learning_rate'"),
        (SPACE + "[fixed]\nbatch_size = 1", "did you mean 'train.batch_size'"),
        (SPACE + "[fixed]\nseed = 1", "fixed: recipe key 'seed' does not exist; did you mean search.seeds"),
        (SPACE + "[fixed]\ntrain = 1", "fixed: 'train' is a section: expected its keys .* such as \"train.epochs\""),
        (SPACE + "[train]\nepochs = 1", "'train' is a section: expected its keys in \\[fixed\\] or \\[space\\]"),
        (
            SPACE + "[search]\nepochs = 1",
            "'search.epochs' does not exist; did you mean \"train.epochs\", in",
        ),
        ("lr = 1\n" + SPACE, "'lr' does not exist; did you mean \"optimizer.learning_rate\", in \\[fixed\\]"),
        ("[space]\ntrain = [1, 2]", "'train' is a section: expected its keys .* such as \"train.epochs\""),
        (
            "[space]\nmodel.hiden = [[1], [2]]",
            "space: recipe key 'model.hiden' does not exist; did you mean 'model.hidd",
        ),
        (SPACE + "optimizer.learning_rate = [1]", "space: 'optimizer.learning_rate' is there twice, with quotes and"),
        (SPACE + '[fixed]\n"train.epochs" = 1\ntrain.epochs = 2', "fixed: 'train.epochs' is there twice, with quotes"),
        (
            SPACE + f"[search]\nconfirm = {10**9}",
            "'search.confirm' is 1000000000: expected less than or equal to 10000",
        ),
        (SPACE + f"[search]\nseeds = [{2**63}]", "'search.seeds.0' is 9223372036854775808: expected less than"),
        ('[space]\n"lr" = [1, 2]', "space: recipe key 'lr' does not exist; did you mean 'optimizer.learning_rate'"),
        ('[space]\n"optimizer.lr" = [1, 2]', "did you mean 'optimizer.learning_rate'"),
        ("[space]\nhidden = [[1], [2]]", "did you mean 'model.hidden'"),
        ("[space]\nn_epochs = [1, 2]", "did you mean 'train.epochs'"),
        ("[space]\nseed = [1, 2]", "space: recipe key 'seed' does not exist; did you mean search.seeds"),
        (
            '[space]\n"model.dropout" = {choice = [0.1], when = {"lr" = 1}}',
            "when of 'model.dropout': recipe key 'lr' does not exist; did you mean 'optimizer.learning_rate'",
        ),
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
            "point .* of the grid: .*applies only to cross_entropy.* Add when",
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '"optimizer.momentum" = [0.5, 0.9]',
            "space: 'optimizer.momentum' has no effect where optimizer.kind is 'adam'",
        ),
        (
            '"optimizer.kind" = ["adam", "momentum"]\n"optimizer.momentum" = {low = 0.5, high = 0.9}',
            "space: 'optimizer.momentum' has no effect where optimizer.kind is 'adam'.* when = ",
        ),
        (
            '"optimizer.momentum" = {low = 0.5, high = 0.9}\n"optimizer.kind" = ["momentum", "sgd"]',
            "space: 'optimizer.momentum' has no effect where optimizer.kind is 'sgd'",
        ),
        ('"schedule.factor" = [0.5, 0.9]', "space: 'schedule.factor' has no effect where schedule.kind is 'constant'"),
        ('"model.layers" = [["conv 4 3x3"]]', "space: 'model.layers' has no effect where model.kind is 'mlp'"),
        ('"model.options.width" = [1, 2]', "space: 'model.options.width' has no effect where model.kind is 'mlp'"),
        (
            '"model.batch_norm" = [true, false]\n"model.batch_norm_momentum" = [0.5, 0.8]',
            "'model.batch_norm_momentum' has no effect where model.batch_norm is false",
        ),
        ('"train.monitor" = ["loss", "accuracy"]', "space: 'train.monitor' has no effect where train.patience is 0"),
        ('"train.progress" = [10, 20]', "space: 'train.progress' has no effect because a sweep shows its trials"),
        ('"train.threads" = [1, 2]', "space: 'train.threads' has no effect on the training of a trial"),
        ('"export.report" = [true, false]', "space: 'export.report' has no effect on the training of a trial"),
        (
            '"optimizer.kind" = ["adam", "sgd"]\n"optimizer.momentum" = ' + WHEN,
            "space: 'optimizer.momentum' is searched when {'optimizer.kind': 'momentum'}, which cannot occur",
        ),
        (
            '"model.dropout" = {choice = [0.5], when = {"train.epochs" = 99}}',
            "space: 'model.dropout' is searched when {'train.epochs': 99}, which cannot occur",
        ),
        (
            '"train.epochs" = {low = 1, high = 5}\n"model.dropout" = {choice = [0.5], when = {"train.epochs" = 9}}',
            "'train.epochs': 9}, which cannot occur",
        ),
        (
            '"model.dropout" = {low = 0.0, high = 0.5}\n"loss.l2" = {choice = [0.1], when = {"model.dropout" = 0.25}}',
            "'model.dropout': 0.25}, which cannot occur",
        ),
        (
            '"train.epochs" = [1, 2]\n[fixed]\n"optimizer.momentum" = 0.5',
            "fixed: 'optimizer.momentum' has no effect",
        ),
        (
            '"train.epochs" = [1, 2]\n[fixed]\n"train.seed" = 5',
            "fixed: 'train.seed' has no effect because search.seeds",
        ),
        (
            '"train.epochs" = [1, 2]\n[fixed]\n"augment.elastic_width" = 2.0',
            "'augment.elastic_width' has no effect",
        ),
    ],
)
def test_keys_without_effect_and_conditions_that_cannot_occur_are_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        parse(f"[space]\n{text}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '"optimizer.kind" = ["adam", "momentum"]\n"optimizer.momentum" = ' + WHEN,
        '"optimizer.kind" = ["momentum"]\n"optimizer.momentum" = [0.5, 0.8]',
        '"optimizer.kind" = ["adam", "momentum"]\n[fixed]\n"optimizer.momentum" = 0.5',
        '"optimizer.momentum" = [0.5, 0.8]\n[fixed]\n"optimizer.kind" = "momentum"',
        '"schedule.kind" = ["step", "exponential"]\n"schedule.factor" = {low = 0.1, high = 0.5}',
        '"train.epochs" = {low = 1, high = 5}\n"model.dropout" = {choice = [0.5], when = {"train.epochs" = 3}}',
        '"optimizer.beta1" = {choice = [0.5], when = {"optimizer.kind" = "adam"}}',
        '"train.epochs" = [1, 2]\n[fixed]\n"optimizer.momentum" = 0.9',  # its default
        '"train.epochs" = [1, 2]\n[fixed]\n"export.report" = false',
    ],
)
def test_keys_that_have_an_effect_somewhere_are_taken(text: str) -> None:
    assert parse(f"[space]\n{text}").trials


def test_the_digests_of_kinds_in_the_space_belong_to_the_sweep(tmp_path: Path) -> None:
    code = "import tensorflow as tf\n\ndef half(logits, labels):\n    return 0.5 * tf.reduce_sum(logits, axis=-1)\n"
    (tmp_path / "loss.py").write_text(code)
    (tmp_path / "s.toml").write_text('[space]\n"loss.kind" = ["cross_entropy", "loss.py:half"]\n')
    sweep = Sweep.load(tmp_path / "s.toml")
    kind = f"{tmp_path}/loss.py:half"
    assert list(sweep.sources) == [kind]
    assert sweep.recipe_of({"loss.kind": kind}, 0, "x").loss.source_sha256 == sweep.sources[kind]
    assert sweep.recipe_of({"loss.kind": "cross_entropy"}, 0, "x").loss.source_sha256 == ""
    (tmp_path / "loss.py").write_text(code.replace("0.5", "0.6"))
    assert Sweep.load(tmp_path / "s.toml").sources != sweep.sources


def test_a_kind_may_need_another_key_of_the_space() -> None:
    layers = '"model.layers" = {choice = [["conv 4 3x3"]], when = {"model.kind" = "cnn"}}'
    assert parse(f'[space]\n"model.kind" = ["mlp", "cnn"]\n{layers}').trials
    elastic = '"augment.elastic" = {low = 0.0, high = 2.0}\n"augment.elastic_width" = {low = 2.0, high = 6.0}'
    assert parse(f"[space]\n{elastic}").trials
