"""The consoles for progress in a terminal, a notebook, or a file."""

import sys
import threading
from functools import partial
from importlib.util import find_spec
from typing import IO, cast

from rich.console import Console
from rich.file_proxy import FileProxy


def open_consoles(*, quiet: bool = False, soft_wrap: bool = False) -> tuple[Console, Console | None]:
    """Returns a console for lines of plain text, and one for what is updated in place, or None where that cannot be.

    In a terminal, both are the same. A notebook updates in place if `ipywidgets` is installed. Only one live display
    fits on the screen: while another one is shown, and in threads other than the main one, there are only lines.

    Args:
        quiet: True to show nothing.
        soft_wrap: True to let the terminal wrap long lines.
    """
    plain = partial(Console, highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap, quiet=quiet)
    console = plain()
    can_update = bool(find_spec("ipywidgets")) if console.is_jupyter else console.is_terminal
    is_free = threading.current_thread() is threading.main_thread() and not isinstance(sys.stdout, FileProxy)
    live = console if can_update and is_free and not quiet else None
    if console.is_jupyter:  # it sets FORCE_COLOR, which makes rich take it for a terminal
        return plain(force_jupyter=False, force_terminal=False), live
    return (console, live) if live else (plain(file=cast(IO[str], _Output()), force_terminal=False), None)


class _Output:
    """Writes like `print`; a rich console would write into the lines of another console's live display."""

    def write(self, text: str) -> None:
        print(text, end="")

    def flush(self) -> None:
        print(end="", flush=True)
