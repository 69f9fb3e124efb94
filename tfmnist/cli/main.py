"""The command line's entry: dispatches one command and turns errors into exit codes."""

import inspect
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from tfmnist.cli.commands import evaluate, export, gradients, pictures, predict, recipes, report
from tfmnist.cli.sweep import study, sweep
from tfmnist.cli.train import train
from tfmnist.errors import InputError, TfmnistError, did_you_mean


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
        from tfmnist.system.machine import VERSION

        print(f"tfmnist {VERSION}")
        return 0
    name, rest = words[0], words[1:]
    if "" in rest:
        raise InputError(f"tfmnist {name}: an argument is empty; expected a value (a shell variable that is not set?)")
    if name not in COMMANDS:
        raise InputError(f"command {name!r} does not exist{did_you_mean(name, COMMANDS)} See tfmnist --help.")
    if name == "train":
        train(rest)
    else:
        tyro.cli(COMMANDS[name], prog=f"tfmnist {name}", args=rest)
    return 0


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


COMMANDS: dict[str, Callable[..., Any]] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "export": export,
    "report": report,
    "gradients": gradients,
    "pictures": pictures,
    "sweep": sweep,
    "study": study,
    "recipes": recipes,
}
