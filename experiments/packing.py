"""Where training many small networks in one graph pays: microseconds a step, and trials a minute of whole sweeps.

    python experiments/packing.py [steps] [sweeps]

Writes `results/packing_steps.md`, `packing_sweeps.md`, and both as JSON. Let nothing else compute meanwhile; contenders
take turns, and medians count.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from statistics import median

from tfmnist import load
from tfmnist.recipe import Recipe
from tfmnist.runs.build import make_model, make_optimizer, make_schedule
from tfmnist.training.loop import Trainer
from tfmnist.training.pack import Pack
from tfmnist.training.threads import set_threads

HERE = Path(__file__).parent
WIDTHS, BATCHES, PACKS, TURNS = (10, 30, 64, 128), (10, 100), (4, 8, 16), 3
SWEEP = """
recipe = "sigmoid-mlp"
[fixed]
"model.hidden" = [{width}]
"train.epochs" = {epochs}
[space]
"optimizer.learning_rate" = {{low = 0.1, high = 3, log = true, points = {trials}}}
[search]
sampler = "grid"
confirm = 0
"""
SWEEPS = ((30, 2, 64),)  # width, epochs, trials


def main() -> None:
    asked = sys.argv[1:] or ["steps", "sweeps"]
    if "steps" in asked:
        set_threads(1)  # as each worker of a sweep has
        write("steps", (measure_steps(width, batch) for width in WIDTHS for batch in BATCHES))
    if "sweeps" in asked:
        write("sweeps", (measure_sweeps(*sizes) for sizes in SWEEPS))


def write(name: str, rows: Iterable[dict[str, float]]) -> None:
    """Writes rows as they come, as Markdown and JSON."""
    found: list[dict[str, float]] = []
    for row in rows:
        print(row, flush=True)
        found.append(row)
        results = HERE / "results" / f"packing_{name}"
        results.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n")
        results.with_suffix(".md").write_text(table(found))


def measure_steps(width: int, batch: int) -> dict[str, float]:
    """Returns microseconds a step and network: alone, and in packs; sigmoid networks, gradient descent, one thread."""
    keys = {"model.hidden": [width], "train.batch_size": batch, "train.epochs": 100}
    recipe = Recipe.load("sigmoid-mlp").replace(keys)
    count = max(200, 200_000 // batch // width)
    runs = {"alone": _steps(recipe, 0, count), **{f"{size} at once": _steps(recipe, size, count) for size in PACKS}}
    times = {name: [next(run) for _ in range(TURNS + 1)][1:] for name, run in runs.items()}
    found = {name: 1e6 * median(seconds) for name, seconds in times.items()}
    faster = found["alone"] / found["8 at once"]
    return {"width": width, "batch": batch, **_rounded(found), "8: times as fast": round(faster, 2)}


def _steps(recipe: Recipe, size: int, count: int) -> Iterator[float]:
    """Yields the seconds that a step took for each network, over `count` steps or more at a time."""
    digits = load("mnist")
    lanes = []
    for lane in range(size or 1):
        model = make_model(recipe.model, digits.image_shape, digits.classes, lane)
        schedule = make_schedule(recipe.schedule, 0.1 * (lane + 1), len(digits.train), 1)
        optimizer = make_optimizer(recipe.optimizer, model.parameters, schedule, fused=True)
        lanes.append(Trainer(model, optimizer, digits.train, None, recipe.train, loss=recipe.loss))
    pack = Pack(lanes, size, mixed=False) if size else None
    plan = pack.plan if pack else lanes[0].plan
    events = pack.run() if pack else lanes[0].run()
    (pack or lanes[0]).compile()
    blocks = max(1, min(count // plan.block, len(plan.blocks) - 2))
    while True:
        next(events)
        began = time.perf_counter()
        for _ in islice(events, blocks):
            pass
        yield (time.perf_counter() - began) / blocks / plan.block / (size or 1)


def measure_sweeps(width: int, epochs: int, trials: int) -> dict[str, float]:
    """Returns trials a minute of the command with two workers, and by how much the results differ."""
    minutes: dict[int, list[float]] = {1: [], 16: []}
    results: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rates.toml"
        file.write_text(SWEEP.format(width=width, epochs=epochs, trials=trials))
        for turn in range(2):
            for pack in minutes:
                run = f"{folder}/{pack}-{turn}"
                command = [sys.executable, "-m", "tfmnist", "sweep", str(file), "--run-dir", run]
                began = time.perf_counter()
                subprocess.run([*command, "--workers", "2", "--pack", str(pack)], check=True, capture_output=True)
                minutes[pack].append((time.perf_counter() - began) / 60)
                rows = json.loads(Path(run, "sweep.json").read_text())["trials"]
                results[pack] = [row["result"] for row in rows]
    rate = {f"pack {pack}, trials a minute": trials / median(times) for pack, times in minutes.items()}
    differences = [abs(one - other) for one, other in zip(results[1], results[16])]
    return {
        "width": width,
        "epochs": epochs,
        "trials": trials,
        **_rounded(rate),
        "times as many": round(median(minutes[1]) / median(minutes[16]), 2),
        "equal accuracies": sum(difference == 0 for difference in differences),
        "largest difference, points": round(100 * max(differences), 3),
    }


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(figure, 1) for name, figure in figures.items()}


def table(rows: list[dict[str, float]]) -> str:
    """Returns rows as Markdown."""
    head = f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}\n"
    return head + "".join(f"| {' | '.join(f'{value:g}' for value in row.values())} |\n" for row in rows)


if __name__ == "__main__":
    main()
