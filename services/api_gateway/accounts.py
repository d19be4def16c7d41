"""Logging in and staying so: what routes and the command line share about tenants, people and tokens."""

import hashlib
import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.api_gateway.dependencies import Services, unauthenticated
from services.api_gateway.errors import Problem, conflict
from services.api_gateway.repository import accounts, tenants
from services.api_gateway.repository.accounts import Account, RefreshToken
from services.api_gateway.repository.tenants import TenantRow
from services.api_gateway.tenant_events import changed
from services.api_gateway.views.accounts import Tokens
from shared.db.engine import transaction
from shared.events.tenant_settings import TenantSettings
from shared.messaging.outbox import insert_outbox
from shared.observability import metrics


def wrong_credentials() -> Problem:
    """401, the same words for an unknown name, a wrong password and an account that is closed."""
    return unauthenticated("The username or the password is wrong.")


def username_taken() -> Problem:
    """409 for a username that somebody has, in whatever tenant."""
    return conflict("username-taken", "This username is taken.")


async def check_password(services: Services, username: str, password: str, address: str) -> Account:
    """The account behind a name and a password.

    Raises:
        Problem: 401 for anything wrong, 429 above the limits, 503 when too many are logging in.
    """
    account = await matching_account(services, username, password, address)
    if account is None:
        raise wrong_credentials()
    return account


async def matching_account(services: Services, username: str, password: str, address: str) -> Account | None:
    """The account behind a name and a password; None for anything wrong, which is counted against the address.

    Raises:
        Problem: 429 above the limits, 503 when too many are logging in.
    """
    name = username.strip().lower()
    await services.login_limits.attempt(name, address)
    async with transaction(services.engine) as connection:
        account = await accounts.find_login(connection, name.replace("\0", "?"))
    fits, renewed = await services.passwords.verify(password, account.password_hash if account else None)
    if account is None or not fits or not account.active or not await _open(services, account.tenant_id):
        await services.login_limits.failed(address)
        metrics.LOGINS.labels("refused").inc()
        return None
    await services.login_limits.succeeded(name)
    metrics.LOGINS.labels("accepted").inc()
    if renewed is not None:
        async with _as_account(services.engine, account) as connection:
            await accounts.change(connection, account.user_id, {"password_hash": renewed})
    return account


async def _open(services: Services, tenant_id: UUID | None) -> bool:
    if tenant_id is None:
        return True
    async with transaction(services.engine, tenant_id=tenant_id) as connection:
        tenant = await tenants.find(connection, tenant_id)
    return tenant is not None and tenant.status == "active"


def _as_account(engine: AsyncEngine, account: Account | RefreshToken) -> Any:
    """A transaction that may see this account: its tenant's, or the operators'."""
    return transaction(engine, tenant_id=account.tenant_id, operator=account.tenant_id is None)


def hash_refresh(token: str) -> bytes:
    """SHA-256 of a refresh token, which has 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


async def open_session(services: Services, account: Account) -> Tokens:
    """Tokens of a new family for somebody who has just logged in."""
    async with _as_account(services.engine, account) as connection:
        return await _issue(services, connection, account, uuid.uuid4())


async def _issue(services: Services, connection: AsyncConnection, account: Account, family_id: UUID) -> Tokens:
    token = f"iar_{secrets.token_urlsafe(32)}"
    lifetime = timedelta(seconds=services.settings.refresh_token_s)
    await accounts.add_refresh(
        connection,
        {
            "token_hash": hash_refresh(token),
            "family_id": family_id,
            "user_id": account.user_id,
            "tenant_id": account.tenant_id,
            "expires_at": datetime.now(UTC) + lifetime,
        },
    )
    access = services.tokens.issue(account.user_id, account.tenant_id, account.role)
    return Tokens(access_token=access, refresh_token=token, expires_in=services.tokens.lifetime_s)


async def renew_session(services: Services, token: str, address: str) -> Tokens:
    """New tokens for a refresh token, which is thereby used up. A second use ends its whole family: one of the two
    users is a thief, and nobody can tell which.

    Raises:
        Problem: 401 for a token that is unknown, expired, revoked or used, 429 after too many of those.
    """
    await services.login_limits.check_address(address)
    token_hash = hash_refresh(token)
    async with transaction(services.engine) as connection:
        stored = await accounts.find_refresh(connection, token_hash)
    tokens = None if stored is None else await _rotate(services, stored, token_hash)
    metrics.LOGINS.labels("refreshed" if tokens else "refresh_refused").inc()
    if tokens is None:
        await services.login_limits.failed(address)
        raise unauthenticated("The refresh token is not valid.")
    return tokens


async def _rotate(services: Services, stored: RefreshToken, token_hash: bytes) -> Tokens | None:
    """Answers None rather than raising, so that a revocation commits."""
    async with _as_account(services.engine, stored) as connection:
        if not await accounts.use_refresh(connection, token_hash):
            await accounts.revoke_family(connection, stored.family_id)
            return None
        account = await accounts.find(connection, stored.user_id)
        tenant = None if stored.tenant_id is None else await tenants.find(connection, stored.tenant_id)
        closed = stored.tenant_id is not None and (tenant is None or tenant.status != "active")
        if account is None or not account.active or closed:
            return None
        return await _issue(services, connection, account, stored.family_id)


async def close_session(services: Services, token: str, address: str) -> None:
    """Ends the family of a refresh token; an unknown one is no error, but counted as a failure.

    Raises:
        Problem: 429 after too many failures from the address.
    """
    await services.login_limits.check_address(address)
    async with transaction(services.engine) as connection:
        stored = await accounts.find_refresh(connection, hash_refresh(token))
    if stored is None:
        await services.login_limits.failed(address)
        return
    async with _as_account(services.engine, stored) as connection:
        await accounts.revoke_family(connection, stored.family_id)


async def set_password(services: Services, account: Account, password: str) -> None:
    """A new password; every refresh token of the person ends."""
    password_hash = await services.passwords.hash(password)
    async with _as_account(services.engine, account) as connection:
        await accounts.change(connection, account.user_id, {"password_hash": password_hash})
        await accounts.revoke_user(connection, account.user_id)


async def create_tenant(
    services: Services,
    name: str,
    settings: TenantSettings | None,
    owner: dict[str, Any] | None,
    *,
    by: str | None = None,
    request_id: str | None = None,
) -> tuple[TenantRow, Account | None, list[int]]:
    """A new tenant, with or without an owner, and its event in the outbox.

    Args:
        services: parts of the process.
        name: of the tenant.
        settings: defaults where None.
        owner: username, email and password (in the clear) of the first owner, or None.
        by: who does it; the owner itself when None.
        request_id: goes into the event.

    Returns:
        The tenant, its owner and the outbox ids.

    Raises:
        Problem: 409 where the username is taken.
    """
    tenant_id, user_id = uuid.uuid4(), uuid.uuid4()
    stored = (settings or TenantSettings()).model_dump(mode="json")
    password_hash = await services.passwords.hash(owner["password"]) if owner else ""
    async with transaction(services.engine, tenant_id=tenant_id) as connection:
        row = await tenants.add(connection, tenant_id, name, stored, by or f"user:{user_id}")
        account = None
        if owner:
            person = {"username": owner["username"], "email": owner["email"], "password_hash": password_hash}
            account = await accounts.add(
                connection, {"user_id": user_id, "tenant_id": tenant_id, "role": "owner", **person}
            )
            if account is None:
                raise username_taken()
        ids = await insert_outbox(connection, "gateway", [changed(row, request_id)])
    services.relay.notify()
    return row, account, ids
