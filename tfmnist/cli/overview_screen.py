"""Shows runs and exported models, side by side or one alone, in a terminal of 80 columns. No TensorFlow."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from tfmnist.runs.overview import ModelSummary, RunSummary
from tfmnist.sweeps.screen import what_and_why
from tfmnist.sweeps.trials import values_in_short

_LONGEST = 160  # characters shown of what differs; --json has all
_NAME = 31  # characters of a run's name that stay on one line
_CLASSES = 20  # class names shown


def show_runs(runs: Sequence[RunSummary]) -> None:
    """Prints a table, one row per run."""
    table = Table(box=None, pad_edge=False)
    table.add_column("run", overflow="fold", no_wrap=max(len(run.path.name) for run in runs) <= _NAME)
    for name in ("accuracy", "epochs", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("differs", overflow="fold")
    for run in runs:
        differs = {key: value for key, value in run.differs.items() if key != "train.epochs"}  # has a column
        what = what_and_why(differs, run.problem.removeprefix(f"{run.path}/"))
        what = what if len(what) <= _LONGEST else what[: _LONGEST - 1] + "…"
        table.add_row(run.path.name, _accuracy(run), _epochs(run), f"{run.seconds:,.1f}", what)
    _console().print(table)


def _accuracy(run: RunSummary) -> str:
    if run.state == "done" and run.result:
        low, high = run.result.test_accuracy_ci95
        return f"{run.result.test_accuracy:.2%} ± {50 * (high - low):.2f}"
    if run.state == "trained" and run.validation_accuracy is not None:
        return f"validation {run.validation_accuracy:.2%}"
    return run.state


def _epochs(run: RunSummary) -> str:
    return f"{run.epochs}/{run.recipe.train.epochs}" if run.recipe else "-"


def show_run(run: RunSummary, model: ModelSummary | None) -> None:
    """Prints what is known about a run, and whether its exported model is intact."""
    lines = {
        "run": str(run.path),
        "state": f"{run.state}, {_epochs(run)} epochs, {run.seconds:,.1f} s",
        "why": run.problem.removeprefix("diverged: "),
        "date": _moment(run.to_dict()["date"]),
    }
    result = run.result
    if result:
        lines |= _facts(result.to_dict(), result.data.model_dump(), result.versions)
    elif run.validation_accuracy is not None:
        lines["accuracy"] = f"{run.validation_accuracy:.2%} on validation"
    if run.recipe:
        lines["recipe"] = ", ".join(filter(None, (run.recipe.name, values_in_short(run.differs))))
    if model:
        lines["model"] = f"{model.version}: {_files(model)}"
    _print(lines)


def show_model(model: ModelSummary) -> None:
    """Prints the card of an exported model, its signatures, and whether its files are intact."""
    others = f"versions {', '.join(map(str, model.numbers))}" if model.numbers[1:] else ""
    lines, card = {"model": str(model.version), "folder": others, "files": _files(model)}, model.card
    if not card:
        _print(lines)
        return
    result, names = card.result or {}, card.class_names
    lines["date"] = _moment(result.get("date", ""))
    lines |= _facts(result, card.data or {}, card.versions or {})
    lines["recipe"] = (card.recipe or {}).get("name", "")
    lines["sure from"] = f"a probability of {card.threshold:.2%}" if card.threshold else ""
    lines["classes"] = f"{len(names)}: {', '.join(names[:_CLASSES])}{', ...' if names[_CLASSES:] else ''}"
    _print(lines)
    table = Table(box=None, pad_edge=False)
    for heading in ("signature", "inputs", "outputs"):
        table.add_column(heading)
    for name, signature in (card.signatures or {}).items():
        table.add_row(name, *(_tensors(signature.get(kind, {})) for kind in ("inputs", "outputs")))
    _console().print(table)


def _facts(result: Mapping[str, Any], data: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, str]:
    """Returns what runs and cards have in common; what one of them lacks is empty."""
    accuracy = ""
    if "test_accuracy_ci95" in result:
        low, high = result["test_accuracy_ci95"]
        accuracy = f"{result['test_accuracy']:.2%} on test (95 % interval {low:.2%} to {high:.2%})"
    splits = (("train", "to train"), ("validation", "to validate"), ("test", "to test"))
    counts = ", ".join(f"{data[split]:,} {what}" for split, what in splits if split in data)
    digests = {"data": data.get("sha256"), "weights": result.get("weights_sha256")}
    return {
        "accuracy": accuracy,
        "data": ": ".join(filter(None, (data.get("source", ""), counts))),
        "sha256": ", ".join(f"{what} {digest[:16]}..." for what, digest in digests.items() if digest),
        "host": result.get("host", ""),
        "processor": result.get("processor", ""),
        "command": result.get("command", ""),
        "commit": result.get("git_commit", ""),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _moment(date: str) -> str:
    return date.replace("T", " ").replace("Z", " UTC")


def _files(model: ModelSummary) -> str:
    """Returns how the files compare with the manifest, naming those that differ."""
    others = [f"{name} is {state}" for name, state in model.files.items() if state != "intact"]
    intact = len(model.files) - len(others)
    return "; ".join((f"{intact} of {len(model.files)} files intact", *others))


def _tensors(tensors: Mapping[str, Any]) -> str:
    """Returns one line per tensor: its name, dtype and shape."""
    shapes = (f"{name} {about['dtype']} [{', '.join(map(str, about['shape']))}]" for name, about in tensors.items())
    return "\n".join(shapes)


def _print(lines: Mapping[str, str]) -> None:
    for name, line in lines.items():
        if line:
            _console().print(f"{name:<11}{line}", soft_wrap=True)


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)
