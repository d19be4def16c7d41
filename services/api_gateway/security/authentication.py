"""Pure ASGI: finds out who asks and whether that caller has asked too often, before a body is read."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Receive, Scope, Send

from services.api_gateway.context import RequestContext, context_of
from services.api_gateway.errors import Problem
from services.api_gateway.expiring import Expiring
from services.api_gateway.security.callers import Operator, Principal, user_caller
from services.api_gateway.security.rate_limits import RateLimiter
from services.api_gateway.security.tokens import AccessClaims, InvalidToken
from shared.observability import metrics

if TYPE_CHECKING:
    from services.api_gateway.dependencies import Services

API = "/v1/"
PUBLIC = frozenset(["/v1/auth/register", "/v1/auth/token", "/v1/auth/refresh", "/v1/auth/logout"])
BODILESS = frozenset(["GET", "HEAD", "OPTIONS", "DELETE"])


class Authentication:
    """Puts the principal, or why there is none, into the request's context and counts the request.

    Verified tokens are remembered until they expire, in a bounded cache: checking a signature costs more than all the
    rest of this.
    """

    def __init__(self, app: ASGIApp, services: "Services") -> None:
        self._app = app
        self._services = services
        settings = services.settings
        self._verified: Expiring[str, Principal] = Expiring(settings.cache_entries, time.time)
        self._limiter = RateLimiter(settings.rate_limit_requests, settings.rate_limit_window_s)
        self._refused = RateLimiter(settings.rate_limit_refused, settings.rate_limit_window_s)
        self._limit_header = (b"ratelimit-limit", str(settings.rate_limit_requests).encode())
        self._policy_header = (b"ratelimit-policy", self._limiter.policy)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(API) and scope["path"] not in PUBLIC:
            await self._admit(scope, context_of(scope))
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope, context: RequestContext) -> None:
        address = scope["client"][0] if scope.get("client") else ""
        try:
            context.principal = await self._principal(scope, address)
        except Problem as problem:
            context.refusal = problem
            if problem.status_code == 401 and not self._refused.hit(address).allowed:
                raise self._too_many(self._refused, address) from None
        if context.principal is not None:
            self._count(context, context.principal.rate_key)
        elif scope["method"] not in BODILESS:
            # Nobody known: do not even read what is sent.
            raise context.refusal or _unauthenticated()

    async def _principal(self, scope: Scope, address: str) -> Principal | None:
        authorization, api_key = _credentials(scope)
        if authorization is not None:
            principal = self._of_token(authorization)
        elif api_key is not None:
            principal = await self._of_key(api_key, address)
        else:
            return None
        if not isinstance(principal, Operator):
            tenant = await self._services.tenants.known(principal.tenant_id)
            if tenant is not None and tenant.status != "active":
                raise Problem(403, "tenant-closed", "The tenant is closed", "This tenant is closed.")
        return principal

    def _of_token(self, authorization: str) -> Principal:
        found = self._verified.get(authorization)
        if found is not None:
            return found
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise _unauthenticated("Use the Bearer scheme or X-API-Key.")
        try:
            claims = self._services.tokens.verify(token.strip())
        except InvalidToken:
            raise _unauthenticated("The access token is not valid or has expired.") from None
        principal = _of_claims(claims)
        self._verified.put(authorization, principal, claims.expires_at - time.time())
        return principal

    async def _of_key(self, api_key: str, address: str) -> Principal:
        keyring = self._services.keyring
        if self._refused.full(address) and not keyring.remembers(api_key):
            raise self._too_many(self._refused, address)
        caller = await keyring.find(api_key)
        if caller is None:
            raise _unauthenticated("The API key is not valid, has expired or was revoked.")
        return caller

    def _count(self, context: RequestContext, key: str) -> None:
        standing = self._limiter.hit(key)
        context.headers += (
            self._limit_header,
            (b"ratelimit-remaining", b"%d" % standing.remaining),
            (b"ratelimit-reset", b"%d" % standing.reset_s),
            self._policy_header,
        )
        if not standing.allowed:
            raise self._too_many(self._limiter, key)

    def _too_many(self, limiter: RateLimiter, key: str) -> Problem:
        metrics.RATE_LIMITED.labels("caller" if limiter is self._limiter else "address").inc()
        wait = str(limiter.hit(key).reset_s)
        return Problem(
            429,
            "rate-limited",
            "Too many requests",
            f"At most {limiter.requests} requests in {limiter.window_s} s; wait as long as Retry-After says.",
            headers={"Retry-After": wait},
        )


def _unauthenticated(detail: str = "Send a valid access token or API key.") -> Problem:
    return Problem(
        401, "unauthenticated", "Not authenticated", detail, headers={"WWW-Authenticate": 'Bearer realm="ia-crm"'}
    )


def _credentials(scope: Scope) -> tuple[str | None, str | None]:
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    authorization, api_key = headers.get(b"authorization"), headers.get(b"x-api-key")
    return (
        authorization.decode("latin-1") if authorization is not None else None,
        api_key.decode("latin-1") if api_key is not None else None,
    )


def _of_claims(claims: AccessClaims) -> Principal:
    if claims.tenant_id is None:
        if claims.role != "operator":
            raise _unauthenticated()
        return Operator(claims.user_id, f"user:{claims.user_id}", f"operator/{claims.user_id}")
    return user_caller(claims.user_id, claims.tenant_id, claims.role)
