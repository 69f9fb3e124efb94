"""Kills runs and sweeps, at random moments and at their writes, resumes them, and compares what they end with.

    python experiments/reliability/kills.py [--kills 100] [--seed 0]

SIGKILL comes after a random time, or right before a file is opened for writing, renamed or deleted, or a folder made.
A command is killed up to three times, then resumed until it is done. Five kinds of work: three runs (one of them with
augmentation, dropout, batch normalization, averaged weights and early stopping), a sweep, and a finished run that is
trained further. Weights, metrics, accuracy, exported versions, the card and the report must be those of work that
nobody killed.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from commands import outcome, run_to_the_end, start, words_of

sys.path.append(str(Path(__file__).parents[1]))
from tables import markdown

KINDS = ("mlp", "everything", "online", "sweep", "further")
AT_WRITE = """
import os, signal
left = {left}
def kill(event, arguments):
    global left
    if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir") or (event == "open" and arguments[2] & os.O_CREAT):
        if str(arguments[0]).startswith({folder!r}):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
"""
MOST = 3  # kills of one piece of work


def prepare(kind: str, folder: Path) -> tuple[list[str], list[str]]:
    """Returns the command that is killed, and the one that resumes it once it has begun."""
    done = str(folder / "done")
    if kind == "further":
        run_to_the_end(words_of("mlp", folder))
        further = ["train", "--resume", done, "--epochs", "18"]
        return further, further
    words = words_of(kind, folder)
    return words, (words if kind == "sweep" else ["train", "--resume", done])


def attack(kind: str, chooser: random.Random, seconds: float) -> tuple[list[str], Any]:
    """Kills a piece of work up to three times, and resumes it; returns how it was killed, and its outcome."""
    kills: list[str] = []
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        done = folder / "done"
        words, again = prepare(kind, folder)
        while len(kills) < MOST:
            if chooser.random() < 0.5:
                left = chooser.randint(1, 60)
                process = start(words, AT_WRITE.format(left=left, folder=str(done)))
                how = f"write {left}"
            else:
                wait = chooser.uniform(0.2, 1.0) * seconds
                process, how = start(words), f"{wait:.1f} s"
                time.sleep(wait)
                process.kill()
            process.communicate(timeout=300)
            if process.returncode != -signal.SIGKILL:  # it was done before
                break
            kills.append(how)
            words = again if kind in ("sweep", "further") or (done / "recipe.toml").exists() else words
        run_to_the_end(words if kills else again)
        return kills, outcome(done)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    given = parser.parse_args()
    chooser = random.Random(given.seed)
    expected: dict[str, Any] = {}
    durations: dict[str, float] = {}
    for kind in given.kinds:
        with tempfile.TemporaryDirectory() as path:
            words, _ = prepare(kind, Path(path))
            begun = time.monotonic()
            run_to_the_end(words)
            expected[kind], durations[kind] = outcome(Path(path) / "done"), time.monotonic() - begun
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in given.kinds}
    while (killed := sum(count["kills"] for count in counts.values())) < given.kills:
        kind = min(given.kinds, key=lambda kind: counts[kind]["kills"])
        try:
            kills, result = attack(kind, chooser, durations[kind])
            problem = "" if result == expected[kind] else "NOT THE SAME"
        except (AssertionError, RuntimeError, OSError, KeyError, ValueError) as error:
            kills, problem = ["?"], f"{type(error).__name__}: {error}"
        counts[kind].update(kills=len(kills), pieces=1, faults=int(bool(problem)))
        if problem:
            print(f"{killed}: {kind}, killed at {', '.join(kills)}: {problem}", flush=True)
    rows = [[kind, *(str(count[name]) for name in ("pieces", "kills", "faults"))] for kind, count in counts.items()]
    print(markdown(["work", "pieces", "kills", "not the same"], rows))


if __name__ == "__main__":
    main()
