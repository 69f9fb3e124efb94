"""Handwritten-digit recognition with low-level TensorFlow: raw variables, GradientTape, nothing hidden.

Importing this package does not import TensorFlow; using a name that computes does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tfmnist.system.machine import VERSION

__version__ = VERSION

if TYPE_CHECKING:
    from tfmnist.artifacts.exported import Exported, load_exported
    from tfmnist.data.sources import load
    from tfmnist.data.split import Digits, Split
    from tfmnist.errors import DivergedError, InputError, Interrupted, TfmnistError
    from tfmnist.nn.models import CNN, MLP
    from tfmnist.nn.optimizers import SGD, Adam, AdamW, Momentum, RMSprop
    from tfmnist.recipe import Recipe
    from tfmnist.reports.pictures import plot_images
    from tfmnist.runs.events import Run
    from tfmnist.runs.export import export
    from tfmnist.runs.train import resume, run
    from tfmnist.sweeps.search import sweep
    from tfmnist.sweeps.trials import SweepResult
    from tfmnist.training.evaluation import evaluate
    from tfmnist.training.loop import fit

_HOMES = {
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

__all__ = [
    "CNN",
    "MLP",
    "SGD",
    "Adam",
    "AdamW",
    "Digits",
    "DivergedError",
    "Exported",
    "InputError",
    "Interrupted",
    "Momentum",
    "RMSprop",
    "Recipe",
    "Run",
    "Split",
    "SweepResult",
    "TfmnistError",
    "evaluate",
    "export",
    "fit",
    "load",
    "load_exported",
    "plot_images",
    "resume",
    "run",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'tfmnist' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
