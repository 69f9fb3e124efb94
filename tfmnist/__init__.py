"""Handwritten-digit recognition with low-level TensorFlow: raw variables, GradientTape, nothing hidden.

Importing this package does not import TensorFlow; using a name that computes does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tfmnist.artifacts.saved_model import Exported, load_exported
    from tfmnist.data.sources import Digits, Split, load
    from tfmnist.errors import DivergedError, InputError, Interrupted, TfmnistError
    from tfmnist.nn.models import CNN, MLP
    from tfmnist.nn.optimizers import SGD, Adam, AdamW, Momentum, RMSprop
    from tfmnist.plots import plot_images
    from tfmnist.recipe import Recipe
    from tfmnist.runs import Run, export, resume, run
    from tfmnist.sweeps.search import sweep
    from tfmnist.sweeps.table import SweepResult
    from tfmnist.training.evaluation import evaluate
    from tfmnist.training.loop import fit

_HOMES = {
    "tfmnist.artifacts.saved_model": ("Exported", "load_exported"),
    "tfmnist.data.sources": ("Digits", "Split", "load"),
    "tfmnist.errors": ("DivergedError", "InputError", "Interrupted", "TfmnistError"),
    "tfmnist.nn.models": ("CNN", "MLP"),
    "tfmnist.nn.optimizers": ("SGD", "Adam", "AdamW", "Momentum", "RMSprop"),
    "tfmnist.plots": ("plot_images",),
    "tfmnist.recipe": ("Recipe",),
    "tfmnist.runs": ("Run", "export", "resume", "run"),
    "tfmnist.sweeps.search": ("sweep",),
    "tfmnist.sweeps.table": ("SweepResult",),
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
