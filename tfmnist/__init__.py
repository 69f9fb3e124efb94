"""Handwritten-digit recognition with low-level TensorFlow: raw variables, GradientTape, nothing hidden.

Importing this package does not import TensorFlow; using a name that needs it does, without the log that TensorFlow
otherwise prints, unless you set `TF_CPP_MIN_LOG_LEVEL`. The public names are listed in `__init__.pyi`, for type
checkers and for this module, which imports each when it is first used.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

from tfmnist.system.machine import VERSION
from tfmnist.system.tensorflow_log import hide_import_log

__version__ = VERSION

hide_import_log()

_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
_MODULES = {a.name: str(node.module) for node in _STUB.body if isinstance(node, ast.ImportFrom) for a in node.names}
__all__ = sorted(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'tfmnist' has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
