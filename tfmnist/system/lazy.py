"""Packages whose public names are imported when they are first used, as their stub file `__init__.pyi` lists them."""

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def lazy_names(
    package: str, file: str, names: dict[str, Any]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Returns the `__getattr__`, `__dir__` and `__all__` of a package.

    Args:
        package: the name of the package.
        file: its `__init__.py`; the stub file is next to it.
        names: its globals, to which imported names are added.
    """
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    modules = {a.name: str(node.module) for node in stub.body if isinstance(node, ast.ImportFrom) for a in node.names}

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = modules[name]
        value = import_module(f"{module}.{name}") if module == package else getattr(import_module(module), name)
        names[name] = value
        return value

    return get, lambda: sorted({*names, *modules}), sorted(modules)
