"""A tenant's cut-offs: found from the marks, stored, and whose scores they change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from services.rfm_worker.domain.cutoffs import Cutoffs, fixed_bounds
from services.rfm_worker.domain.marks import BASKET, DAY, FREQUENCY, KEYS, MONETARY, bounds_of
from services.rfm_worker.domain.moving import Envelope
from services.rfm_worker.repository.marks import (
    LostMarkError,
    Standings,
    count_all,
    grown,
    shifted_marks,
    step,
)
from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.repository.tenants import Tenant

# By the database, like every sale's day: its time zone rules may be of another year than Python's.
_TODAY = "select ($1::timestamptz at time zone $2)::date"
_NEWEST_DAY = "select max(day) from day where tenant_id = $1 and orders > 0"
_STORE = """
insert into cutoffs (
    tenant_id, method, reference_date, customers, recency_days, frequency, monetary, average_basket, computed_at,
    moving_low, moving_high
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
on conflict (tenant_id) do update set method = excluded.method, reference_date = excluded.reference_date,
    customers = excluded.customers, recency_days = excluded.recency_days, frequency = excluded.frequency,
    monetary = excluded.monetary, average_basket = excluded.average_basket, computed_at = excluded.computed_at,
    moving_low = excluded.moving_low, moving_high = excluded.moving_high
"""
_SETTLED = "update cutoffs set moving_low = null, moving_high = null where tenant_id = $1 and moving_low is not null"
_MOVING = "select moving_low, moving_high from cutoffs where tenant_id = $1 and moving_low is not null"
# Whose stored scores are not those of the new bounds, among all or among those who are named or may be met.
_SCORED = """
select c.customer_code from {source} left join lateral (select
    5 - (select count(*) from unnest($3::numeric[]) q where q < greatest(0, $2::date - c.last_order_day)) as r,
    1 + (select count(*) from unnest($4::numeric[]) q where q < c.frequency) as f,
    1 + (select count(*) from unnest($5::numeric[]) q where q < c.monetary) as m
) s on c.frequency > 0
where c.tenant_id = $1 and (c.r, c.f, c.m) is distinct from (s.r, s.f, s.m) order by c.customer_code
"""
_ALL = _SCORED.format(source="customer c")
# Nobody knows how many a bound passed when the statement is planned, and a guess of many would read every customer.
# OFFSET 0 keeps the planner to the ranges and to those who are met, each through an index.
_SOME = f"""
with met as (
    select unnest(codes) as customer_code from score_request where tenant_id = $1
    union
    select c.customer_code from unnest($6::date[], $7::date[]) as way(low, high), lateral (
        select customer_code from customer
        where tenant_id = $1 and last_order_day >= low and last_order_day < high offset 0
    ) c
    union
    select c.customer_code from unnest($8::int[], $9::int[]) as way(low, high), lateral (
        select customer_code from customer where tenant_id = $1 and frequency > low and frequency <= high offset 0
    ) c
    union
    select c.customer_code from unnest($10::numeric[], $11::numeric[]) as way(low, high), lateral (
        select customer_code from customer where tenant_id = $1 and monetary > low and monetary <= high offset 0
    ) c
)
{
    _SCORED.format(
        source='''met cross join lateral (
    select * from customer where tenant_id = $1 and customer_code = met.customer_code offset 0
) c'''
    )
}
"""  # noqa: S608 - statements of our own


@dataclass(frozen=True, slots=True)
class Found:
    """New cut-offs, the marks that they rest on, and the way of the bounds (None: everybody must be looked at)."""

    cutoffs: Cutoffs
    standings: Standings
    envelope: Envelope | None


async def reference_date(raw: Raw, tenant: Tenant, now: datetime) -> date:
    """What recency is measured from: the tenant's local date, its newest day with an order, or a fixed date."""
    today: date = await raw.fetchval(_TODAY, now, tenant.timezone)
    if tenant.reference == "now":
        return today
    if tenant.reference == "latest_sale":
        newest: date | None = await raw.fetchval(_NEWEST_DAY, tenant.tenant_id)
        return newest or today
    return date.fromisoformat(tenant.reference)


async def find_cutoffs(raw: Raw, tenant: Tenant, now: datetime) -> Found:
    """The exact cut-offs of what this transaction's snapshot sees, at the cost of what changed since the last run."""
    standings, known = await _standings(raw, tenant)
    cutoffs = _cutoffs(tenant, await reference_date(raw, tenant, now), standings)
    if not known or tenant.cutoffs is None or not tenant.cutoffs.known or not cutoffs.known:
        return Found(cutoffs, standings, None)
    places = [tenant.cutoffs.thresholds(), cutoffs.thresholds()]
    for row in await raw.fetch(_MOVING, tenant.tenant_id):
        places += [row["moving_low"], row["moving_high"]]
    return Found(cutoffs, standings, Envelope.around(*places))


async def _standings(raw: Raw, tenant: Tenant) -> tuple[Standings, bool]:
    """The marks at their wanted ranks, and whether they could be stepped there from where they were."""
    marks = await shifted_marks(raw, tenant.tenant_id)
    if tenant.cutoffs is not None and len(marks) == len(KEYS):
        count = await grown(raw, tenant.tenant_id, tenant.cutoffs.customers)
        try:
            return await step(raw, tenant.tenant_id, count, marks), True
        except LostMarkError:
            pass
    count = await count_all(raw, tenant.tenant_id)
    return await step(raw, tenant.tenant_id, count, {}), False


def _cutoffs(tenant: Tenant, on: date, standings: Standings) -> Cutoffs:
    count = standings.count
    if count == 0:
        return Cutoffs(tenant.method, on, 0)

    def bounds(axis: str) -> list[Decimal]:
        return bounds_of(axis, count, [standings.neighbours[key] for key in KEYS if key[0] == axis], on)

    if tenant.method == "fixed" and tenant.bounds is not None:
        axes = fixed_bounds(tenant.bounds)
    else:
        axes = {"recency_days": bounds(DAY), "frequency": bounds(FREQUENCY), "monetary": bounds(MONETARY)}
    return Cutoffs(tenant.method, on, count, **axes, average_basket=bounds(BASKET))


async def store_cutoffs(raw: Raw, tenant_id: UUID, found: Found, now: datetime) -> None:
    """Makes these the tenant's cut-offs, on their way until `settle_cutoffs`."""
    cutoffs, way = found.cutoffs, found.envelope
    await raw.execute(
        _STORE, tenant_id, cutoffs.method, cutoffs.reference_date, cutoffs.customers, cutoffs.recency_days,
        cutoffs.frequency, cutoffs.monetary, cutoffs.average_basket, now, way and way.low, way and way.high,
    )  # fmt: skip


async def settle_cutoffs(raw: Raw, tenant_id: UUID) -> None:
    """Everybody is scored against the cut-offs: their way counts no longer."""
    await raw.execute(_SETTLED, tenant_id)


async def customers_to_move(raw: Raw, tenant_id: UUID, found: Found, *, all_of_them: bool) -> Sequence[str]:
    """Codes, sorted, of the customers whose stored scores are not those of these cut-offs.

    Args:
        all_of_them: look at everybody, not only at those who changed or whose value a bound passed.
    """
    cutoffs, way = found.cutoffs, found.envelope
    bounds = cutoffs.reference_date, cutoffs.recency_days, cutoffs.frequency, cutoffs.monetary
    if all_of_them or way is None:
        rows = await raw.fetch(_ALL, tenant_id, *bounds)
    else:
        ranges = way.days(), way.orders(), way.amounts()
        columns = [[pair[side] for pair in pairs] for pairs in ranges for side in (0, 1)]
        rows = await raw.fetch(_SOME, tenant_id, *bounds, *columns)
    return [row["customer_code"] for row in rows]
