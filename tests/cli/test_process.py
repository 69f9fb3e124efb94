"""Signals that ask a run to stop, and what a command leaves out of the import of TensorFlow."""

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


def test_an_import_leaves_keras_out_and_garbage_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tensorflow")
    monkeypatch.delitem(sys.modules, "keras")
    with tensorflow_quietly():
        assert sys.modules["keras"] is None and not gc.isenabled()
    assert gc.isenabled()
