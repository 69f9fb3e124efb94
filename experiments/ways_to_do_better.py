"""One change at a time against a recipe as it stands, over the same seeds: which ways to do better do better?

    python experiments/ways_to_do_better.py [ways_to_do_better.toml]

Writes results/ways_to_do_better.json after every run, and goes on from it when started again; the table goes to
results/ways_to_do_better.md. Accuracy is validation accuracy at the end of training.
"""

import argparse
import json
import math
import statistics
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tfmnist

HERE = Path(__file__).parent
QUIET = {"export.model": False, "export.report": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=HERE / "ways_to_do_better.toml")
    asked = tomllib.loads(parser.parse_args().file.read_text())
    results = HERE / "results" / "ways_to_do_better.json"
    done: dict[str, dict[str, Any]] = json.loads(results.read_text()) if results.exists() else {}
    for way in [{"name": "as it stands", "changes": {}}, *asked["ways"]]:
        recipe = tfmnist.Recipe.load(way.get("recipe", asked["recipe"]))
        recipe = recipe.replace({**QUIET, **asked["base"], **way["changes"]})
        for seed in asked["seeds"]:
            name = f"{way['name']}, seed {seed}"
            if name not in done:
                accuracy = train(recipe.replace({"train.seed": seed}))
                done[name] = {"way": way["name"], "seed": seed, "validation_accuracy": accuracy}
                results.write_text(json.dumps(done, indent=1) + "\n")
                print(name, done[name], flush=True)
    table = "\n".join(format_rows(list(done.values())))
    (results.with_suffix(".md")).write_text(table + "\n")
    print(table)


def train(recipe: tfmnist.Recipe) -> float:
    """Trains a recipe and returns its validation accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        return tfmnist.run(recipe, folder).result["validation_accuracy"]


def format_rows(runs: list[dict[str, Any]]) -> Iterator[str]:
    """Yields the lines of a Markdown table; a way helps, or hurts, where that is more than two standard errors."""
    ways: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        ways.setdefault(run["way"], []).append(run)
    base = [run["validation_accuracy"] for run in ways["as it stands"]]
    yield "| way | validation accuracy, mean ± sd | difference | verdict |"
    yield "|---|---|---|---|"
    for name, rows in ways.items():
        found = [row["validation_accuracy"] for row in rows]
        difference = statistics.mean(found) - statistics.mean(base)
        noise = 2 * math.hypot(statistics.stdev(found), statistics.stdev(base)) / math.sqrt(len(found))
        verdict = "helps" if difference > noise else "hurts" if difference < -noise else "no difference seen"
        cells = (
            f"{statistics.mean(found):.2%} ± {100 * statistics.stdev(found):.2f}",
            "" if name == "as it stands" else f"{100 * difference:+.2f}",
            "" if name == "as it stands" else verdict,
        )
        yield f"| {' | '.join([name, *cells])} |"


if __name__ == "__main__":
    main()
