"""`tfmnist serve`."""

import contextlib
import importlib.util
import logging
import os
import re
import signal
import sys
from typing import Annotated

from tyro.conf import Positional, arg

from tfmnist.cli.commands import finish
from tfmnist.cli.process import tensorflow_quietly
from tfmnist.errors import InputError
from tfmnist.system.machine import MOST_THREADS, processors

_PACKAGES = ("starlette", "uvicorn", "prometheus_client", "orjson")


def serve(
    model: Annotated[str, Positional, arg(metavar="MODEL")],
    host: str = "127.0.0.1",
    port: int = 8501,
    name: str = "tfmnist",
    token: Annotated[str, arg(help_behavior_hint="(default: $TFMNIST_TOKEN)")] = "",
    threads: int = 0,
    batching: bool = True,
    queue: int = 1024,
    most_rows: int = 10_000,
    most_megabytes: float = 32.0,
    timeout: float = 30.0,
    check_seconds: float = 2.0,
    allow_origin: Annotated[tuple[str, ...], arg(metavar="ORIGIN...", help_behavior_hint="")] = (),
    access_log: bool = True,
) -> None:
    """Serves an exported model over HTTP, with a page to draw on.

    It speaks TensorFlow Serving's REST API and the Open Inference Protocol;
    /docs lists all routes.

    Args:
        model: A run folder, a model folder, or one version of a model.
        host: The address to listen on; 0.0.0.0 for all networks.
        port: The port to listen on; 0 for any free one.
        name: The model's name in URLs.
        token: Bearer token that requests must carry.
        threads: Number of batches computed at a time; 0 for one per processor.
        batching: Compute waiting requests together.
        queue: Maximum waiting requests; further ones are refused with 429.
        most_rows: Maximum images per request; more are refused with 400.
        most_megabytes: Maximum size of a request; more is refused with 413.
        timeout: Seconds to answer a request, after which it gets 504.
        check_seconds: Seconds between checks for a new version.
        allow_origin: Other sites whose pages may call the service, such as https://example.org, or * for all.
        access_log: Write a line for each request to standard error.
    """
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise InputError(f"serve needs {package}, which is not installed: pip install 'tfmnist[serving]'")
    if not re.fullmatch(r"[^\s/:?#%]+", name) or not name.isprintable():
        raise InputError(f"--name {name!r}: expected a name without spaces or / : ? # %")
    for option, value, least, most in (
        ("threads", threads, 0, MOST_THREADS),
        ("queue", queue, 1, 1_000_000),
        ("most-rows", most_rows, 1, 1_000_000),
        ("most-megabytes", most_megabytes, 0.001, 2000),
        ("timeout", timeout, 0.001, 86_400),
        ("check-seconds", check_seconds, 0.01, 86_400),
    ):
        if not least <= value <= most:
            raise InputError(f"--{option} {value:g}: expected {least:g} to {most:,}.")
    token = token or os.environ.get("TFMNIST_TOKEN", "")
    if not re.fullmatch("[!-~]*", token):
        raise InputError("--token: expected ASCII characters without spaces.")
    from tfmnist.runs.saved import find_model
    from tfmnist.serving.server import bind

    with contextlib.closing(bind(host, port)) as bound:  # fails before TensorFlow starts
        finish(model)
        find_model(model)
        for number in (signal.SIGTERM, signal.SIGINT):  # until the server has its own handlers
            signal.signal(number, lambda *_: sys.exit(0))
        with tensorflow_quietly():
            from tfmnist.serving.app import make_app
            from tfmnist.serving.models import ServedModel
            from tfmnist.serving.server import serve as run
            from tfmnist.serving.service import Limits, Service
            from tfmnist.training.threads import set_threads

        _log(access_log)
        set_threads(1)  # more requests per second than with several per operation
        served = ServedModel(model, name)
        served.watch(check_seconds)
        limits = Limits(body=int(most_megabytes * 1e6), rows=most_rows, queue=queue, seconds=timeout)
        service = Service(served, limits, threads or processors(), batching, token)
        address, number = bound.getsockname()[:2]
        started = f"{name}: http://{f'[{address}]' if ':' in address else address}:{number}"
        run(make_app(service, origins=allow_origin), service, bound, lambda: print(started, flush=True))
        service.close()


def _log(access: bool) -> None:
    """Sends the service's log to standard error, one line per event."""
    log = logging.getLogger("tfmnist.serving")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(logging.INFO)
    log.getChild("access").setLevel(logging.INFO if access else logging.WARNING)
