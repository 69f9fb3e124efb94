"""A run as an object: what its folder holds, read when it is asked for. TensorFlow is imported for its network only."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tfmnist.artifacts.versions import find_version
from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.reports.page import checked
from tfmnist.runs.folder import follow_link
from tfmnist.runs.result import EVALUATION, HISTORY, EpochRow, Evaluation, Result, how_to_finish

if TYPE_CHECKING:
    from tfmnist.nn.models import Network


@dataclass(frozen=True)
class SavedRun:
    """A run in its folder, as `open_run` returns it; each attribute is read when it is first used.

    An unfinished run has a recipe and a history; anything else of it raises an `InputError` that says how to finish it.

    Attributes:
        path: the run's folder.
    """

    path: Path

    @cached_property
    def recipe(self) -> Recipe:
        """The complete recipe."""
        return Recipe.load_run(self.path)

    @cached_property
    def history(self) -> list[EpochRow]:
        """One row per finished epoch: `loss`, `accuracy`, `validation_accuracy` and so on."""
        with checked(self.path, how_to_finish(self.path)) as file:
            return EpochRow.read_all(file(HISTORY).parent)

    @cached_property
    def result(self) -> Result:
        """What `result.json` holds: `test_accuracy`, `weights_sha256`, `seconds`, `date` and so on."""
        return Result.read(self.path)

    @cached_property
    def network(self) -> "Network":
        """The network with the weights that the run ended with: raw variables, in `network.named_variables()`."""
        from tfmnist.runs.export import load_network

        return load_network(self.path)

    def predictions(self) -> Evaluation:
        """Returns the predictions for the n images of the run's test set, in its order.

        `labels` and `classes` are int64 `[n]`, `probabilities` float32 `[n, classes]`.
        """
        Result.read(self.path)  # says what is wrong with a run that has none
        with checked(self.path, how_to_finish(self.path)) as file:
            return Evaluation.read(file(EVALUATION).parent)

    def export(self, destination: str | Path) -> Path:
        """Writes the network as the next version of a model folder; as `tfmnist.export`."""
        from tfmnist.runs.export import export

        return export(self.path, destination)


def open_run(path: str | Path) -> SavedRun:
    """Opens a run, finished or not.

    Args:
        path: the run's folder, or a link to it such as `runs/latest`, which is followed now, before it changes.

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
    """Like `find_version`, but of a run without a model it says why it has none."""
    try:
        return find_version(path)
    except InputError:
        if not (Path(path) / "recipe.toml").is_file():
            raise
    Result.read(Path(path))
    raise InputError(f"{path}: its export.model is false, so it has no model; write one with 'tfmnist export'.")
