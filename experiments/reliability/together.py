"""Runs two commands at a time in one folder, and one model in 16 threads.

    python experiments/reliability/together.py [--times 3] [--pairs 'train, train' ...] [--seed 0]

The second command of a pair starts up to a second after the first. A command succeeds, or is refused by one line with
exit code 2 because of the other. Afterwards the run or sweep is what one command alone leaves, and every exported model
is whole. Threads must predict what one of them predicts alone.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from commands import RUNS, SWEEP, outcome, run_to_the_end, start

import tfmnist

sys.path.append(str(Path(__file__).parents[1]))
from tables import markdown

TRAIN, FURTHER = f"train {RUNS['mlp']} --run-dir DONE", "train --resume DONE --epochs 18"
SWEEPS, EXPORT, REPORT, EVALUATE = "sweep SWEEP --run-dir DONE", "export DONE MODEL", "report DONE", "evaluate DONE"
# the commands, whether they use a finished run, and how many may succeed
PAIRS = {
    "train, train": (TRAIN, TRAIN, False, {1}),
    "train, train in another folder": (TRAIN, TRAIN.replace("DONE", "OTHER"), False, {2}),
    "sweep, sweep": (SWEEPS, SWEEPS, False, {1}),
    "resume, resume": (FURTHER, FURTHER, True, {1}),
    "resume, report": (FURTHER, REPORT, True, {1, 2}),
    "resume, export": (FURTHER, EXPORT, True, {1, 2}),
    "resume, evaluate": (FURTHER, EVALUATE, True, {1, 2}),
    "report, report": (REPORT, REPORT, True, {2}),
    "export, export": (EXPORT, EXPORT, True, {2}),
    "report, export": (REPORT, EXPORT, True, {2}),
}


class Workplace:
    """A folder in which commands run, with an empty cache, and a finished run if they use one."""

    def __init__(self, folder: Path, finished: Path | None):
        self.done, self.model = folder / "done", folder / "model"
        os.environ["TFMNIST_CACHE"] = str(folder / "cache")
        folder.mkdir(exist_ok=True)
        (folder / "sweep.toml").write_text(SWEEP)
        if finished:
            shutil.copytree(finished, self.done)
        self._names = {
            "DONE": self.done,
            "MODEL": self.model,
            "OTHER": folder / "other",
            "SWEEP": folder / "sweep.toml",
        }

    def words(self, command: str) -> list[str]:
        return [str(self._names.get(word, word)) for word in command.split()]


def attack(pair: str, finished: Path, alone: dict[str, Any], wait: float) -> tuple[str, str]:
    """Runs a pair of commands; returns their exit codes, and what was wrong.

    Args:
        pair: a name in `PAIRS`.
        finished: the folder of a finished run.
        alone: outcomes of commands that ran alone.
        wait: seconds between them.
    """
    *commands, on_finished, successes = PAIRS[pair]
    with tempfile.TemporaryDirectory() as folder:
        place = Workplace(Path(folder), finished if on_finished else None)
        first = start(place.words(commands[0]))
        time.sleep(wait)
        second = start(place.words(commands[1]))
        errors = [process.communicate(timeout=300)[1] for process in (first, second)]
        codes = [first.returncode, second.returncode]
        problems = [text for code, text in zip(codes, errors) if code not in (0, 2) or "Traceback" in text]
        if codes.count(0) not in successes:
            problems += ["too many or too few succeed", *errors]
        if outcome(place.done) != alone[commands[0] if commands[0] in alone else "finished"]:
            problems.append("NOT THE SAME")
        versions = sorted(place.model.iterdir()) if place.model.exists() else []
        if len(versions) != sum(code == 0 and command == EXPORT for code, command in zip(codes, commands)):
            problems.append(f"versions: {', '.join(version.name for version in versions)}")
        known = {alone[name][0] for name in ("finished", FURTHER)}
        for version in versions:
            if tfmnist.load_exported(version).card["result"]["weights_sha256"] not in known:
                problems.append(f"{version.name}: other weights")
        return ", ".join(map(str, codes)), "; ".join(problems)


def threads(model: Path, count: int = 16, calls: int = 60) -> int:
    """Predicts in many threads with one model; returns the number of wrong answers."""
    exported = tfmnist.load_exported(model)
    images = np.random.default_rng(0).integers(0, 256, [calls, 8, 28, 28], np.uint8)
    expected = [tfmnist.load_exported(model).predict(images[call]).logits for call in range(calls)]

    def predict(thread: int) -> int:
        order = random.Random(thread).sample(range(calls), calls)
        return sum(not np.array_equal(exported.predict(images[call]).logits, expected[call]) for call in order)

    with ThreadPoolExecutor(count) as pool:
        return sum(pool.map(predict, range(count)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="for each pair")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chooser = random.Random(given.seed)
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        alone: dict[str, Any] = {}
        finished = Path(folder) / "finished"
        for number, command in enumerate((TRAIN, SWEEPS, FURTHER)):
            place = Workplace(Path(folder) / str(number), finished if command == FURTHER else None)
            run_to_the_end(place.words(command))
            alone[command] = outcome(place.done)
            if command == TRAIN:
                place.done.rename(finished)
        alone["finished"] = alone[TRAIN]
        for pair in given.pairs:
            counts: Counter[str] = Counter()
            faults = 0
            for _ in range(given.times):
                codes, problem = attack(pair, finished, alone, chooser.uniform(0, 1))
                counts[codes] += 1
                if problem:
                    faults += 1
                    print(f"{pair}: {codes}: {problem}", flush=True)
            ends = "; ".join(f"{codes}: {count}" for codes, count in sorted(counts.items()))
            rows.append([pair, str(given.times), ends, str(faults)])
        print(markdown(["commands", "times", "exit codes: times", "faults"], rows))
        print(f"\n16 threads, {16 * 60} predictions: {threads(finished)} wrong")


if __name__ == "__main__":
    main()
