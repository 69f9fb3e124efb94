"""Handwritten-digit recognition with low-level TensorFlow: raw variables, GradientTape, nothing hidden.

Importing this package does not import TensorFlow; using a name that computes does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tfmnist.system.machine import VERSION

__version__ = VERSION

_HOMES = {  # the public names, by the modules that are imported when they are first used
    "tfmnist.artifacts.exported": ("Exported", "load_exported"),
    "tfmnist.data.sources": ("load",),
    "tfmnist.data.split": ("Digits", "Split"),
    "tfmnist.errors": ("DivergedError", "InputError", "Interrupted", "TfmnistError"),
    "tfmnist.nn.models": ("CNN", "MLP"),
    "tfmnist.nn.optimizers": ("SGD", "Adam", "AdamW", "Momentum", "RMSprop"),
    "tfmnist.recipe": ("Recipe",),
    "tfmnist.reports.pictures": ("plot_images",),
    "tfmnist.runs.events": ("Run",),
    "tfmnist.runs.export": ("export",),
    "tfmnist.runs.train": ("resume", "run"),
    "tfmnist.sweeps.search": ("sweep",),
    "tfmnist.sweeps.trials": ("SweepResult",),
    "tfmnist.training.evaluation": ("evaluate",),
    "tfmnist.training.loop": ("fit",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:  # type checkers cannot read the table
    from tfmnist.artifacts.exported import Exported as Exported
    from tfmnist.artifacts.exported import load_exported as load_exported
    from tfmnist.data.sources import load as load
    from tfmnist.data.split import Digits as Digits
    from tfmnist.data.split import Split as Split
    from tfmnist.errors import DivergedError as DivergedError
    from tfmnist.errors import InputError as InputError
    from tfmnist.errors import Interrupted as Interrupted
    from tfmnist.errors import TfmnistError as TfmnistError
    from tfmnist.nn.models import CNN as CNN
    from tfmnist.nn.models import MLP as MLP
    from tfmnist.nn.optimizers import SGD as SGD
    from tfmnist.nn.optimizers import Adam as Adam
    from tfmnist.nn.optimizers import AdamW as AdamW
    from tfmnist.nn.optimizers import Momentum as Momentum
    from tfmnist.nn.optimizers import RMSprop as RMSprop
    from tfmnist.recipe import Recipe as Recipe
    from tfmnist.reports.pictures import plot_images as plot_images
    from tfmnist.runs.events import Run as Run
    from tfmnist.runs.export import export as export
    from tfmnist.runs.train import resume as resume
    from tfmnist.runs.train import run as run
    from tfmnist.sweeps.search import sweep as sweep
    from tfmnist.sweeps.trials import SweepResult as SweepResult
    from tfmnist.training.evaluation import evaluate as evaluate
    from tfmnist.training.loop import fit as fit


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'tfmnist' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
