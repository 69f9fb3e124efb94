"""The style of all figures, and what importing them costs."""

import subprocess
import sys

from tfmnist.reports.style import short_number, shorten


def test_importing_is_cheap() -> None:
    code = "import sys, tfmnist.reports; print([name for name in ('matplotlib', 'tensorflow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_long_names_are_cut() -> None:
    assert (shorten("exactly16letters"), shorten("one letter too long", 18)) == (
        "exactly16letters",
        "one letter too lo…",
    )


def test_short_numbers() -> None:
    values = (0, 0.5, 1e-05, 0.00123456, 1024, 99999, 1e5, 123456, 123456.7, 5e9, -2.5e-7)
    assert [short_number(value) for value in values] == [
        "0", "0.5", "1e-5", "0.001235", "1024", "99999", "1e5", "1.235e5", "1.235e5", "5e9", "-2.5e-7"
    ]  # fmt: skip
