"""People of a tenant: owners and admins manage them; only owners manage owners."""

import uuid
from typing import Any
from uuid import UUID

from fastapi import Response
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.accounts import username_taken
from services.api_gateway.dependencies import Manager, ServicesDep
from services.api_gateway.errors import conflict, forbidden, not_found, problem_responses
from services.api_gateway.pagination import Cursor, Limit, Page, decode_cursor, encode_cursor
from services.api_gateway.repository import accounts as repository
from services.api_gateway.repository.accounts import Account
from services.api_gateway.routes import v1_router
from services.api_gateway.security.callers import Caller
from services.api_gateway.views.accounts import NewUser, UserChange, UserView
from shared.db.engine import transaction

router = v1_router("users")
_READ = problem_responses(401, 403, 404, 422, 429, 503)
_WRITE = problem_responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503)


@router.get(
    "/users",
    response_model=Page[UserView],
    responses=problem_responses(400, 401, 403, 422, 429, 503),
    summary="List people",
)
async def list_users(
    caller: Manager, services: ServicesDep, limit: Limit = 50, cursor: Cursor = None
) -> Page[UserView]:
    """By username."""
    after = decode_cursor(cursor, "users", caller.tenant_id, (str,))
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        found = await repository.page(connection, caller.tenant_id, after[0] if after else None, limit + 1)
    more = len(found) > limit
    items = [UserView.model_validate(account) for account in found[:limit]]
    next_cursor = encode_cursor("users", caller.tenant_id, [items[-1].username]) if more else None
    return Page(items=items, next_cursor=next_cursor)


@router.post("/users", status_code=201, response_model=UserView, responses=_WRITE, summary="Add a person")
async def add_user(body: NewUser, response: Response, caller: Manager, services: ServicesDep) -> UserView:
    """The username must be free over all tenants."""
    _may_manage(caller, body.role)
    password_hash = await services.passwords.hash(body.password.get_secret_value())
    values = {
        "user_id": uuid.uuid4(),
        "tenant_id": caller.tenant_id,
        "username": body.username,
        "email": body.email,
        "role": body.role,
        "password_hash": password_hash,
    }
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        account = await repository.add(connection, values)
    if account is None:
        raise username_taken()
    response.headers["Location"] = f"/v1/users/{account.user_id}"
    return UserView.model_validate(account)


@router.get("/users/{user_id}", response_model=UserView, responses=_READ, summary="One person")
async def get_user(user_id: UUID, caller: Manager, services: ServicesDep) -> UserView:
    """404 also for a person of another tenant."""
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        return UserView.model_validate(await _find(connection, user_id))


@router.patch("/users/{user_id}", response_model=UserView, responses=_WRITE, summary="Change a person")
async def change_user(user_id: UUID, body: UserChange, caller: Manager, services: ServicesDep) -> UserView:
    """A role counts from the next access token on. The last active owner keeps role and access (409)."""
    changes: dict[str, Any] = body.model_dump(exclude_none=True, exclude={"password"})
    if body.password is not None:
        changes["password_hash"] = await services.passwords.hash(body.password.get_secret_value())
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        stays_owner = body.role in (None, "owner") and body.active is not False
        account = await _find_to_change(connection, caller, user_id, stays_owner=stays_owner)
        if body.role is not None:
            _may_manage(caller, body.role)
        if changes:
            account = await repository.change(connection, user_id, changes) or account
        if body.active is False or body.password is not None:
            await repository.revoke_user(connection, user_id)
    return UserView.model_validate(account)


@router.delete("/users/{user_id}", status_code=204, responses=_WRITE, summary="Remove a person")
async def remove_user(user_id: UUID, caller: Manager, services: ServicesDep) -> None:
    """Ends the refresh tokens at once; an access token ends within 15 minutes. The last owner stays (409)."""
    async with transaction(services.engine, tenant_id=caller.tenant_id) as connection:
        await _find_to_change(connection, caller, user_id, stays_owner=False)
        await repository.remove(connection, user_id)


def _may_manage(caller: Caller, role: str) -> None:
    if role == "owner" and caller.role != "owner":
        raise forbidden("Only an owner manages owners.")


async def _find(connection: AsyncConnection, user_id: UUID) -> Account:
    account = await repository.find(connection, user_id)
    if account is None:
        raise not_found("user")
    return account


async def _find_to_change(connection: AsyncConnection, caller: Caller, user_id: UUID, *, stays_owner: bool) -> Account:
    """The account, locked. Owners are locked first and in one order, so that two cannot demote each other at once.

    Raises:
        Problem: 404, 403 for an admin who touches an owner, 409 where the tenant would be left without an owner.
    """
    owners = await repository.lock_owners(connection, caller.tenant_id)
    account = await repository.find(connection, user_id, lock=True)
    if account is None:
        raise not_found("user")
    _may_manage(caller, account.role)
    if not stays_owner and owners == {user_id}:
        raise conflict("last-owner", "A tenant keeps at least one active owner.")
    return account
