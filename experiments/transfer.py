"""Transfer: what is learned on the digits 0 to 4 helps with 5 to 9, of which there are only 20 pictures each.

    python experiments/transfer.py [--recipe cnn] [--seeds 5] [--pictures 20]

Each seed trains the recipe on 0 to 4, and then three ways on a few pictures of 5 to 9: from scratch, from those
weights, and from those weights with all but the last layer frozen. The learning rate of each way is the best of a few
on validation; the table has the test accuracy of that one alone.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import tfmnist

RESULTS = Path(__file__).parent / "results"
QUIET = {"export.model": False, "export.report": False}
RATES = (0.001, 0.003)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", default="cnn")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=20, help="of each class")
    asked = parser.parse_args()
    base = tfmnist.Recipe.load(asked.recipe).replace(QUIET)
    few = base.replace(
        {
            "data.only": list("56789"),
            "data.per_class": asked.pictures,
            "schedule.kind": "cosine",
            "train.epochs": 12,
            "train.batch_size": 5,
            "train.average": 0.0,
        }
    )
    frozen = ["conv_*", "batch_norm_*"] if base.model.kind == "cnn" else ["dense_*"]
    ways: dict[str, dict[str, Any]] = {
        "from scratch": {},
        "from the weights for 0 to 4": {"init": True},
        "the same, all but the last layer frozen": {"init": True, "freeze": frozen},
    }
    found: dict[str, dict[float, list[tuple[float, float]]]] = {way: {rate: [] for rate in RATES} for way in ways}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(asked.seeds):
            first = Path(scratch) / f"first-{seed}"
            tfmnist.run(base.replace({"data.only": list("01234"), "train.seed": seed}), first)
            for way, options in ways.items():
                for rate in RATES:
                    changes = {"train.seed": seed, "optimizer.learning_rate": rate}
                    if options.get("init"):
                        changes |= {"model.init_from": str(first), "model.freeze": options.get("freeze", [])}
                    run = tfmnist.run(few.replace(changes), Path(scratch) / f"{seed}-{way}-{rate}")
                    found[way][rate].append((run.result["validation_accuracy"], run.test_accuracy))
                    print(
                        f"seed {seed}, {way}, learning rate {rate}: validation {found[way][rate][-1][0]:.2%}",
                        flush=True,
                    )
    lines = [
        f"| {asked.recipe}, {asked.pictures} pictures of each class | learning rate | validation | test, mean ± sd of "
        f"{asked.seeds} seeds |",
        "|---|---|---|---|",
    ]
    rows: list[dict[str, Any]] = []
    for way, rates in found.items():
        best = max(rates, key=lambda rate: statistics.mean(validation for validation, _ in rates[rate]))
        validation, tests = zip(*rates[best])
        rows.append({"way": way, "learning_rate": best, "validation": validation, "test": tests})
        lines.append(
            f"| {way} | {best:g} | {statistics.mean(validation):.2%} | {statistics.mean(tests):.2%} ± "
            f"{100 * statistics.stdev(tests):.2f} |"
        )
    print("\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "transfer.json").write_text(json.dumps(rows, indent=2) + "\n")
    (RESULTS / "transfer.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
