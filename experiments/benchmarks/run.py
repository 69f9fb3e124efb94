"""Compares tfmnist with other frameworks and with NumPy: times, ratios, accuracy and memory for the same work.

    pip install -e '.[benchmark]'
    python experiments/benchmarks/run.py [WORKLOAD ...] [--turns 7] [--out FOLDER]

Every contender has its own process, with the same threads and data, and they take turns; a turn is an epoch, for
example. The first turn, with tracing and compiling, is reported separately from the median of the others; ratios are
medians over pairs of the same turn. Writes benchmarks.json, benchmarks.md and a figure; workloads that are not run keep
their results.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

import summary
import turns

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Runs the requested workloads, or all, and writes the summary."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"one of {', '.join(turns.WORKLOADS)}; or all")
    parser.add_argument("--turns", type=int, default=7, help="turns of each contender, the first included")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args()
    if options.turns < 2:
        parser.error(f"--turns is {options.turns}: expected at least 2, as the first is reported separately")
    for name in options.workloads:
        if name not in turns.WORKLOADS and not (name.endswith(".py") and Path(name).is_file()):
            parser.error(f"workload {name!r} does not exist: expected {', '.join(turns.WORKLOADS)}, or a .py file")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave no worker or temporary folder behind
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.workloads or turns.WORKLOADS:
        workload = turns.load_workload(name)
        load, began = os.getloadavg()[0], time.perf_counter()
        measured = turns.race(name, workload, options.turns, lambda text, name=name: show(f"{name}: {text}"))
        show("")
        result = summary.summarise(workload, measured, load)
        summary.merge(options.out / "benchmarks.json", Path(name).stem, result)
        failed = [contender for contender, values in result["contenders"].items() if values["error"]]
        seconds, failures = time.perf_counter() - began, f"; failed: {', '.join(failed)}" if failed else ""
        counts = f"{len(measured)} processes, {options.turns} turns each"
        print(f"{Path(name).stem}: {counts}, {seconds:.0f} s{failures}", flush=True)
    results = summary.read(options.out / "benchmarks.json")
    (options.out / "benchmarks.md").write_text(summary.markdown(results), encoding="utf-8")
    picture = (options.out.parent / "images" if options.out.resolve() == RESULTS else options.out) / "benchmarks.png"
    summary.draw(results, picture)
    print(summary.text(results, [Path(name).stem for name in options.workloads or turns.WORKLOADS]))


def show(text: str) -> None:
    """Shows the current activity on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text[:78]}\x1b[K", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
