"""What routes ask for: the caller with the right that they need, and the parts of the process."""

from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway.context import context_of
from services.api_gateway.errors import Problem, forbidden
from services.api_gateway.exports.response import ExportSlots
from services.api_gateway.file_store import FileStore
from services.api_gateway.freshness import Freshness
from services.api_gateway.large_reads import LargeReads
from services.api_gateway.log_ends import LogEnds
from services.api_gateway.overview import Overviews
from services.api_gateway.security.callers import Caller, Operator, Principal, Scope
from services.api_gateway.security.keyring import ApiKeyring
from services.api_gateway.security.login_limits import LoginLimits
from services.api_gateway.security.passwords import Passwords
from services.api_gateway.security.tokens import AccessTokens
from services.api_gateway.settings import GatewaySettings
from services.api_gateway.tenant_cache import TenantCache
from services.api_gateway.time_travel import Past
from shared.messaging.producer import EventProducer
from shared.observability.health import Health

SOURCE = "api_gateway"
"""`source` of every event that this service makes."""


@dataclass(slots=True)
class Services:
    """The parts of one gateway process, made by its composition root."""

    settings: GatewaySettings
    engine: AsyncEngine
    producer: EventProducer
    relay: Any
    """`relay.notify()` after a commit that wrote to the outbox."""
    consistency: Freshness
    log_ends: LogEnds
    tenants: TenantCache
    keyring: ApiKeyring
    tokens: AccessTokens
    passwords: Passwords
    login_limits: LoginLimits
    export_slots: ExportSlots
    large_reads: LargeReads
    past: Past
    overviews: Overviews
    files: FileStore
    health: Health = field(default_factory=Health)


def get_services(request: Request) -> Services:
    """The parts of this process."""
    return cast(Services, request.app.state.services)


async def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


ServicesDep = Annotated[Services, Depends(_services)]


def unauthenticated(detail: str = "Send a valid access token or API key.") -> Problem:
    """401 with the challenge that RFC 9110 wants."""
    return Problem(
        401, "unauthenticated", "Not authenticated", detail, headers={"WWW-Authenticate": 'Bearer realm="ia-crm"'}
    )


def principal_of(request: Request) -> Principal:
    """Who asks.

    Raises:
        Problem: 401 without a valid credential.
    """
    context = context_of(request.scope)
    if context.principal is None:
        raise context.refusal or unauthenticated()
    return context.principal


def caller_of(request: Request) -> Caller:
    """The tenant's caller.

    Raises:
        Problem: 401, or 403 for a platform operator.
    """
    principal = principal_of(request)
    if isinstance(principal, Operator):
        raise forbidden("A platform operator administers tenants and reads no tenant's data.")
    return principal


class Requires:
    """Base of the dependencies that check rights; the OpenAPI document finds protected routes by it."""

    schemes: tuple[str, ...] = ("bearer", "api_key")


class RequireScope(Requires):
    """A caller of a tenant with one scope; 401 or 403 otherwise."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def __call__(self, request: Request) -> Caller:
        caller = caller_of(request)
        check_scope(caller, self._scope)
        return caller


class RequireAnyScope(Requires):
    """A caller of a tenant with at least one of some scopes; which of them it must be is known later."""

    def __init__(self, *scopes: Scope) -> None:
        self._scopes = frozenset(scopes)

    async def __call__(self, request: Request) -> Caller:
        caller = caller_of(request)
        if not self._scopes & caller.scopes:
            raise forbidden(f"This needs one of the scopes {', '.join(sorted(self._scopes))}.")
        return caller


class RequireRole(Requires):
    """A person of a tenant with one of some roles; API keys never have one."""

    schemes = ("bearer",)

    def __init__(self, *roles: str) -> None:
        self._roles = frozenset(roles)

    async def __call__(self, request: Request) -> Caller:
        caller = caller_of(request)
        if caller.role not in self._roles:
            raise forbidden(f"This needs a person with the role {' or '.join(sorted(self._roles))}.")
        return caller


class RequireOperator(Requires):
    """A platform operator."""

    schemes = ("bearer",)

    async def __call__(self, request: Request) -> Operator:
        principal = principal_of(request)
        if not isinstance(principal, Operator):
            raise forbidden("This needs a platform operator.")
        return principal


class RequireAnyone(Requires):
    """Anybody with a valid credential."""

    async def __call__(self, request: Request) -> Principal:
        return principal_of(request)


def require_scope(scope: Scope) -> RequireScope:
    """A dependency: the caller, with this scope."""
    return RequireScope(scope)


def require_any_scope(*scopes: Scope) -> RequireAnyScope:
    """A dependency: the caller, with one of these scopes."""
    return RequireAnyScope(*scopes)


def check_scope(caller: Caller, scope: Scope) -> None:
    """Refuses a caller without this scope.

    Raises:
        Problem: 403.
    """
    if scope not in caller.scopes:
        raise forbidden(f"This needs the scope {scope}.")


def require_role(*roles: str) -> RequireRole:
    """A dependency: the caller, a person with one of these roles."""
    return RequireRole(*roles)


require_read = RequireScope("read")
require_operator = RequireOperator()
require_anyone = RequireAnyone()

Reader = Annotated[Caller, Depends(require_read)]
Manager = Annotated[Caller, Depends(require_role("owner", "admin"))]
OperatorDep = Annotated[Operator, Depends(require_operator)]
Anyone = Annotated[Principal, Depends(require_anyone)]
