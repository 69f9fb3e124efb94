"""The command line: one short function a command. TensorFlow is imported only by what computes."""

import contextlib
import dataclasses
import inspect
import io
import json
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Literal

import tyro

from tfmnist.errors import InputError, TfmnistError, did_you_mean
from tfmnist.recipe import Recipe, shipped_recipes

ModelPath = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_MODEL")]
AsJson = Annotated[bool, tyro.conf.arg(name="json")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; an error that a user can meet is one line on standard error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's own log; what fails comes as an exception
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a class name must not end a run on a terminal without its letters
    try:
        return _dispatch(words)
    except TfmnistError as error:
        print(f"tfmnist: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of the output, head say, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        wrong_place = isinstance(error, PermissionError | NotADirectoryError | IsADirectoryError | FileNotFoundError)
        remedy = "; choose another place, or change its permissions." if wrong_place else ""
        print(f"tfmnist: {where}{error.strerror or error}{remedy}", file=sys.stderr)
        return 2 if wrong_place else 1
    except Exception as error:
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
            raise
        print(
            "tfmnist: out of memory: make the network or the batch smaller (model.hidden, train.batch_size)",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("tfmnist: interrupted", file=sys.stderr)
        return 130


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if words else 2
    if words[0] == "--version":
        from tfmnist import __version__

        print(f"tfmnist {__version__}")
        return 0
    name, rest = words[0], words[1:]
    if "" in rest:
        raise InputError(f"tfmnist {name}: an argument is empty; expected a value (a shell variable that is not set?)")
    if name not in COMMANDS:
        raise InputError(f"command {name!r} does not exist{did_you_mean(name, COMMANDS)} (see tfmnist --help).")
    if name == "train":
        train(rest)
    else:
        tyro.cli(COMMANDS[name], prog=f"tfmnist {name}", args=rest)
    return 0


@contextlib.contextmanager
def _tensorflow_quietly() -> Iterator[None]:
    """Keeps off the screen what TensorFlow logs while it is imported, which none of its settings does; and Keras out.

    TensorFlow imports Keras, and with it a plotting library, only to offer them: without, most of a second is saved.
    """
    if "tensorflow" not in sys.modules:
        sys.modules.setdefault("keras", None)  # type: ignore[arg-type]
    sys.stderr.flush()
    if sys.stdout.isatty():
        print("starting TensorFlow", end="", flush=True)
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            if sys.stdout.isatty():
                print("\r\x1b[2K", end="", flush=True)


def _usage() -> str:
    lines = [f"  {name:<9} {(inspect.getdoc(command) or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: tfmnist COMMAND [ARGUMENTS]\n",
            "Handwritten-digit recognition with low-level TensorFlow.\n",
            *lines,
            "\n'tfmnist COMMAND --help' says more of each; 'tfmnist --version' prints the version.",
        ]
    )


def train(words: list[str]) -> None:
    """Trains a recipe, evaluates it on the test set and exports the model."""
    words = _as_in_toml(words)
    asked = _parse_train(words, "mlp", Recipe.load("mlp"))
    if asked.resume:
        if asked.run_dir or asked.recipe != "mlp":
            raise InputError("--resume takes neither a recipe nor --run-dir: a run has its own; leave them out.")
        run_dir, own = asked.resume, Recipe.load_run(asked.resume)
        recipe = _recipe_of(_parse_train(words, "mlp", own), own)
        if fixed := [key for key in recipe.changed_from(own) if key != "train.epochs"]:
            raise InputError(f"--{fixed[0]} cannot change in a resumed run, only --train.epochs can; start a new run.")
        return _follow("resume_events", run_dir, recipe.train.epochs)
    base = Recipe.load(asked.recipe)
    recipe = _recipe_of(_parse_train(words, asked.recipe, base), base).honest(base)
    run_dir = asked.run_dir or None
    from tfmnist.data.sources import check_source
    from tfmnist.files import check_new_folder

    check_source(recipe.data.source)  # these two before TensorFlow's seconds
    check_new_folder(run_dir)
    _follow("run_events", recipe, run_dir)


def _parse_train(words: list[str], name: str, recipe: Recipe) -> Any:
    """Parses the arguments of `train`; the options, their help and their defaults are those of a recipe."""
    sections = {section: getattr(recipe, section) for section in Recipe.sections()}
    arguments = dataclasses.make_dataclass(
        "Arguments",
        [
            ("recipe", Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]),
            ("run_dir", Annotated[str, tyro.conf.arg(name="run-dir", metavar="DIR")]),
            ("resume", Annotated[str, tyro.conf.arg(metavar="RUN")]),
            # with its help given, tyro need not parse sources to find it: a tenth of a second
            *(
                (name, Annotated[type(value), tyro.conf.arg(help=type(value).__doc__)])
                for name, value in sections.items()
            ),
        ],
    )
    arguments.__doc__ = f"""{inspect.getdoc(train)}

    Attributes:
        recipe: A shipped recipe ({", ".join(shipped_recipes())}) or the path of a .toml file.
        run_dir: A new folder for all that the run leaves; by default runs/<recipe>-<UTC time>.
        resume: Folder of a run that was stopped: goes on exactly there. Of the options, train.epochs can change.
    """
    return tyro.cli(
        arguments,
        prog="tfmnist train",
        args=words,
        default=arguments(recipe=name, run_dir="", resume="", **sections),
        use_underscores=True,
        config=(tyro.conf.FlagConversionOff,),
    )


def _recipe_of(asked: Any, base: Recipe) -> Recipe:
    sections = {section: getattr(asked, section) for section in Recipe.sections()}
    return Recipe(name=base.name, about=base.about, **sections)


def _as_in_toml(words: list[str]) -> list[str]:
    """Lets true and false, and lists such as 512,256 or [512, 256], be typed as in a TOML file."""
    found: list[str] = []
    is_key = False  # whether the word belongs to a recipe's key: a folder may be called true
    for word in words:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        is_key = "." in option if option else is_key
        if not is_key:
            found.append(word)
        elif re.fullmatch(r"\[[\d\s,]*\]|\d+(,\d+)+,?", value):
            found += [*([option] if equals else []), *re.findall(r"\d+", value)]
        elif value in ("true", "false"):
            found.append(f"{option}{equals}{value.capitalize()}")
        else:
            found.append(word)
    return found


def _follow(start: str, *arguments: Any) -> None:
    """Draws a run's events until it ends. SIGTERM or SIGINT makes it save and stop; a second one ends it at once."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with _tensorflow_quietly():
            from tfmnist import runs
            from tfmnist.screen import Screen

        with Screen() as screen, contextlib.closing(getattr(runs, start)(*arguments, stop)) as events:
            for event in events:
                screen.show(event)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def evaluate(
    model: ModelPath,
    data: str = "",
    split: Literal["train", "validation", "test"] = "test",
    as_json: AsJson = False,
) -> None:
    """Measures a run or an exported model on a data set.

    Args:
        model: Folder of a run or of an exported model.
        data: A data source, as in train's --data.source; by default the one that the model was trained on.
        split: Which of its splits.
        as_json: Print JSON.
    """
    from tfmnist.artifacts.folders import find_version, read_card
    from tfmnist.data.sources import load

    version = find_version(model)
    card = read_card(version)
    if "recipe" not in card and not data:
        raise InputError(f"{version}: does not say what it was trained on; give the data to measure it on by --data.")
    recipe = Recipe.model_validate(card.get("recipe", {}))
    source = data or recipe.data.source
    held = recipe.data.validation if not data or split != "test" else 0
    digits = load(source, validation=held, seed=recipe.train.seed, classes=len(card["class_names"]))
    if not data and digits.sha256 != card["data"]["sha256"]:
        raise InputError(f"{source}: holds other data than the model was trained on; name it by --data if it is meant.")
    if not len(getattr(digits, split)):
        raise InputError(f"{source}: its {split} split is empty; choose another with --split.")
    with _tensorflow_quietly():
        from tfmnist.artifacts.saved_model import Exported
        from tfmnist.training.evaluation import evaluate as measure

    exported = Exported(version)
    metrics = measure(exported, getattr(digits, split), exported.loss)
    if as_json:
        print(
            json.dumps({"model": str(version), "data": source, "split": split, **metrics.to_dict(exported.class_names)})
        )
        return
    from tfmnist.screen import show_metrics

    show_metrics(metrics, exported.class_names, f"{version} on {source}, {split}")


def predict(
    model: ModelPath,
    images: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE...")],
    as_json: AsJson = False,
) -> None:
    """Classifies picture files, PNG or JPEG.

    Args:
        model: Folder of a run or of an exported model.
        images: Picture files, each one digit of the model's image size (28x28 for MNIST).
        as_json: Print JSON, one object a picture.
    """
    from tfmnist.artifacts.folders import find_version, read_card
    from tfmnist.data.pictures import read_picture

    if not images:
        raise InputError("predict needs at least one picture: tfmnist predict RUN_OR_MODEL digit.png")
    version = find_version(model)
    height, width = read_card(version)["image_shape"]
    pictures = [read_picture(path, (height, width)) for path in images]
    import numpy as np

    with _tensorflow_quietly():
        from tfmnist.artifacts.saved_model import Exported

    exported = Exported(version)
    probabilities = exported.predict(np.stack(pictures)).probabilities
    for path, row in zip(images, probabilities):
        best, second = (int(n) for n in np.argsort(-row, kind="stable")[:2])
        names = exported.class_names
        if as_json:
            shares = {name: float(share) for name, share in zip(names, row)}
            print(
                json.dumps(
                    {"image": path, "class": names[best], "probability": float(row[best]), "probabilities": shares}
                )
            )
        else:
            print(f"{path}: {names[best]}  {row[best]:.1%}  (then {names[second]}, {row[second]:.1%})")


def export(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    dest: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DEST")],
    format: Literal["savedmodel"] = "savedmodel",
) -> None:
    """Writes a run's model as the next version of a model folder.

    Args:
        run: Folder of a finished run.
        dest: The model's folder; gets a sub-folder 1, or the next number, that appears whole or not at all.
        format: What to write.
    """
    Recipe.load_run(run)
    with _tensorflow_quietly():
        from tfmnist.runs import export as write

    print(write(run, dest))


def report(run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]) -> None:
    """Writes a run's report.html and figures again.

    Args:
        run: Folder of a finished run.
    """
    from tfmnist.reports import write_report

    print(write_report(Path(run)))


def recipes() -> None:
    """Lists the shipped recipes with their expected accuracy and time."""
    found = [Recipe.load(name) for name in shipped_recipes()]
    width = max(len(recipe.name) for recipe in found)
    for recipe in found:
        print(f"{recipe.name:<{width}}  {recipe.about.summary}")
        print(f"{'':<{width}}  {recipe.about.accuracy}; {recipe.about.time}")


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
    "report": report,
    "recipes": recipes,
}
