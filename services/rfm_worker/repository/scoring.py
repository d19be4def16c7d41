"""One scoring run of a tenant in two steps that may stand in one transaction or in many: cut-offs, then customers."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.rfm_worker.domain.cutoffs import Cutoffs
from services.rfm_worker.domain.scores import Standing, standing
from services.rfm_worker.repository.cutoffs import customers_to_move, find_cutoffs, store_cutoffs
from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.repository.segments import Move, write_moves
from services.rfm_worker.repository.tenants import Tenant
from shared.db.engine import driver_connection

SMALLEST_CHUNK, LARGEST_CHUNK, MOST_CHUNKS = 20, 500, 100
"""Customers locked at a time: a batch that wants one of them waits a few milliseconds; no run has very many parts."""

_LOCK = """
select customer_code, frequency, monetary, last_order_day, r, f, m, segment from customer
where tenant_id = $1 and customer_code = any($2::text[]) order by customer_code for update
"""
_REQUESTS = "select id from score_request where tenant_id = $1 order by id"
_DONE = "delete from score_request where tenant_id = $1 and id = any($2::bigint[])"
_REQUEST = "insert into score_request (tenant_id) select t from unnest($1::uuid[]) t order by t returning id"
_DUE = """
select t.tenant_id from tenant t join cutoffs c using (tenant_id)
where t.status <> 'erased' and t.reference_date = 'now'
    and c.reference_date <> ($1::timestamptz at time zone t.timezone)::date
union
select distinct tenant_id from score_request
"""


async def request_scores(raw: Raw, tenants: Sequence[UUID]) -> list[int]:
    """Asks the scorer for fresh cut-offs of these tenants; answers the requests."""
    return [row["id"] for row in await raw.fetch(_REQUEST, list(tenants))]


async def tenants_due(raw: Raw, now: datetime) -> list[UUID]:
    """Tenants with open requests, and those whose midnight has passed."""
    return [row["tenant_id"] for row in await raw.fetch(_DUE, now)]


async def open_requests(raw: Raw, tenant_id: UUID) -> list[int]:
    """Requests whose changes every later statement sees. Read them before looking for cut-offs."""
    return [row["id"] for row in await raw.fetch(_REQUESTS, tenant_id)]


async def close_requests(raw: Raw, tenant_id: UUID, ids: Sequence[int]) -> None:
    """Removes requests that a run has served."""
    await raw.execute(_DONE, tenant_id, ids)


async def move_cutoffs(raw: Raw, tenant: Tenant, now: datetime) -> tuple[Cutoffs, Sequence[str]]:
    """Finds and stores the tenant's cut-offs; answers them and the customers whose scores they change."""
    cutoffs = await find_cutoffs(raw, tenant, now)
    await store_cutoffs(raw, tenant.tenant_id, cutoffs, now)
    return cutoffs, await customers_to_move(raw, tenant.tenant_id, cutoffs)


async def move_customers(
    connection: AsyncConnection, tenant_id: UUID, codes: Sequence[str], cutoffs: Cutoffs, *, cause: str, now: datetime
) -> int:
    """Scores these customers by their values at this moment; answers how many changed their segment."""
    raw = await driver_connection(connection)
    moves = []
    for row in await raw.fetch(_LOCK, tenant_id, list(codes)):
        was = Standing(row["r"], row["f"], row["m"], row["segment"])
        now_at = standing(row["frequency"], row["monetary"], row["last_order_day"], cutoffs)
        if now_at is not None:
            moves.append(Move((tenant_id, row["customer_code"]), was, now_at))
    return await write_moves(connection, moves, lambda _: (cause, None), now)


async def score_now(connection: AsyncConnection, tenant: Tenant, cause: str, now: datetime) -> None:
    """A whole run inside the caller's transaction, which must have the tenant and its scorer to itself."""
    raw = await driver_connection(connection)
    cutoffs, codes = await move_cutoffs(raw, tenant, now)
    for chunk in chunks(codes):
        await move_customers(connection, tenant.tenant_id, chunk, cutoffs, cause=cause, now=now)


def chunks(codes: Sequence[str]) -> list[Sequence[str]]:
    """Parts of the codes, order kept: small ones for few customers, larger ones for many."""
    size = min(LARGEST_CHUNK, max(SMALLEST_CHUNK, len(codes) // MOST_CHUNKS))
    return [codes[start : start + size] for start in range(0, len(codes), size)]
