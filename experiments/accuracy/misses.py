"""Draws every MNIST test digit that a model misses, with its best guesses: what is still wrong.

    python experiments/accuracy/misses.py RUN_OR_MODEL

Writes results/misses.md and images/misses.png. Labels that most of five people rejected are marked as known errors:
Northcutt, Athalye and Mueller, "Pervasive label errors in test sets destabilize machine learning benchmarks", 2021.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import tfmnist

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
from tables import markdown  # noqa: E402

WRONG_LABELS = frozenset(
    (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)
)  # numbers of test digits, from 0: the label had fewer than three of the five votes
GUESSES = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="folder of a run or of an exported model")
    model = tfmnist.load_exported(parser.parse_args().model)
    test = tfmnist.load("mnist", validation=0).test
    shares = model.predict(test.images).probabilities
    wrong = np.flatnonzero(shares.argmax(axis=1) != test.labels)
    rows, titles = list[tuple[str, ...]](), list[str]()
    for number in wrong.tolist():
        best = np.argsort(-shares[number], kind="stable")[:GUESSES].tolist()
        guesses = ", ".join(f"{digit} {shares[number, digit]:.0%}" for digit in best)
        known = number in WRONG_LABELS
        rows.append((str(number), str(test.labels[number]), guesses, "label known to be wrong" if known else ""))
        titles.append(f"{number}: {test.labels[number]}{'*' if known else ''}\n{best[0]} {shares[number, best[0]]:.0%}")
    known = sum(number in WRONG_LABELS for number in wrong.tolist())
    right = f"{len(test) - len(wrong):,} of {len(test):,} right ({1 - len(wrong) / len(test):.2%})"
    text = f"{right}; {len(wrong)} missed, {known} of them with a label known to be wrong.\n\n"
    text += "![Each missed digit: its number, its label (with a star if that is known to be wrong), and the best guess]"
    text += f"(../images/misses.png)\n\n{markdown(('digit', 'label', 'best guesses', ''), rows)}\n"
    (HERE.parent / "results/misses.md").write_text(text)
    tfmnist.plot_images(test.images[wrong], titles, columns=8).savefig(HERE.parent / "images/misses.png", dpi=110)
    print(text)


if __name__ == "__main__":
    main()
