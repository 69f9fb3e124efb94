"""Where there are lines only, and where something can be updated in place."""

import sys
import threading
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from tfmnist.system import consoles
from tfmnist.system.consoles import open_consoles


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A terminal, a notebook with or without widgets, or a file."""
    monkeypatch.setattr(Console, "is_terminal", property(lambda self: self._force_terminal is not False))
    if request.param == "file":
        monkeypatch.setattr(Console, "is_terminal", False)
    if "notebook" in request.param:
        monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
        monkeypatch.setattr(consoles, "find_spec", lambda name: name if request.param.endswith("widgets") else None)
    return request.param


@pytest.mark.parametrize("place", ["terminal", "notebook with widgets", "notebook", "file"], indirect=True)
def test_a_terminal_and_a_notebook_with_widgets_update_in_place(
    place: str, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    lines, live = open_consoles()
    assert (live is not None) == (place in ("terminal", "notebook with widgets"))
    assert (lines is live) == (place == "terminal")
    lines.print("a [b] :smile: 1")
    assert capsys.readouterr() == ("a [b] :smile: 1\n", "") and not recwarn.list
    assert open_consoles(quiet=True)[1] is None


@pytest.mark.parametrize("place", ["terminal"], indirect=True)
def test_only_the_main_thread_updates_in_place_and_only_once(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    opened: list[Any] = []
    thread = threading.Thread(target=lambda: opened.append(open_consoles()))
    thread.start()
    thread.join()
    with Live("live", console=open_consoles()[1], auto_refresh=False):
        opened.append(open_consoles())
    assert [live for _, live in opened] == [None, None]
    capsys.readouterr()
    opened[0][0].print("a line")
    assert capsys.readouterr().out == "a line\n"


def test_nothing_breaks_without_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    lines, live = open_consoles()
    lines.print("nobody sees this")
    assert live is None
