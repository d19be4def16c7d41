"""How far the workers are: what reads that carry a consistency token wait for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db.applied import Applied, load_applied

Place = tuple[str, int]


async def applied_by_rfm(connection: AsyncConnection) -> dict[Place, Applied]:
    """Per (topic, partition) what the rfm worker has taken into its tables."""
    return await load_applied(connection, "rfm")


@dataclass(frozen=True, slots=True)
class Published:
    """Where a range of outbox entries went: the last offset per place, and whether some still wait for the relay."""

    offsets: dict[Place, int]
    pending: bool
    known: bool
    """False for ids that no write has drawn yet; entries purged after a week count as known and published."""


_RESOLVE = text(
    """
    select r.n, o.topic, o.partition, max(o."offset") as last, count(*) filter (where o.published_at is null) as waiting
    from unnest(cast(:firsts as bigint[]), cast(:lasts as bigint[])) with ordinality as r(first, last, n)
    join gateway.outbox o on o.id between r.first and r.last
    group by r.n, o.topic, o.partition
    """
)
_NEWEST = text("select coalesce(max(id), 9223372036854775807) from gateway.outbox")


async def where_published(connection: AsyncConnection, ranges: Sequence[tuple[int, int]]) -> list[Published]:
    """For each (first, last) of outbox ids, where its entries were published; in the order given."""
    parameters = {"firsts": [first for first, _ in ranges], "lasts": [last for _, last in ranges]}
    offsets: list[dict[Place, int]] = [{} for _ in ranges]
    pending, found = [False] * len(ranges), [False] * len(ranges)
    for row in await connection.execute(_RESOLVE, parameters):
        index = row.n - 1
        found[index] = True
        if row.waiting:
            pending[index] = True
        elif row.last is not None:
            offsets[index][(row.topic, row.partition)] = row.last
    newest = 0 if all(found) else await connection.scalar(_NEWEST)
    return [
        Published(o, p, f or last <= newest) for o, p, f, (_, last) in zip(offsets, pending, found, ranges, strict=True)
    ]


async def recomputations(connection: AsyncConnection) -> list[Row[Any]]:
    """How far the rfm worker's recomputations of whole tenants are, oldest first, at most 50, without their names."""
    return list(await connection.execute(text("select * from rfm.recompute_progress()")))


async def score_requests(connection: AsyncConnection, tenant_id: UUID) -> tuple[int, int] | None:
    """Lowest and highest open request to move this tenant's cut-offs; None when the scorer has caught up."""
    row = (
        await connection.execute(
            text("select min(id) as low, max(id) as high from rfm.score_request where tenant_id = :tenant"),
            {"tenant": tenant_id},
        )
    ).one()
    return None if row.low is None else (row.low, row.high)
