"""What the middlewares learn about one request and hand on to the routes, in `scope["iacrm"]`."""

from dataclasses import dataclass, field
from typing import cast

from starlette.types import Scope

from services.api_gateway.errors import Problem
from services.api_gateway.security.callers import Principal


@dataclass(slots=True)
class RequestContext:
    """One request. `refusal` is why its credential was not accepted, for routes that need one."""

    request_id: str
    principal: Principal | None = None
    refusal: Problem | None = None
    bodiless: bool = False
    """Whether a HEAD asked: what a route would send as a body is thrown away."""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Added to the answer, such as RateLimit-*."""


def context_of(scope: Scope) -> RequestContext:
    """The context that the outermost middleware put there."""
    return cast(RequestContext, scope["iacrm"])
