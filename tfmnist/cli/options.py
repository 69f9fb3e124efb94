"""The options of `train`: a recipe's keys, with the types and help texts of `tfmnist.recipe`."""

import difflib
import math
import re
import shlex
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict, get_args, get_origin

import tyro
from tyro.conf import Positional, arg

from tfmnist.errors import InputError
from tfmnist.recipe import Recipe, nearest_key, parse_toml, shipped_recipes

DEFAULT_RECIPE = "mlp"
SHORT_FORMS = {
    "train.epochs": "--epochs",
    "train.batch_size": "--batch_size",
    "optimizer.learning_rate": "--lr",
    "model.hidden": "--hidden",
    "data.source": "--data",
    "train.seed": "--seed",
    "model.freeze": "--freeze",
}
_OTHERS = (
    "resume",
    "run_dir",
    "init_from",
    "profile",
    "processes",
    "ray",
    "help",
)  # options that are not keys of a recipe
_Boolean = Literal["true", "false", "True", "False"]  # as in TOML, or as in Python
_OPTION = re.compile(r"--((?:model|loss|optimizer)\.options\.[A-Za-z_][\w-]*)(?:=(.*))?", re.DOTALL)
_INTEGERS = re.compile(r"\[[\d\s,]*\]|\d+(,\d+)+,?")  # [512, 256] or 512,256
_NUMBER = re.compile(r"[-+]?(\d+\.|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)  # .5 and 5., which are not TOML
_typed_dict: Any = TypedDict  # type checkers accept only literal ones


@dataclass(frozen=True)
class TrainArguments:
    """The arguments of `train`; `changes` holds the recipe keys that were given, for `Recipe.replace`."""

    changes: dict[str, Any]
    recipe: str = ""
    resume: str = ""
    run_dir: str = ""
    init_from: str = ""
    profile: bool = False
    processes: int | None = None
    ray: str = ""


def parse_train(words: list[str], summary: str) -> TrainArguments:
    """Parses the arguments of `train`. Help and usage errors end the process."""
    shown = Recipe.load(words[0] if words and not words[0].startswith("-") else DEFAULT_RECIPE)
    words = [f"{word}=true" if _is_flag(word, after) else word for word, after in zip(words, [*words[1:], "--"])]
    words, options = _take_options(words)
    _check_names(words)
    arguments = _typed_dict("Arguments", _arguments(shown), total=False)  # so the result has only what was given
    given: dict[str, Any] = tyro.cli(
        arguments, prog="tfmnist train", description=summary, args=words, use_underscores=True
    )
    changes = {key: given.pop(key) for key in SHORT_FORMS if key in given}
    for section in Recipe.sections():
        changes |= {f"{section}.{name}": value for name, value in given.pop(section).items()}
    for key, value in changes.items():
        if isinstance(value, tuple):
            parts = (re.findall(r"\d+", word) if _INTEGERS.fullmatch(word) else [word] for word in value)
            changes[key] = tuple(part for group in parts for part in group)
    changes |= options
    profile = given.pop("profile", "false").lower() == "true"
    return TrainArguments(changes, profile=profile, **given)


def _check_names(words: list[str]) -> None:
    """Raises an `InputError` with the nearest key if a word is an option that does not exist."""
    shorts = {short.removeprefix("--"): key for key, short in SHORT_FORMS.items()}
    for option in (word.partition("=")[0] for word in words if word.startswith("--")):
        name = option.removeprefix("--").replace("-", "_")
        if name in (*Recipe.key_names(), *shorts, *_OTHERS):
            continue
        if near := difflib.get_close_matches(name, (*shorts, *_OTHERS), n=1, cutoff=0.8):
            hint = f"did you mean --{near[0]}?"
        elif meant := nearest_key(name):
            hint = f"did you mean --{meant}{f', or {SHORT_FORMS[meant]}' if meant in SHORT_FORMS else ''}?"
        else:
            hint = "tfmnist train --help lists all options."
        raise InputError(f"option {option} does not exist; {hint}")


def _is_flag(word: str, after: str) -> bool:
    """Whether a word is a boolean option without a value, given the word after it; tyro does not support those."""
    if word == "--profile":
        return after.lower() not in ("true", "false")
    section, _, name = word.removeprefix("--").replace("-", "_").partition(".")
    key = Recipe.tables()[section].model_fields.get(name) if section in Recipe.sections() else None
    return key is not None and key.annotation is bool and after.startswith("--")


def _take_options(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Returns the words without `--SECTION.options.NAME VALUE...`, and those options, by key.

    User code decides which options it takes; here their values are read as TOML, or else as text.
    """
    left: list[str] = []
    taken: dict[str, list[str]] = {}
    values = left
    for word in words:
        if match := _OPTION.fullmatch(word):
            key, value = match.groups()
            values = taken[key.replace("-", "_")] = [] if value is None else [value]
        elif word.startswith("--"):
            values = left
            left.append(word)
        else:
            values.append(word)
    for key, texts in taken.items():
        if not texts:
            raise InputError(f"--{key} has no value: expected one or more.")
    read = {key: [_read_value(text) for text in texts] for key, texts in taken.items()}
    return left, {key: values[0] if len(values) == 1 else values for key, values in read.items()}


def _read_value(text: str) -> Any:
    try:
        value = parse_toml(f"value = {text.lower() if text in ('True', 'False') else text}")["value"]
        is_plain = isinstance(value, str | int | list | dict) or (isinstance(value, float) and math.isfinite(value))
        return value if is_plain else text  # nan, inf and dates
    except InputError:
        return float(text) if _NUMBER.fullmatch(text) else text


def _arguments(shown: Recipe) -> dict[str, Any]:
    """Returns the types of all arguments, the most used first; the help shows the recipe's values as defaults."""
    recipe = f"A shipped recipe ({', '.join(shipped_recipes())}) or a .toml file; {DEFAULT_RECIPE} by default."
    start = "Start from the weights of this finished run, with its recipe unless RECIPE is given. "
    start += "The last layer starts afresh if the classes differ."
    resume = "Resume the stopped run in this folder, such as runs/newest. Only --epochs can change, and --data "
    resume += "if the same data are now elsewhere."
    processes = "Train in this many processes, each with a share of every batch, started on this machine, one GPU "
    processes += "each. TF_CONFIG in the environment names processes started elsewhere."
    ray = "Start the other processes on this Ray cluster: HOST:PORT, or auto for the one that runs here."
    arguments: dict[str, Any] = {
        "recipe": Annotated[_option(str, recipe, metavar="[RECIPE]"), Positional],
        "resume": _option(str, resume, metavar="RUN"),
        "run_dir": _option(str, "A new folder for the run; runs/<recipe>-<UTC time> by default.", metavar="DIR"),
        "init_from": _option(str, start, metavar="RUN"),
        "profile": _option(bool, "First measure where a step spends its time, for about 15 s."),
        "processes": _option(int, processes, metavar="N"),
        "ray": _option(str, ray, metavar="ADDRESS"),
        **dict.fromkeys(SHORT_FORMS),
    }
    for section in Recipe.sections():
        values, keys = getattr(shown, section), {}
        for name, field in type(values).model_fields.items():
            if name == "options":  # any; see _take_options
                continue
            key, option = f"{section}.{name}", (field.annotation, field.description, getattr(values, name))
            if key in SHORT_FORMS:
                arguments[key] = _option(*option, name=key, aliases=[SHORT_FORMS[key]])
            else:
                keys[name] = _option(*option)
        arguments[section] = Annotated[_typed_dict(section, keys, total=False), arg(help=type(values).__doc__)]
    return arguments


def _option(kind: Any, help: str | None, default: Any = "", **settings: Any) -> Any:
    """Returns the type of an option. Recipes accept booleans and the items of lists as strings."""
    if kind is bool:
        kind, default = _Boolean, str(default).lower()
        settings["metavar"] = "{true,false}"
    elif get_origin(kind) is tuple:
        item = get_args(kind)[0]
        kind, default = tuple[str, ...], shlex.join(map(str, default))
        settings["metavar"] = f"{getattr(item, '__origin__', item).__name__.upper()}..."
    hint = f"(default: {default})" if default != "" else ""
    return Annotated[kind, arg(help=help, help_behavior_hint=hint, **settings)]
