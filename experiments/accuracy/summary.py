"""The table of final figures, from finished studies.

    python experiments/accuracy/summary.py studies/cnn [studies/...]

Adds the studies, or replaces earlier ones of the same recipes, and writes results/accuracy.json and accuracy.md.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import tfmnist

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
from tables import markdown, mean_sd  # noqa: E402

RESULTS = HERE.parent / "results/accuracy.json"
ORDER = ("cnn-fast", "cnn", "cnn-best", "cnn-record", "mlp-permutation", "mlp-best")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("studies", nargs="+", type=Path, help="folders that 'tfmnist study' wrote")
    known: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known |= {study.name: read(study) for study in parser.parse_args().studies}
    names = sorted(known, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    RESULTS.write_text(json.dumps({name: known[name] for name in names}, indent=1) + "\n")
    head = ("recipe", "parameters", "seeds", "test accuracy, mean ± sd", "each", "seconds of training, median")
    table = markdown(head, [describe(name, known[name]) for name in names])
    RESULTS.with_suffix(".md").write_text(table + "\n")
    print(table)


def read(study: Path) -> dict[str, Any]:
    """What the table needs of a study."""
    seeds = json.loads((study / "study.json").read_text())["seeds"]
    result = tfmnist.open_run(study / f"seed-{seeds[0]['seed']}").result
    return {
        "accuracy": [seed["test_accuracy"] for seed in seeds],
        "seconds": [seed["seconds"] for seed in seeds],
        "parameters": result.parameters,
        "source": result.data.source,
        "train": result.data.train,
        "processor": f"{result.processor}, {result.processors} processors",
    }


def describe(name: str, study: dict[str, Any]) -> tuple[str, ...]:
    """One row of the table."""
    accuracy = study["accuracy"]
    each = ", ".join(f"{100 * value:.2f}" for value in accuracy)
    seconds = f"{statistics.median(study['seconds']):.1f}"
    return name, f"{study['parameters']:,}", str(len(accuracy)), mean_sd(accuracy), each, seconds


if __name__ == "__main__":
    main()
