"""Keys of upstream systems: shown once, scoped, revocable."""

import uuid
from datetime import UTC, datetime
from uuid import UUID

from fastapi import Response

from services.api_gateway.dependencies import Manager, ServicesDep
from services.api_gateway.errors import invalid, not_found, problem_responses
from services.api_gateway.pagination import Cursor, Limit, Page, decode_cursor, encode_cursor
from services.api_gateway.repository import api_keys as repository
from services.api_gateway.routes import v1_router
from services.api_gateway.security.keyring import new_key
from services.api_gateway.views.accounts import ApiKeyView, CreatedApiKey, NewApiKey
from shared.db.engine import transaction

router = v1_router("api-keys")


@router.get(
    "/api-keys",
    response_model=Page[ApiKeyView],
    responses=problem_responses(400, 401, 403, 422, 429, 503),
    summary="List keys",
)
async def list_keys(
    caller: Manager, services: ServicesDep, limit: Limit = 50, cursor: Cursor = None
) -> Page[ApiKeyView]:
    """In the order of their creation, revoked ones included, without secrets."""
    after = decode_cursor(cursor, "api-keys", caller.tenant_id, (datetime, UUID))
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        found = await repository.page(connection, caller.tenant_id, after and (after[0], after[1]), limit + 1)
    items = [ApiKeyView.model_validate(row) for row in found[:limit]]
    more = len(found) > limit
    place = [items[-1].created_at, items[-1].key_id] if more else []
    return Page(items=items, next_cursor=encode_cursor("api-keys", caller.tenant_id, place) if more else None)


@router.post(
    "/api-keys",
    status_code=201,
    response_model=CreatedApiKey,
    responses=problem_responses(400, 401, 403, 409, 413, 415, 422, 429, 503),
    summary="Make a key",
)
async def add_key(body: NewApiKey, response: Response, caller: Manager, services: ServicesDep) -> CreatedApiKey:
    """The answer holds the key; it is not shown again."""
    if body.expires_at is not None and body.expires_at <= datetime.now(UTC):
        raise invalid("expires_at", "must lie in the future")
    key = new_key()
    values = {
        "key_id": uuid.uuid4(),
        "tenant_id": caller.tenant_id,
        "name": body.name,
        "prefix": key.prefix,
        "key_hash": key.key_hash,
        "scopes": sorted(set(body.scopes)),
        "created_by": caller.subject,
        "expires_at": body.expires_at,
    }
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        row = await repository.add(connection, values)
    response.headers["Location"] = f"/v1/api-keys/{row.key_id}"
    return CreatedApiKey(**ApiKeyView.model_validate(row).model_dump(), api_key=key.secret)


@router.get(
    "/api-keys/{key_id}",
    response_model=ApiKeyView,
    responses=problem_responses(401, 403, 404, 422, 429, 503),
    summary="One key",
)
async def get_key(key_id: UUID, caller: Manager, services: ServicesDep) -> ApiKeyView:
    """Without its secret."""
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        row = await repository.find(connection, key_id)
    if row is None:
        raise not_found("API key")
    return ApiKeyView.model_validate(row)


@router.delete(
    "/api-keys/{key_id}",
    status_code=204,
    responses=problem_responses(401, 403, 404, 422, 429, 503),
    summary="Revoke a key",
)
async def revoke_key(key_id: UUID, caller: Manager, services: ServicesDep) -> None:
    """Ends at once in this process and within a minute in every other."""
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        key_hash = await repository.revoke(connection, key_id)
    if key_hash is None:
        raise not_found("API key")
    services.keyring.forget(key_hash)
