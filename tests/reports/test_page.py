"""Pages: templates escape what they show and fail on what is missing; figures are embedded; errors are one line."""

import base64
import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError
from matplotlib.figure import Figure
from pydantic import TypeAdapter

from tfmnist.errors import InputError
from tfmnist.reports.page import checked, percent, save_figures, to_text, write_page


def test_the_frame_holds_its_style(tmp_path: Path) -> None:
    text = write_page(tmp_path / "page.html", "page.html", {}).read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and "prefers-color-scheme: dark" in text
    assert "http" not in text and "<script" not in text


def test_a_missing_value_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UndefinedError, match="result"):
        write_page(tmp_path / "page.html", "run.html", {})
    assert list(tmp_path.iterdir()) == []


def test_figures_are_written_and_embedded(tmp_path: Path) -> None:
    pictures = save_figures({"empty": Figure(figsize=(2, 1.5))}, tmp_path / "figures")
    content = (tmp_path / "figures" / "empty.png").read_bytes()
    assert pictures["empty"].source == f"data:image/png;base64,{base64.b64encode(content).decode()}"
    assert (pictures["empty"].width, pictures["empty"].height) == (200, 150)


def raising(error: Exception) -> Callable[[], Any]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda: Path("no/such/file").read_text(), "missing"),
        (lambda: json.loads("{"), "damaged: Expecting property name"),
        (lambda: TypeAdapter(list[int]).validate_python([1, "one"]), "damaged: 1 Input should be a valid integer"),
        (raising(KeyError("some key")), "damaged: it has no 'some key'"),
        (raising(zlib.error("two\nlines")), "damaged: two lines"),
    ],
)
def test_an_error_names_the_last_file(act: Callable[[], Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught, checked(tmp_path, "try again.") as file:
        file("whole.json")
        file("other.json")
        act()
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/other.json: {reason}") and message.endswith("; try again.")
    assert "\n" not in message


def test_templates_are_loaded_only_for_a_page() -> None:
    code = "import sys, tfmnist.reports.page; sys.exit('jinja2' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_values_as_text() -> None:
    assert [to_text(value) for value in (1024, 0.5, [28, 28], None, "a")] == ["1,024", "0.50", "28 x 28", "-", "a"]
    assert percent(0.98765) == "98.77\xa0%"
