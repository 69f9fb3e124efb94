"""Signals that ask a run to stop, and what TensorFlow logs while it is imported."""

import gc
import os
import signal
import sys

import pytest

from tfmnist.cli.process import stoppable, tensorflow_quietly


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_to_stop_and_the_second_ends_at_once(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stoppable() as stop:
        assert not stop.is_set()
        os.kill(os.getpid(), number)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_what_an_import_logs_is_hidden(capfd: pytest.CaptureFixture[str]) -> None:
    with tensorflow_quietly():
        os.write(2, b"a log line\n")
    print("after", file=sys.stderr, flush=True)
    assert capfd.readouterr() == ("", "after\n")
    assert gc.isenabled()


def test_what_an_import_that_fails_logs_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImportError), tensorflow_quietly():
        os.write(2, b"a log line\n")
        raise ImportError
    assert capfd.readouterr() == ("", "a log line\n")
    assert gc.isenabled()
