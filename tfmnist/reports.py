"""The report of a run: one HTML page that needs nothing but itself, written from the files of a run folder.

What any such page is made of stands here too: the sheet, figures, tables, and files that may be missing or damaged.
"""

import base64
import os
import shlex
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from tfmnist import plots
from tfmnist.errors import InputError
from tfmnist.files import read_npz
from tfmnist.training.metrics import Metrics, measure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONG_TABLE = 30  # rows from which the table of classes is folded away
_ELSEWHERE = ("sha256", "class_names", "form")  # of the data, what the page shows in another place, or not at all


def write_report(run: Path, drawn: "Drawn | None" = None) -> Path:
    """Draws the figures of a finished run and writes its page, `report.html`, whose path it returns.

    The page opens from disk, holds its figures, and asks nothing of the network.

    Args:
        run: a run folder with `result.json`, `metrics.jsonl`, `recipe.toml` and `evaluation.npz`; the figures of
            `inspection.npz` are drawn where it is there.
        drawn: its figures, where `draw_figures` has drawn them already.

    Raises:
        InputError: a file is missing or damaged.

    Example:
        >>> write_report(Path("no/such/run"))
        Traceback (most recent call last):
        tfmnist.errors.InputError: no/such/run/result.json: missing; is this a run folder? \
Finish the run with 'tfmnist train --resume no/such/run'.
    """
    with checked(run, _remedy(run)) as file:
        result = _Result.model_validate_json(file("result.json").read_text(encoding="utf-8"))
        recipe = file("recipe.toml").read_text(encoding="utf-8")
    drawn = drawn or draw_figures(run)
    body = _BODY.substitute(
        name=escape(result.name),
        accuracy=percent(result.test_accuracy),
        interval=f"{100 * result.test_accuracy_ci95[0]:.2f} to {percent(result.test_accuracy_ci95[1])}",
        count=f"{drawn.metrics.count:,}",
        tiles=_tiles(result, drawn.metrics),
        figures="\n".join(drawn.sections),
        seconds=make_table(("Part", "Seconds"), result.seconds.items()),
        data=make_table(("Data", ""), ((key, value) for key, value in result.data.items() if key not in _ELSEWHERE)),
        versions=make_table(("Software", "Version"), result.versions.items()),
        recipe=fold("All that decides the weights", f"<pre>{escape(recipe.strip())}</pre>"),
        weights=escape(result.weights_sha256),
        digest=escape(str(result.data.get("sha256", "unknown"))),
        seed=result.seed,
        run=escape(shlex.quote(str(run))),
    )
    return write_page(run / "report.html", f"{result.name}: {percent(result.test_accuracy)}", body)


@dataclass(frozen=True, eq=False)
class Drawn:
    """The figures of a run, each a section of the page, and the metrics that they show."""

    sections: tuple[str, ...]
    metrics: Metrics


def draw_figures(run: Path) -> Drawn:
    """Draws `figures/*.png` of a run whose evaluation is written; `result.json` need not be there yet.

    Raises:
        InputError: a file is missing or damaged.
    """
    with checked(run, _remedy(run)) as file:
        lines = file("metrics.jsonl").read_text(encoding="utf-8").splitlines()
        history = [_Row.model_validate_json(line).model_dump() for line in lines]
        if not history:
            raise ValueError("no finished epoch")
        with file("evaluation.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            evaluation = _Evaluation(**{field.name: arrays[field.name] for field in fields(_Evaluation)})
        inspection = None
        if (path := file("inspection.npz")).exists():  # runs of version 0.1 have none
            inspection = _inspection(read_npz(path))
    metrics = measure(evaluation.labels, evaluation.probabilities, float(evaluation.loss))
    return Drawn(tuple(_draw(run / "figures", history, metrics, evaluation, inspection)), metrics)


class _Result(BaseModel):
    """The keys of `result.json` that the page shows; others may stand beside them."""

    name: str
    test_accuracy: float
    test_accuracy_ci95: tuple[float, float]
    test_loss: float
    validation_accuracy: float | None
    epochs: int
    steps: int
    parameters: int
    seed: int
    weights_sha256: str
    seconds: dict[str, float | None]
    data: dict[str, Any]
    versions: dict[str, Any]


class _Row(BaseModel):
    """The values of a line of `metrics.jsonl` that are drawn."""

    epoch: int
    loss: float | None
    accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    learning_rate: float | None


@dataclass(frozen=True, eq=False)
class _Evaluation:
    """The arrays of `evaluation.npz`, of n examples, C classes and m mistakes, the surest first."""

    labels: NDArray[np.int64]  # [n]
    probabilities: NDArray[np.float32]  # [n, C]
    class_names: NDArray[np.str_]  # [C]
    mistake_index: NDArray[np.int64]  # [m] in [0, n)
    mistake_images: NDArray[np.uint8]  # [m, H, W]
    loss: NDArray[np.floating]  # []

    def __post_init__(self) -> None:
        kinds = {"labels": "i1", "probabilities": "f2", "class_names": "U1", "mistake_index": "i1"}
        for key, (kind, axes) in {**kinds, "mistake_images": "u3", "loss": "f0"}.items():
            array: NDArray[Any] = getattr(self, key)
            if (array.dtype.kind, array.ndim) != (kind, int(axes)):
                raise ValueError(f"{key!r} is {array.dtype} {list(array.shape)}")
        (n, classes), m = self.probabilities.shape, len(self.mistake_index)
        if (len(self.labels), len(self.class_names), len(self.mistake_images)) != (n, classes, m):
            raise ValueError("its arrays do not fit together")
        for key, indices, limit in (("labels", self.labels, classes), ("mistake_index", self.mistake_index, n)):
            if indices.size and not 0 <= indices.min() <= indices.max() < limit:
                raise ValueError(f"{key!r} is not in [0, {limit})")


@dataclass(frozen=True, eq=False)
class _Inspection:
    """The arrays of `inspection.npz`; those of a network without convolutions, or without augmentation, are None."""

    first_layer: NDArray[np.str_]  # []
    first_weights: NDArray[np.float32]  # [k, h, w]
    picture: NDArray[np.uint8] | None  # [H, W]
    maps: dict[str, NDArray[np.float32]]  # [k, h, w] each
    originals: NDArray[np.uint8] | None  # [r, H, W]
    changed: NDArray[np.uint8] | None  # [r, c, H, W]


def _inspection(arrays: Mapping[str, NDArray[Any]]) -> _Inspection:
    """Returns the arrays of a file, checked. Raises a ValueError or KeyError."""

    def array(key: str, kind: str, axes: int) -> NDArray[Any]:
        found = arrays[key]
        if (found.dtype.kind, found.ndim) != (kind, axes) or not found.size:
            raise ValueError(f"{key!r} is {found.dtype} {list(found.shape)}")
        if kind == "f" and not np.isfinite(found).all():
            raise ValueError(f"{key!r} is not finite")
        return found

    picture = originals = changed = None
    maps: dict[str, NDArray[np.float32]] = {}
    if "picture" in arrays:
        picture = array("picture", "u", 2)
        names: list[str] = array("map_names", "U", 1).tolist()
        maps = {name: array(f"map_{place}", "f", 3) for place, name in enumerate(names)}
    if "augmented" in arrays:
        originals, changed = array("augmented_originals", "u", 3), array("augmented", "u", 4)
        if (len(changed), *changed.shape[2:]) != originals.shape:
            raise ValueError("its arrays do not fit together")
    return _Inspection(array("first_layer", "U", 0), array("first_weights", "f", 3), picture, maps, originals, changed)


@contextmanager
def checked(folder: Path, remedy: str) -> Generator[Callable[[str], Path]]:
    """Hands out the paths of a folder's files; what goes wrong inside is said of the last of them, in one line.

    Example:
        >>> with checked(Path("no/such/run"), "is this a run folder?") as file:
        ...     file("result.json").read_text()
        Traceback (most recent call last):
        tfmnist.errors.InputError: no/such/run/result.json: missing; is this a run folder?
    """
    asked = [folder]

    def file(name: str) -> Path:
        asked.append(folder / name)
        return asked[-1]

    try:
        yield file
        return
    except FileNotFoundError:
        why = "missing"
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        why = "damaged: " + " ".join(map(str, (*first["loc"], first["msg"])))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        why = "damaged: " + " ".join(str(error).split())
    raise InputError(f"{asked[-1]}: {why}; {remedy}")


def _remedy(run: Path) -> str:
    return f"is this a run folder? Finish the run with 'tfmnist train --resume {shlex.quote(str(run))}'."


def _draw(
    folder: Path,
    history: list[dict[str, Any]],
    metrics: Metrics,
    evaluation: _Evaluation,
    inspection: _Inspection | None,
) -> Iterable[str]:
    """Writes each figure as PNG and yields it as HTML."""
    folder.mkdir(exist_ok=True)
    names: list[str] = evaluation.class_names.tolist()
    counts, truth = metrics.confusion.sum(axis=1), evaluation.labels[evaluation.mistake_index]
    shown = evaluation.probabilities[evaluation.mistake_index]
    guesses, sure = shown.argmax(axis=1), shown.max(axis=1, initial=0)
    drawn = {
        "learning_curves": plots.learning_curves(history),
        "confusion_matrix": plots.confusion(metrics.confusion, names),
        "per_class": plots.per_class(metrics.recall, metrics.precision, counts, names),
        "mistakes": plots.mistakes(evaluation.mistake_images, truth, guesses, sure, names),
        "calibration": plots.calibration_curve(metrics.calibration),
    }
    if inspection:
        if inspection.originals is not None and inspection.changed is not None:
            drawn["augmented"] = plots.augmented(inspection.originals, inspection.changed)
        _, height, width = inspection.first_weights.shape
        title = f"{inspection.first_layer.item()}, {height} x {width}"
        drawn["first_weights"] = plots.first_weights(inspection.first_weights, title)
        if inspection.picture is not None:
            drawn["feature_maps"] = plots.feature_maps(inspection.picture, inspection.maps)
    for name, figure in drawn.items():
        table = _classes(metrics, names) if name == "per_class" else ""
        yield embed(figure, folder / f"{name}.png", *_FIGURES[name], below=table)


def embed(
    figure: "Figure", path: Path, heading: str, alt: str, caption: str, *, above: str = "", below: str = ""
) -> str:
    """Writes a figure as PNG, and returns it as a section of a page: plain texts, and HTML above and below it."""
    plots.save(figure, path)
    width, height = (round(float(size) * 100) for size in figure.get_size_inches())
    source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    image = f'<img src="{source}" alt="{escape(alt)}" width="{width}" height="{height}">'
    framed = f'<figure><div class="card">{image}</div><figcaption>{escape(caption)}</figcaption></figure>'
    return f"<section><h2>{escape(heading)}</h2>{above}{framed}{below}</section>"


def write_page(path: Path, title: str, body: str) -> Path:
    """Writes a page, whole or not at all, and returns its path.

    Args:
        path: of the page.
        title: plain text.
        body: HTML.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(_PAGE.substitute(style=_STYLE, title=escape(title), body=body), encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _tiles(result: _Result, metrics: Metrics) -> str:
    validation, training = result.validation_accuracy, result.seconds.get("train")
    tiles = [
        ("Test mistakes", f"{metrics.count - metrics.correct:,}"),
        ("Test loss", f"{result.test_loss:.4f}"),
        ("Validation accuracy", "none held out" if validation is None else percent(validation)),
        ("Calibration error", percent(metrics.calibration.error)),
        ("Parameters", f"{result.parameters:,}"),
        ("Epochs", f"{result.epochs:,}"),
        ("Steps", f"{result.steps:,}"),
        ("Training time", "unknown" if training is None else f"{_text(training)} s"),
    ]
    return make_tiles(tiles)


def make_tiles(tiles: Iterable[tuple[str, str]]) -> str:
    """Returns labels and values as an HTML list of tiles."""
    return "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in tiles)


def _classes(metrics: Metrics, names: Sequence[str]) -> str:
    wrong = metrics.confusion * ~np.eye(len(names), dtype=bool)
    rows: list[list[Any]] = []
    for row, taken in zip(metrics.to_dict(names)["per_class"], wrong, strict=True):
        shares = [f"{100 * row[key]:.2f}" for key in ("recall", "precision", "f1")]
        most = f"{names[int(taken.argmax())]} ({int(taken.max()):,})" if taken.any() else "-"
        rows.append([row["class"], row["count"], *shares, most])
    table = make_table(("Class", "Examples", "Recall, %", "Precision, %", "F1, %", "Top mistake"), rows)
    return table if len(names) <= LONG_TABLE else fold(f"All {len(names)} classes", table)


def make_table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Returns an HTML table; the first cell of a row is its header.

    Example:
        >>> "<td>1,024</td>" in make_table(("Key", "Value"), [("train.batch_size", 1024)])
        True
    """
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = ""
    for first, *rest in rows:
        cells = "".join(f"<td>{escape(_text(cell))}</td>" for cell in rest)
        body += f'<tr><th scope="row">{escape(str(first))}</th>{cells}</tr>'
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def fold(summary: str, content: str) -> str:
    """Returns HTML that is folded away behind a line of plain text."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def percent(share: float) -> str:
    """Returns a share as text.

    Example:
        >>> percent(0.98765)
        '98.77\\xa0%'
    """
    return f"{100 * share:.2f}\N{NO-BREAK SPACE}%"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, list):
        return " x ".join(map(str, cast(list[Any], value)))
    return f"{value:,}" if isinstance(value, int) else "-" if value is None else str(value)


_FIGURES = {  # name: heading, alternative text, caption
    "learning_curves": (
        "Learning curves",
        "Loss, accuracy and learning rate over the epochs, for training and validation.",
        "Where the dashed validation curve stops following the training curve, examples are being learned by heart.",
    ),
    "confusion_matrix": (
        "What is taken for what",
        "Confusion matrix: rows are true classes, columns predicted classes.",
        "Each row shows where the examples of one class went; the darker a blue cell, the more frequent that mistake.",
    ),
    "per_class": (
        "Class by class",
        "Recall and precision of every class, as dots.",
        "Recall is the share of a class that was found, precision the share of its predictions that are right.",
    ),
    "mistakes": (
        "The surest mistakes",
        "Pictures that were classified wrongly, with true class, predicted class and confidence.",
        "The mistakes made with the highest confidence come first; wrong labels in the data tend to show up here.",
    ),
    "calibration": (
        "Can the confidence be trusted?",
        "Reliability diagram: accuracy against confidence, above the number of examples.",
        "Below the dashed line the network is too sure of itself, above it too modest.",
    ),
    "first_weights": (
        "What the first layer looks for",
        "Weights of the first layer, an image a unit.",
        "Ink on orange excites a unit, ink on blue inhibits it. Strokes and edges are learned; mere noise is not.",
    ),
    "feature_maps": (
        "What the layers see",
        "A training picture and the outputs of the convolutions for it, an image a channel.",
        "The most active channels, bright where they are strong: edges first, then coarser and rarer patterns.",
    ),
    "augmented": (
        "What augmentation does",
        "Training pictures, each with random versions of it beside it.",
        "Every version must still be read as its original; where you would hesitate, the augmentation is too strong.",
    ),
}

_STYLE = """
:root { --page: #f6f7f9; --ink: #1c2127; --quiet: #5b6570; --card: #fff; --line: #dfe3e8; --accent: #0072b2 }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171b; --ink: #e8eaed; --quiet: #9aa4af; --card: #1d2127; --line: #313841; --accent: #56b4e9 }
}
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, sans-serif }
* { box-sizing: border-box } main { max-width: 800px; margin: auto; padding: 2.5rem 1.25rem 4rem }
header p, figure, dd { margin: 0 } figcaption, .note { margin: .6rem 0 0 }
h1 { margin: 0; font-size: clamp(2.6rem, 9vw, 4rem); line-height: 1.2; letter-spacing: -.03em; color: var(--accent) }
h2 { margin: 3rem 0 .8rem; font-size: 1.25rem } dd { font-size: 1.25rem; font-weight: 600 }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: .75rem; margin: 2rem 0 0 }
dl div, .card, pre { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .7rem .9rem }
.card { background: #fff } img { display: block; max-width: 100%; height: auto; margin: auto }
header p, dt, figcaption, .note, thead { color: var(--quiet); font-size: .95rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; white-space: nowrap }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line); font-weight: 400 }
th:first-child { text-align: left } .columns td { white-space: normal; overflow-wrap: anywhere }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 1.5rem 2rem }
figure ~ * { margin-top: 1.2rem } figcaption, .note { text-wrap: pretty }
summary { cursor: pointer; color: var(--accent) }
pre, code { font: .9rem/1.5 ui-monospace, monospace; overflow-wrap: anywhere }
pre { white-space: pre-wrap } .scroll { overflow-x: auto }
@media (max-width: 640px) {
  .card { margin: 0 -1.25rem; padding: .5rem 0; border-radius: 0 } th, td { padding: .35rem .2rem; font-size: .85rem }
  thead th { white-space: normal; vertical-align: bottom; font-size: .78rem }
}
"""

_PAGE = Template("""<!doctype html>
<html lang="en"><head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
<title>$title</title>
<style>$style</style>
</head><body><main>
$body
</main></body></html>
""")

_BODY = Template("""<header><p>Recipe <strong>$name</strong>, test accuracy</p><h1>$accuracy</h1>
<p>95&nbsp;% interval $interval, on $count test examples that took no part in training</p></header>
<dl>$tiles</dl>
$figures
<section><h2>The run</h2><div class="columns">$seconds$data$versions</div>
<p class="note">Seed $seed. Two runs are equal when the SHA-256 of their weights is.<br>
Weights <code>$weights</code><br>Data <code>$digest</code></p></section>
<section><h2>Use the model</h2><pre>tfmnist predict $run picture.png
tfmnist evaluate $run</pre>
<p class="note">A picture is a PNG or JPEG, a photo too: it is levelled, cropped and centred as the training images
were.</p></section>
<section><h2>Recipe</h2>$recipe</section>""")
