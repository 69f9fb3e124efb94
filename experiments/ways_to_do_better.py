"""One change at a time, compared with a recipe as it stands over the same seeds: which changes help?

    python experiments/ways_to_do_better.py [FILE.toml] [--workers 1]

Writes results/FILE.json after every run, and continues from it when started again; the table goes to results/FILE.md.
Accuracy is validation accuracy at the end of training. The seed also draws the validation examples, so the differences
over the same seeds are more precise than the ± of the accuracies. In times, compare only runs of one machine, with as
many workers.
"""

import argparse
import json
import math
import multiprocessing
import statistics
import tempfile
import tomllib
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tables import markdown, mean_sd

import tfmnist

HERE = Path(__file__).parent
QUIET = {"export.model": False, "export.report": False}
BASE = "as it stands"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, default=HERE / "ways_to_do_better.toml")
    parser.add_argument("--workers", type=int, default=1, help="number of runs at a time")
    options = parser.parse_args()
    plan = tomllib.loads(options.file.read_text())
    results = HERE / f"results/{options.file.stem}.json"
    done: dict[str, dict[str, Any]] = json.loads(results.read_text()) if results.exists() else {}
    # each run in a process of its own: TensorFlow's threads are set once, and memory is returned
    processes = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, processes, max_tasks_per_child=1) as pool:
        runs: dict[Any, tuple[str, int]] = {}
        for way in [{"name": BASE, "changes": {}}, *plan["ways"]]:
            changes = {**QUIET, **plan["base"], **way["changes"]}
            name = way.get("recipe", plan["recipe"])
            recipe = str(options.file.parent / name) if name.endswith(".toml") else name
            for seed in way.get("seeds", plan["seeds"]):
                if f"{way['name']}, seed {seed}" not in done:
                    runs[pool.submit(train, recipe, {**changes, "train.seed": seed})] = way["name"], seed
        for run in as_completed(runs):
            way, seed = runs[run]
            done[f"{way}, seed {seed}"] = {"way": way, "seed": seed, **run.result()}
            results.write_text(json.dumps(done, indent=1) + "\n")
            print(way, seed, run.result(), flush=True)
    table = summarise(list(done.values()), [BASE, *(way["name"] for way in plan["ways"])])
    results.with_suffix(".md").write_text(table + "\n")
    print(table)


def train(recipe: str, changes: dict[str, Any]) -> dict[str, float]:
    """Trains a recipe; returns its validation accuracy and the seconds of training."""
    with tempfile.TemporaryDirectory() as folder:
        result = tfmnist.run(tfmnist.Recipe.load(recipe).replace(changes), folder, progress=False).result
    return {"validation_accuracy": result["validation_accuracy"], "seconds": result["seconds"]["train"]}


def summarise(runs: list[dict[str, Any]], ways: list[str]) -> str:
    """Returns a Markdown table; a way helps, or hurts, if the difference is more than two standard errors."""
    by_way = {way: {run["seed"]: run for run in runs if run["way"] == way} for way in ways}
    base = by_way[BASE]
    rows: list[tuple[str, ...]] = []
    for way, of_seed in by_way.items():
        same = [seed for seed in of_seed if seed in base]
        gains = [of_seed[seed]["validation_accuracy"] - base[seed]["validation_accuracy"] for seed in same]
        gain, error = statistics.mean(gains), statistics.stdev(gains) / math.sqrt(len(gains))
        verdict = "helps" if gain > 2 * error else "hurts" if gain < -2 * error else "no difference seen"
        times = [of_seed[s]["seconds"] / base[s]["seconds"] for s in same if "seconds" in of_seed[s]]
        comparison = ("", "") if way == BASE else (f"{100 * gain:+.2f} ± {100 * error:.2f}", verdict)
        time = f"{statistics.median(times):.2f}" if times else ""
        accuracy = mean_sd([run["validation_accuracy"] for run in of_seed.values()])
        rows.append((way, accuracy, str(len(of_seed)), *comparison, time))
    return markdown(("way", "validation accuracy", "seeds", "difference, same seeds", "verdict", "time"), rows)


if __name__ == "__main__":
    main()
