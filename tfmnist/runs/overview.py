"""Summaries of runs and exported models, side by side or one alone. No TensorFlow."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tfmnist.artifacts.card import ModelCard
from tfmnist.artifacts.versions import FileState, card_of, compare_files, find_version, list_versions
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe, shipped_recipes
from tfmnist.runs.folder import follow_link, is_trained
from tfmnist.runs.result import HISTORY, RESULT, Divergence, Result
from tfmnist.runs.saved import SavedRun

_SIGNS = (HISTORY, RESULT, "checkpoints")  # a sweep or a study has a recipe too, but none of these
_DIGESTS = (
    "model.init_sha256",
    "model.source_sha256",
    "loss.source_sha256",
    "optimizer.source_sha256",
    "distill.teacher_sha256",
)
_UNIMPORTANT = (*_DIGESTS, "train.progress", "train.log_steps", "train.tensorboard", "export.model", "export.report")


@dataclass(frozen=True)
class RunSummary:
    """What is known about a run; fields that it does not have yet are empty or None."""

    path: Path
    state: Literal["done", "trained", "unfinished", "diverged", "damaged"]
    date: datetime
    """When the run was finished; if it is not, when its last epoch was."""
    problem: str = ""
    """Why it diverged, or what is damaged."""
    recipe: Recipe | None = None
    differs: dict[str, Any] = field(default_factory=dict)
    """Keys of the recipe that set it apart, with its values; see `list_runs`."""
    result: Result | None = None
    validation_accuracy: float | None = None
    epochs: int = 0
    seconds: float = 0.0
    """The duration of the whole run, or of its epochs so far."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON types."""
        return {
            "run": str(self.path),
            "state": self.state,
            "problem": self.problem,
            "date": f"{self.date:%Y-%m-%dT%H:%M:%SZ}",
            "recipe": self.recipe.name if self.recipe else None,
            "differs": self.differs,
            "validation_accuracy": self.validation_accuracy,
            "epochs": self.epochs,
            "train_epochs": self.recipe.train.epochs if self.recipe else None,
            "seconds": self.seconds,
            "result": self.result.to_dict() if self.result else None,
        }


@dataclass(frozen=True)
class ModelSummary:
    """What is known about one version of an exported model."""

    version: Path
    files: dict[str, FileState]
    """The state of each file, compared with the manifest, by name."""
    card: ModelCard | None
    """The model card; None if it is damaged."""
    numbers: tuple[int, ...] = ()
    """The numbers of all versions in its model folder; none for a file by itself."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON types."""
        return {
            "model": str(self.version),
            "versions": list(self.numbers),
            "files": self.files,
            "card": self.card.to_dict() if self.card else None,
        }


def list_runs(folder: str | Path) -> list[RunSummary]:
    """Summarises the runs in a folder, the most recent last.

    `differs` has, for a run of a shipped recipe, the keys changed from that recipe; for all other runs, the keys in
    which they differ from each other.

    Args:
        folder: holds run folders, such as `runs`, or `trials` in a sweep's folder.

    Raises:
        InputError: the folder does not exist, or holds no run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: does not exist; expected a folder of runs, such as 'runs'.")
    paths = [path for path in folder.iterdir() if _is_run(path) and not path.is_symlink()]
    if not paths:
        kind = "is a run, see 'tfmnist info'" if _is_run(folder) else "holds no runs"
        trials = f"{folder / 'trials'}, for example" if (folder / "trials").is_dir() else "such as 'runs'"
        raise InputError(f"{folder}: {kind}; expected a folder of runs, {trials}.")
    return _with_differences(sorted(map(_read, paths), key=lambda run: (run.date, run.path.name)))


def describe(path: str | Path) -> tuple[RunSummary | None, ModelSummary | None]:
    """Summarises a run and its exported model, if it has one, or an exported model alone.

    Raises:
        InputError: there is neither, or the run is damaged, or the model has no manifest that can be read.
    """
    path = follow_link(path)
    if not _is_run(path):
        if (path / "sweep.toml").exists():
            raise InputError(f"{path}: is a sweep; list its trials with 'tfmnist runs {path / 'trials'}'.")
        return None, _read_model(find_version(path))
    (run,) = _with_differences([_read(path)])
    if run.state == "damaged":
        raise InputError(run.problem)
    return run, _read_model(find_version(path)) if list_versions(path / "model") else None


def _read(path: Path) -> RunSummary:
    run, date = SavedRun(path), _last_change(path)
    try:
        recipe, rows, divergence = run.recipe, run.history, Divergence.find(path)
        result = run.result if (path / RESULT).exists() else None
        trained = is_trained(path)
    except InputError as error:
        return RunSummary(path, "damaged", date, str(error))
    state = "trained" if trained else "unfinished"
    if divergence:
        state, date = "diverged", divergence.date
    elif result and len(rows) <= result.epochs:  # otherwise, it was resumed to train longer
        state, date = "done", result.date or date
    validation = rows[-1].validation_accuracy if rows else None
    return RunSummary(
        path,
        state,
        date,
        divergence.message if divergence else "",
        recipe,
        result=result,
        validation_accuracy=result.validation_accuracy if result else validation,
        epochs=len(rows),
        seconds=(result.seconds.get("total") if result else None) or round(sum(row.seconds for row in rows), 3),
    )


def _last_change(run: Path) -> datetime:
    seconds = 0.0
    for name in _SIGNS:
        with suppress(OSError):  # it has not been written yet, or a sweep deletes the run just now
            seconds = max(seconds, (run / name).stat().st_mtime)
    return datetime.fromtimestamp(int(seconds), UTC)


def _read_model(version: Path) -> ModelSummary:
    try:
        card = card_of(version)
    except (OSError, ValueError):
        card = None
    folder = version.parent if version.is_file() else version
    numbers = list_versions(folder.parent) if folder.name.isdecimal() else []
    return ModelSummary(version, compare_files(version), card, tuple(numbers))


def _is_run(path: Path) -> bool:
    """Whether a folder holds a run, perhaps a damaged one, rather than a sweep, a study or a model."""
    return any((path / name).exists() for name in _SIGNS)


def _with_differences(runs: Sequence[RunSummary]) -> list[RunSummary]:
    """Fills in how each recipe differs: from the shipped recipe of its name or, if there is none, from the others."""
    readable = [run.recipe for run in runs if run.recipe]
    shipped = {name: Recipe.load(name) for name in {recipe.name for recipe in readable} & set(shipped_recipes())}
    own = [recipe for recipe in readable if recipe.name not in shipped]
    varying = dict.fromkeys(key for recipe in own for key in recipe.changed_from(own[0]))

    def differs(recipe: Recipe) -> dict[str, Any]:
        keys = recipe.changed_from(shipped[recipe.name]) if recipe.name in shipped else varying
        values = recipe.without_folders()
        return {key: _find(values, key) for key in keys if key not in _UNIMPORTANT}

    return [replace(run, differs=differs(run.recipe)) if run.recipe else run for run in runs]


def _find(table: Any, key: str) -> Any:
    """Returns the value of `section.key` or `section.options.name`; None if this recipe has no such option."""
    for name in key.split("."):
        table = table.get(name) if isinstance(table, dict) else None
    return table
