"""Remembered answers to requests that carried an Idempotency-Key."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.tables import idempotency_key as table


@dataclass(frozen=True, slots=True)
class Remembered:
    """An earlier request with this key. `status` None: it has not answered yet."""

    request_hash: bytes
    status: int | None
    headers: list[list[str]] | None
    body: bytes | None


class Place(NamedTuple):
    """Whose key: a caller's keys do not meet those of another."""

    tenant_id: UUID
    caller: str
    key: str


async def claim(connection: AsyncConnection, place: Place, request_hash: bytes, lock_s: int) -> Remembered | None:
    """Takes the key for this request (None), or answers what an earlier request left under it.

    A claim that never got its answer (its process died) is free again after `lock_s` seconds, a finished one after
    24 hours.
    """
    fresh = insert(table).values(**place._asdict(), request_hash=request_hash)
    abandoned = (table.c.status.is_(None) & (table.c.created_at < func.now() - text(f"interval '{int(lock_s)} s'"))) | (
        table.c.created_at < func.now() - text("interval '24 hours'")
    )
    taken = await connection.execute(
        fresh.on_conflict_do_update(
            index_elements=[table.c.tenant_id, table.c.caller, table.c.key],
            set_={
                "request_hash": fresh.excluded.request_hash,
                "created_at": func.now(),
                "status": None,
                "headers": None,
                "body": None,
            },
            where=abandoned,
        ).returning(table.c.key)
    )
    if taken.first() is not None:
        return None
    row = (
        await connection.execute(
            select(table.c.request_hash, table.c.status, table.c.headers, table.c.body).where(_this(place))
        )
    ).one()
    return Remembered(row.request_hash, row.status, row.headers, row.body)


async def remember(
    connection: AsyncConnection,
    place: Place,
    *,
    request_hash: bytes,
    status: int,
    headers: Sequence[Sequence[str]],
    body: bytes | None,
) -> None:
    """Keeps the answer. `body` None: it held a secret and is not kept."""
    await connection.execute(
        update(table)
        .where(_this(place))
        .values(request_hash=request_hash, status=status, headers=[list(pair) for pair in headers], body=body)
    )


async def release(connection: AsyncConnection, place: Place) -> None:
    """Gives the key back: nothing was done, and the same request may come again."""
    await connection.execute(table.delete().where(_this(place)))


def _this(place: Place) -> Any:
    return (table.c.tenant_id == place.tenant_id) & (table.c.caller == place.caller) & (table.c.key == place.key)
