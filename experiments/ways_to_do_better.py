"""One change at a time, compared with a recipe as it stands over the same seeds: which changes help?

    python experiments/ways_to_do_better.py [ways_to_do_better.toml]

Writes results/ways_to_do_better.json after every run, and continues from it when started again; the table goes to
results/ways_to_do_better.md. Accuracy is validation accuracy at the end of training.
"""

import argparse
import json
import math
import statistics
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from tables import markdown, mean_sd

import tfmnist

HERE = Path(__file__).parent
QUIET = {"export.model": False, "export.report": False}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=HERE / "ways_to_do_better.toml")
    plan = tomllib.loads(parser.parse_args().file.read_text())
    results = HERE / "results" / "ways_to_do_better.json"
    done: dict[str, dict[str, Any]] = json.loads(results.read_text()) if results.exists() else {}
    for way in [{"name": "as it stands", "changes": {}}, *plan["ways"]]:
        recipe = tfmnist.Recipe.load(way.get("recipe", plan["recipe"]))
        recipe = recipe.replace({**QUIET, **plan["base"], **way["changes"]})
        for seed in plan["seeds"]:
            name = f"{way['name']}, seed {seed}"
            if name not in done:
                accuracy = train(recipe.replace({"train.seed": seed}))
                done[name] = {"way": way["name"], "seed": seed, "validation_accuracy": accuracy}
                results.write_text(json.dumps(done, indent=1) + "\n")
                print(name, done[name], flush=True)
    table = summarise(list(done.values()))
    (results.with_suffix(".md")).write_text(table + "\n")
    print(table)


def train(recipe: tfmnist.Recipe) -> float:
    """Trains a recipe and returns its validation accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        return tfmnist.run(recipe, folder, progress=False).result["validation_accuracy"]


def summarise(runs: list[dict[str, Any]]) -> str:
    """Returns a Markdown table; a way helps, or hurts, if the difference is more than two standard errors."""
    ways: dict[str, list[float]] = {}
    for run in runs:
        ways.setdefault(run["way"], []).append(run["validation_accuracy"])
    base = ways["as it stands"]
    rows: list[tuple[str, ...]] = []
    for name, accuracies in ways.items():
        difference = statistics.mean(accuracies) - statistics.mean(base)
        noise = 2 * math.hypot(statistics.stdev(accuracies), statistics.stdev(base)) / math.sqrt(len(accuracies))
        verdict = "helps" if difference > noise else "hurts" if difference < -noise else "no difference seen"
        comparison = ("", "") if name == "as it stands" else (f"{100 * difference:+.2f}", verdict)
        rows.append((name, mean_sd(accuracies), *comparison))
    return markdown(("way", "validation accuracy, mean ± sd", "difference", "verdict"), rows)


if __name__ == "__main__":
    main()
