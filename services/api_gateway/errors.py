"""Every error leaves as application/problem+json (RFC 9457), whatever raised it, and never with a trace."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from services.api_gateway.problem_docs import problem_responses, type_uri
from services.api_gateway.reasons import FieldReason, field_reasons
from shared.messaging.errors import (
    BrokerUnavailable,
    IsFatal,
    IsPoison,
    IsTransient,
    PublishRejected,
    Transient,
    classify,
)
from shared.observability.logging import get_logger

__all__ = [
    "FieldReason",
    "Problem",
    "conflict",
    "forbidden",
    "install_handlers",
    "invalid",
    "invalid_fields",
    "malformed",
    "not_found",
    "problem_responses",
    "render",
    "to_problem",
    "unavailable",
    "validation_problem",
]

RETRY_AFTER_S = 2
log = get_logger(__name__)


class Problem(HTTPException):
    """An answer that is an error. It extends HTTPException so that FastAPI lets it pass while it reads a body.

    Args:
        status: HTTP status.
        slug: last part of the problem's type, in kebab case; clients may switch on it.
        title: the same sentence for every problem of this type.
        detail: what happened this time; never a secret, never somebody else's data.
        errors: offending fields with reasons.
        headers: more response headers, such as Retry-After.
        extra: more members of the JSON object, such as how far a worker is.
    """

    def __init__(
        self,
        status: int,
        slug: str,
        title: str,
        detail: str | None = None,
        *,
        errors: Sequence[FieldReason] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, detail or title, dict(headers) if headers else None)
        self.slug = slug
        self.title = title
        self.errors = list(errors)
        self.extra = dict(extra or {})


def malformed(detail: str, errors: Sequence[FieldReason] = ()) -> Problem:
    """400: the request cannot be read at all."""
    return Problem(400, "malformed", "The request cannot be read", detail, errors=errors)


def invalid(field: str, reason: str) -> Problem:
    """422 for one field that is well formed and wrong all the same."""
    return invalid_fields([{"field": field, "reason": reason}])


def invalid_fields(errors: Sequence[FieldReason]) -> Problem:
    """422 for some fields, each with its reason."""
    return Problem(
        422, "validation", "Some fields are not valid", "See errors for each field and its reason.", errors=errors
    )


def forbidden(detail: str) -> Problem:
    """403: known, but not allowed."""
    return Problem(403, "forbidden", "Not allowed", detail)


def not_found(what: str) -> Problem:
    """404, the same for what never was and for what belongs to somebody else. `what`: "customer", "product" ..."""
    return Problem(404, "not-found", "Not found", f"There is no such {what}.")


def conflict(slug: str, detail: str) -> Problem:
    """409: it clashes with what is stored."""
    return Problem(409, slug, "Conflict with what is stored", detail)


def unavailable(detail: str, retry_after_s: int = RETRY_AFTER_S) -> Problem:
    """503: something this answer needs is away; it is worth trying again."""
    return Problem(503, "unavailable", "Temporarily unavailable", detail, headers={"Retry-After": str(retry_after_s)})


def validation_problem(error: ValidationError | RequestValidationError, prefix: Sequence[str | int] = ()) -> Problem:
    """422 with every offending field, or 400 where the body is not JSON at all."""
    details = error.errors()
    if details and details[0]["type"] == "json_invalid":
        return malformed("The body is not valid JSON.", [{"field": "", "reason": "is not valid JSON"}])
    return invalid_fields(field_reasons(details, prefix))


def to_problem(error: BaseException) -> Problem:
    """The problem for any exception; what nobody expected becomes a 500 that tells nothing."""
    match error:
        case Problem():
            return error
        case HTTPException():
            return _of_http(error)
        case RequestValidationError():
            return validation_problem(error)
        case ClientDisconnect():
            # Nobody hears it; but the log and the metrics must not call a client that hangs up a defect of ours.
            return malformed("The connection ended before the body.")
    return _of_failure(error)


def _of_failure(error: BaseException) -> Problem:
    match error:
        case BrokerUnavailable():
            return unavailable("The event log does not acknowledge at the moment; nothing was accepted.")
        case PublishRejected():
            return Problem(422, "rejected", "The event log refuses this", "The record is too large for the event log.")
        case UnicodeError():
            return Problem(422, "validation", "Some fields are not valid", "A text is not valid Unicode.")
    return _of_outage(error)


def _of_outage(error: BaseException) -> Problem:
    match classify(error):
        case IsTransient():
            return unavailable("A part that this answer needs does not respond at the moment.")
        case IsPoison():
            return Problem(422, "validation", "Some fields are not valid", "A value cannot be stored.")
        case IsFatal():
            pass
    return Problem(500, "internal", "Internal error", "Something went wrong on our side; it has been logged.")


def _of_http(error: HTTPException) -> Problem:
    slug, title, detail = {
        400: ("malformed", "The request cannot be read", "The body cannot be read."),
        404: ("not-found", "Not found", "There is nothing at this path."),
        405: ("method-not-allowed", "Method not allowed", "This path does not know that method; see Allow."),
        413: ("too-large", "The body is too large", "The body is too large."),
    }.get(error.status_code, ("error", "Error", "The request was refused."))
    # The only 400 of the framework is a body that it cannot take apart.
    errors: list[FieldReason] = [{"field": "", "reason": "cannot be read"}] if error.status_code == 400 else []
    return Problem(error.status_code, slug, title, detail, errors=errors, headers=error.headers)


def render(problem: Problem, scope: Scope) -> Response:
    """The response for a problem; `instance` is the path and `request_id` the one of this request."""
    context = scope.get("iacrm")
    body: dict[str, Any] = {
        "type": type_uri(problem.slug),
        "title": problem.title,
        "status": problem.status_code,
        "detail": problem.detail,
        "instance": scope["path"].encode("utf-8", "replace").decode()[:500],
        "errors": problem.errors,
        "request_id": context.request_id if context else None,
        **problem.extra,
    }
    headers = dict(problem.headers or {})
    return Response(orjson.dumps(body), problem.status_code, headers, media_type="application/problem+json")


async def _handle(request: Request, error: Exception) -> Response:
    problem = to_problem(error)
    if problem.status_code == 405:
        problem.headers = {"Allow": _allowed(request)}
    return render(problem, request.scope)


def _allowed(request: Request) -> str:
    """Every method that this path knows: routes of one path are separate, and each only knows its own."""
    methods: set[str] = set()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0].value == 2 for route in request.app.router.routes):
            methods.add(method)
    if "GET" in methods:
        methods.add("HEAD")  # the outermost middleware makes a GET of it
    return ", ".join(sorted(methods))


def install_handlers(app: FastAPI) -> None:
    """Expected errors become problems inside the app; the outermost middleware takes what is left."""
    for kind in (Problem, HTTPException, RequestValidationError, Transient, PublishRejected):
        app.add_exception_handler(kind, _handle)
