"""A run as an object: what its folder holds, read when you ask for it. Only its network imports TensorFlow."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tfmnist.artifacts.versions import find_version
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.runs.folder import follow_link
from tfmnist.runs.result import EVALUATION, HISTORY, RESULT, EpochRow, Evaluation, Result, intact_files

if TYPE_CHECKING:
    from tfmnist.nn.models import Network


@dataclass(frozen=True)
class SavedRun:
    """A run in its folder, as `open_run` returns it; each attribute is read when it is first used.

    An unfinished run has a recipe and a history. Everything else raises an `InputError` that says how to finish the
    run or, if it diverged, why.

    Attributes:
        path: the run's folder.
    """

    path: Path

    @cached_property
    def recipe(self) -> Recipe:
        """The complete recipe, every key included."""
        return Recipe.load_run(self.path)

    @cached_property
    def history(self) -> list[EpochRow]:
        """One row per finished epoch, with `loss`, `accuracy`, `validation_accuracy` and so on."""
        result = self.result if (self.path / RESULT).exists() else None
        with intact_files(self.path, result) as file:
            return EpochRow.read_all(file(HISTORY).parent)

    @cached_property
    def result(self) -> Result:
        """What `result.json` holds: `test_accuracy`, `weights_sha256`, `seconds`, `date` and so on."""
        return Result.read(self.path)

    @cached_property
    def network(self) -> "Network":
        """The network with the final weights of the run; `network.named_variables()` has its raw variables."""
        from tfmnist.runs.export import load_network

        return load_network(self.path)

    def predictions(self) -> Evaluation:
        """Returns the predictions for the n images of the test set, in the order of the data.

        `labels` and `classes` (the predicted ones) are int64 `[n]`, `probabilities` float32 `[n, number of classes]`.
        """
        with intact_files(self.path, self.result) as file:
            return Evaluation.read(file(EVALUATION).parent)

    def export(self, destination: str | Path) -> Path:
        """Writes the network as the next version in a model folder, as `tfmnist.export` does; returns its folder."""
        from tfmnist.runs.export import export

        return export(self.path, destination)


def open_run(path: str | Path) -> SavedRun:
    """Opens a run, finished or not, written by this or an earlier version.

    Args:
        path: the run's folder, or a link to it, such as `runs/latest`, which is resolved at once: the object stays
            with the same run when the link moves on.

    Returns:
        The run, whose `recipe`, `history`, `result` and `network` are read when first used.

    Raises:
        InputError: the folder holds no run, or its recipe is damaged.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import tfmnist
        >>> small = {"data.per_class": 20, "train.epochs": 1, "train.compile": "graph", "export.report": False}
        >>> with TemporaryDirectory() as folder:
        ...     done = tfmnist.run(Recipe.load("mlp").replace({**small, "export.model": False}), folder, progress=False)
        ...     run = open_run(done.path)
        ...     run.recipe.model.hidden, len(run.history), run.network.sha256() == run.result.weights_sha256
        ...     run.predictions().probabilities.shape
        ((512,), 1, True)
        (10000, 10)
    """
    folder = follow_link(path)
    Recipe.load_run(folder)
    return SavedRun(folder)


def find_model(path: str | Path) -> Path:
    """Like `find_version`, but if a run has no model, the error says why."""
    try:
        return find_version(path)
    except InputError:
        if not (Path(path) / "recipe.toml").is_file():
            raise
    Result.read(Path(path))
    raise InputError(f"{path}: its export.model is false, so it has no model; write one with 'tfmnist export'.")
