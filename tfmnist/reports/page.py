"""HTML pages that need nothing but themselves: figures, tables, tiles, and files that may be missing or damaged."""

import base64
import os
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from tfmnist.errors import InputError
from tfmnist.reports.style import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONG_TABLE = 30  # rows from which the table of classes is folded away


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


def embed(
    figure: "Figure", path: Path, heading: str, alt: str, caption: str, *, above: str = "", below: str = ""
) -> str:
    """Writes a figure as PNG, and returns it as a section of a page: plain texts, and HTML above and below it."""
    save(figure, path)
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


def make_tiles(tiles: Iterable[tuple[str, str]]) -> str:
    """Returns labels and values as an HTML list of tiles."""
    return "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>" for label, value in tiles)


def make_table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Returns an HTML table; the first cell of a row is its header.

    Example:
        >>> "<td>1,024</td>" in make_table(("Key", "Value"), [("train.batch_size", 1024)])
        True
    """
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = ""
    for first, *rest in rows:
        cells = "".join(f"<td>{escape(to_text(cell))}</td>" for cell in rest)
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


def to_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, list):
        return " x ".join(map(str, cast(list[Any], value)))
    return f"{value:,}" if isinstance(value, int) else "-" if value is None else str(value)


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
