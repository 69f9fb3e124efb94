"""The server: uvicorn, shut down on SIGTERM or SIGINT without losing an accepted request."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.types import ASGIApp

from tfmnist.errors import InputError

if TYPE_CHECKING:
    from tfmnist.serving.service import Service

_GRACE = 1.0  # seconds for clients and load balancers to notice that it is not ready
_LAST = 1.0  # seconds for requests on the last connections
_SO_ATTACH_FILTER = 26  # Linux
_BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket bound to an address, not yet listening; port 0 lets the system choose one.

    Raises:
        InputError: the port is out of range or in use, or the host is not an address of this machine.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: expected 0 to 65535, 0 for any free one.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise InputError(f"--host {host}: not known; expected an address of this machine, such as 127.0.0.1.") from None
    bound = socket.socket(family, kind, protocol)
    if os.name == "posix":  # on Windows it would let two servers share the port
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise InputError(f"--host {host} --port {port}: {error.strerror}; choose another --port, or --host.") from None
    return bound


def serve(app: ASGIApp, service: "Service", bound: socket.socket, on_start: Callable[[], None] = lambda: None) -> None:
    """Serves until SIGTERM or SIGINT, then reports that it is not ready, drains and returns.

    Args:
        app: the application.
        service: the service behind it.
        bound: the socket, from `bind`.
        on_start: called once connections are accepted.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        loop="asyncio",
        ws="none",
        lifespan="off",
        backlog=_BACKLOG,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(service.limits.seconds) + 5,
    )
    _Server(config, service, on_start).run([bound])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: "Service", on_start: Callable[[], None]):
        super().__init__(config)
        self._service, self._on_start = service, on_start

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit  # at the second signal
        self.should_exit = self._service.is_stopping = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn raises the signal again at the end, so the exit code would not be 0
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Gives clients time to leave, as each response now closes its connection, then stops accepting."""
        until = time.monotonic() + _GRACE
        while time.monotonic() < until and not self.force_exit:
            await asyncio.sleep(0.05)
        await self._stop_listening(sockets or [])
        await super().shutdown(sockets)

    async def _stop_listening(self, sockets: list[socket.socket]) -> None:
        """Closes the sockets after taking the connections the system has accepted, which would be reset."""
        waiting: list[socket.socket] = []
        for listening in sockets:
            _accept_no_more(listening)
            with contextlib.suppress(BlockingIOError):
                while True:
                    waiting.append(listening.accept()[0])
        for server in self.servers:
            server.close()
        for connection in waiting:
            connection.setblocking(False)
            with contextlib.suppress(OSError):  # the client has gone
                await asyncio.get_running_loop().connect_accepted_socket(self._make_protocol, connection)
        until = time.monotonic() + _LAST
        while self.server_state.connections and time.monotonic() < until and not self.force_exit:
            await asyncio.sleep(0.02)

    def _make_protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)


def _accept_no_more(listening: socket.socket) -> None:
    """Makes Linux ignore new connections, with a filter that drops every packet; pending ones stay."""
    if sys.platform == "linux":
        drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))  # one instruction: return 0
        with contextlib.suppress(OSError):  # not permitted; connections of the last microseconds are reset
            program = struct.pack("HP", 1, ctypes.addressof(drop_all))
            listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
