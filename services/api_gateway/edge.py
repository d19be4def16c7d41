"""Pure ASGI, outermost: request id, security headers, metrics, the access log, and the last net for exceptions."""

import asyncio
import re
import time
import uuid
from urllib.parse import unquote_to_bytes

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api_gateway.context import RequestContext
from services.api_gateway.errors import malformed, render, to_problem, unavailable
from shared.observability import metrics
from shared.observability.logging import bind, get_logger

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_COMMON = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
_API = (*_COMMON, (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"))
_API_V1 = (*_API, (b"cache-control", b"no-store"))
_DOCS = (
    *_COMMON,
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        b"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
)
_QUIET = frozenset(["/health/live", "/health/ready", "/metrics"])
log = get_logger(__name__)


class Edge:
    """Every answer passes here: what a route raises leaves as a problem, and nothing leaves without its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = RequestContext(_request_id(scope), bodiless=scope["method"] == "HEAD")
        scope["iacrm"] = context
        # The server runs each request in a context of its own, so nothing has to be taken back.
        bind(request_id=context.request_id)
        exchange = _Exchange(scope, context, send)
        # A HEAD is a GET for everything further in; the scope of the server, and so its framing, stays as it is.
        served = scope if scope["method"] != "HEAD" else {**scope, "method": "GET"}
        metrics.HTTP_IN_FLIGHT.inc()
        try:
            _refuse_unreadable(scope)
            await self._app(served, receive, exchange.send)
        except Exception as error:
            await exchange.fail(error, receive)
        except asyncio.CancelledError as error:
            await exchange.cut_off(error, receive)
        finally:
            if served is not scope:
                scope["route"] = served.get("route")
            metrics.HTTP_IN_FLIGHT.dec()
            exchange.account()


class _Exchange:
    """One request and its answer."""

    __slots__ = ("_context", "_scope", "_send", "_started_at", "_status")

    def __init__(self, scope: Scope, context: RequestContext, send: Send) -> None:
        self._scope, self._context, self._send = scope, context, send
        self._started_at = time.perf_counter()
        self._status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            path = self._scope["path"]
            fixed = _API_V1 if path.startswith("/v1/") else _DOCS if path.startswith("/docs") else _API
            message["headers"] = [
                *message["headers"],
                *fixed,
                (b"x-request-id", self._context.request_id.encode()),
                *self._context.headers,
            ]
        elif self._scope["method"] == "HEAD":
            message = {**message, "body": b""}
        await self._send(message)

    async def fail(self, error: Exception, receive: Receive) -> None:
        problem = to_problem(error)
        if problem.status_code == 500:
            log.error("request failed", path=_route(self._scope), exc_info=error)
        if self._status:
            raise error  # the answer has begun: only cutting the connection tells the client
        await render(problem, self._scope)(self._scope, receive, self.send)

    async def cut_off(self, error: asyncio.CancelledError, receive: Receive) -> None:
        """The server cancels what still runs when its grace period ends; a client then hears that it may try again."""
        if self._status:
            raise error
        detail = "This process is stopping, and the request was cut off; whether it was carried out is not known."
        await self.fail(unavailable(detail), receive)

    def account(self) -> None:
        """Counts the request, and logs it unless it is a fact like thousands of others."""
        seconds = time.perf_counter() - self._started_at
        method, route = self._scope["method"], _route(self._scope)
        if method not in _METHODS:
            method = "other"
        _counter(method, route, self._status).inc()
        _histogram(method, route).observe(seconds)
        if self._scope["path"] in _QUIET or (self._status == 202 and route.startswith("/v1/sales")):
            return
        write = log.warning if self._status >= 500 else log.info
        write("request", method=method, route=route, status=self._status, ms=round(seconds * 1000, 1))


_METHODS = frozenset(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
_counters: dict[tuple[str, str, int], Counter] = {}
_histograms: dict[tuple[str, str], Histogram] = {}


def _counter(method: str, route: str, status: int) -> Counter:
    # Children are kept here because looking them up by label costs as much as the rest of the accounting.
    key = (method, route, status)
    found = _counters.get(key)
    if found is None:
        found = _counters[key] = metrics.HTTP_REQUESTS.labels(method, route, str(status))
    return found


def _histogram(method: str, route: str) -> Histogram:
    key = (method, route)
    found = _histograms.get(key)
    if found is None:
        found = _histograms[key] = metrics.HTTP_SECONDS.labels(method, route)
    return found


def _refuse_unreadable(scope: Scope) -> None:
    """Servers put U+FFFD in the place of bytes that are not UTF-8: ids in such a path would not be what was sent.

    Raises:
        Problem: 400.
    """
    raw = scope.get("raw_path") or b""
    if b"%" in raw:
        try:
            unquote_to_bytes(raw).decode()
        except UnicodeDecodeError:
            raise malformed("The path is not UTF-8.", [{"field": "", "reason": "the path must be UTF-8"}]) from None


def _route(scope: Scope) -> str:
    """The route's template, a closed set: never the path itself."""
    return str(getattr(scope.get("route"), "path", "unknown"))


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            return str(value.decode())
    return uuid.uuid4().hex
