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
    """Keeps off the screen what TensorFlow logs while it is imported, which none of its settings does; and Keras out.

    TensorFlow imports Keras, and with it a plotting library, only to offer them: without, most of a second is saved.
    """
    if "tensorflow" not in sys.modules:
        sys.modules.setdefault("keras", None)  # type: ignore[arg-type]
    gc.disable()  # an import leaves a million objects and no garbage: a fifth of its time went into looking for some
    sys.stderr.flush()
    if sys.stdout.isatty():
        print("starting TensorFlow", end="", flush=True)
    kept = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            raise
        finally:
            gc.freeze()
            gc.enable()
            os.dup2(kept, 2)
            os.close(kept)
            if sys.stdout.isatty():
                print("\r\x1b[2K", end="", flush=True)


@contextlib.contextmanager
def stoppable() -> Iterator[threading.Event]:
    """Gives what SIGTERM or SIGINT sets, so that what runs can save and stop; a second one ends it at once."""
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
