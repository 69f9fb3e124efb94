"""Finds the temperature and the threshold of a recipe on validation, and measures both on the test set.

    python experiments/accuracy/how_sure.py NAME --validated RUN... --final RUN_OR_MODEL...

The validated runs, one per seed, were trained without 5,000 examples each; their predictions for these are pooled. The
temperature makes their mean cross-entropy the smallest; the threshold is the lowest probability from which on 99.99 %
of the answers are right. The final runs were trained on all examples; each is measured on the test set as it would be
with these two numbers. Writes the row NAME of results/how_sure.md.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import tfmnist
from tfmnist.nn.metrics import at_temperature, calibration, recalibrate

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
from tables import markdown, mean_sd  # noqa: E402

RESULTS = HERE.parent / "results/how_sure.json"
HEAD = (
    "model", "temperature", "threshold", "calibration error, before", "after", "answered", "of these right", "all right"
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--validated", nargs="+", required=True, metavar="RUN")
    parser.add_argument("--final", nargs="+", required=True, metavar="RUN_OR_MODEL")
    arguments = parser.parse_args()
    pooled = [validation_answers(run) for run in arguments.validated]
    labels, shares = (np.concatenate(parts) for parts in zip(*pooled))
    found = recalibrate(labels, shares)
    test = tfmnist.load("mnist", validation=0).test
    measured = [measure(test.labels, answers(path, test.images), found) for path in arguments.final]
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[arguments.name] = {"temperature": found.temperature, "threshold": found.threshold, "final": measured}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    table = markdown(HEAD, [describe(name, row) for name, row in results.items()])
    RESULTS.with_suffix(".md").write_text(table + "\n")
    print(table)


def validation_answers(run: str) -> tuple[Any, Any]:
    """Labels and probabilities, at temperature 1, of the examples that a run was not trained on."""
    recipe = tfmnist.open_run(run).recipe
    held_out = tfmnist.load("mnist", validation=recipe.data.validation, seed=recipe.train.seed).validation
    return held_out.labels, answers(run, held_out.images)


def answers(path: str, images: Any) -> Any:
    """Probabilities at temperature 1."""
    if (Path(path) / "recipe.toml").exists():
        return tf.nn.softmax(tfmnist.open_run(path).network.logits(images)).numpy()
    return tf.nn.softmax(tfmnist.load_exported(path).predict(images).logits).numpy()


def measure(labels: Any, shares: Any, found: Any) -> dict[str, float]:
    """Calibration error before and after; share of the answers that are sure, and how many of these are right."""
    fitted = at_temperature(shares, found.temperature)
    right, sure = fitted.argmax(axis=1) == labels, fitted.max(axis=1) >= found.threshold
    return {
        "before": calibration(labels, shares).error,
        "after": calibration(labels, fitted).error,
        "answered": float(sure.mean()),
        "answered_right": float(right[sure].mean()),
        "right": float(right.mean()),
    }


def describe(name: str, row: dict[str, Any]) -> tuple[str, ...]:
    """Returns one row of the table."""

    def mean(key: str) -> str:
        values = [run[key] for run in row["final"]]
        return mean_sd(values) if len(values) > 1 else f"{values[0]:.2%}"

    keys = ("before", "after", "answered", "answered_right", "right")
    return name, f"{row['temperature']:.3g}", f"{row['threshold']:.5f}", *map(mean, keys)


if __name__ == "__main__":
    main()
