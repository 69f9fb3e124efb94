"""tfmnist beside other frameworks, and beside NumPy, at the same work: times, ratios, accuracy and memory.

    pip install -e '.[benchmark]'
    python experiments/benchmarks/run.py [WORKLOAD ...] [--turns 7] [--out FOLDER]

Every contender has a process of its own, with the same threads and data, and they take turns: a turn is an epoch, say.
The first turn, with tracing and compiling, stands apart from the medians of the others; ratios are medians over pairs
of the same turn. Writes benchmarks.json, benchmarks.md and a figure; workloads that are not run keep their results.
"""

import argparse
import signal
import sys
import time
from pathlib import Path

import summary
import turns

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Runs the workloads asked for, or all, and writes the summary after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"one of {', '.join(turns.WORKLOADS)}; or all")
    parser.add_argument("--turns", type=int, default=7, help="turns of each contender, the first included")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    asked = parser.parse_args()
    if asked.turns < 2:
        parser.error(f"--turns is {asked.turns}: expected at least 2, the first stands apart")
    for name in asked.workloads:
        if name not in turns.WORKLOADS and not (name.endswith(".py") and Path(name).is_file()):
            parser.error(f"workload {name!r} does not exist: expected {', '.join(turns.WORKLOADS)}, or a .py file")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # no worker or scratch folder stays behind
    asked.out.mkdir(parents=True, exist_ok=True)
    for name in asked.workloads or turns.WORKLOADS:
        workload = turns.load_workload(name)
        began = time.perf_counter()
        found = turns.race(name, workload, asked.turns, lambda text, name=name: show(f"{name}: {text}"))
        show("")
        result = summary.summarise(workload, found)
        summary.merge(asked.out / "benchmarks.json", Path(name).stem, result)
        failed = [contender for contender, values in result["contenders"].items() if values["error"]]
        print(
            f"{Path(name).stem}: {len(found)} processes, {asked.turns} turns each, {time.perf_counter() - began:.0f} s"
            + (f"; failed: {', '.join(failed)}" if failed else ""),
            flush=True,
        )
    results = summary.read(asked.out / "benchmarks.json")
    (asked.out / "benchmarks.md").write_text(summary.markdown(results), encoding="utf-8")
    picture = (asked.out.parent / "images" if asked.out.resolve() == RESULTS else asked.out) / "benchmarks.png"
    summary.draw(results, picture)
    print(summary.text(results, [Path(name).stem for name in asked.workloads or turns.WORKLOADS]))


def show(text: str) -> None:
    """Says on a terminal what is under way."""
    if sys.stderr.isatty():
        print(f"\r{text[:78]}\x1b[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
