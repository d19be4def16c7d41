"""One scoring run of a tenant: new cut-offs in one step, then the customers whom they move, part by part."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.rfm_worker.domain.cutoffs import Cutoffs
from services.rfm_worker.domain.scores import Standing, standing
from services.rfm_worker.repository.changes import request_scores
from services.rfm_worker.repository.cutoffs import customers_to_move, find_cutoffs, settle_cutoffs, store_cutoffs
from services.rfm_worker.repository.marks import store_marks
from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.repository.recompute import (
    SCORES,
    Recompute,
    advance,
    finish_recompute,
    load_recompute,
    request_recompute,
)
from services.rfm_worker.repository.segments import Move, write_moves
from services.rfm_worker.repository.tenants import Tenant
from shared.db.engine import driver_connection

SMALLEST_CHUNK, LARGEST_CHUNK, MOST_CHUNKS = 50, 500, 100
"""Customers locked at a time: a batch that wants one of them waits a few milliseconds; no run has very many parts."""

_LOCK = """
select customer_code, frequency, monetary, last_order_day, r, f, m, segment from customer
where tenant_id = $1 and customer_code = any($2::text[]) order by customer_code for update
"""
_LOCK_FREE = f"{_LOCK.rstrip()} skip locked"
_REQUESTS = "select id from score_request where tenant_id = $1 order by id"
_FOLD = "update score_request set folded = true where tenant_id = $1 and not folded"
_DONE = "delete from score_request where tenant_id = $1 and id = any($2::bigint[])"
_DUE = """
select t.tenant_id from tenant t join cutoffs c using (tenant_id)
where t.status <> 'erased' and t.reference_date = 'now'
    and c.reference_date <> ($1::timestamptz at time zone t.timezone)::date
union
select distinct tenant_id from score_request
union
select tenant_id from recompute
"""


@dataclass(slots=True)
class Run:
    """What is left to do once the cut-offs stand: whom to move and why, and what to close afterwards."""

    tenant_id: UUID
    cutoffs: Cutoffs
    cause: str
    parts: Sequence[Sequence[str]]
    requests: Sequence[int]
    recompute: Recompute | None
    done: int = 0
    """How many customers have been visited."""


async def tenants_due(raw: Raw, now: datetime) -> list[UUID]:
    """Tenants with open requests or recomputations, and those whose midnight has passed."""
    return [row["tenant_id"] for row in await raw.fetch(_DUE, now)]


async def begin_run(raw: Raw, tenant: Tenant, now: datetime) -> Run:
    """Finds and stores the tenant's cut-offs, in a transaction of one snapshot.

    What the batches asked for is folded into the marks here and stays open until `finish_run`: a run that dies leaves
    to the next one which customers it was to move.
    """
    requests = await _open_requests(raw, tenant.tenant_id)
    recompute = await load_recompute(raw, tenant.tenant_id)
    found = await find_cutoffs(raw, tenant, now)
    everybody = recompute is not None or found.envelope is None
    await store_cutoffs(raw, tenant.tenant_id, found, now)
    await store_marks(raw, tenant.tenant_id, found.standings.marks)
    codes = await customers_to_move(raw, tenant.tenant_id, found, all_of_them=everybody)
    await raw.execute(_FOLD, tenant.tenant_id)
    if codes and everybody:
        recompute = await _begin_recompute(raw, tenant.tenant_id, recompute, len(codes))
    # Without a request nobody's values changed: only the date moved on.
    cause = "settings" if recompute and recompute.cause == "settings" else "cutoff_shift" if requests else "time"
    if codes and not requests:
        # Nobody asked for this run: it must still be due if it dies half way.
        await request_scores(raw, [tenant.tenant_id])
        requests = await _open_requests(raw, tenant.tenant_id)
    return Run(tenant.tenant_id, found.cutoffs, cause, chunks(codes), requests, recompute)


async def _open_requests(raw: Raw, tenant_id: UUID) -> list[int]:
    return [row["id"] for row in await raw.fetch(_REQUESTS, tenant_id)]


async def _begin_recompute(raw: Raw, tenant_id: UUID, recompute: Recompute | None, total: int) -> Recompute | None:
    if recompute is None:
        await request_recompute(raw, tenant_id, "repair", SCORES)
    await advance(raw, tenant_id, SCORES, total=total)
    return await load_recompute(raw, tenant_id)


async def move_part(
    connection: AsyncConnection, run: Run, part: Sequence[str], now: datetime, *, wait: bool
) -> Sequence[str]:
    """Scores these customers by their values at this moment.

    Args:
        wait: for whom a batch has locked; else those are left out, so that no other batch waits for that one too.

    Returns:
        Those who were left out. One who does not exist any more is among them until it waits.
    """
    raw = await driver_connection(connection)
    moves, met = [], set()
    for row in await raw.fetch(_LOCK if wait else _LOCK_FREE, run.tenant_id, list(part)):
        met.add(row["customer_code"])
        was = Standing(row["r"], row["f"], row["m"], row["segment"])
        now_at = standing(row["frequency"], row["monetary"], row["last_order_day"], run.cutoffs)
        if now_at is not None:
            moves.append(Move((run.tenant_id, row["customer_code"]), was, now_at))
    await write_moves(connection, moves, lambda _: (run.cause, None), now)
    return [] if wait else [code for code in part if code not in met]


async def tell_progress(raw: Raw, run: Run) -> None:
    """Writes down how many customers a recomputation has moved."""
    if run.recompute is not None:
        await advance(raw, run.tenant_id, SCORES, done=run.done, total=run.recompute.total)


async def finish_run(raw: Raw, run: Run) -> None:
    """Closes what the run has served: everybody is scored against its cut-offs."""
    await raw.execute(_DONE, run.tenant_id, run.requests)
    await settle_cutoffs(raw, run.tenant_id)
    if run.recompute is not None:
        await finish_recompute(raw, run.tenant_id, run.recompute.requested_at)


def chunks(codes: Sequence[str], smallest: int = SMALLEST_CHUNK) -> list[Sequence[str]]:
    """Parts of the codes, order kept: small ones for few customers, larger ones for many."""
    size = min(LARGEST_CHUNK, max(smallest, len(codes) // MOST_CHUNKS))
    return [codes[start : start + size] for start in range(0, len(codes), size)]
