"""Damages every file of a run folder and of its exported model, one place at a time, and uses the folder.

    python experiments/reliability/damage.py [--places 20] [--uses load evaluate ...] [--seed 0]

Each place is a random bit that is flipped, or a random end that is cut off. Then the functions behind six uses answer:
resume, evaluate, predict, export, report, and Python's `open_run`. An answer is the same as that of the intact folder,
or one line that names what is damaged, or else a fault: another answer without a word, or a traceback.
"""

import argparse
import hashlib
import random
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

import tfmnist
from tfmnist.runs.evaluate import plan_evaluation
from tfmnist.runs.report import write_report

sys.path.append(str(Path(__file__).parents[1]))
from tables import markdown

Outcome = Literal["same", "named", "different", "traceback"]
OUTCOMES: tuple[Outcome, ...] = ("same", "named", "different", "traceback")
RECIPE = {"data.per_class": 30, "model.hidden": (8,), "train.epochs": 2, "train.compile": "graph"}


def make_run(path: Path) -> Path:
    """Trains a small network, with everything that a run folder can hold."""
    recipe = tfmnist.Recipe.load("mlp").replace(RECIPE)
    tfmnist.run(recipe, path, progress=False)
    return path


def resume(run: Path) -> Any:
    result = tfmnist.resume(run, progress=False).result
    return result["weights_sha256"], result["test_accuracy"], result["test_loss"]


def evaluate(run: Path) -> Any:
    metrics = plan_evaluation(run).evaluate()
    return metrics.accuracy, metrics.loss


def predict(run: Path) -> Any:
    model = tfmnist.load_exported(run)
    images = np.random.default_rng(0).integers(0, 256, [8, 28, 28], np.uint8)
    return _digest(model.predict(images).probabilities), model.class_names, model.threshold


def export(run: Path) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        card = tfmnist.load_exported(tfmnist.export(run, folder)).card
        return {**card, "versions": None}, predict(Path(folder))


def report(run: Path) -> Any:
    return write_report(run).read_text(encoding="utf-8")


def load(run: Path) -> Any:
    opened = tfmnist.open_run(run)
    history = [row.model_dump() for row in opened.history]
    evaluation = opened.predictions()
    arrays = _digest(evaluation.probabilities), _digest(evaluation.labels), _digest(evaluation.mistake_images)
    return opened.recipe, history, opened.result, opened.network.sha256(), arrays


USES: dict[str, Callable[[Path], Any]] = {
    use.__name__: use for use in (load, evaluate, predict, export, report, resume)
}


def damages(content: bytes, places: int, chooser: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yields what was done to a file, and its damaged content."""
    for place in range(places):
        if place % 4 == 3:
            length = chooser.randrange(len(content))
            yield f"cut to {length} bytes", content[:length]
            continue
        bit = chooser.randrange(8 * len(content))
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit}", bytes(changed)


def attack(
    run: Path, places: int, uses: Sequence[str], seed: int, names: Iterable[str] = ()
) -> Iterator[tuple[str, str, str, Outcome, str]]:
    """Yields file, place, use, outcome and message of each use of a damaged run folder.

    Args:
        run: an intact run folder; it is copied.
        places: number of places in each file.
        uses: names of the functions to call.
        seed: chooses the places.
        names: the files to damage; by default all.
    """
    chooser = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"

        def restore() -> None:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(run, copy)

        restore()
        expected = {use: USES[use](copy) for use in uses}
        for name in names or sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()):
            content = (run / name).read_bytes()
            for place, damaged in damages(content, places if content else 0, chooser):
                for use in uses:
                    restore()
                    (copy / name).write_bytes(damaged)
                    yield name, place, use, *_judge(USES[use], copy, expected[use])


def _judge(use: Callable[[Path], Any], run: Path, expected: Any) -> tuple[Outcome, str]:
    try:
        answer = use(run)
    except tfmnist.InputError as error:
        return ("named" if "\n" not in str(error) else "traceback"), str(error)
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"
    return ("same" if answer == expected else "different"), ""


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", type=int, default=20, help="places in each file")
    parser.add_argument("--uses", nargs="+", choices=USES, default=list(USES))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    counts: dict[str, Counter[Outcome]] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "run")
        for name, place, use, outcome, message in attack(run, given.places, given.uses, given.seed):
            counts.setdefault(name, Counter())[outcome] += 1
            if outcome in ("different", "traceback"):
                print(f"{outcome}: {use} with {name}, {place} {message}", flush=True)
    rows = [[name, *(str(count[outcome]) for outcome in OUTCOMES)] for name, count in counts.items()]
    total = sum(counts.values(), Counter())
    rows.append(["all", *(str(total[outcome]) for outcome in OUTCOMES)])
    print(markdown(["file", *OUTCOMES], rows))


if __name__ == "__main__":
    main()
