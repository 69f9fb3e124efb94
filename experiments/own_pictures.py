"""Measures how many of a user's own pictures are read correctly: each digit, drawn in many ways.

    python experiments/own_pictures.py RUN_OR_MODEL [--seeds 1]

The pictures are those of the test suite, `tests/photos/drawings.py`: pens thick and thin, small in a corner, turned, on
grey and ruled paper, in colour, light on dark, transparent, cropped tightly, photographed with 12 megapixels.
"""

import argparse
import sys
from pathlib import Path

import tfmnist

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "photos"))

import drawings  # noqa: E402  # pyright: ignore[reportMissingImports]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="folder of a run or of an exported model")
    parser.add_argument("--seeds", type=int, default=1, help="number of pictures per digit and style")
    arguments = parser.parse_args()
    model = tfmnist.load_exported(arguments.model)
    ways = {**drawings.WAYS, "photo": drawings.photo}
    lines, right, total = ["| style | read correctly | counted as one digit |", "|---|---|---|"], 0, 0
    for way, draw in ways.items():
        drawn = [drawing for seed in range(arguments.seeds) for drawing in drawings.draw_all(seed, {way: draw})]
        predictions = model.predict_pictures([drawing.contents for drawing in drawn])
        names = [model.class_names[index] for index in predictions.classes]
        hits = sum(name == str(drawing.digit) for name, drawing in zip(names, drawn))
        lines.append(f"| {way.replace('_', ' ')} | {hits} of {len(drawn)} | {int((predictions.digits == 1).sum())} |")
        right, total = right + hits, total + len(drawn)
    lines.append(f"| **all** | **{right} of {total}, {right / total:.1%}** | |")
    print("\n".join(lines))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "own_pictures.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
