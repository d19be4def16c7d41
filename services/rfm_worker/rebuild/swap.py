"""The end of a rebuild: what the shadow holds takes the place of what the live tables hold, in one transaction."""

import asyncio
from datetime import datetime
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from services.rfm_worker.domain.scores import Standing
from services.rfm_worker.rebuild.errors import RebuildError
from services.rfm_worker.rebuild.ledger import columns_of
from services.rfm_worker.rebuild.shadow import SHADOW, take_views_down
from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.repository.segments import Move, write_moves
from services.rfm_worker.tables import EMPTIED_TABLES, REBUILT_TABLES, SCHEMA
from shared.db.engine import driver_connection

SHORT, LONG = "300ms", "3s"
"""How long the swap waits for readers at a time. Shorter than a second, it gives way before the database would call it
a deadlock and end a reader; a long wait now and then lets the database stop an autovacuum."""
TRIES = 15
PAUSE_S = 0.2
TOLD_AT_ONCE = 500
CAUSE = "cutoff_shift"

_CARRY_OVER = f"""
update {SHADOW}.customer s set segment_since = l.segment_since from {SCHEMA}.customer l
where l.tenant_id = s.tenant_id and l.customer_code = s.customer_code and l.segment = s.segment
    and l.segment_since <> s.segment_since
"""  # noqa: S608
# Sorted like every pass over customers. Those without a history are prospects.
_UNTOLD = """
select c.tenant_id, c.customer_code, c.r, c.f, c.m, c.segment, coalesce(h.segment, 'prospect') as told
from customer c left join lateral (
    select segment from segment_change h where h.tenant_id = c.tenant_id and h.customer_code = c.customer_code
    order by h.id desc limit 1
) h on true
where ($1::uuid is null or c.tenant_id = $1) and c.segment <> coalesce(h.segment, 'prospect')
order by c.tenant_id, c.customer_code
"""
_FORGOTTEN = """
delete from segment_change h where ($1::uuid is null or h.tenant_id = $1) and not exists (
    select from customer c where c.tenant_id = h.tenant_id and c.customer_code = h.customer_code
)
"""
# What differs from the history: of who is gone, and of whose master data the rebuild knows another beginning.
_PATHS = (
    """
    delete from segment_path p where ($1::uuid is null or p.tenant_id = $1) and not exists (
        select from segment_change h where h.tenant_id = p.tenant_id and h.customer_code = p.customer_code
    )
    """,
    """
    insert into segment_path as p (tenant_id, customer_code, known_at, moments, states)
    select tenant_id, customer_code, known_at, moments, states from rfm.segment_paths($1::uuid, null)
    on conflict (tenant_id, customer_code) do update set
        known_at = excluded.known_at, moments = excluded.moments, states = excluded.states
    where (p.known_at, p.moments, p.states) is distinct from (excluded.known_at, excluded.moments, excluded.states)
    """,
)
_LOST = f"""
select (
    select count(*) from {SCHEMA}.sale l join {SCHEMA}.tenant t using (tenant_id)
    where ($1::uuid is null or l.tenant_id = $1) and l.recorded and t.status <> 'erased' and not exists (
        select from {SHADOW}.sale s where s.tenant_id = l.tenant_id and s.sale_id = l.sale_id and s.recorded
    )
) as sales, (
    select count(*) from {SCHEMA}.customer l
    where ($1::uuid is null or l.tenant_id = $1) and l.master_version is not null and not exists (
        select from {SHADOW}.customer s where s.tenant_id = l.tenant_id and s.customer_code = l.customer_code
    )
) as customers
"""  # noqa: S608


async def refuse_loss(raw: Raw, tenant_id: UUID | None) -> None:
    """Compares what there is with what there would be.

    Raises:
        RebuildError: sales or people would be gone, as after a loss of Kafka, whose new topics begin at 0 too.
    """
    (lost,) = await raw.fetch(_LOST, tenant_id)
    if lost["sales"] or lost["customers"]:
        raise RebuildError(
            f"The topics lack {lost['sales']} sales and {lost['customers']} customers that the tables have. Nothing "
            "has changed: rebuild from the ledger, or insist on the topics to lose them."
        )


async def carry_over(raw: Raw) -> None:
    """Who stands where they stood has stood there for as long as before."""
    await raw.execute(_CARRY_OVER)


async def replace_all(raw: Raw) -> None:
    """Moves the shadow's tables to where the live ones are, which are dropped.

    Raises:
        RebuildError: somebody reads the live tables all the time.
    """
    await _lock_tables(raw)
    views = await take_views_down(raw)
    for table in REBUILT_TABLES:
        await raw.execute(f"drop table {SCHEMA}.{table}")
        await raw.execute(f"alter table {SHADOW}.{table} set schema {SCHEMA}")
    for statement in views:
        await raw.execute(statement)


async def _lock_tables(raw: Raw) -> None:
    """Takes all tables or none, again and again: readers that hold one and want another must not meet half a swap."""
    names = ", ".join(f"{SCHEMA}.{table}" for table in sorted(REBUILT_TABLES))
    for attempt in range(TRIES):
        try:
            async with raw.transaction():
                await raw.execute(f"set local lock_timeout = '{LONG if attempt % 5 == 4 else SHORT}'")
                await raw.execute(f"lock table {names} in access exclusive mode")
                await raw.execute("set local lock_timeout = 0")
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(PAUSE_S)
        else:
            return
    raise RebuildError("Somebody reads the tables all the time (an export, a backup). Nothing has changed; try later.")


async def replace_tenant(raw: Raw, tenant_id: UUID) -> None:
    """Puts the shadow's rows of one tenant in the place of its live ones."""
    for table in REBUILT_TABLES:
        columns = ", ".join(await columns_of(raw, f"{SCHEMA}.{table}"))
        await raw.execute(f"delete from {SCHEMA}.{table} where tenant_id = $1", tenant_id)  # noqa: S608
        await raw.execute(
            f"insert into {SCHEMA}.{table} ({columns}) select {columns} from {SHADOW}.{table} "  # noqa: S608
            "where tenant_id = $1",
            tenant_id,
        )


async def empty(raw: Raw, tenant_id: UUID | None) -> None:
    """Removes what was asked of the live tables' scorer: everybody in the shadow is scored."""
    for table in EMPTIED_TABLES:
        await raw.execute(f"delete from {SCHEMA}.{table} where $1::uuid is null or tenant_id = $1", tenant_id)  # noqa: S608


async def tell_changes(connection: AsyncConnection, tenant_id: UUID | None, now: datetime) -> int:
    """Keeps and publishes what the history does not know yet; of who is gone, it forgets everything.

    Returns:
        How many customers stand elsewhere than was last told.
    """
    raw = await driver_connection(connection)
    for statement in (_FORGOTTEN, *_PATHS):
        await raw.execute(statement, tenant_id)
    moves = [
        Move(
            (row["tenant_id"], row["customer_code"]), Standing(None, None, None, row["told"]),
            Standing(row["r"], row["f"], row["m"], row["segment"]),
        )
        for row in await raw.fetch(_UNTOLD, tenant_id)
    ]  # fmt: skip
    for start in range(0, len(moves), TOLD_AT_ONCE):
        await write_moves(connection, moves[start : start + TOLD_AT_ONCE], lambda _: (CAUSE, None), now)
    return len(moves)
