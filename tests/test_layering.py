"""The house plan: imports point down only, TensorFlow stays out where it is promised to, and Keras everywhere."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tfmnist"

# Rooms by floor, lowest first. A room may import from lower floors, and from its own where ALLOWED says so.
FLOORS = {
    "errors": 1,
    "files": 1,
    "machine": 1,
    "recipe": 1,
    "seeds": 1,
    "backprop": 2,
    "data": 2,
    "nn": 3,
    "artifacts": 4,
    "training": 4,
    "packed_runs": 5,
    "plots": 5,
    "report_process": 5,
    "reports": 5,
    "run_folder": 2,
    "runs": 5,
    "reading": 5,
    "options": 6,
    "screen": 6,
    "sweeps": 6,
    "sweep_screen": 7,
    "cli": 8,
    "__main__": 9,
}
ALLOWED = {
    ("files", "errors"),
    ("recipe", "errors"),
    ("packed_runs", "runs"),
    ("report_process", "plots"),
    ("report_process", "reports"),
    ("reports", "plots"),
    ("runs", "reports"),
}
WITHOUT_TENSORFLOW = [
    "tfmnist",
    "tfmnist.artifacts.folders",
    "tfmnist.backprop",
    "tfmnist.cli",
    "tfmnist.data.folders",
    "tfmnist.data.pictures",
    "tfmnist.data.sources",
    "tfmnist.plots",
    "tfmnist.recipe",
    "tfmnist.report_process",
    "tfmnist.machine",
    "tfmnist.reports",
    "tfmnist.sweep_screen",
    "tfmnist.sweeps.executors",
    "tfmnist.sweeps.packing",
    "tfmnist.sweeps.report",
    "tfmnist.sweeps.search",
    "tfmnist.sweeps.space",
    "tfmnist.sweeps.table",
    "tfmnist.sweeps.worker",
    "tfmnist.sweeps.workers",
    "tfmnist.training.compiled_code",
]
KERAS = {"keras", "optimizers", "losses", "metrics", "initializers", "layers"}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def modules() -> list[tuple[str, ast.Module]]:
    found: list[tuple[str, ast.Module]] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found.append((name, ast.parse(path.read_text(encoding="utf-8"))))
    return found


def imports(tree: ast.Module) -> set[str]:
    """Every module of the package that is imported anywhere in a file."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {
                f"{node.module}.{alias.name}" if node.module == "tfmnist" else str(node.module) for alias in node.names
            }
    return {name for name in found if name.split(".")[0] == "tfmnist"}


@pytest.mark.parametrize(
    ("name", "tree"), [pytest.param(*pair, id=pair[0]) for pair in modules() if pair[0] != "tfmnist"]
)
def test_imports_point_down(name: str, tree: ast.Module) -> None:
    for imported in imports(tree) - {"tfmnist", "tfmnist.__version__"}:
        here, there = room(name), room(imported)
        assert here == there or FLOORS[here] > FLOORS[there] or (here, there) in ALLOWED, f"{name} imports {imported}"


def test_every_room_has_a_floor() -> None:
    assert {room(name) for name, _ in modules()} - {"tfmnist"} == set(FLOORS)


@pytest.mark.parametrize(("name", "tree"), [pytest.param(*pair, id=pair[0]) for pair in modules()])
def test_no_keras(name: str, tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tf":
            assert node.attr not in KERAS, f"{name}:{node.lineno} uses tf.{node.attr}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(part == "keras" for name in names for part in name.split("."))


@pytest.mark.parametrize("name", WITHOUT_TENSORFLOW)
def test_import_without_tensorflow(name: str) -> None:
    code = f"import sys, {name}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
