"""Cut-offs of a tenant: one statement finds the order statistics, `domain.cutoffs` interpolates them exactly."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from services.rfm_worker.domain.cutoffs import QUINTILES, TERCILES, Cutoffs, fixed_bounds, quantiles
from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.repository.tenants import Tenant

# percentile_disc answers the value of rank ceil(p x n): with p in the middle of a rank, no rounding can miss it.
_STATISTICS = """
with v as materialized (
    select greatest(0, $2::date - last_order_day)::numeric as recency, frequency::numeric as frequency, monetary,
        rfm.average_basket(monetary, frequency) as basket
    from customer where tenant_id = $1 and frequency > 0
),
n as (select count(*)::int as n from v),
place as (
    select array_agg((low.rank + 0.5) / n.n order by k, low.step)::float8[] as fifths from n, generate_series(1, 4) k,
        lateral (values (0, (n.n - 1) * k / 5), (1, least((n.n - 1) * k / 5 + 1, n.n - 1))) as low(step, rank)
    where n.n > 0
),
third as (
    select array_agg((low.rank + 0.5) / n.n order by k, low.step)::float8[] as thirds from n, generate_series(1, 2) k,
        lateral (values (0, (n.n - 1) * k / 3), (1, least((n.n - 1) * k / 3 + 1, n.n - 1))) as low(step, rank)
    where n.n > 0
)
select (select n from n) as n,
    percentile_disc((select fifths from place)) within group (order by recency) as recency,
    percentile_disc((select fifths from place)) within group (order by frequency) as frequency,
    percentile_disc((select fifths from place)) within group (order by monetary) as monetary,
    percentile_disc((select thirds from third)) within group (order by basket) as basket
from v
"""
# By the database, like every sale's day: its time zone rules may be of another year than Python's.
_TODAY = "select ($1::timestamptz at time zone $2)::date"
_NEWEST_DAY = "select max(day) from day where tenant_id = $1 and orders > 0"
_STORE = """
insert into cutoffs (
    tenant_id, method, reference_date, customers, recency_days, frequency, monetary, average_basket, computed_at
) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict (tenant_id) do update set method = excluded.method, reference_date = excluded.reference_date,
    customers = excluded.customers, recency_days = excluded.recency_days, frequency = excluded.frequency,
    monetary = excluded.monetary, average_basket = excluded.average_basket, computed_at = excluded.computed_at
"""
_CHANGED = """
select customer_code from (
    select c.customer_code, c.r, c.f, c.m, s.*
    from customer c left join lateral (select
        5 - (select count(*) from unnest($3::numeric[]) q where q < greatest(0, $2::date - c.last_order_day)) as r_now,
        1 + (select count(*) from unnest($4::numeric[]) q where q < c.frequency) as f_now,
        1 + (select count(*) from unnest($5::numeric[]) q where q < c.monetary) as m_now
    ) s on c.frequency > 0
    where c.tenant_id = $1
) x
where (r, f, m) is distinct from (r_now, f_now, m_now) order by customer_code
"""


async def reference_date(raw: Raw, tenant: Tenant, now: datetime) -> date:
    """What recency is measured from: the tenant's local date, its newest day with an order, or a fixed date."""
    today: date = await raw.fetchval(_TODAY, now, tenant.timezone)
    if tenant.reference == "now":
        return today
    if tenant.reference == "latest_sale":
        newest: date | None = await raw.fetchval(_NEWEST_DAY, tenant.tenant_id)
        return newest or today
    return date.fromisoformat(tenant.reference)


async def find_cutoffs(raw: Raw, tenant: Tenant, now: datetime) -> Cutoffs:
    """The exact cut-offs of what this statement's snapshot sees; empty without a customer who has ordered."""
    on = await reference_date(raw, tenant, now)
    row = (await raw.fetch(_STATISTICS, tenant.tenant_id, on))[0]
    count = row["n"]
    if count == 0:
        return Cutoffs(tenant.method, on, 0)
    if tenant.method == "fixed" and tenant.bounds is not None:
        axes = fixed_bounds(tenant.bounds)
    else:
        axes = {
            "recency_days": quantiles(count, QUINTILES, row["recency"]),
            "frequency": quantiles(count, QUINTILES, row["frequency"]),
            "monetary": quantiles(count, QUINTILES, row["monetary"]),
        }
    return Cutoffs(tenant.method, on, count, **axes, average_basket=quantiles(count, TERCILES, row["basket"]))


async def store_cutoffs(raw: Raw, tenant_id: UUID, found: Cutoffs, now: datetime) -> None:
    """Makes these the tenant's cut-offs."""
    await raw.execute(
        _STORE, tenant_id, found.method, found.reference_date, found.customers, found.recency_days, found.frequency,
        found.monetary, found.average_basket, now,
    )  # fmt: skip


async def customers_to_move(raw: Raw, tenant_id: UUID, cutoffs: Cutoffs) -> Sequence[str]:
    """Codes, sorted, of the customers whose stored scores are not those of these cut-offs."""
    axes: list[Sequence[Decimal]] = [cutoffs.recency_days, cutoffs.frequency, cutoffs.monetary]
    rows = await raw.fetch(_CHANGED, tenant_id, cutoffs.reference_date, *axes)
    return [row["customer_code"] for row in rows]
