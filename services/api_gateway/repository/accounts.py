"""People and their refresh tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.tables import refresh_token, user_account


@dataclass(frozen=True, slots=True)
class Account:
    """A person as stored. `tenant_id` is None for a platform operator."""

    user_id: UUID
    tenant_id: UUID | None
    username: str
    email: str
    password_hash: str
    role: str
    active: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token as stored."""

    family_id: UUID
    user_id: UUID
    tenant_id: UUID | None
    expires_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None


_NAMES = ", ".join(Account.__slots__)
_COLUMNS = tuple(getattr(user_account.c, name) for name in Account.__slots__)
_TOKEN_NAMES = ", ".join(RefreshToken.__slots__)


def _account(row: Row[Any] | None) -> Account | None:
    return None if row is None else Account(**row._asdict())


async def find_login(connection: AsyncConnection, username: str) -> Account | None:
    """The account of a username, whatever its tenant."""
    found = await connection.execute(
        text(f"select {_NAMES} from gateway.find_login(:username)"),  # noqa: S608 - our own column names
        {"username": username},
    )
    return _account(found.first())


async def find(connection: AsyncConnection, user_id: UUID, *, lock: bool = False) -> Account | None:
    """An account that this transaction may see."""
    query: Select[Any] = select(*_COLUMNS).where(user_account.c.user_id == user_id)
    return _account((await connection.execute(query.with_for_update() if lock else query)).first())


async def page(connection: AsyncConnection, tenant_id: UUID, after: str | None, limit: int) -> Sequence[Account]:
    """Accounts of a tenant by username."""
    query = select(*_COLUMNS).where(user_account.c.tenant_id == tenant_id)
    if after is not None:
        query = query.where(user_account.c.username > after)
    rows = await connection.execute(query.order_by(user_account.c.username).limit(limit))
    return [Account(**row._asdict()) for row in rows]


async def add(connection: AsyncConnection, values: Mapping[str, Any]) -> Account | None:
    """A new account, or None where the username is taken (in whatever tenant)."""
    statement = pg_insert(user_account).values(**values).on_conflict_do_nothing(index_elements=["username"])
    return _account((await connection.execute(statement.returning(*_COLUMNS))).first())


async def change(connection: AsyncConnection, user_id: UUID, changes: Mapping[str, Any]) -> Account | None:
    """Writes changes over an account."""
    statement = update(user_account).where(user_account.c.user_id == user_id)
    done = await connection.execute(statement.values(**changes, updated_at=func.now()).returning(*_COLUMNS))
    return _account(done.first())


async def remove(connection: AsyncConnection, user_id: UUID) -> None:
    """Deletes an account with its refresh tokens."""
    await connection.execute(delete(user_account).where(user_account.c.user_id == user_id))


async def lock_owners(connection: AsyncConnection, tenant_id: UUID) -> set[UUID]:
    """The active owners of a tenant, locked in one order so that two demotions cannot pass each other."""
    query = (
        select(user_account.c.user_id)
        .where(user_account.c.tenant_id == tenant_id, user_account.c.role == "owner", user_account.c.active)
        .order_by(user_account.c.user_id)
        .with_for_update()
    )
    return set((await connection.execute(query)).scalars())


async def add_refresh(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """Keeps a refresh token (its hash)."""
    await connection.execute(insert(refresh_token).values(**values))


async def find_refresh(connection: AsyncConnection, token_hash: bytes) -> RefreshToken | None:
    """The refresh token with this hash, whatever its tenant."""
    found = await connection.execute(
        text(f"select {_TOKEN_NAMES} from gateway.find_refresh_token(:hash)"),  # noqa: S608 - our own column names
        {"hash": token_hash},
    )
    row = found.first()
    return None if row is None else RefreshToken(**row._asdict())


async def use_refresh(connection: AsyncConnection, token_hash: bytes) -> bool:
    """Marks a token as used; False where it was used, revoked or has expired, also by somebody at this moment."""
    statement = update(refresh_token).where(
        refresh_token.c.token_hash == token_hash,
        refresh_token.c.used_at.is_(None),
        refresh_token.c.revoked_at.is_(None),
        refresh_token.c.expires_at > func.now(),
    )
    return bool((await connection.execute(statement.values(used_at=func.now()))).rowcount)


async def revoke_family(connection: AsyncConnection, family_id: UUID) -> None:
    """Ends all refresh tokens that come from one log-in."""
    await _revoke(connection, refresh_token.c.family_id == family_id)


async def revoke_user(connection: AsyncConnection, user_id: UUID) -> None:
    """Ends all refresh tokens of a person."""
    await _revoke(connection, refresh_token.c.user_id == user_id)


async def revoke_tenant(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Ends all refresh tokens of a tenant's people."""
    await _revoke(connection, refresh_token.c.tenant_id == tenant_id)


async def _revoke(connection: AsyncConnection, which: Any) -> None:
    statement = update(refresh_token).where(which, refresh_token.c.revoked_at.is_(None))
    await connection.execute(statement.values(revoked_at=func.now()))
