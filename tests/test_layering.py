"""The house plan: imports only point down, TensorFlow is imported only where it may be, and Keras nowhere.

Run as a script, it prints how any checkout is built: `python tests/test_layering.py [CHECKOUT...]`.
"""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tfmnist"

# Rooms, folders or modules at the top of the package, by floor. A room imports from lower floors only.
FLOORS = {
    "errors": 1,
    "layer_specs": 1,
    "seeds": 1,
    "system": 1,
    "data": 2,
    "nn": 2,
    "photos": 2,
    "recipe": 2,
    "artifacts": 3,
    "backprop": 3,
    "reports": 3,
    "training": 3,
    "runs": 4,
    "serving": 4,
    "sweeps": 5,
    "cli": 6,
    "__main__": 7,
}
WITHOUT_TENSORFLOW = [
    "tfmnist",
    "tfmnist.artifacts.card",
    "tfmnist.artifacts.versions",
    "tfmnist.backprop",
    "tfmnist.cli.main",
    "tfmnist.cli.overview_screen",
    "tfmnist.data.sources",
    "tfmnist.recipe",
    "tfmnist.reports.charts",
    "tfmnist.reports.page",
    "tfmnist.reports.pictures",
    "tfmnist.runs.folder",
    "tfmnist.runs.overview",
    "tfmnist.runs.report",
    "tfmnist.runs.saved",
    "tfmnist.serving.messages",
    "tfmnist.serving.metrics",
    "tfmnist.serving.server",
    "tfmnist.serving.tensors",
    "tfmnist.sweeps.report",
    "tfmnist.sweeps.screen",
    "tfmnist.sweeps.search",
    "tfmnist.sweeps.seed_study",
    "tfmnist.sweeps.worker",
    "tfmnist.sweeps.workers",
    "tfmnist.system.cache",
    "tfmnist.system.consoles",
    "tfmnist.system.files",
    "tfmnist.system.locks",
    "tfmnist.system.machine",
    "tfmnist.system.pictures",
    "tfmnist.system.import_log",
    "tfmnist.system.streams",
    "tfmnist.training.compile_cache",
    "tfmnist.training.screen",
]
KERAS = {"keras", "optimizers", "losses", "metrics", "initializers", "layers"}

Graph = dict[str, set[str]]


def modules(package: Path) -> dict[str, ast.Module]:
    """Every module of a package by its dotted name, parsed."""
    found: dict[str, ast.Module] = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(trees: dict[str, ast.Module]) -> Graph:
    """The modules of the package that each module imports, anywhere in the file, also for type checking only."""
    graph: Graph = {}
    for name, tree in trees.items():
        asked: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                asked |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, "imports are absolute"
                asked |= {
                    full if (full := f"{node.module}.{alias.name}") in trees else str(node.module)
                    for alias in node.names
                }
        graph[name] = {other for other in asked if other.split(".")[0] == "tfmnist"} - {name}
    return graph


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def between_rooms(graph: Graph) -> Graph:
    """The same imports between rooms; those of the package's own __init__, which offers everything, do not count."""
    rooms: Graph = {room(name): set() for name in graph if name != "tfmnist"}
    for name, others in graph.items():
        if name != "tfmnist":
            rooms[room(name)] |= {room(other) for other in others if other != "tfmnist"} - {room(name)}
    return rooms


def circles(graph: Graph) -> list[list[str]]:
    """The groups of nodes that can reach each other."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for other in graph.get(waiting.pop(), set()) - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    reached = {name: reach(name) for name in graph}
    groups = {tuple(sorted(b for b in reached[a] if a in reached.get(b, ()))) for a in graph if a in reached[a]}
    return [list(group) for group in sorted(groups)]


def floors(rooms: Graph) -> int:
    """The number of rooms in the longest chain of imports; rooms in a circle follow each other once."""

    @cache
    def height(name: str, above: frozenset[str] = frozenset()) -> int:
        above = above | {name}
        return 1 + max((height(other, above) for other in rooms[name] - above), default=0)

    return max(map(height, rooms))


def measure(checkout: Path) -> dict[str, Any]:
    """How a checkout is built, in numbers."""
    package = checkout / "tfmnist"
    graph = imports(modules(package))
    rooms = between_rooms(graph)
    loose = sorted(path.stem for path in package.glob("*.py") if path.name != "__init__.py")
    return {
        "lines in tfmnist/": _lines(package),
        "lines in tests/": _lines(checkout / "tests"),
        "modules": len(graph),
        "loose modules at the top": f"{len(loose)} ({', '.join(loose)})",
        "rooms": len(rooms),
        "floors": floors(rooms),
        "imports between rooms": sum(map(len, rooms.values())),
        "circles of rooms": len(circles(rooms)),
        "circles of modules": len(circles({name: others for name, others in graph.items() if name != "tfmnist"})),
        "imports of the package from inside": sum("tfmnist" in others for others in graph.values()),
    }


def _lines(folder: Path) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in folder.rglob("*.py"))


TREES = modules(PACKAGE)
GRAPH = imports(TREES)


@pytest.mark.parametrize("name", sorted(GRAPH.keys() - {"tfmnist"}))
def test_imports_point_down(name: str) -> None:
    for imported in GRAPH[name]:
        here, there = room(name), room(imported)
        assert here == there or FLOORS[here] > FLOORS[there], f"{name} imports {imported}"


def test_house() -> None:
    built = measure(ROOT)
    print("\n".join(f"{what:<36} {value}" for what, value in built.items()))
    assert set(between_rooms(GRAPH)) == set(FLOORS)
    assert built["floors"] <= max(FLOORS.values())
    assert not built["circles of rooms"] and not built["circles of modules"]


def test_tests_mirror_the_package() -> None:
    """Each module has a test of its name, and each test its module."""
    package = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if not path.name.startswith("__")}
    tests = {
        path.relative_to(ROOT / "tests").with_name(path.name.removeprefix("test_"))
        for path in (ROOT / "tests").rglob("test_*.py")
        if path.relative_to(ROOT / "tests").parts[0] not in ("experiments", "whole")
    }
    names = ("docs", "layering", "like_windows", "no_keras", "package", "serving/page")  # the page is no module
    alone = {Path(f"{name}.py") for name in names}
    assert sorted(map(str, package - tests)) == []
    assert sorted(map(str, tests - package - alone)) == []


@pytest.mark.parametrize("name", sorted(TREES))
def test_no_keras(name: str) -> None:
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tf":
            assert node.attr not in KERAS, f"{name}:{node.lineno} uses tf.{node.attr}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not any(part == "keras" for name in names for part in name.split("."))


@pytest.mark.parametrize("name", WITHOUT_TENSORFLOW)
def test_import_without_tensorflow(name: str) -> None:
    code = f"import sys, {name}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


if __name__ == "__main__":
    for checkout in map(Path, sys.argv[1:] or [ROOT]):
        print(checkout.resolve())
        print("\n".join(f"  {what:<36} {value}" for what, value in measure(checkout).items()))
