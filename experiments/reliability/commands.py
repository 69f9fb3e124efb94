"""The commands that the attacks run, as processes, and what must not depend on how often they were stopped."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RUNS = {
    "mlp": "mlp --data.per_class 300 --epochs 12",
    "graph": "mlp --data.per_class 300 --epochs 12 --train.compile graph --train.block 1",
    "cnn": "cnn-fast --data.per_class 60 --epochs 6",
    "everything": (
        "mlp --data.per_class 100 --epochs 6 --train.compile graph --train.average 0.9 --model.dropout 0.2 "
        "--model.batch-norm true --augment.rotate 10 --augment.elastic 1 --train.patience 4 --train.log-steps 2"
    ),
    "online": "online-mlp --data.per_class 60 --epochs 4",
}
SWEEP = """recipe = "mlp"
[fixed]
train.epochs = 4
train.compile = "graph"
data.per_class = 100
data.validation = 500
[space]
model.hidden = { choice = [[20], [30], [40]] }
[search]
sampler = "grid"
confirm = 0
"""


def words_of(kind: str, folder: Path) -> list[str]:
    """Returns the words of a command that makes `folder/done`: a run of one of `RUNS`, or a sweep."""
    done = str(folder / "done")
    if kind != "sweep":
        return ["train", *RUNS[kind].split(), "--run-dir", done]
    (folder / "sweep.toml").write_text(SWEEP)
    return ["sweep", str(folder / "sweep.toml"), "--run-dir", done]


def start(words: Sequence[str], before: str = "") -> subprocess.Popen[str]:
    """Starts a command in a process group of its own, after Python code that is to run in its process before it."""
    code = f"import sys; {before}\nfrom tfmnist.cli.main import main\nsys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        start_new_session=True,
    )


def run_to_the_end(words: Sequence[str]) -> None:
    """Runs a command, which must succeed."""
    process = start(words)
    errors = process.communicate(timeout=300)[1]
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)}: exit code {process.returncode}: {errors.strip()}")


def outcome(folder: Path) -> Any:
    """Returns what a finished run or sweep is, but for times; raises an AssertionError if its files contradict."""
    if (folder / "sweep.json").exists():
        trials = json.loads((folder / "sweep.json").read_text())["trials"]
        return [(trial["number"], trial["state"], trial["result"], trial["epochs"]) for trial in trials]
    result = json.loads((folder / "result.json").read_text())
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    rows = [[row[key] for key in ("epoch", "step", "loss", "accuracy", "validation_accuracy")] for row in history]
    card = json.loads((folder / result["model"] / "assets.extra" / "model_card.json").read_text())
    for key in ("test_accuracy", "weights_sha256"):
        assert card["result"][key] == result[key], f"the card's {key} is not the result's"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"{100 * result['test_accuracy']:.2f}" in page, "the report has another accuracy"
    versions = sorted(path.name for path in (folder / "model").iterdir())
    return result["weights_sha256"], result["test_accuracy"], result["test_loss"], rows, versions
