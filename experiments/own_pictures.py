"""Measures how many of a user's own pictures are read correctly: each digit, drawn in many ways.

    python experiments/own_pictures.py RUN_OR_MODEL [--seeds 2] [--ways boxed circled ...] [--save FOLDER]

The pictures are those of the test suite. `tests/photos/drawings.py`: pens thick and thin, small in a corner, turned, on
grey and ruled paper, in colour, light on dark, transparent, cropped tightly, photographed with 12 megapixels.
`tests/photos/papers.py`: in boxes and circles, on dark lines, underlined, two that touch; half of them by other hands.

A picture is refused if not exactly one digit was found in it. What is neither read correctly nor refused is silently
wrong; `--save` keeps both kinds of failures, each beside the image that the model was shown. Two digits count as read
if two are found, and as silently wrong if one is.
"""

import argparse
import io
import sys
from collections import Counter
from pathlib import Path

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


def draw(way: str, seed: int) -> list[drawings.Drawing]:
    return list(drawings.draw_all(seed, {way: DRAWN[way]}) if way in DRAWN else papers.draw_papers(seed, [way]))


def judge(way: str, digit: int, name: str, digits: int, status: int) -> str:
    if way in papers.PAIRS:
        return "read" if digits == 2 else "wrong" if digits == 1 and status == 0 else "refused"
    return "refused" if digits != 1 or status != 0 else "read" if name == str(digit) else "wrong"


def save_failure(path: Path, contents: bytes, seen: np.ndarray) -> None:
    """The picture, and to its right the image that the model was shown."""
    picture = Image.open(io.BytesIO(contents)).convert("RGB")
    picture.thumbnail((560, 280))
    sheet = Image.new("RGB", (picture.width + 290, 280), (255, 0, 255))
    sheet.paste(picture)
    sheet.paste(Image.fromarray(seen).resize((280, 280), Image.Resampling.NEAREST), (picture.width + 10, 0))
    sheet.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    ways = [*DRAWN, *papers.PAPER_WAYS]
    parser.add_argument("model", help="folder of a run or of an exported model")
    parser.add_argument("--seeds", type=int, default=2, help="number of pictures per digit and style on papers")
    parser.add_argument("--ways", nargs="+", choices=ways, default=ways, metavar="WAY")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="saves what is refused or wrong")
    arguments = parser.parse_args()
    model = tfmnist.load_exported(arguments.model)
    if arguments.save:
        arguments.save.mkdir(parents=True, exist_ok=True)
    tables: list[str] = []
    for kinds in (list(DRAWN), list(papers.PAPER_WAYS)):
        rows: list[tuple[str, ...]] = []
        total: Counter[str] = Counter()
        for way in (way for way in kinds if way in arguments.ways):
            counts: Counter[str] = Counter()
            reasons: Counter[str] = Counter()
            for seed in range(1 if way in DRAWN else arguments.seeds):
                drawn = draw(way, seed)
                predictions = model.predict_pictures([drawing.contents for drawing in drawn])
                statuses = getattr(predictions, "status", np.zeros_like(predictions.digits))
                for number, drawing in enumerate(drawn):
                    name = model.class_names[predictions.classes[number]]
                    digits, status = int(predictions.digits[number]), int(statuses[number])
                    outcome = judge(way, drawing.digit, name, digits, status)
                    counts[outcome] += 1
                    if outcome == "refused":
                        reasons[f"status {status}" if status else f"{digits} digits"] += 1
                    if arguments.save and outcome != "read":
                        read_as = name if outcome == "wrong" else f"{digits}digits-status{status}"
                        path = arguments.save / f"{outcome}-{way}-{seed}-{number}-{drawing.digit}-as-{read_as}.png"
                        save_failure(path, drawing.contents, predictions.normalized[number])
            why = ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items()))
            rows.append((way.replace("_", " "), *(str(counts[outcome]) for outcome in OUTCOMES), why))
            print(*rows[-1], sep="\t", flush=True)
            total += counts
        if rows:
            shares = (f"**{total[outcome]}, {total[outcome] / total.total():.1%}**" for outcome in OUTCOMES)
            rows.append((f"**all {total.total()}**", *shares, ""))
            tables.append(markdown(("style", "read correctly", "refused", "silently wrong", "refused because"), rows))
    print("\n\n".join(tables))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "own_pictures.md").write_text("\n\n".join(tables) + "\n")


if __name__ == "__main__":
    main()
