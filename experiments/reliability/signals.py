"""Stops runs and sweeps by signals at random moments, and resumes them.

    python experiments/reliability/signals.py [--times 20] [--seed 0]

SIGTERM and SIGINT: the command saves its work and ends with 75. SIGINT twice within 0.1 s: it ends at once with 130, or
with 75 if it had saved its work before the second. Each within 5 s. Then the command is resumed; a run then has the
weights of one that nobody stopped, a sweep its table.
"""

import argparse
import random
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from commands import RUNS, outcome, run_to_the_end, start, words_of

sys.path.append(str(Path(__file__).parents[1]))
from tables import markdown

SLOWEST = 5.0  # seconds within which a command must end
SIGNALS = {"SIGTERM": [signal.SIGTERM], "SIGINT": [signal.SIGINT], "two SIGINT": [signal.SIGINT, signal.SIGINT]}


def attack(kind: str, name: str, wait: float, chooser: random.Random) -> tuple[float, int, str, Any]:
    """Stops a command once; returns the seconds it took to end, its exit code, its last line, and the final outcome."""
    with tempfile.TemporaryDirectory() as folder:
        done = Path(folder) / "done"
        again = first = words_of(kind, Path(folder))
        process = start(first)
        time.sleep(wait)
        for number, one in enumerate(SIGNALS[name]):
            if number:
                time.sleep(chooser.uniform(0, 0.1))
            process.send_signal(one)
        sent = time.monotonic()
        errors = process.communicate(timeout=120)[1]
        seconds, line = time.monotonic() - sent, (errors.strip().splitlines() or [""])[-1]
        if kind != "sweep" and (done / "recipe.toml").exists():
            again = ["train", "--resume", str(done)]
        run_to_the_end(again)
        return seconds, process.returncode, line, outcome(done)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="for each of three kinds of signals")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=[*RUNS, "sweep"], default=[*RUNS, "sweep"])
    given = parser.parse_args()
    chooser, expected, durations = random.Random(given.seed), {}, {}
    for kind in given.kinds:
        with tempfile.TemporaryDirectory() as folder:
            done = Path(folder) / "done"
            begun = time.monotonic()
            run_to_the_end(words_of(kind, Path(folder)))
            expected[kind], durations[kind] = outcome(done), time.monotonic() - begun
    rows: list[list[str]] = []
    for name in SIGNALS:
        times: list[float] = []
        codes: dict[int, int] = {}
        faults = 0
        for number in range(given.times):
            kind = given.kinds[number % len(given.kinds)]
            wait = chooser.uniform(0.3, 1.0) * durations[kind]
            seconds, code, line, result = attack(kind, name, wait, chooser)
            times.append(seconds)
            codes[code] = codes.get(code, 0) + 1
            allowed = {0, 75, 130} if name == "two SIGINT" or "interrupted" in line else {0, 75}
            if code not in allowed or seconds > SLOWEST or result != expected[kind]:
                faults += 1
                print(f"{name}, {kind}, after {wait:.1f} s: {seconds:.1f} s, code {code}, {line}", flush=True)
                print("  the same in the end" if result == expected[kind] else "  NOT THE SAME", flush=True)
        ends = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items()))
        spread = f"{statistics.median(times):.1f} s, at most {max(times):.1f} s"
        rows.append([name, str(given.times), ends, spread, str(faults)])
    print(markdown(["signal", "times", "exit codes", "until it ended", "faults"], rows))


if __name__ == "__main__":
    main()
