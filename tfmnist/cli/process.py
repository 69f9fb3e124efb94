"""What a command sets up in its process: signals that stop a run, and a quiet import of TensorFlow."""

import contextlib
import gc
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def tensorflow_quietly() -> Iterator[None]:
    """Keeps Keras out, and TensorFlow's log off the screen, during the import; no setting of TensorFlow does.

    TensorFlow imports Keras, and with it a plotting library, only to re-export it; skipping it saves most of a second.
    """
    if "tensorflow" not in sys.modules:
        sys.modules.setdefault("keras", None)  # type: ignore[arg-type]
    gc.disable()  # an import makes a million objects and no garbage, and spends a fifth of its time looking for it
    sys.stderr.flush()
    if sys.stdout.isatty():
        print("starting TensorFlow", end="", flush=True)
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(stderr, 2)
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            raise
        finally:
            gc.freeze()
            gc.enable()
            os.dup2(stderr, 2)
            os.close(stderr)
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
