"""What all figures share: colours, sizes, the sheet, and how one is written."""

# Matplotlib's stubs leave most keyword arguments untyped.
# pyright: reportUnknownMemberType=false

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Ints, Floats, Bytes = NDArray[np.integer], NDArray[np.floating], NDArray[np.uint8]
BLUE, VERMILION, GREEN, INK, QUIET, LIGHT = "#0072B2", "#D55E00", "#009E73", "#222222", "#5f6670", "#e3e6ea"
EDGE, DPI = "#b8bec6", 150
WIDTH = 6.8  # inches: on a phone's screen of 390 pixels, text of 10 points is still 8 pixels high
TITLE: dict[str, Any] = {"loc": "left", "fontsize": 11, "fontweight": "bold", "color": INK, "pad": 8}

LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 10, "labelcolor": INK}


def save(figure: "Figure", path: Path | str) -> None:
    """Writes a figure as PNG with 150 dots an inch; the same figure gives the same bytes.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from tfmnist.reports.pictures import plot_images
        >>> with TemporaryDirectory() as folder:
        ...     save(plot_images(np.zeros([1, 28, 28], np.uint8), ["zero"]), f"{folder}/row.png")
    """
    with warnings.catch_warnings():  # a class name in a script that the font lacks is drawn as boxes, quietly
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})


def make_figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09, wspace=0.02, hspace=0.03)
    return Figure(figsize=(width, height), layout=layout, facecolor="white")


def shorten(name: str, longest: int = 16) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


def dress(axes: "Axes", title: str, x: str = "", y: str = "") -> None:
    """Gives axes a light grid behind the data, no box and readable text."""
    axes.set_title(title, **TITLE)
    axes.set_xlabel(x, fontsize=10, color=QUIET)
    axes.set_ylabel(y, fontsize=10, color=QUIET)
    axes.grid(color=LIGHT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(EDGE)
    axes.tick_params(which="both", labelsize=10, color=LIGHT, labelcolor=QUIET)


def short_number(value: float) -> str:
    """Returns a number in at most four digits.

    Example:
        >>> short_number(1e-05), short_number(0.5), short_number(1024), short_number(100000.0)
        ('1e-5', '0.5', '1024', '1e5')
    """
    if value == round(value) and abs(value) < 1e5:
        return f"{value:.0f}"
    digits, e, power = f"{value:.4g}".partition("e")
    if abs(value) >= 1e5 and not e:
        digits, e, power = f"{value:.3e}".partition("e")
        digits = digits.rstrip("0").rstrip(".")
    return f"{digits}e{int(power)}" if e else digits
