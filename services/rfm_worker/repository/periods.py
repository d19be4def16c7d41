"""Sums of days, weeks, months and quarters, kept as long as they hold: each names the revisions of the days that it was
made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

from services.rfm_worker.repository.raw import Raw

_TENANTS = "select tenant_id from tenant where status <> 'erased' order by tenant_id"
# The shorter ones come first, because the longer ones are summed from them. A quarter waits for a day after it: the one
# that is being sold into would be summed over and over.
_STALE = """
select k.grain, k.start, k.stop, k.revision from (
    select g.n, g.grain, x.start, max((x.start + g.length)::date - 1) as stop, sum(d.revision)::bigint as revision
    from day d
    cross join (
        values (1, 'day', interval '1 day'), (2, 'week', interval '7 days'), (3, 'month', interval '1 month'),
            (4, 'quarter', interval '3 months')
    ) as g(n, grain, length)
    cross join lateral (select date_trunc(g.grain, d.day::timestamp)::date as start) x
    where d.tenant_id = $1 group by g.n, g.grain, x.start
) k
left join period p on p.tenant_id = $1 and p.grain = k.grain and p.start = k.start
where p.revision is distinct from k.revision
    and (k.grain <> 'quarter' or exists (select from day d where d.tenant_id = $1 and d.day > k.stop))
order by k.n, k.start
"""
_KEEP = """
insert into period (tenant_id, grain, start, revision, customers)
select $1, $2, $3::date, $5::bigint,
    coalesce((select customers from rfm.distinct_customers($1, array[$3::date], array[$4::date])), 0)
"""
_FORGET = "delete from period where tenant_id = $1 and grain = $2 and start = $3"
_FORGET_PRODUCTS = "delete from product_period where tenant_id = $1 and grain = $2 and start = $3"
_KEEP_DAY = """
insert into product_period (tenant_id, grain, start, product_key, orders, units, revenue)
select $1, 'day', $2::date, s.product_key, s.orders, s.units, s.revenue
from rfm.product_sales($1, array[$2::date]) s where (s.orders, s.units, s.revenue) <> (0, 0, 0)
order by s.product_key
"""
_KEEP_LONGER = """
insert into product_period (tenant_id, grain, start, product_key, orders, units, revenue)
select $1, $4, $2::date, s.product_key, s.orders, s.units, s.revenue
from rfm.products_sold($1, $2, $3) s order by s.product_key
"""


@dataclass(frozen=True, slots=True)
class Stale:
    """A day, ISO week, month or quarter (`grain`) from `start` to `stop` whose sums no longer hold, and how far its
    days are."""

    grain: str
    start: date
    stop: date
    revision: int


async def all_tenants(raw: Raw) -> list[UUID]:
    """Every tenant that is kept."""
    return [row["tenant_id"] for row in await raw.fetch(_TENANTS)]


async def stale_periods(raw: Raw, tenant_id: UUID) -> Sequence[Stale]:
    """Periods of a tenant that were not summed yet or changed since; days first."""
    return [Stale(*row) for row in await raw.fetch(_STALE, tenant_id)]


async def refresh_period(raw: Raw, tenant_id: UUID, period: Stale) -> None:
    """Sums a period anew.

    Its revision was read before: what a batch adds in between makes it stale again and is never lost. The old sums go
    first, for another process may have made them since, and a period must not be summed from itself.
    """
    for statement in (_FORGET, _FORGET_PRODUCTS):
        await raw.execute(statement, tenant_id, period.grain, period.start)
    if period.grain == "day":
        await raw.execute(_KEEP_DAY, tenant_id, period.start)
    else:
        await raw.execute(_KEEP_LONGER, tenant_id, period.start, period.stop, period.grain)
    await raw.execute(_KEEP, tenant_id, period.grain, period.start, period.stop, period.revision)
