"""The published systems behind the shipped recipes, over a few seeds: one table, as Markdown and JSON.

    python experiments/reference_systems.py [--seeds 3]

First writes MNIST as 70,000 PNG files, for the recipe that reads pictures from folders: into a temporary folder, or the
one that --pictures names.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tfmnist
from tfmnist.data.convert import write_folder

RESULTS = Path(__file__).parent / "results"
PUBLISHED = {  # test accuracy of the original, re-run; for mlp, which does not learn as printed, a goal
    "sigmoid-mlp": 0.948,
    "mlp": 0.980,
    "online-mlp": 0.928,
    "imagefolder-mlp": 0.978,
}
DIVERGES = "mlp-as-printed"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, from 0")
    parser.add_argument("--pictures", type=Path, help="folder for the PNG files; reused if it exists")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        pictures = options.pictures or Path(scratch) / "mnist_images"
        if not pictures.exists():
            for progress in write_folder(tfmnist.load("mnist", validation=0), pictures):
                show(f"writing pictures {progress.done:,}/{progress.total:,}")
        rows = [train(name, range(options.seeds), pictures, Path(scratch)) for name in PUBLISHED]
        message = diverge(Path(scratch))
    show("")
    table = "\n".join(format_rows(rows))
    print(f"{table}\n\n`tfmnist train {DIVERGES}` ends with exit code 1:\n\n    {message}")
    versions = {"tensorflow": version("tensorflow"), "python": platform.python_version(), "machine": machine()}
    RESULTS.mkdir(exist_ok=True)
    results = {"rows": rows, DIVERGES: {"exit_code": 1, "message": message}, "versions": versions}
    (RESULTS / "reference_systems.json").write_text(json.dumps(results, indent=2) + "\n")
    (RESULTS / "reference_systems.md").write_text(f"{table}\n\n{', '.join(map(str, versions.values()))}\n")
    if short := [row["recipe"] for row in rows if row["mean"] < row["published"]]:
        sys.exit(f"below the goal: {', '.join(short)}")


def train(name: str, seeds: range, pictures: Path, scratch: Path) -> dict[str, Any]:
    """Trains a recipe with each seed and returns a row of the table."""
    accuracies: list[float] = []
    seconds: list[float] = []
    recipe = tfmnist.Recipe.load(name).replace({"export.model": False, "export.report": False})
    if name == "imagefolder-mlp":
        recipe = recipe.replace({"data.source": str(pictures)})
    for seed in seeds:
        show(f"{name}, seed {seed}")
        run = tfmnist.run(recipe.replace({"train.seed": seed}), scratch / f"{name}-{seed}", progress=False)
        accuracies.append(run.test_accuracy)
        seconds += [json.loads(line)["seconds"] for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return {
        "recipe": name,
        "accuracies": accuracies,
        "mean": statistics.mean(accuracies),
        "sd": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
        "published": PUBLISHED[name],
        "epochs": recipe.train.epochs,
        "seconds_an_epoch": statistics.median(seconds),
    }


def diverge(scratch: Path) -> str:
    """Runs the recipe that cannot learn, as a user would, and returns the line it ends with."""
    show(DIVERGES)
    command = [sys.executable, "-m", "tfmnist", "train", DIVERGES, "--run-dir", str(scratch / DIVERGES)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 1:
        sys.exit(f"{DIVERGES} ended with exit code {ended.returncode}, expected 1: {ended.stderr}")
    return ended.stderr.strip()


def format_rows(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yields the lines of a Markdown table."""
    yield "| recipe | epochs | test accuracy, mean ± sd | seeds | goal | seconds per epoch (median) |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        accuracy = f"{row['mean']:.2%} ± {100 * row['sd']:.2f}"
        cells = (row["recipe"], row["epochs"], accuracy, len(row["accuracies"]), f"{row['published']:.1%}")
        yield f"| {' | '.join(map(str, cells))} | {row['seconds_an_epoch']:.2f} |"


def machine() -> str:
    """Returns the architecture and number of processors."""
    return f"{platform.machine()}, {os.cpu_count()} processors"


def version(name: str) -> str:
    """Returns the name and version of an installed package."""
    from importlib.metadata import version as find

    return f"{name} {find(name)}"


def show(text: str) -> None:
    """Shows the current activity on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
