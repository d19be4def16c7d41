"""Problems in the OpenAPI document: one schema, and one example for every status."""

from typing import Any

from pydantic import BaseModel, Field

TYPE_BASE = "https://ia-crm.example/errors/"


def type_uri(slug: str) -> str:
    """The URI that identifies a kind of problem."""
    return TYPE_BASE + slug


class OffendingField(BaseModel):
    """A field and what is wrong with it."""

    field: str = Field(description="path with dots; empty for the whole body")
    reason: str


class ProblemDocument(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = Field(description="URI of the kind of problem; switch on it")
    title: str
    status: int
    detail: str
    instance: str = Field(description="path of the request")
    errors: list[OffendingField] = Field(description="every offending field; empty where no field is to blame")
    request_id: str | None = Field(description="quote it when you ask for help")


_NUMBER = {"field": "lines.0.quantity", "reason": "must be greater than 0"}
_KINDS: dict[int, tuple[str, str, str, list[dict[str, str]]]] = {
    400: (
        "malformed",
        "The request cannot be read",
        "The body is not valid JSON.",
        [{"field": "", "reason": "is not valid JSON"}],
    ),
    401: ("unauthenticated", "Not authenticated", "Send a valid access token or API key.", []),
    403: ("forbidden", "Not allowed", "This needs the scope sales:write.", []),
    404: ("not-found", "Not found", "There is no such customer.", []),
    405: ("method-not-allowed", "Method not allowed", "This path does not know that method; see Allow.", []),
    409: ("already-exists", "Conflict with what is stored", "This code is taken.", []),
    412: ("precondition-failed", "It has changed meanwhile", "The stored version is 4; If-Match names another.", []),
    413: ("too-large", "The body is too large", "At most 5000000 bytes are accepted here.", []),
    415: ("unsupported-media-type", "Unsupported media type", "Send application/json.", []),
    422: ("validation", "Some fields are not valid", "See errors for each field and its reason.", [_NUMBER]),
    425: ("not-yet-applied", "Not applied yet", "rfm_worker has applied 1200 of 1234.", []),
    429: ("rate-limited", "Too many requests", "Wait as long as Retry-After says.", []),
    503: ("unavailable", "Temporarily unavailable", "The event log does not acknowledge at the moment.", []),
}


def problem_example(status: int) -> dict[str, Any]:
    """A problem as it may look with this status."""
    slug, title, detail, errors = _KINDS[status]
    return {
        "type": type_uri(slug),
        "title": title,
        "status": status,
        "detail": detail,
        "instance": "/v1/...",
        "errors": errors,
        "request_id": "0d4f3c1e8a6b4c0f9d2a7b5e6f1c3a90",
    }


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route: the given error statuses, each with schema and example."""
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {
        status: {
            "description": _KINDS[status][1],
            "content": {"application/problem+json": {"schema": schema, "example": problem_example(status)}},
        }
        for status in statuses
    }
