"""Pure ASGI: how large a body may be, of which type and coding, decided before anything parses it."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api_gateway.errors import Problem, malformed

JSON = "application/json"
ACCEPTED: dict[str, tuple[str, ...]] = {
    "/v1/auth/token": ("application/x-www-form-urlencoded",),
    "/v1/sales/batch": (JSON, "application/x-ndjson"),
    "/v1/imports": ("multipart/form-data",),
}
"""Paths whose body may be something else than JSON."""
_WITH_BODY = frozenset(["POST", "PUT", "PATCH", "DELETE"])


class BodyLimits:
    """413 above the limit, also for chunked bodies; 415 for a type that the path does not take, or a packed body.

    Args:
        app: what comes further in.
        most_bytes: the limit of every path.
        wider: path -> its own limit, for routes that take their body as a stream.
    """

    def __init__(self, app: ASGIApp, most_bytes: int, wider: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._most = most_bytes
        self._wider = wider or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in _WITH_BODY:
            length, chunked, content_type, coding = _framing(scope)
            most = self._wider.get(scope["path"], self._most)
            if length is not None and length > most:
                raise _too_large(most)
            if (length or chunked) and scope["path"].startswith("/v1/"):
                _check_type(scope["path"], content_type)
                _check_coding(coding)
            if length is None:
                receive = _counting(receive, most)
        await self._app(scope, receive, send)


def _counting(receive: Receive, most: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise _too_large(most)
        return message

    return counted


def _too_large(most: int) -> Problem:
    # The connection stays open: the server throws away what is still to come. Closing it would reset it under a
    # client that is still sending, and that client would see a broken connection and never this answer.
    return Problem(413, "too-large", "The body is too large", f"At most {most} bytes are accepted here.")


def _framing(scope: Scope) -> tuple[int | None, bool, str, str]:
    length: int | None = None
    chunked, content_type, coding = False, "", ""
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit() or len(value) > 18:
                raise malformed("Content-Length is not a number.")
            length = int(value)
        elif name == b"transfer-encoding":
            chunked = True
        elif name == b"content-type":
            content_type = value.decode("latin-1").partition(";")[0].strip().lower()
        elif name == b"content-encoding":
            coding = value.decode("latin-1").strip().lower()
    return length, chunked, content_type, coding


def _check_type(path: str, content_type: str) -> None:
    accepted = ACCEPTED.get(path, (JSON,))
    if content_type not in accepted:
        raise Problem(
            415,
            "unsupported-media-type",
            "Unsupported media type",
            f"Send {' or '.join(accepted)}.",
            headers={"Accept": ", ".join(accepted)},
        )


def _check_coding(coding: str) -> None:
    """Compressed bodies are not taken: how large one becomes is known only when it is too late."""
    if coding not in ("", "identity"):
        raise Problem(
            415,
            "unsupported-media-type",
            "Unsupported media type",
            "Send the body as it is, without Content-Encoding.",
            errors=[{"field": "Content-Encoding", "reason": "must be absent or identity"}],
            headers={"Accept-Encoding": "identity"},
        )
