"""The command line's entry: dispatches one command and turns errors into exit codes."""

import inspect
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from tfmnist.cli.commands import ensemble, evaluate, export, gradients, info, pictures, predict, recipes, report, runs
from tfmnist.cli.data import data
from tfmnist.cli.serve import serve
from tfmnist.cli.sweep import study, sweep
from tfmnist.cli.train import train
from tfmnist.errors import InputError, TfmnistError, did_you_mean, find_fault, printable
from tfmnist.system.machine import VERSION
from tfmnist.system.streams import checked_output, open_outputs

_IN_ORDER = (
    train,
    evaluate,
    predict,
    serve,
    export,
    ensemble,
    report,
    runs,
    info,
    data,
    gradients,
    pictures,
    sweep,
    study,
    recipes,
)
COMMANDS: dict[str, Callable[..., Any]] = {command.__name__: command for command in _IN_ORDER}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; errors that a user can meet are one line on standard error."""
    open_outputs()
    ends_process = arguments is None
    try:
        with checked_output():
            code = _dispatch(list(sys.argv[1:] if arguments is None else arguments))
        if ends_process:
            _ignore_signals()
        return code
    except BrokenPipeError:  # the reader of the output, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        if ends_process:
            _ignore_signals()
        code, message = _describe(error)
        if not message:
            raise
        print(f"tfmnist: {printable(message)}", file=sys.stderr)
        if isinstance(error, KeyboardInterrupt) and ends_process:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # TensorFlow's threads may compute for long, or abort a process that ends meanwhile
        return code


def _ignore_signals() -> None:
    """Lets the process end as it has decided to: a signal that comes late would change its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _describe(error: BaseException) -> tuple[int, str]:
    """Returns the exit code and the line for an error; the line is empty for a bug in the program."""
    match error:
        case TfmnistError():
            return error.exit_code, str(error)
        case KeyboardInterrupt():
            return 130, "interrupted"
        case UnicodeEncodeError() if error.reason == "surrogates not allowed":  # a path that TensorFlow cannot take
            return 2, f"{error.object!a}: not a UTF-8 name; rename it, or choose another."
        case Exception() if fault := find_fault(error):
            name = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
            return 1, f"{name}{fault.reason}; {fault.remedy}, and try again."
        case OSError():
            text = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
            if isinstance(error, PermissionError | NotADirectoryError | IsADirectoryError | FileNotFoundError):
                return 2, f"{text}; choose another path, or change its permissions."
            return 1, text
    return 1, ""


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if words else 2
    if words[0] == "--version":
        print(f"tfmnist {VERSION}")
        return 0
    name, rest = words[0], words[1:]
    if "" in rest:
        raise InputError(f"{name}: an argument is empty; expected a value (is a shell variable unset?)")
    if name not in COMMANDS:
        raise InputError(f"command {name!r} does not exist{did_you_mean(name, COMMANDS)} See tfmnist --help.")
    if name == "train":
        train(rest)
    elif name == "data":
        data(rest)
    else:
        tyro.cli(COMMANDS[name], prog=f"tfmnist {name}", args=rest)
    return 0


def _usage() -> str:
    lines = [f"  {name:<9} {(inspect.getdoc(command) or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "\n".join(
        (
            "usage: tfmnist COMMAND [ARGUMENTS]\n\nHandwritten-digit recognition with low-level TensorFlow.\n",
            *lines,
            "\n'tfmnist COMMAND --help' describes a command, 'tfmnist --version' the version.",
        )
    )
