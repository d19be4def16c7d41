"""One's own tenant and its settings; all tenants for platform operators."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Body, Query, Request, Response
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.accounts import create_tenant
from services.api_gateway.consistency import add_token
from services.api_gateway.context import context_of
from services.api_gateway.dependencies import Manager, OperatorDep, Reader, Services, ServicesDep
from services.api_gateway.errors import conflict, not_found, problem_responses, validation_problem
from services.api_gateway.pagination import Cursor, Limit, Page, decode_cursor, encode_cursor
from services.api_gateway.repository import accounts
from services.api_gateway.repository import tenants as repository
from services.api_gateway.repository.tenants import TenantRow
from services.api_gateway.routes import v1_router
from services.api_gateway.tenant_events import changed, state_of
from services.api_gateway.views.accounts import UserView
from services.api_gateway.views.tenants import (
    SETTINGS_EXAMPLE,
    NewTenant,
    SettingsView,
    TenantChange,
    TenantView,
    TenantWithOwner,
    merge_patch,
)
from shared.db.engine import transaction
from shared.events.tenant_settings import TenantSettings
from shared.messaging.outbox import insert_outbox

router = v1_router("tenants")
_READ = problem_responses(401, 403, 404, 422, 429, 503)
_WRITE = problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503)
_LIST = problem_responses(400, 401, 403, 422, 429, 503)


@router.get("/tenants/current", response_model=TenantView, responses=_READ, summary="One's own tenant")
async def current(caller: Reader, services: ServicesDep) -> TenantView:
    """The tenant that the credential belongs to."""
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        return TenantView.of(await _find(connection, caller.tenant_id))


@router.get("/tenants/current/settings", response_model=SettingsView, responses=_READ, summary="Settings")
async def settings(caller: Reader, services: ServicesDep) -> SettingsView:
    """All settings, defaults included."""
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        await _find(connection, caller.tenant_id)
        (latest,) = await repository.history(connection, caller.tenant_id, None, 1)
    return SettingsView.model_validate(latest._asdict())


@router.get(
    "/tenants/current/settings/history",
    response_model=Page[SettingsView],
    responses=_LIST,
    summary="Who changed settings, and when",
)
async def settings_history(
    caller: Reader, services: ServicesDep, limit: Limit = 50, cursor: Cursor = None
) -> Page[SettingsView]:
    """Every version of the settings, newest first."""
    before = decode_cursor(cursor, "settings-history", caller.tenant_id, (int,))
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        rows = await repository.history(connection, caller.tenant_id, before[0] if before else None, limit + 1)
    items = [SettingsView.model_validate(row._asdict()) for row in rows[:limit]]
    more = len(rows) > limit
    cursor = encode_cursor("settings-history", caller.tenant_id, [items[-1].version]) if more else None
    return Page(items=items, next_cursor=cursor)


@router.patch("/tenants/current/settings", response_model=SettingsView, responses=_WRITE, summary="Change settings")
async def change_settings(
    patch: Annotated[dict[str, Any], Body(examples=[SETTINGS_EXAMPLE])],
    request: Request,
    response: Response,
    caller: Manager,
    services: ServicesDep,
) -> SettingsView:
    """A merge patch (RFC 7396): what is absent stays, null brings a default back. The currency is fixed once the
    tenant has sales (409), because amounts of two currencies cannot be added up."""
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        row = await _find(connection, caller.tenant_id, lock=True)
        try:
            wanted = TenantSettings.model_validate(merge_patch(row.settings, patch))
        except ValidationError as error:
            raise validation_problem(error) from None
        stored = wanted.model_dump(mode="json")
        if stored["currency"] != row.settings["currency"] and await repository.has_sales(connection, caller.tenant_id):
            raise conflict("currency-fixed", "The currency cannot change once the tenant has sales.")
        if stored != row.settings:
            row, ids = await _change(connection, row, caller.subject, {"settings": stored}, request)
            add_token(response, ids)
        (latest,) = await repository.history(connection, caller.tenant_id, None, 1)
    _told(services, row)
    return SettingsView.model_validate(latest._asdict())


@router.post(
    "/tenants", status_code=201, response_model=TenantWithOwner, responses=_WRITE, summary="Add a tenant (operator)"
)
async def add_tenant(
    body: NewTenant, request: Request, response: Response, operator: OperatorDep, services: ServicesDep
) -> TenantWithOwner:
    """With its first owner, or without anybody."""
    owner = None
    if body.owner is not None:
        owner = body.owner.model_dump() | {"password": body.owner.password.get_secret_value()}
    row, account, ids = await create_tenant(
        services,
        body.name,
        body.settings,
        owner,
        by=operator.subject,
        request_id=context_of(request.scope).request_id,
    )
    add_token(response, ids)
    response.headers["Location"] = f"/v1/tenants/{row.tenant_id}"
    person = UserView.model_validate(account) if account else None
    return TenantWithOwner(**TenantView.of(row).model_dump(), owner=person)


@router.get("/tenants", response_model=Page[TenantView], responses=_LIST, summary="List tenants (operator)")
async def list_tenants(
    _operator: OperatorDep,
    services: ServicesDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    status: Annotated[str | None, Query(pattern="^(active|closed|erased)$")] = None,
) -> Page[TenantView]:
    """In the order of their creation."""
    kind = f"tenants:{status}"
    after = decode_cursor(cursor, kind, None, (datetime, UUID))
    async with transaction(services.engine, operator=True) as connection:
        rows = await repository.page(connection, after and (after[0], after[1]), limit + 1, status)
    items = [TenantView.of(row) for row in rows[:limit]]
    more = len(rows) > limit
    place = [items[-1].created_at, items[-1].tenant_id] if more else []
    return Page(items=items, next_cursor=encode_cursor(kind, None, place) if more else None)


@router.get("/tenants/{tenant_id}", response_model=TenantView, responses=_READ, summary="One tenant (operator)")
async def get_tenant(tenant_id: UUID, _operator: OperatorDep, services: ServicesDep) -> TenantView:
    """Its name, status and settings; never its data."""
    async with transaction(services.engine, operator=True) as connection:
        return TenantView.of(await _find(connection, tenant_id))


@router.patch("/tenants/{tenant_id}", response_model=TenantView, responses=_WRITE, summary="Change a tenant (operator)")
async def change_tenant(
    tenant_id: UUID,
    body: TenantChange,
    request: Request,
    response: Response,
    operator: OperatorDep,
    services: ServicesDep,
) -> TenantView:
    """Renames it, or opens a closed one again; an erased one stays erased (409)."""
    changes: dict[str, Any] = body.model_dump(exclude_none=True)
    if body.status == "active":
        changes["closed_at"] = None
    async with transaction(services.engine, tenant_id=tenant_id) as connection:
        row = await _find(connection, tenant_id, lock=True)
        if row.status == "erased":
            raise conflict("erased", "This tenant is erased.")
        row, ids = await _change(connection, row, operator.subject, changes, request)
        add_token(response, ids)
    _told(services, row)
    return TenantView.of(row)


@router.delete("/tenants/{tenant_id}", response_model=TenantView, responses=_READ, summary="Close a tenant (operator)")
async def close_tenant(
    tenant_id: UUID, request: Request, response: Response, operator: OperatorDep, services: ServicesDep
) -> TenantView:
    """Ends its refresh tokens at once and its access within a minute; its data is erased after the grace period.
    Closing twice keeps the first moment."""
    async with transaction(services.engine, tenant_id=tenant_id) as connection:
        row = await _find(connection, tenant_id, lock=True)
        if row.status == "active":
            closing = {"status": "closed", "closed_at": datetime.now(UTC)}
            row, ids = await _change(connection, row, operator.subject, closing, request)
            await accounts.revoke_tenant(connection, tenant_id)
            add_token(response, ids)
    _told(services, row)
    return TenantView.of(row)


async def _find(connection: AsyncConnection, tenant_id: UUID, *, lock: bool = False) -> TenantRow:
    row = await repository.find(connection, tenant_id, lock=lock)
    if row is None:
        raise not_found("tenant")
    return row


async def _change(
    connection: AsyncConnection, row: TenantRow, by: str, changes: dict[str, Any], request: Request
) -> tuple[TenantRow, list[int]]:
    stored = await repository.change(connection, row, by, changes)
    event = changed(stored, context_of(request.scope).request_id)
    return stored, await insert_outbox(connection, "gateway", [event])


def _told(services: Services, row: TenantRow) -> None:
    """After the commit: the relay is woken, and this process knows the new state."""
    services.relay.notify()
    services.tenants.put(state_of(row))
