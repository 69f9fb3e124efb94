"""Keeps what TensorFlow logs during its import off the screen, for which it has no setting, and other logs like it."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_LOG = re.compile(
    rb"[IWE]\d{4} |WARNING: All log messages before absl|To enable the following instructions"
    rb"|INFO: Created TensorFlow Lite|fully_quantize: "
)
_QUIET = "3"  # for TF_CPP_MIN_LOG_LEVEL: only fatal errors; other failures are exceptions


def hide_import_log() -> None:
    """Hides the log of TensorFlow's first import, by whichever module, and sets its log level to 3 for what follows.

    Nothing is hidden or set if TensorFlow is imported already, or if `TF_CPP_MIN_LOG_LEVEL` is set to less than 3.
    """
    if "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _TensorFlowFinder)


class _TensorFlowFinder(PathFinder):
    """Finds TensorFlow where it is, and loads it with its log hidden."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = super().find_spec(fullname, path, target) if fullname == "tensorflow" else None
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_quietly(module: ModuleType) -> None:
            if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _QUIET) != _QUIET:
                return load(module)
            with log_hidden():
                load(module)

        spec.loader.exec_module = load_quietly
        return spec


@contextmanager
def log_hidden(log: re.Pattern[bytes] = _LOG, *, on_failure: bool = False) -> Iterator[None]:
    """Holds back standard error until the block ends, then writes it without a log, by default TensorFlow's.

    Args:
        log: matches the beginnings of its lines.
        on_failure: whether to hide it if the block fails, too.
    """
    with ExitStack() as stack:
        try:
            held = stack.enter_context(tempfile.TemporaryFile())
            stderr = os.dup(2)
        except OSError:  # no folder for temporary files can be written to, or there is no standard error
            yield
            return
        if sys.stderr:
            sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        has_failed = True
        try:
            yield
            has_failed = False
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if (has_failed and not on_failure) or not log.match(line):
                    os.write(2, line)
