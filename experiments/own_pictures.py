"""Measures how many of a user's own pictures are read correctly: each digit, drawn in many ways.

    python experiments/own_pictures.py RUN_OR_MODEL [--seeds 2] [--ways boxed circled ...] [--save FOLDER]

The pictures are those of the test suite. `tests/photos/drawings.py`: pens thick and thin, small in a corner, turned, on
grey and ruled paper, in colour, light on dark, transparent, cropped tightly, photographed with 12 megapixels.
`tests/photos/papers.py`: in boxes and circles, on dark lines, underlined, two that touch, a third in real handwriting.

A picture is refused if the model's status says so, or if it does not count one digit; what is neither read correctly
nor refused is silently wrong. Of two digits, two must be counted; `--split-digits` must read them, or refuse.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tables import markdown

import tfmnist

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "photos"))

import drawings  # noqa: E402  # pyright: ignore[reportMissingImports]
import papers  # noqa: E402  # pyright: ignore[reportMissingImports]

DRAWN = {**drawings.WAYS, "photo": drawings.photo}
OUTCOMES = ("read", "refused", "wrong")


def read_each(model: tfmnist.Exported, way: str, seeds: int, save: Path | None) -> Iterator[tuple[str, str]]:
    """Yields the outcome of each picture of a way, and why it was refused."""
    for seed in range(seeds):
        drawn = list(drawings.draw_all(seed, {way: DRAWN[way]}) if way in DRAWN else papers.draw_papers(seed, [way]))
        predictions = model.predict_pictures([drawing.contents for drawing in drawn])
        statuses = getattr(predictions, "status", np.zeros_like(predictions.digits))
        for number, drawing in enumerate(drawn):
            name, digits = model.class_names[predictions.classes[number]], int(predictions.digits[number])
            why = f"status {statuses[number]}, {digits} digits"
            if way in papers.PAIRS:
                outcome = "read" if digits == 2 else "refused" if digits != 1 or statuses[number] else "wrong"
            elif digits != 1 or statuses[number]:
                outcome = "refused"
            else:
                outcome = "read" if name == str(drawing.digit) else "wrong"
            if save and outcome != "read":
                result = why.replace(" ", "") if outcome == "refused" else f"as-{name}"
                path = save / f"{outcome}-{way}-{seed}-{number}-is-{drawing.digit}-{result}.png"
                save_failure(path, drawing.contents, predictions.normalized[number])
            yield outcome, why


def read_split(model: str, way: str, seeds: int) -> Iterator[tuple[str, str]]:
    """Yields the outcome of each picture of two digits, read by `tfmnist predict --split-digits`."""
    with tempfile.TemporaryDirectory() as folder:
        numbers: dict[str, str] = {}
        for seed in range(seeds):
            for drawing in papers.draw_papers(seed, [way]):
                path = Path(folder) / f"{seed}-{drawing.digit}"
                path.write_bytes(drawing.contents)
                numbers[str(path)] = f"{drawing.digit}{papers.second(drawing.digit)}"
        command = [sys.executable, "-m", "tfmnist", "predict", model, *numbers, "--split-digits", "--json"]
        printed = subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout
        read = {answer["image"]: answer["number"] for answer in map(json.loads, printed.splitlines())}
        for path, number in numbers.items():
            yield "refused" if path not in read else "read" if read[path] == number else "wrong", "no number"


def save_failure(path: Path, contents: bytes, seen: Any) -> None:
    """Writes the picture, and to its right the image that the model was shown."""
    picture = Image.open(io.BytesIO(contents)).convert("RGB")
    picture.thumbnail((560, 280))
    sheet = Image.new("RGB", (picture.width + 290, 280), "magenta")
    sheet.paste(picture)
    sheet.paste(Image.fromarray(seen).resize((280, 280), Image.Resampling.NEAREST), (picture.width + 10, 0))
    sheet.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    ways = [*DRAWN, *papers.PAPER_WAYS]
    parser.add_argument("model", help="folder of a run or of an exported model")
    parser.add_argument("--seeds", type=int, default=2, help="number of pictures per digit and style on papers")
    parser.add_argument("--ways", nargs="+", choices=ways, default=ways, metavar="WAY", help="all by default")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="saves what is refused or wrong")
    arguments = parser.parse_args()
    model = tfmnist.load_exported(arguments.model)
    if arguments.save:
        arguments.save.mkdir(parents=True, exist_ok=True)
    head = ("style", "read correctly", "refused", "silently wrong", "why refused")
    tables: list[str] = []
    for kind in (DRAWN, papers.PAPER_WAYS, papers.PAIRS):
        rows: list[tuple[str, ...]] = []
        total: Counter[str] = Counter()
        for way in filter(arguments.ways.__contains__, kind):
            if kind is papers.PAIRS:
                outcomes = list(read_split(arguments.model, way, arguments.seeds))
            else:
                outcomes = list(read_each(model, way, 1 if kind is DRAWN else arguments.seeds, arguments.save))
            counts = Counter(outcome for outcome, _ in outcomes)
            reasons = Counter(why for outcome, why in outcomes if outcome == "refused")
            name = way.replace("_", " ") + (", split" if kind is papers.PAIRS else "")
            why = "; ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items()))
            rows.append((name, *(str(counts[outcome]) for outcome in OUTCOMES), why))
            print(*rows[-1], sep="\t", flush=True)
            total += counts
        if rows:
            shares = (f"**{total[outcome]}, {total[outcome] / total.total():.1%}**" for outcome in OUTCOMES)
            rows.append((f"**all {total.total()}**", *shares, ""))
            tables.append(markdown(head, rows))
    print("", *tables, sep="\n\n")
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "own_pictures.md").write_text("\n\n".join(tables) + "\n")


if __name__ == "__main__":
    main()
