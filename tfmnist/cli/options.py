"""The options of `train`: a recipe's keys, with the types and help texts of `tfmnist.recipe`."""

import re
import shlex
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, get_args

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from tfmnist.recipe import Recipe, shipped_recipes

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
_INTEGERS = re.compile(r"\[[\d\s,]*\]|\d+(,\d+)+,?")
_RULES = ConstructorRegistry()
_typed_dict: Any = TypedDict  # type checkers accept only literal ones


@dataclass(frozen=True)
class TrainArguments:
    """The arguments of `train`; `changes` holds the recipe keys that were given, by `section.key`."""

    changes: dict[str, Any]
    recipe: str = ""
    resume: str = ""
    run_dir: str = ""
    init_from: str = ""
    profile: bool = False


def parse_train(words: list[str], summary: str) -> TrainArguments:
    """Parses the arguments of `train`. Help and usage errors end the process, as tyro does it."""
    shown = Recipe.load(words[0] if words and not words[0].startswith("-") else DEFAULT_RECIPE)
    words = [  # tyro has no flag with an optional value
        "--profile=true" if word == "--profile" and after.lower() not in ("true", "false") else word
        for word, after in zip(words, [*words[1:], ""])
    ]
    given: dict[str, Any] = tyro.cli(
        _typed_dict("Arguments", _options(shown), total=False),  # the result has only what was given
        prog="tfmnist train",
        description=summary,
        args=words,
        use_underscores=True,
        config=(tyro.conf.FlagConversionOff,),
        registry=_RULES,
    )
    changes = {key: given.pop(key) for key in SHORT_FORMS if key in given}
    for section in Recipe.sections():
        changes |= {f"{section}.{name}": value for name, value in given.pop(section).items()}
    return TrainArguments(changes, **given)


def _options(shown: Recipe) -> dict[str, Any]:
    """Returns the types of all arguments, the most wanted first; `shown` has the defaults that the help shows."""
    options: dict[str, Any] = {
        "recipe": _option(
            f"A shipped recipe ({', '.join(shipped_recipes())}) or a .toml file; {DEFAULT_RECIPE} by default.",
            Annotated[str, tyro.conf.Positional],
            metavar="[RECIPE]",
        ),
        "resume": _option("Resume the stopped run in this folder; only --epochs can change.", metavar="RUN"),
        "run_dir": _option("A new folder for the run; runs/<recipe>-<UTC time> by default.", metavar="DIR"),
        "init_from": _option(
            "Start from the weights of this finished run, with its recipe unless RECIPE is given. The last layer "
            "starts afresh if the classes differ.",
            metavar="RUN",
        ),
        "profile": _option(
            "First measure where a step spends its time, for about 15 s.", bool, metavar="[{true,false}]"
        ),
    }
    short: dict[str, Any] = {}
    sections: dict[str, Any] = {}
    for section in Recipe.sections():
        values, keys = getattr(shown, section), {}
        for name, field in type(values).model_fields.items():
            key = f"{section}.{name}"
            common = (field.description, field.annotation, getattr(values, name))
            if key in SHORT_FORMS:
                short[key] = _option(*common, name=key, aliases=[SHORT_FORMS[key]])
            else:
                keys[name] = _option(*common)
        sections[section] = Annotated[_typed_dict(section, keys, total=False), tyro.conf.arg(help=type(values).__doc__)]
    return {**options, **{key: short[key] for key in SHORT_FORMS}, **sections}


def _option(help: str | None, kind: Any = str, default: Any = "", **settings: Any) -> Any:
    if isinstance(default, tuple):
        default = shlex.join(map(str, default))
    hint = f"(default: {str(default).lower() if isinstance(default, bool) else default})" if default != "" else ""
    return Annotated[kind, tyro.conf.arg(help=help, help_behavior_hint=hint, **settings)]


@_RULES.primitive_rule
def _boolean(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[bool] | None:
    """`true` and `false`, as in TOML; also with a capital, as in Python."""
    if info.type is not bool:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="{true,false}",
        instance_from_str=lambda words: words[0].lower() == "true",
        is_instance=lambda value: isinstance(value, bool),
        str_from_instance=lambda value: [str(value).lower()],
        choices=("true", "false", "True", "False"),
    )


@_RULES.primitive_rule
def _list(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[tuple[Any, ...]] | None:
    """Any number of words; integers also as `512,256` and `[512, 256]`."""
    if info.type_origin is not tuple:
        return None
    (item, _) = get_args(info.type)
    item = getattr(item, "__origin__", item)  # of an Annotated

    def parse(words: list[str]) -> tuple[Any, ...]:
        parts = (re.findall(r"\d+", word) if _INTEGERS.fullmatch(word) else [word] for word in words)
        return tuple(item(part) for group in parts for part in group)

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{item.__name__.upper()}...",
        instance_from_str=parse,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [str(part) for part in value],
    )
