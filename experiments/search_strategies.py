"""Random search compared with TPE and a pruner in half the time: which finds the better recipe? Five repeats.

    python experiments/search_strategies.py [--pruner median] [--trials 40]

Writes `results/search_strategies.md` and `.json`. The winners are trained again with three seeds, which alone read the
test set: the best result of a search is partly luck, the more so the more trials it has.
"""

import argparse
import json
import tempfile
import time
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

from tfmnist.sweeps.search import search_events
from tfmnist.sweeps.seed_study import study_events
from tfmnist.sweeps.sweep_file import Sweep
from tfmnist.sweeps.trials import StudyResult, SweepResult
from tfmnist.sweeps.workers import Workers

HERE = Path(__file__).parent
REPEATS, SEEDS, WORKERS = 5, 3, 2
SPACE = """
recipe = "mlp"
[fixed]
"data.per_class" = 1000
"train.epochs" = 6
"train.average" = 0.0
[space]
"optimizer.learning_rate" = {low = 1e-5, high = 1.0, log = true}
"model.hidden" = [[16], [32], [64], [128], [64, 64], [128, 64]]
"train.batch_size" = {low = 20, high = 500, log = true}
"model.activation" = ["relu", "sigmoid", "tanh", "gelu"]
"model.dropout" = {low = 0.0, high = 0.7}
"loss.l2" = {low = 1e-7, high = 1e-1, log = true}
[search]
confirm = 0
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pruner", default="median")
    parser.add_argument("--trials", type=int, default=40)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for seed in range(REPEATS):
            random = search(
                Path(name) / f"random-{seed}", f'sampler = "random"\ntrials = {options.trials}\nseed = {seed}'
            )
            half = random["seconds"] / 2 / 60
            keys = f'sampler = "tpe"\npruner = "{options.pruner}"\ntrials = 1000\nminutes = {half}\nseed = {100 + seed}'
            rows.append({"repeat": seed, "random": random, "tpe": search(Path(name) / f"tpe-{seed}", keys)})
            print(rows[-1], flush=True)
    results = HERE / "results" / "search_strategies"
    results.with_suffix(".json").write_text(json.dumps({"pruner": options.pruner, "rows": rows}, indent=2) + "\n")
    results.with_suffix(".md").write_text(table(rows, options.pruner))
    print(table(rows, options.pruner))


def search(folder: Path, keys: str) -> dict[str, Any]:
    """Returns the time and result of a search, and what its best recipe reaches with fresh seeds."""
    sweep = Sweep.parse(SPACE + keys, "search")
    began = time.monotonic()
    with closing(Workers(WORKERS)) as workers:
        *_, result = search_events(sweep, folder, workers)
        seconds = time.monotonic() - began
        assert isinstance(result, SweepResult) and result.best and result.recipe
        *_, again = study_events(result.recipe, range(1, 1 + SEEDS), folder / "again", workers)
        assert isinstance(again, StudyResult)
    pruned = sum(trial.state == "pruned" for trial in result.trials)
    figures = {"seconds": round(seconds, 1), "trials": len(result.trials), "pruned": pruned}
    return {**figures, "best": result.best.result, "again": again.test_accuracy[0], "values": result.best.values}


def table(rows: list[dict[str, Any]], pruner: str) -> str:
    """Returns the repeats and their medians as Markdown."""
    names = {"random": "random", "tpe": f"TPE, {pruner} pruner"}
    columns = ("seconds", "trials", "pruned", "best", "again")
    lines = [
        "| repeat | search | seconds | trials | pruned | best validation | winner, test, 3 fresh seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines += [_line(str(row["repeat"]), names[key], [row[key][column] for column in columns]) for key in names]
    for key, name in names.items():
        lines.append(_line("**median**", name, [median(row[key][column] for row in rows) for column in columns]))
    return "\n".join(lines) + "\n"


def _line(repeat: str, name: str, figures: list[Any]) -> str:
    seconds, trials, pruned, best, again = figures
    return f"| {repeat} | {name} | {seconds:.0f} | {trials:g} | {pruned:g} | {best:.2%} | {again:.2%} |"


if __name__ == "__main__":
    main()
