"""A recipe's keys as the options of a command, with the help and the checks of their types."""

import dataclasses
import re
from typing import Annotated, Any

import tyro

from tfmnist.recipe import Recipe, shipped_recipes

DEFAULT_RECIPE = "mlp"
_TEXTS = ("data.source", "data.only", "model.layers", "model.init_from", "model.freeze")  # may be called true


def parse_train(words: list[str], recipe: Recipe, summary: str) -> Any:
    """Parses the arguments of `train`; the options, their help and their defaults are those of a recipe."""
    sections = {section: getattr(recipe, section) for section in Recipe.sections()}
    arguments = dataclasses.make_dataclass(
        "Arguments",
        [
            ("recipe", Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]),
            ("run_dir", Annotated[str, tyro.conf.arg(name="run-dir", metavar="DIR")]),
            ("resume", Annotated[str, tyro.conf.arg(metavar="RUN")]),
            ("init_from", Annotated[str, tyro.conf.arg(name="init-from", metavar="RUN")]),
            ("freeze", Annotated[tuple[str, ...], tyro.conf.arg(metavar="LAYER")]),
            ("profile", bool),
            # with its help given, tyro need not parse sources to find it: a tenth of a second
            *(
                (name, Annotated[type(value), tyro.conf.arg(help=type(value).__doc__)])
                for name, value in sections.items()
            ),
        ],
    )
    arguments.__doc__ = f"""{summary}

    Attributes:
        recipe: A shipped recipe ({", ".join(shipped_recipes())}) or a .toml file; {DEFAULT_RECIPE} by default.
        run_dir: A new folder for all that the run leaves; by default runs/<recipe>-<UTC time>.
        resume: Folder of a run that was stopped: goes on exactly there. Of the options, train.epochs can change.
        init_from: Folder of a finished run to start from, with its recipe unless RECIPE is given; the last layer is new
            where the classes are others. Short for --model.init_from.
        freeze: Layers that keep those weights, conv_1 or "conv_*", say. Short for --model.freeze.
        profile: Say first where a step's time goes, and how near it is to the machine's limit; takes some 15 s.
    """
    return tyro.cli(
        arguments,
        prog="tfmnist train",
        args=words,
        default=arguments(recipe="", run_dir="", resume="", init_from="", freeze=(), profile=False, **sections),
        use_underscores=True,
        config=(tyro.conf.FlagConversionOff,),
    )


def recipe_of(asked: Any, base: Recipe) -> Recipe:
    """Returns the recipe that parsed options ask for, where `base` gave their defaults."""
    sections = {section: getattr(asked, section) for section in Recipe.sections()}
    recipe = Recipe(name=base.name, about=base.about, **sections)
    short = {"model.init_from": asked.init_from, "model.freeze": asked.freeze}
    given = {key: value for key, value in short.items() if value}
    return recipe.replace(given) if given else recipe


def as_in_toml(words: list[str]) -> list[str]:
    """Lets true and false, and lists such as 512,256 or [512, 256], be typed as in a TOML file."""
    found: list[str] = []
    is_key = is_text = False  # whether the word belongs to a recipe's key: a folder may be called true
    for word, after in zip(words, [*words[1:], ""]):
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if option:
            is_key, is_text = "." in option, option.removeprefix("--").replace("-", "_") in _TEXTS
        if word == "--profile" and after.lower() not in ("true", "false"):
            found += [word, "True"]
        elif option == "--profile" or (not is_key and found[-1:] == ["--profile"]):
            found.append(f"{option}{equals}{value.capitalize()}" if value.lower() in ("true", "false") else word)
        elif not is_key:
            found.append(word)
        elif re.fullmatch(r"\[[\d\s,]*\]|\d+(,\d+)+,?", value):
            found += [*([option] if equals else []), *re.findall(r"\d+", value)]
        elif value in ("true", "false") and not is_text:
            found.append(f"{option}{equals}{value.capitalize()}")
        else:
            found.append(word)
    return found
