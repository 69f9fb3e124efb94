"""The service: a model, its compute threads and request limits, and a handler for each kind of request."""

import asyncio
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from tfmnist.errors import InputError
from tfmnist.photos.status import Status
from tfmnist.serving import rest_v1
from tfmnist.serving.batcher import Batcher
from tfmnist.serving.messages import RequestError, compress, decompress, to_json
from tfmnist.serving.metrics import Metrics
from tfmnist.serving.models import ServedModel, Signature
from tfmnist.serving.rest_v2 import V2
from tfmnist.serving.tensors import Array, count_rows


@dataclass(frozen=True)
class Limits:
    """Limits on each request and on the queue."""

    body: int = 32_000_000  # bytes, before and after decompression
    rows: int = 10_000  # images per request
    batch: int = 256  # images computed together
    queue: int = 1024  # requests waiting to be computed
    seconds: float = 30.0  # to receive a body, and to answer
    held: int = 512_000_000  # bytes of all bodies in memory


@dataclass
class Service:
    """Answers requests to a model.

    Attributes:
        model: the served model.
        limits: the request limits.
        threads: number of batches computed at a time.
        batching: whether requests are computed together.
        token: the token that requests must carry, if any.
        is_stopping: whether it is shutting down; it still answers, but is not ready.
    """

    model: ServedModel
    limits: Limits = field(default_factory=Limits)
    threads: int = 1
    batching: bool = True
    token: str = ""
    is_stopping: bool = False
    _held: int = 0

    def __post_init__(self) -> None:
        self.metrics = Metrics(lambda: self.batcher.waiting, lambda: getattr(self.model.current, "number", 0))
        self.batcher = Batcher(
            self.threads,
            most_rows=self.limits.batch,
            most_waiting=self.limits.queue,
            batching=self.batching,
            observe=self.metrics.observe_batch,
        )
        self._v2 = V2(
            self.model,
            self.compute,
            self.limits.rows,
            lambda: not self.is_stopping,
            self.metrics.statistics,
            asyncio.to_thread,
        )

    def close(self) -> None:
        """Stops the threads."""
        self.model.close()
        self.batcher.close()

    def check_token(self, headers: Mapping[str, str]) -> None:
        """Raises a RequestError, 401, unless the headers carry the token."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self.token.encode())
        if self.token and not (is_right and scheme.lower() == "bearer"):
            raise RequestError(401, "expected the header 'Authorization: Bearer TOKEN' with this server's token")

    async def compute(self, signature: Signature, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Returns the outputs of a signature, computed in a batch.

        Raises:
            RequestError: 400 for too many rows, 429 or 504 under overload, or TensorFlow's own error.
        """
        if (rows := count_rows(inputs.values())) > self.limits.rows:
            raise RequestError(400, f"the request has {rows:,} rows: expected at most {self.limits.rows:,}")
        return await self.batcher.compute(signature, inputs, self.limits.seconds)

    async def answer_v1(self, request: Request) -> Response:
        """Answers a request under /v1."""
        with _Body(self, request) as body:
            path, note = _raw_path(request), _noter(request)
            return _respond(
                request, await rest_v1.answer(request.method, path, body.read, self.model, self.compute, note)
            )

    async def answer_v2(self, request: Request) -> Response:
        """Answers a request under /v2."""
        with _Body(self, request) as body:
            path, note = _raw_path(request), _noter(request)
            answer = await self._v2.answer(request.method, path, request.headers, body.read, note)
            return _respond(request, answer.body, answer.code, answer.headers)

    async def read_picture(self, request: Request) -> Response:
        """Answers with the number read from a picture file."""
        with _Body(self, request) as body:
            content, version = await body.read(), self.model.find()
            try:
                found = await self.batcher.run(lambda: version.read(content), self.limits.seconds)
            except InputError as error:
                raise RequestError(501, str(error)) from None
            if found["status"] == Status.TOO_LARGE:
                return _respond(request, to_json({**found, "error": found["message"]}), 400)
            return _respond(request, to_json(found))

    async def show_metrics(self, request: Request) -> Response:
        """Answers with the metrics."""
        text, content_type = self.metrics.expose(request.headers.get("accept", ""))
        return Response(text, media_type=content_type)

    def hold(self, size: int) -> None:
        """Counts bytes of bodies in memory, negative once freed; raises a RequestError, 429, over the limit."""
        self._held += size
        if size > 0 and self._held > self.limits.held:
            raise RequestError(429, "the bodies of other requests fill the server's memory; try again later")


class _Body:
    """The body of a request, in memory while the request is answered."""

    def __init__(self, service: Service, request: Request):
        self._service, self._request, self._held = service, request, 0

    def __enter__(self) -> "_Body":
        return self

    def __exit__(self, *_: object) -> None:
        self._service.hold(-self._held)

    async def read(self) -> bytes:
        """Returns the body, decompressed.

        Raises:
            RequestError: 413 if it is too large, 408 if it arrives too slowly, 400 if it is truncated.
        """
        limits, parts = self._service.limits, list[bytes]()
        length = self._request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > limits.body:
            raise _too_long(limits.body)
        try:
            async with asyncio.timeout(limits.seconds):
                async for part in self._request.stream():
                    self._held += len(part)
                    self._service.hold(len(part))
                    if self._held > limits.body:
                        raise _too_long(limits.body)
                    parts.append(part)
        except TimeoutError:
            raise RequestError(
                408, f"the body did not arrive within {limits.seconds:g} s; send less at a time"
            ) from None
        except ClientDisconnect:
            raise RequestError(400, "the body is truncated") from None
        body = b"".join(parts)
        if encoding := self._request.headers.get("content-encoding", ""):
            body = decompress(body, encoding, limits.body)
            self._held += len(body)
            self._service.hold(len(body))
        return body


def _too_long(most: int) -> RequestError:
    return RequestError(413, f"the body exceeds {most:,} bytes; send less at a time")


def _noter(request: Request) -> Callable[[str], None]:
    return lambda route: request.scope.__setitem__("tfmnist.route", route)


def _raw_path(request: Request) -> str:
    return request.scope.get("raw_path", b"").decode("latin-1").partition("?")[0]


def _respond(
    request: Request, body: bytes, code: int = 200, headers: Mapping[str, str] = {"content-type": "application/json"}
) -> Response:
    body, encoding = compress(body, request.headers.get("accept-encoding", ""))
    return Response(body, code, {**headers, **({"content-encoding": encoding} if encoding else {})})
