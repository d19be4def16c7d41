"""API keys: their hashes, scopes and last use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.security.keyring import StoredKey
from services.api_gateway.tables import api_key


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as people see it; the secret is not kept."""

    key_id: UUID
    name: str
    prefix: str
    scopes: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


_COLUMNS = tuple(getattr(api_key.c, name) for name in KeyRow.__slots__)


def _row(row: Row[Any]) -> KeyRow:
    return KeyRow(**row._asdict())


async def look_up(connection: AsyncConnection, key_hash: bytes) -> StoredKey | None:
    """The key with this hash, whatever its tenant."""
    found = await connection.execute(
        text("select key_id, tenant_id, scopes, expires_at, revoked_at from gateway.find_api_key(:hash)"),
        {"hash": key_hash},
    )
    row = found.first()
    if row is None:
        return None
    return StoredKey(row.key_id, row.tenant_id, frozenset(row.scopes), row.expires_at, row.revoked_at)


async def add(connection: AsyncConnection, values: Mapping[str, Any]) -> KeyRow:
    """A new key."""
    return _row((await connection.execute(insert(api_key).values(**values).returning(*_COLUMNS))).one())


async def page(
    connection: AsyncConnection, tenant_id: UUID, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[KeyRow]:
    """Keys of a tenant in the order of their creation, revoked ones included."""
    query = select(*_COLUMNS).where(api_key.c.tenant_id == tenant_id)
    if after is not None:
        created, key_id = after
        query = query.where(
            (api_key.c.created_at > created) | ((api_key.c.created_at == created) & (api_key.c.key_id > key_id))
        )
    query = query.order_by(api_key.c.created_at, api_key.c.key_id).limit(limit)
    return [_row(row) for row in await connection.execute(query)]


async def find(connection: AsyncConnection, key_id: UUID) -> KeyRow | None:
    """A key that this transaction may see."""
    row = (await connection.execute(select(*_COLUMNS).where(api_key.c.key_id == key_id))).first()
    return None if row is None else _row(row)


async def revoke(connection: AsyncConnection, key_id: UUID) -> bytes | None:
    """Ends a key; its hash, or None where there is no such key. Revoking twice keeps the first moment."""
    statement = update(api_key).where(api_key.c.key_id == key_id)
    done = await connection.execute(
        statement.values(revoked_at=func.coalesce(api_key.c.revoked_at, func.now())).returning(api_key.c.key_hash)
    )
    found: bytes | None = done.scalar()
    return found


async def touch(connection: AsyncConnection, used: Mapping[UUID, datetime]) -> None:
    """Notes when keys of this transaction's tenant were last used."""
    await connection.execute(
        text(
            "update gateway.api_key k set last_used_at = greatest(k.last_used_at, u.used_at) "
            "from unnest(cast(:ids as uuid[]), cast(:times as timestamptz[])) as u(key_id, used_at) "
            "where k.key_id = u.key_id"
        ),
        {"ids": list(used), "times": list(used.values())},
    )
