"""Transfer: what is learned on the digits 0 to 4 helps with 5 to 9, with only 20 pictures of each.

    python experiments/transfer.py [--recipe transfer.toml] [--seeds 5] [--pictures 20]

Each seed trains the recipe on 0 to 4, and then in three ways on a few pictures of 5 to 9: from scratch, from those
weights, and from those weights with all but the last layer frozen. Each way uses the best of a few learning rates on
validation; the table shows the test accuracy at that rate only.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from tables import markdown, mean_sd

import tfmnist

RESULTS = Path(__file__).parent / "results"
QUIET = {"export.model": False, "export.report": False}
RATES = (0.001, 0.003)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", default=str(Path(__file__).with_name("transfer.toml")))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=20, help="of each class")
    options = parser.parse_args()
    base = tfmnist.Recipe.load(options.recipe).replace(QUIET)
    few = base.replace(
        {
            "data.only": list("56789"),
            "data.per_class": options.pictures,
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
    accuracies: dict[str, dict[float, list[tuple[float, float]]]] = {way: {rate: [] for rate in RATES} for way in ways}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(options.seeds):
            first = Path(scratch) / f"first-{seed}"
            tfmnist.run(base.replace({"data.only": list("01234"), "train.seed": seed}), first, progress=False)
            for way, start in ways.items():
                for rate in RATES:
                    changes = {"train.seed": seed, "optimizer.learning_rate": rate}
                    if start.get("init"):
                        changes |= {"model.init_from": str(first), "model.freeze": start.get("freeze", [])}
                    run = tfmnist.run(few.replace(changes), Path(scratch) / f"{seed}-{way}-{rate}", progress=False)
                    validation = run.result["validation_accuracy"]
                    accuracies[way][rate].append((validation, run.test_accuracy))
                    print(f"seed {seed}, {way}, learning rate {rate}: validation {validation:.2%}", flush=True)
    results: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    for way, rates in accuracies.items():
        best = max(rates, key=lambda rate: statistics.mean(validation for validation, _ in rates[rate]))
        validation, tests = zip(*rates[best])
        results.append({"way": way, "learning_rate": best, "validation": validation, "test": tests})
        rows.append((way, f"{best:g}", f"{statistics.mean(validation):.2%}", mean_sd(tests)))
    what = f"{base.model.kind}, {options.pictures} pictures of each class"
    table = markdown((what, "learning rate", "validation", f"test, mean ± sd of {options.seeds} seeds"), rows)
    print(table)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "transfer.json").write_text(json.dumps(results, indent=2) + "\n")
    (RESULTS / "transfer.md").write_text(table + "\n")


if __name__ == "__main__":
    main()
