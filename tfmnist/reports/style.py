"""What all figures share: colours, sizes, axes, number formats, and saving."""

# Matplotlib's stubs leave most keyword arguments untyped.
# pyright: reportUnknownMemberType=false

import warnings
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tfmnist.errors import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Ints, Floats, Bytes = NDArray[np.integer], NDArray[np.floating], NDArray[np.uint8]
BLUE, VERMILION, GREEN, INK, QUIET, LIGHT = "#0072B2", "#D55E00", "#009E73", "#222222", "#5f6670", "#e3e6ea"
EDGE, DPI = "#b8bec6", 150
WIDTH = 6.8  # inches: on a phone's screen of 390 pixels, text of 10 points is still 8 pixels high
TITLE: dict[str, Any] = {"loc": "left", "fontsize": 11, "fontweight": "bold", "color": INK, "pad": 8}
LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 10, "labelcolor": INK}
LINE: dict[str, Any] = {"linewidth": 1.8, "markersize": 5, "markeredgecolor": "white", "markeredgewidth": 0.8}


def save(figure: "Figure", file: Path | str | IO[bytes]) -> None:
    """Writes a figure as PNG with 150 dots per inch; the same figure always yields the same bytes."""
    # names in a script that the font lacks are drawn as boxes, quietly; catch_warnings would not be safe in a thread
    warnings.filterwarnings("ignore", "Glyph", module="tfmnist")
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})


def make_figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09, wspace=0.02, hspace=0.03)
    return Figure(figsize=(width, height), layout=layout, facecolor="white")


def make_axes(height: float, title: str, x: str = "", y: str = "", width: float = WIDTH) -> tuple["Figure", "Axes"]:
    """Returns a figure with one pair of axes."""
    figure = make_figure(width, height)
    axes = figure.add_subplot()
    dress(axes, title, x, y)
    return figure, axes


def dress(axes: "Axes", title: str, x: str = "", y: str = "") -> None:
    """Gives axes a light grid behind the data, no box, and readable text without mathematical notation."""
    axes.set_title(title, parse_math=False, **TITLE)
    axes.set_xlabel(x, fontsize=10, color=QUIET, parse_math=False)
    axes.set_ylabel(y, fontsize=10, color=QUIET, parse_math=False)
    axes.grid(color=LIGHT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(EDGE)
    axes.tick_params(which="both", labelsize=10, color=LIGHT, labelcolor=QUIET)


def name_rows(axes: "Axes", names: list[str], every: int = 1) -> None:
    """Names every, or every n-th, row of axes whose y counts them from 0 downwards."""
    axes.set_yticks(range(0, len(names), every), names[::every], fontsize=10, parse_math=False, color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)


def whole_ticks(axes: "Axes") -> None:
    """Gives the x axis whole numbers as ticks."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def shorten(name: str, longest: int = 16) -> str:
    name = printable(name)
    return name if len(name) <= longest else name[: longest - 1] + "…"


def short_number(value: float) -> str:
    """Returns a number in at most four digits.

    Example:
        >>> short_number(1e-05), short_number(0.5), short_number(1024), short_number(100000.0)
        ('1e-5', '0.5', '1024', '1e5')
    """
    if value == round(value) and abs(value) < 1e5:
        return f"{value:.0f}"
    digits, e, power = f"{value:.4g}".partition("e")
    return f"{digits}e{int(power)}" if e else digits
