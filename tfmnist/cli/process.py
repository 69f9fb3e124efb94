"""What a command sets up in its process: signals that stop a run, and a quick import of TensorFlow."""

import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def tensorflow_quietly() -> Iterator[None]:
    """Says that TensorFlow is starting while the block imports it, and skips parts that a command does not need.

    TensorFlow imports Keras, and with it a plotting library, only to re-export it; skipping it saves most of a second.
    """
    if "tensorflow" not in sys.modules:
        sys.modules.setdefault("keras", None)  # type: ignore[arg-type]
    gc.disable()  # an import makes a million objects and no garbage, and spends a fifth of its time looking for it
    if sys.stdout.isatty():
        print("starting TensorFlow", end="", flush=True)
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        if sys.stdout.isatty():
            print("\r\x1b[2K", end="", flush=True)


@contextlib.contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Yields an event that SIGTERM or SIGINT sets, so that a run can save and stop; a second one ends it at once."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
