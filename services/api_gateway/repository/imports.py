"""Imports: what was uploaded, how far it is, and who works on it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.tables import import_job as table
from services.api_gateway.tables import tenant

UNFINISHED_DAYS = 1
"""Days after which an upload that never ended is removed."""
ENDED = ("completed", "failed", "cancelled")
_EXPIRED = text("select tenant_id, import_id from gateway.expired_imports(:most)")
_CLAIM = text("select * from gateway.claim_import(cast(:claimant as uuid), cast(:lease as integer))")


async def begin(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    """A new import whose file is about to be stored."""
    due = func.now() + text(f"interval '{UNFINISHED_DAYS} days'")
    await connection.execute(insert(table).values(**values, state="uploading", expires_at=due))


async def uploaded(connection: AsyncConnection, tenant_id: UUID, import_id: UUID, values: Mapping[str, Any]) -> bool:
    """The file is complete: from here on an importer may take it. False when it is gone."""
    done = await connection.execute(
        update(table)
        .where(*_this(tenant_id, import_id), table.c.state == "uploading")
        .values(**values, state="queued", accepted_at=func.clock_timestamp(), expires_at=None)
    )
    return done.rowcount == 1


async def forget(connection: AsyncConnection, tenant_id: UUID, import_id: UUID) -> None:
    """Removes an import that did not come to be."""
    await connection.execute(delete(table).where(*_this(tenant_id, import_id)))


async def find(connection: AsyncConnection, tenant_id: UUID, import_id: UUID, *, lock: bool = False) -> Row[Any] | None:
    """One import; `lock` holds its row until the transaction ends."""
    query = select(table).where(*_this(tenant_id, import_id))
    return (await connection.execute(query.with_for_update() if lock else query)).one_or_none()


async def newest(
    connection: AsyncConnection, tenant_id: UUID, *, before: tuple[datetime, UUID] | None, count: int
) -> Sequence[Row[Any]]:
    """Imports, newest first."""
    query = select(table).where(table.c.tenant_id == tenant_id)
    if before is not None:
        created, import_id = before
        older = (table.c.created_at == created) & (table.c.import_id < import_id)
        query = query.where((table.c.created_at < created) | older)
    query = query.order_by(table.c.created_at.desc(), table.c.import_id.desc()).limit(count)
    return (await connection.execute(query)).all()


async def change_state(connection: AsyncConnection, row: Row[Any], state: str, retention_days: int) -> Row[Any]:
    """Another state for a row that this transaction has locked; an import that rests keeps its files for a while."""
    values: dict[str, Any] = {"state": state, "lease_until": None, "attempts": 0, "expires_at": None}
    if state != "queued":
        values["expires_at"] = _expiry(retention_days)
    if state in ENDED:
        values["finished_at"] = func.clock_timestamp()
    changed = update(table).where(*_this(row.tenant_id, row.import_id)).values(**values).returning(table)
    found: Row[Any] = (await connection.execute(changed)).one()
    return found


async def claim(connection: AsyncConnection, claimant: UUID, lease_s: int) -> Row[Any] | None:
    """The next import to work on, now this importer's; None when none waits. `hold` it before working on it."""
    return (await connection.execute(_CLAIM, {"claimant": claimant, "lease": lease_s})).one_or_none()


async def hold(connection: AsyncConnection, job: Row[Any], lease_s: int) -> bool:
    """Renews the lease of an importer that holds the lock of its name.

    False when the import is no longer this importer's to work on, or its tenant is closed.
    """
    active = select(tenant.c.tenant_id).where(tenant.c.tenant_id == job.tenant_id, tenant.c.status == "active")
    held = await connection.execute(
        update(table)
        .where(*_mine(job), active.exists())
        .values(lease_until=_in_seconds(lease_s), held_at=func.clock_timestamp())
    )
    return held.rowcount == 1


async def save(connection: AsyncConnection, job: Row[Any], values: Mapping[str, Any]) -> bool:
    """Writes down progress; False when the import is no longer this importer's, and nothing was written."""
    return (await connection.execute(update(table).where(*_mine(job)).values(**values))).rowcount == 1


async def release(connection: AsyncConnection, job: Row[Any], again_in_s: float, *, counts: bool) -> None:
    """Gives an import back, for whoever comes in a while; `counts` says whether this was an attempt."""
    await connection.execute(
        update(table)
        .where(*_mine(job))
        .values(
            state="queued",
            claimed_by=None,
            lease_until=_in_seconds(again_in_s),
            attempts=table.c.attempts - int(not counts),
        )
    )


async def end(connection: AsyncConnection, job: Row[Any], state: str, reason: str | None, retention_days: int) -> bool:
    """The import is over; False when it was no longer this importer's."""
    values = {"state": state, "reason": reason, "lease_until": None, "finished_at": func.clock_timestamp()}
    return await save(connection, job, {**values, "expires_at": _expiry(retention_days)})


async def expired(connection: AsyncConnection, most: int) -> Sequence[Row[Any]]:
    """Imports of any tenant whose files are due: tenant_id and import_id."""
    return (await connection.execute(_EXPIRED, {"most": most})).all()


async def files_gone(connection: AsyncConnection, tenant_id: UUID, import_id: UUID) -> None:
    """The files of an import that rests are deleted, and so is what the row showed of them."""
    await connection.execute(delete(table).where(*_this(tenant_id, import_id), table.c.state == "uploading"))
    await connection.execute(
        update(table)
        .where(*_this(tenant_id, import_id), table.c.state == "paused")
        .values(state="cancelled", reason="It was paused for too long.", finished_at=func.clock_timestamp())
    )
    await connection.execute(update(table).where(*_this(tenant_id, import_id)).values(expires_at=None, sample=None))


async def expire_of_person(connection: AsyncConnection, tenant_id: UUID) -> None:
    """A person was erased: files of ended imports may hold them, so they are due at once."""
    await connection.execute(
        update(table)
        .where(table.c.tenant_id == tenant_id, table.c.state.in_(ENDED), table.c.expires_at.is_not(None))
        .values(expires_at=func.now(), sample=None)
    )


async def remove_all(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Deletes everything about a tenant's imports."""
    await connection.execute(delete(table).where(table.c.tenant_id == tenant_id))


def _this(tenant_id: UUID, import_id: UUID) -> tuple[Any, Any]:
    return table.c.tenant_id == tenant_id, table.c.import_id == import_id


def _mine(job: Row[Any]) -> tuple[Any, ...]:
    return (
        *_this(job.tenant_id, job.import_id),
        table.c.state == "running",
        table.c.claimed_by == job.claimed_by,
    )


def _in_seconds(seconds: float) -> Any:
    return func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, float(seconds))


def _expiry(days: int) -> Any:
    return func.now() + func.make_interval(0, 0, 0, days)
