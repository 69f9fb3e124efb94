"""The style of all figures, and what importing them costs."""

import subprocess
import sys

from tfmnist.reports.style import shorten


def test_importing_is_cheap() -> None:
    code = "import sys, tfmnist.reports; print([name for name in ('matplotlib', 'tensorflow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_long_names_are_cut() -> None:
    assert (shorten("exactly16letters"), shorten("one letter too long", 18)) == (
        "exactly16letters",
        "one letter too lo…",
    )
