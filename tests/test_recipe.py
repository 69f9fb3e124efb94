"""Recipes: the shipped ones, the way to TOML and back, and one helpful line for everything that is wrong."""

import math
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from tfmnist.errors import InputError
from tfmnist.recipe import _TYPED, Recipe, nearest_key, shipped_recipes

KEYS = {
    "data": ["source", "validation", "only", "per_class", "test_share", "skip_broken", "transpose"],
    "model": ["kind", "hidden", "init_from", "init_sha256", "freeze"],
    "loss": ["kind"],
    "optimizer": ["kind", "learning_rate"],
    "schedule": ["kind"],
    "augment": ["elastic", "elastic_width"],
    "train": ["epochs", "batch_size", "seed", "precision", "block", "compile", "progress", "log_steps", "tensorboard"],
    "export": [],
}


def complaint(call: Callable[[], Any]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable()  # one line, that is
    return message


def complaint_about(changes: dict[str, Any]) -> str:
    return complaint(lambda: Recipe.load("mlp").replace(changes))


# Shipped recipes and their keys


def test_the_default_recipe_comes_first() -> None:
    assert shipped_recipes()[0] == "mlp"
    assert "cnn" in shipped_recipes()


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_loads_and_says_what_it_is(name: str) -> None:
    recipe = Recipe.load(name)
    assert recipe.name == name
    assert recipe.about.summary and recipe.about.source
    assert recipe.data.source == "mnist"  # it trains on a fresh machine, without a download


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_opens_with_its_story_and_is_commented_toml(name: str) -> None:
    text = resources.files("tfmnist").joinpath("recipes", f"{name}.toml").read_text(encoding="utf-8")
    lines = text.splitlines()
    story = lines[: lines.index("")]
    assert story and all(line.startswith("# ") for line in story)
    assert len(" ".join(line.removeprefix("# ") for line in story).split()) >= 10
    written = tomllib.loads(text)
    assert next(iter(written)) == "about" and set(written["about"]) == {"summary", "accuracy", "time", "source"}
    assert {"model", "optimizer", "train"} <= set(written)


def test_recipes_that_are_shipped() -> None:
    assert set(shipped_recipes()) >= {"mlp", "cnn", "sigmoid-mlp", "online-mlp", "imagefolder-mlp", "mlp-as-printed"}
    assert {"cnn-fast", "cnn-best", "mlp-best", "mlp-permutation"} <= set(shipped_recipes())
    printed = Recipe.load("mlp-as-printed")
    assert (printed.loss.kind, printed.model.initializer) == ("naive_cross_entropy", "normal")
    assert printed.changed_from(Recipe.load("mlp")) == ["model.initializer", "loss.kind", "train.average"]
    assert Recipe.load("imagefolder-mlp").train.progress == 100
    assert Recipe.load("online-mlp").train.batch_size == 1


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_says_what_accuracy_and_time_to_expect(name: str) -> None:
    about = Recipe.load(name).about
    assert about.accuracy and about.time


@pytest.mark.parametrize("section", KEYS)
def test_sections_and_keys_have_the_names_that_programs_use(section: str) -> None:
    assert section in Recipe.sections()
    written = tomllib.loads(Recipe().to_toml())
    assert set(KEYS[section]) <= set(written[section])


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("model.kind", ["mlp"]),
        ("loss.kind", ["cross_entropy", "quadratic", "naive_cross_entropy"]),
        ("optimizer.kind", ["sgd", "momentum", "rmsprop", "adam", "adamw"]),
        ("train.precision", ["float32", "bfloat16"]),
        ("train.block", ["auto", 1, 100]),
        ("train.compile", ["auto", "xla", "graph", "eager"]),
        ("data.validation", [0, 5000]),
        ("model.hidden", [[], [512], [300, 100]]),
        ("model.freeze", [[], ["conv_*", "dense_1"]]),
        ("data.only", [[], ["3", "7"]]),
        ("augment.elastic", [0, 2.5]),
    ],
)
def test_values_that_programs_use_are_taken(key: str, values: list[Any]) -> None:
    section, _, name = key.partition(".")
    for value in values:
        found = getattr(getattr(Recipe().replace({key: value}), section), name)
        assert found == (tuple(value) if isinstance(value, list) else value)


def test_every_option_has_a_help_text() -> None:
    for section in Recipe.sections():
        for name, field in type(getattr(Recipe(), section)).model_fields.items():
            assert field.description, f"{section}.{name}"


# To TOML and back


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_survives_the_way_through_toml(tmp_path: Path, name: str) -> None:
    recipe = Recipe.load(name).replace({"optimizer.learning_rate": 0.1 + 0.2, "train.seed": 2**63 - 1})
    recipe = recipe.replace({"train.block": 7, "data.source": 'a "quoted" ü\\path'})
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert Recipe.load(tmp_path / "recipe.toml") == recipe
    assert Recipe.load_run(tmp_path) == recipe


@settings(deadline=None, max_examples=50)
@given(
    st.floats(0, 1e37, exclude_min=True),
    st.lists(st.integers(1, 10_000)),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
)
def test_any_values_survive_the_way_through_toml(rate: float, hidden: list[int], source: str) -> None:
    changes = {"optimizer.learning_rate": rate, "model.hidden": hidden, "data.source": source}
    recipe = Recipe().replace(changes)
    assert Recipe.model_validate(tomllib.loads(recipe.to_toml())) == recipe


def test_toml_has_every_key_written_out() -> None:
    written = tomllib.loads(Recipe().to_toml())
    for section in Recipe.sections():
        assert list(written[section]) == list(type(getattr(Recipe(), section)).model_fields)


def test_a_file_gives_its_name_to_a_recipe_without_one(tmp_path: Path) -> None:
    path = tmp_path / "wide-2.toml"
    path.write_text("[model]\nhidden = [1024]\n")
    recipe = Recipe.load(path)
    assert (recipe.name, recipe.model.hidden, recipe.train) == ("wide-2", (1024,), Recipe().train)
    path.write_text('name = "other"\n')
    assert Recipe.load(path).name == "other"


def test_a_file_may_have_a_name_that_no_recipe_may_have(tmp_path: Path) -> None:
    path = tmp_path / "my recipe (2).toml"
    path.write_text("[train]\nepochs = 3\n")
    assert Recipe.load(path).train.epochs == 3


# Changes


def test_replace_changes_only_what_is_named() -> None:
    recipe = Recipe.load("mlp")
    changed = recipe.replace({"train.epochs": 1, "model.hidden": [8, 8]})
    assert changed.changed_from(recipe) == ["model.hidden", "train.epochs"]
    assert (changed.train.epochs, changed.model.hidden) == (1, (8, 8))
    assert recipe == Recipe.load("mlp")
    assert recipe.replace({}).changed_from(recipe) == []


def test_a_recipe_cannot_be_changed_in_place() -> None:
    with pytest.raises((InputError, ValueError)):
        Recipe().train.epochs = 3  # type: ignore[misc]


# What is wrong


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("train.epoch", "train.epochs"),
        ("optimizer.learning_rat", "optimizer.learning_rate"),
        ("model.hiden", "model.hidden"),
        ("trian.epochs", "train"),
        ("optimiser.kind", "optimizer"),
    ],
)
def test_a_typo_suggests_the_right_key(tmp_path: Path, key: str, meant: str) -> None:
    section, _, name = key.partition(".")
    assert f"did you mean '{meant}'" in complaint_about({key: 1})
    path = tmp_path / "typo.toml"
    path.write_text(f"[{section}]\n{name} = 1\n")
    message = complaint(lambda: Recipe.load(path))
    assert message.startswith(f"{path}: ") and f"did you mean '{meant}'" in message


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lr", "optimizer.learning_rate"),
        ("learning_rate", "optimizer.learning_rate"),
        ("Learning-Rate", "optimizer.learning_rate"),
        ("optimizer.lr", "optimizer.learning_rate"),
        ("train.lr", "optimizer.learning_rate"),
        ("schedule.learning_rate", "optimizer.learning_rate"),
        ("batch", "train.batch_size"),
        ("batch_size", "train.batch_size"),
        ("data.batch_size", "train.batch_size"),
        ("epochs", "train.epochs"),
        ("n_epochs", "train.epochs"),
        ("optimizer.max_epochs", "train.epochs"),
        ("hidden", "model.hidden"),
        ("model.units", "model.hidden"),
        ("train.hidden_layers", "model.hidden"),
        ("seed", "train.seed"),
        ("model.seed", "train.seed"),
        ("data.random_state", "train.seed"),
        ("momentum", "optimizer.momentum"),
        ("model.weight_decay", "optimizer.weight_decay"),
        ("augment.rotation", "augment.rotate"),
        ("optimiser.lr", "optimizer.learning_rate"),
        ("dataset", "data.source"),
    ],
)
def test_what_people_type_suggests_the_right_key(tmp_path: Path, typed: str, meant: str) -> None:
    assert nearest_key(typed) == meant
    section, _, name = typed.rpartition(".")
    if section in ("", *Recipe.sections()):
        path = tmp_path / "typed.toml"
        path.write_text(f"[{section}]\n{name} = 1\n" if section else f"{name} = 1\n")
        message = complaint(lambda: Recipe.load(path))
        assert message == f"{path}: recipe key {typed!r} does not exist; did you mean {meant!r}?"
        assert message == f"{path}: {complaint_about({typed: 1})}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('optimizer = "adam"', "'optimizer' is 'adam': expected a section, with keys such as 'optimizer.kind'."),
        ("train = 3", "'train' is 3: expected a section, with keys such as 'train.epochs'."),
        ('about = "mine"', "'about' is 'mine': expected a section, with keys such as 'about.summary'."),
        ('"train.epochs" = 3', "'train.epochs' is in quotes: expected train.epochs = ..., without quotes."),
        ('extend = "mlp"', "'extend' does not exist; did you mean 'extends'?"),
        ('[data]\nkind = "mlp"', "'data.kind' does not exist; did you mean 'schedule.kind'?"),
        ('[about]\nsummery = ""', "'about.summery' does not exist; did you mean 'summary'?"),
        ("[training]\nepochs = 3", "recipe section 'training' does not exist; did you mean 'train'?"),
        (
            'recipe = "mlp"\n[space]',
            "it has 'recipe', like a sweep file: expected a recipe; run it with tfmnist sweep.",
        ),
    ],
)
def test_other_forms_of_a_file_are_explained(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert complaint(lambda: Recipe.load(path)).endswith(expected)


def test_every_word_that_people_type_leads_to_a_key() -> None:
    assert all(
        meant in Recipe.key_names() and nearest_key(word) in Recipe.key_names() for word, meant in _TYPED.items()
    )


def test_a_key_like_no_other_lists_those_there_are() -> None:
    assert "known: source, validation" in complaint_about({"data.zzz": 1})
    assert "known: data, model" in complaint_about({"zzz.epochs": 1})


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.epochs", 0, "greater than or equal to 1"),
        ("train.epochs", "many", "integer"),
        ("train.epochs", 1.5, "integer"),
        ("train.batch_size", "a\nb", "integer"),
        ("train.seed", -1, "greater than or equal to 0"),
        ("train.seed", 2**63, "less than 9223372036854775808"),
        ("train.block", 0, "greater than or equal to 1"),
        ("train.block", "atuo", "'auto'"),
        ("train.compile", "jit", "'auto', 'xla', 'graph' or 'eager'"),
        ("train.precision", "float16", "'float32' or 'bfloat16'"),
        ("train.average", 1.0, "less than 1"),
        ("train.average", math.nan, "less than 1"),
        ("data.validation", -1, "greater than or equal to 0"),
        ("data.source", 3, "string"),
        ("data.classes", 1001, "less than or equal to 1000"),
        ("model.kind", "rnn", "'mlp' or 'cnn'"),
        ("model.hidden", 512, "tuple"),
        ("model.bias", "maybe", "boolean"),
        ("model.dropout", 1, "less than 1"),
        ("loss.l2", math.nan, "finite"),
        ("optimizer.kind", "adagrad", "'adam'"),
        ("optimizer.learning_rate", 0, "greater than 0"),
        ("optimizer.learning_rate", math.inf, "finite"),
        ("optimizer.learning_rate", math.nan, "finite"),
        ("schedule.peak", 1, "less than 1"),
        ("augment.rotate", 181, "less than or equal to 180"),
        ("export.model", "x", "boolean"),
        ("data.test_share", 0, "greater than 0"),
        ("data.test_share", 1, "less than 1"),
        ("data.per_class", -1, "greater than or equal to 0"),
        ("data.only", "37", "tuple"),
        ("data.skip_broken", "maybe", "boolean"),
        ("model.freeze", "conv_1", "tuple"),
        ("loss.kind", "naive", "'naive_cross_entropy'"),
        ("augment.elastic", -1, "greater than or equal to 0"),
        ("augment.elastic_width", 0, "greater than 0"),
        ("train.progress", -1, "greater than or equal to 0"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_was_expected(key: str, value: Any, expected: str) -> None:
    message = complaint_about({key: value})
    assert f"'{key}'" in message and repr(value) in message and expected in message


def test_a_wrong_width_is_named() -> None:
    assert "'model.hidden' is 0: expected a value greater than" in complaint_about({"model.hidden": [512, 0]})


def test_true_is_no_number() -> None:
    complaint_about({"train.epochs": True})


@pytest.mark.parametrize("value", [3, "x", []])
def test_a_section_that_is_none_is_named(value: Any) -> None:
    message = complaint(lambda: Recipe.model_validate({"train": value}))
    assert "'train'" in message and repr(value) in message


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "ü"])
def test_a_name_that_is_no_folder_name_is_refused(name: str) -> None:
    assert repr(name) in complaint(lambda: Recipe(name=name))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"train.patience": 3, "data.validation": 0}, ["'train.patience' is 3", "'data.validation' is 0"]),
        ({"model.kind": "cnn"}, ["'model.layers' is empty"]),
        ({"model.kind": "cnn", "model.layers": ["conv 8 3x3", "pool 2"]}, ["'model.layers' has 'pool 2'", "'max N'"]),
        ({"loss.kind": "quadratic", "loss.label_smoothing": 0.1}, ["'loss.label_smoothing' is 0.1", "quadratic"]),
        (
            {"loss.kind": "naive_cross_entropy", "loss.label_smoothing": 0.1},
            ["'loss.label_smoothing' is 0.1", "not to naive_cross_entropy"],
        ),
    ],
)
def test_values_that_do_not_go_together_are_both_named(changes: dict[str, Any], named: list[str]) -> None:
    message = complaint_about(changes)
    assert all(part in message for part in named)


def test_files_that_are_no_recipe_are_named(tmp_path: Path) -> None:
    missing, folder, broken, binary = (tmp_path / f"{name}.toml" for name in "abcd")
    folder.mkdir()
    broken.write_text("[train\n")
    binary.write_bytes(b'name = "\xff"\n')
    for path in missing, folder:
        assert complaint(lambda path=path: Recipe.load(path)).startswith(f"{path}: cannot read the recipe")
    for path in broken, binary:
        assert complaint(lambda path=path: Recipe.load(path)).startswith(f"{path}: not valid TOML")
    assert "not a run folder" in complaint(lambda: Recipe.load_run(tmp_path))


def test_an_unknown_name_suggests_a_shipped_recipe() -> None:
    assert "'mlpp' is neither shipped nor a .toml file; did you mean 'mlp'?" in complaint(lambda: Recipe.load("mlpp"))
    assert "known: mlp, " in complaint(lambda: Recipe.load("zzz"))


def test_a_changed_recipe_makes_no_promises() -> None:
    shipped = Recipe.load("mlp")
    same = {"train.seed": 3, "train.progress": 9, "train.log_steps": 1, "train.tensorboard": True}
    assert shipped.replace({**same, "export.report": False}).about == shipped.about
    changed = shipped.replace({"train.epochs": 3})
    assert changed.about.accuracy == changed.about.summary == ""


def test_paths_can_be_left_out() -> None:
    changes = {"data.source": "/home/me/letters/", "model.init_from": "/runs/first", "data.only": ["/b"]}
    recipe = Recipe.load("mlp").replace(changes)
    values = recipe.without_folders()
    assert (values["data"]["source"], values["model"]["init_from"]) == ("letters", "first")
    assert values["data"]["only"] == ["/b"], "names of classes are no paths"
    assert Recipe.model_validate(values).changed_from(recipe) == ["data.source", "model.init_from"]
    own = Recipe().replace({"model.kind": "/home/me/net.py:make", "model.options": {"table": "/home/me/table.npz"}})
    values = own.without_folders()["model"]
    assert (values["kind"], values["options"]) == ("net.py:make", {"table": "table.npz"})
    plain = Recipe.load("cnn")
    assert plain.without_folders() == plain.model_dump(mode="json")


# Imports


def test_recipes_come_without_tensorflow() -> None:
    code = "import sys, tfmnist.recipe as r; r.Recipe.load('mlp'); print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


# Keys without effect

IDLE: list[tuple[dict[str, Any], str, Any, str]] = [
    ({}, "model.layers", ["conv 4 3x3"], "layers apply only to 'cnn'"),
    ({"model.kind": "cnn", "model.layers": ["conv 4 3x3"]}, "model.hidden", [20], "hidden applies only to 'mlp'"),
    ({"model.kind": "cnn", "model.layers": ["conv 4 3x3"]}, "model.dropout", 0.5, "no hidden dense layer"),
    ({"model.kind": "cnn", "model.layers": ["max 2"]}, "model.batch_norm", True, "no hidden layer"),
    ({"model.hidden": []}, "model.dropout", 0.5, "no hidden dense layer"),
    ({"model.hidden": []}, "model.activation", "tanh", "no hidden layer"),
    ({"model.hidden": []}, "model.batch_norm", True, "no hidden layer"),
    ({}, "model.batch_norm_momentum", 0.5, "model.batch_norm is false"),
    ({"model.initializer": "zeros"}, "model.init_scale", 2.0, "model.initializer is 'zeros'"),
    ({}, "model.init_sha256", "0" * 64, "model.init_from is empty"),
    ({}, "model.options.width", 3, "not code of your own"),
    ({}, "model.source_sha256", "0" * 64, "not code of your own"),
    ({"model.kind": "some.module:make"}, "model.hidden", [20], "options belong under model.options"),
    ({"model.kind": "some.module:make"}, "model.dropout", 0.5, "options belong under model.options"),
    ({}, "loss.options.gamma", 2.0, "not code of your own"),
    ({}, "optimizer.momentum", 0.5, "momentum applies only to 'momentum'"),
    ({}, "optimizer.nesterov", True, "nesterov applies only to 'momentum'"),
    ({"optimizer.kind": "momentum", "optimizer.momentum": 0.0}, "optimizer.nesterov", True, "optimizer.momentum is 0"),
    ({}, "optimizer.rho", 0.5, "rho applies only to 'rmsprop'"),
    ({}, "optimizer.weight_decay", 0.5, "weight_decay applies only to 'adamw'"),
    ({"optimizer.kind": "sgd"}, "optimizer.beta1", 0.5, "beta1 applies only to 'adam' or 'adamw'"),
    ({"optimizer.kind": "rmsprop"}, "optimizer.beta2", 0.5, "beta2 applies only to 'adam' or 'adamw'"),
    (
        {"optimizer.kind": "momentum"},
        "optimizer.epsilon",
        0.5,
        "epsilon applies only to 'rmsprop' or 'adam' or 'adamw'",
    ),
    ({"optimizer.kind": "some.module:Rule"}, "optimizer.beta1", 0.5, "options belong under optimizer.options"),
    ({}, "optimizer.options.beta", 0.5, "not code of your own"),
    ({}, "schedule.factor", 0.5, "factor applies only to 'step' or 'exponential'"),
    ({"schedule.kind": "cosine"}, "schedule.every", 2.0, "every applies only to 'step' or 'exponential'"),
    ({"schedule.kind": "step", "schedule.factor": 1.0}, "schedule.every", 2.0, "schedule.factor is 1"),
    ({"schedule.kind": "cosine"}, "schedule.start", 0.5, "start applies only to 'one_cycle'"),
    ({"schedule.kind": "step"}, "schedule.peak", 0.5, "peak applies only to 'one_cycle'"),
    ({}, "schedule.end", 0.5, "end applies only to 'cosine' or 'one_cycle'"),
    ({"augment.shift": 1.0}, "augment.elastic_width", 2.0, "augment.elastic is 0"),
    ({}, "train.monitor", "loss", "train.patience is 0"),
    ({}, "data.test_share", 0.3, "which has a test set"),
    ({}, "data.skip_broken", True, "which has no picture files"),
]


def to_file(path: Path, values: dict[str, Any]) -> Path:
    tables: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        table = tables
        for section in sections:
            table = table.setdefault(section, {})
        table[name] = value
    path.write_text(tomli_w.dumps(tables), encoding="utf-8")
    return path


@pytest.mark.parametrize(("others", "key", "value", "reason"), IDLE)
def test_a_key_without_effect_is_an_error_in_a_file_and_as_a_change(
    tmp_path: Path, others: dict[str, Any], key: str, value: Any, reason: str
) -> None:
    base = Recipe().replace(others)
    for start in (
        lambda: base.replace({key: value}),
        lambda: Recipe.load(to_file(tmp_path / "r.toml", {**others, key: value})),
        lambda: Recipe.load(to_file(tmp_path / "r.toml", {"extends": "mlp", **others, key: value})),
    ):
        with pytest.raises(InputError) as caught:
            start()
        text = str(caught.value)
        assert f"recipe key '{key}' is " in text and "has no effect" in text and reason in text
        assert text.endswith("; remove it, or change what it depends on.") and "\n" not in text


@pytest.mark.parametrize(("others", "key", "value", "reason"), IDLE)
def test_a_key_without_effect_is_read_where_nobody_gave_it(
    tmp_path: Path, others: dict[str, Any], key: str, value: Any, reason: str
) -> None:
    default: Any = {} if ".options." in key else Recipe().values()[key]
    if ".options." not in key:
        assert Recipe().replace({**others, key: default}), "at its default"
    resolved = Recipe().with_values({**others, key: value})
    (tmp_path / "recipe.toml").write_text(resolved.to_toml(), encoding="utf-8")
    assert Recipe.load(tmp_path / "recipe.toml") == Recipe.load_run(tmp_path) == resolved
    extending = Recipe.load(to_file(tmp_path / "mine.toml", {"extends": "recipe.toml", "train.epochs": 7}))
    assert extending.train.epochs == 7 and extending.values().get(key) == resolved.values().get(key)
    if ".kind" not in key:
        assert resolved.replace({"train.epochs": 3}).values().get(key) == resolved.values().get(key)


def test_the_recipe_of_a_run_of_an_early_version_is_read(tmp_path: Path) -> None:
    values = tomllib.loads(Recipe().with_values({"optimizer.momentum": 0.5, "schedule.end": 0.3}).to_toml())
    for section in ("model", "loss", "optimizer"):
        del values[section]["options"], values[section]["source_sha256"]
    (tmp_path / "recipe.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
    assert Recipe.load_run(tmp_path).optimizer.momentum == 0.5


# Recipes that extend others


def test_a_recipe_changes_the_one_that_it_extends(tmp_path: Path) -> None:
    path = to_file(tmp_path / "my.toml", {"extends": "cnn", "train.epochs": 1, "about.summary": "mine"})
    mine, cnn = Recipe.load(path), Recipe.load("cnn")
    assert mine.name == "my" and mine.changed_from(cnn) == ["train.epochs"]
    assert (mine.about.summary, mine.about.accuracy) == ("mine", "")
    folder = tmp_path / "deeper"
    folder.mkdir()
    again = Recipe.load(to_file(folder / "again.toml", {"extends": "../my.toml", "optimizer.learning_rate": 0.5}))
    assert again.changed_from(cnn) == ["optimizer.learning_rate", "train.epochs"] and again.about.summary == ""


def test_what_cannot_be_extended_is_named(tmp_path: Path) -> None:
    def said(**values: Any) -> str:
        with pytest.raises(InputError) as caught:
            Recipe.load(to_file(tmp_path / "a.toml", values))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "recipe 'cmn' is neither shipped nor a .toml file; did you mean 'cnn'?" in said(extends="cmn")
    assert "nothing.toml: cannot read the recipe" in said(extends="nothing.toml")
    assert "'extends' is 3: expected a shipped recipe" in said(extends=3)
    assert "recipes extend each other" in said(extends="a.toml")
    to_file(tmp_path / "b.toml", {"extends": "a.toml"})
    assert "recipes extend each other" in said(extends="b.toml")
    assert "'model.hiden' does not exist; did you mean 'model.hidden'" in said(extends="mlp", model={"hiden": [1]})
    assert "'lr' does not exist; did you mean 'optimizer.learning_rate'" in said(extends="mlp", lr=0.1)


def test_options_of_other_code_are_not_taken_over(tmp_path: Path) -> None:
    first = to_file(tmp_path / "a.toml", {"model.kind": "one.py:make", "model.options.width": 3})
    mine = Recipe.load(to_file(tmp_path / "b.toml", {"extends": "a.toml", "model.options.depth": 2}))
    assert mine.model.options == {"width": 3, "depth": 2}
    other = Recipe.load(to_file(tmp_path / "c.toml", {"extends": "a.toml", "model.kind": "two.py:make"}))
    assert other.model.options == {} and Recipe.load(first).replace({"model.kind": "mlp"}).model.options == {}


def test_a_card_has_no_folder_not_even_in_a_list_of_options() -> None:
    changes = {"model.kind": "/home/me/net.py:make", "model.options.files": ["/home/me/a.txt", "b"]}
    model = Recipe().replace(changes).without_folders()["model"]
    assert (model["kind"], model["options"]) == ("net.py:make", {"files": ["a.txt", "b"]})


def test_a_kind_that_does_not_exist_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"known: mlp, cnn\.$"):
        Recipe().replace({"model.kind": "resnet"})


# Sizes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = " + "[" * 100_000, "lists or tables in more than 16 levels"),
        ("x = " + "[" * 20 + "]" * 20, "'x' has lists or tables in more than 16 levels"),
        (".".join("a" * 2_000) + " = 1", "'a' has lists or tables in more than 16 levels"),
        ("[train]\nepochs = 1" + "0" * 5000, "a number of thousands of digits"),
        ("[train]\nepochs = 1" + "0" * 30, "'train.epochs' is 1000000000000000000000000000000: expected a value less"),
        ('[data]\nsource = "a\\u0000b"', "'data.source' is 'a\\x00b': remove the null character"),
        ('[data]\nsource = "a\0b"', "not valid TOML"),
        ('[train]\nepochs = "' + "x" * 100_000 + '"', "... (100,002 characters): expected a valid integer"),
        ("[train]\nepochs = 9223372036854775807", "less than or equal to 1000000000"),
        ("[train]\nthreads = 2000000000", "less than or equal to 1000000000"),
        ("[data]\nvalidation = 5000000000", "less than or equal to 1000000000"),
        ('[model]\nkind = "cnn"\nlayers = ["conv 4 5x5 /99999999999"]', "with numbers of at most 1,048,576"),
        ('[model]\nkind = "cnn"\nlayers = ["conv ' + "9" * 5000 + ' 3x3"]', "with numbers of at most 1,048,576"),
        ("[model]\nhidden = [" + "8," * 2000 + "]", "at most 256 items"),
    ],
)
def test_a_file_that_asks_for_too_much_is_refused_at_once(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "large.toml"
    path.write_text(text)
    message = complaint(lambda: Recipe.load(path))
    assert message.startswith(f"{path}: ") and expected in message and len(message) < 800
