"""Self-contained HTML pages: Jinja templates, embedded figures, and clear errors for damaged input files."""

import base64
import zipfile
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from tfmnist.errors import InputError
from tfmnist.reports.style import save
from tfmnist.system.files import one_line, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@contextmanager
def checked(folder: Path, remedy: str, if_damaged: str = "") -> Generator[Callable[[str], Path]]:
    """Yields a function from a file's name to its path; an error in the block becomes one line about the last file.

    The line ends with the remedy, which may be another one for a file that is there but damaged.
    """
    last = folder

    def file(name: str) -> Path:
        nonlocal last
        last = folder / name
        return last

    try:
        yield file
        return
    except FileNotFoundError:
        reason, if_damaged = "missing", ""
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        reason = "damaged: " + " ".join(map(str, (*first["loc"], first["msg"])))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else one_line(error)
        reason = "damaged: " + what.removeprefix("damaged: ")
    raise InputError(f"{last}: {reason}; {if_damaged or remedy}")


@dataclass(frozen=True)
class Picture:
    """A figure as a page embeds it."""

    source: str  # a data URI
    width: int  # in CSS pixels
    height: int


def save_figures(figures: Mapping[str, "Figure"], folder: Path) -> dict[str, Picture]:
    """Writes each figure as `folder/NAME.png`, and returns them by name, ready to be embedded."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, Picture] = {}
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        save(figure, path)
        width, height = (round(float(inches) * 100) for inches in figure.get_size_inches())
        source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
        pictures[name] = Picture(source, width, height)
    return pictures


def write_page(path: Path, template: str, values: Mapping[str, Any]) -> Path:
    """Renders one of the templates in `templates/` to a file, whole or not at all, and returns the file's path."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, text=to_text)  # pyright: ignore[reportUnknownMemberType]
    write_whole(path, environment.get_template(template).render(values))
    return path


def percent(fraction: float) -> str:
    """Returns a fraction as a percentage."""
    return f"{100 * fraction:.2f}\N{NO-BREAK SPACE}%"


def to_text(value: Any) -> str:
    """Returns a value as a table shows it."""
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, list):
        return " x ".join(map(str, cast(list[Any], value)))
    return f"{value:,}" if isinstance(value, int) else "-" if value is None else str(value)
