"""The web application: routes, and the headers, log line and metrics of every response."""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, request_response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tfmnist.serving.messages import RequestError
from tfmnist.serving.openapi import describe_routes
from tfmnist.serving.service import Service

log = logging.getLogger("tfmnist.serving")
access = logging.getLogger("tfmnist.serving.access")

PAGE = Path(__file__).parent / "page"
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
_OPEN = ("/", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready")  # no token needed


def make_app(service: Service, *, origins: Sequence[str] = (), page: Path = PAGE) -> ASGIApp:
    """Returns the application.

    Args:
        service: answers the requests.
        origins: other sites whose pages may call it, such as https://example.org; "*" for all.
        page: the folder that holds the drawing page and /docs.
    """

    async def show_page(request: Request) -> Response:
        index = page / "index.html"
        if "text/html" in request.headers.get("accept", "") and index.is_file():
            return FileResponse(index, headers={"vary": "accept"})
        return JSONResponse({"status": "alive"}, headers={"vary": "accept"})

    async def show_docs(request: Request) -> Response:
        return FileResponse(page / "docs.html")

    async def show_openapi(request: Request) -> Response:
        return JSONResponse(describe_routes(service))

    async def answer_others(request: Request) -> Response:
        path = request.url.path.lower()
        if path == "/v1" or path.startswith("/v1/"):
            return await service.answer_v1(request)
        if path == "/v2" or path.startswith("/v2/"):
            return await service.answer_v2(request)
        raise RequestError(404, f"not found: {request.method} {request.url.path}", "/docs lists what there is")

    named = {
        "/": (show_page, "GET"),
        "/read": (service.read_picture, "POST"),
        "/metrics": (service.show_metrics, "GET"),
        "/monitoring/prometheus/metrics": (service.show_metrics, "GET"),
        "/docs": (show_docs, "GET"),
        "/openapi.json": (show_openapi, "GET"),
    }
    routes: list[Any] = [Route(path, handler, methods=[method]) for path, (handler, method) in named.items()]
    routes.append(Mount("/page", StaticFiles(directory=page, check_dir=False)))
    allowed = Middleware(
        CORSMiddleware, allow_origins=list(origins), allow_methods=["GET", "POST"], allow_headers=["*"],
        expose_headers=["Inference-Header-Content-Length"],
    )  # fmt: skip
    app = Starlette(
        routes=routes,
        middleware=[allowed] if origins else [],
        exception_handlers={RequestError: _explain, HTTPException: _explain_http, Exception: _explain_bug},
    )
    app.router.redirect_slashes = False
    app.router.default = request_response(answer_others)
    return _Guard(app, service, frozenset(named), origins)


class _Guard:
    """Rejects forbidden requests, adds the common headers to every response, and logs and measures it."""

    def __init__(self, app: ASGIApp, service: Service, routes: frozenset[str], origins: Sequence[str]):
        self._app, self._service, self._routes, self._origins = app, service, routes, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begin, code = time.perf_counter(), 500

        async def send_with_headers(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                if scope["path"].startswith("/page/"):
                    headers["cache-control"] = "no-cache"  # cached, but revalidated by ETag
                else:
                    headers.setdefault("cache-control", "no-store")
                if self._service.is_stopping:
                    headers["connection"] = "close"
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, send_with_headers)
        except RequestError as error:
            await _explain(Request(scope), error)(scope, receive, send_with_headers)
        except Exception:
            log.exception("a bug in %s %s", scope["method"], ascii(scope["path"]))
        seconds = time.perf_counter() - begin
        route = scope.get("tfmnist.route") or (scope["path"] if scope["path"] in self._routes else "other")
        is_inference = route.endswith((":predict", ":classify", "/infer", "/read"))
        self._service.metrics.observe_request(route, code, seconds, is_inference)
        if access.isEnabledFor(logging.INFO):
            client, path = (scope.get("client") or ("-",))[0], scope.get("raw_path", b"").decode("latin-1")
            access.info("%s %s %s %d %.1f ms", client, scope["method"], ascii(path)[1:-1], code, 1000 * seconds)

    def _check(self, scope: Scope) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        origin, site = headers.get("origin", ""), headers.get("sec-fetch-site", "")
        if site == "cross-site" and scope["method"] == "POST" and not {origin, "*"} & set(self._origins):
            raise RequestError(403, "request from a page of another site: allow it with the server's --allow-origin")
        is_open = scope["path"] in _OPEN or scope["path"].startswith("/page/") or scope["method"] == "OPTIONS"
        if not is_open:
            self._service.check_token(headers)


def _explain(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    headers = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": "1"}, 503: {"retry-after": "1"}}
    return Response(json.dumps(error.to_dict()), error.code, headers.get(error.code), "application/json")


def _explain_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{error.detail}: {request.method} {request.url.path}"
    return JSONResponse({"error": message}, error.status_code, error.headers)


def _explain_bug(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "internal error; the server's log has the details"}, 500)
