"""Order days of a tenant's customers for the lifetime model, and what the model says of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from services.rfm_worker.repository.locks import lock_tenants
from services.rfm_worker.repository.raw import Raw

READ_ROWS, WRITE_ROWS = 5_000, 5_000
"""Customers fetched and stored at a time. While rows are stored, an erasure of the tenant has to wait for the part."""
FIGURES, EARLY_VISITS = 9, 4
"""Figures per customer in `order_days`, and the place of the one that says whether there are early ones."""

# A few sales with an impossible date must not make the history long: it begins when 1 % of the customers had come.
_SPAN = """
select t.status,
    case t.reference_date
        when 'now' then ($2::timestamptz at time zone t.timezone)::date
        when 'latest_sale' then coalesce(
            (select max(day) from day d where d.tenant_id = t.tenant_id and d.orders > 0),
            ($2::timestamptz at time zone t.timezone)::date
        )
        else t.reference_date::date
    end as reference_date,
    (select (percentile_disc(0.01) within group (order by c.first_order_at) at time zone t.timezone)::date
     from customer c where c.tenant_id = t.tenant_id and c.frequency > 0) as began,
    (select count(*) from erasure e where e.tenant_id = t.tenant_id) as erasures
from tenant t where t.tenant_id = $1
"""
_ORDER_DAYS = """
with visit as (
    select customer_code, day, sum(net) as spend from sale
    where tenant_id = $1 and recorded and net > 0 and customer_code is not null and day <= $2
    group by customer_code, day
)
select customer_code,
    count(*) as visits, $2 - min(day) as age, max(day) - min(day) as recency, sum(spend)::float8 as spend,
    count(*) filter (where day <= $3) as early_visits, max(day) filter (where day <= $3) - min(day) as early_recency,
    coalesce(sum(spend) filter (where day <= $3), 0)::float8 as early_spend,
    count(*) filter (where day > $4 and day <= $3) as before_visits,
    coalesce(sum(spend) filter (where day > $4 and day <= $3), 0)::float8 as before_spend
from visit
where exists (select from customer c where c.tenant_id = $1 and c.customer_code = visit.customer_code)
group by customer_code order by customer_code
"""
_UNCHANGED = """
select status <> 'erased' and (select count(*) from erasure e where e.tenant_id = t.tenant_id) = $2
from tenant t where tenant_id = $1
"""
_STORE = """
insert into lifetime_value (
    tenant_id, customer_code, probability_alive, expected_orders, expected_value, low, high, computed_at
)
select $1, v.code, round(v.alive::numeric, 4), round(v.orders::numeric, 4), round(v.value::numeric, 2),
    round(v.low::numeric, 2), round(v.high::numeric, 2), $2
from unnest($3::text[], $4::float8[], $5::float8[], $6::float8[], $7::float8[], $8::float8[])
    as v(code, alive, orders, value, low, high)
where exists (select from customer c where c.tenant_id = $1 and c.customer_code = v.code)
on conflict (tenant_id, customer_code) do update set probability_alive = excluded.probability_alive,
    expected_orders = excluded.expected_orders, expected_value = excluded.expected_value, low = excluded.low,
    high = excluded.high, computed_at = excluded.computed_at
"""
_DROP_OLD = "delete from lifetime_value where tenant_id = $1 and computed_at < $2"
_STORE_MODEL = """
insert into lifetime_model (
    tenant_id, fitted_at, status, reason, reference_date, history_days, horizon_days, customers, expected_orders,
    expected_value, dependence, parameters, holdout, deciles
) values (
    $1, $2, $3, $4, $5, $6, $7, $8, round($9::float8::numeric, 4), round($10::float8::numeric, 2), $11,
    $12::text::jsonb, $13::text::jsonb, $14::text::jsonb
)
on conflict (tenant_id) do update set fitted_at = excluded.fitted_at, status = excluded.status,
    reason = excluded.reason, reference_date = excluded.reference_date, history_days = excluded.history_days,
    horizon_days = excluded.horizon_days, customers = excluded.customers, expected_orders = excluded.expected_orders,
    expected_value = excluded.expected_value, dependence = excluded.dependence, parameters = excluded.parameters,
    holdout = excluded.holdout, deciles = excluded.deciles
"""


@dataclass(frozen=True, slots=True)
class Span:
    """When a tenant was read, the days that its history covers, and how many erasures it had seen."""

    read_at: datetime
    reference_date: date
    history_days: int
    erasures: int


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A row of lifetime_model; money and orders are floats that the database rounds."""

    status: str
    reason: str | None
    customers: int
    horizon_days: int
    expected_orders: float | None
    expected_value: float | None
    dependence: float | None
    parameters: Mapping[str, Any] | None
    holdout: Mapping[str, Any] | None
    deciles: Sequence[Mapping[str, Any]] | None


async def span(raw: Raw, tenant_id: UUID, now: datetime) -> Span | None:
    """What there is of the tenant; None when it is gone."""
    row = await raw.fetchrow(_SPAN, tenant_id, now)
    if row is None or row["status"] == "erased":
        return None
    on = row["reference_date"]
    days = max(0, (on - row["began"]).days) if row["began"] is not None else 0
    return Span(now, on, days, row["erasures"])


async def order_days(raw: Raw, tenant_id: UUID, seen: Span, held_out: int) -> tuple[list[str], list[tuple[float, ...]]]:
    """Codes and, per customer, the `FIGURES` of `_ORDER_DAYS`, where the last `held_out` days are held out.

    A customer whose first order falls in these days has no early figures: 0 visits.
    """
    split = seen.reference_date - timedelta(days=held_out)
    codes: list[str] = []
    figures: list[tuple[float, ...]] = []
    cursor = raw.cursor(
        _ORDER_DAYS, tenant_id, seen.reference_date, split, split - timedelta(days=held_out), prefetch=READ_ROWS
    )
    async for row in cursor:
        codes.append(row["customer_code"])
        figures.append(tuple(row)[1:])
    return codes, figures


async def store_values(
    raw: Raw, tenant_id: UUID, seen: Span, codes: Sequence[str], columns: Sequence[Sequence[float]]
) -> bool:
    """Stores one part of the values, unless the tenant has had an erasure since they were read.

    Args:
        columns: probability alive, expected orders, expected value, low, high, each in the order of `codes`.

    Returns:
        False when nothing was stored: a value may describe somebody who is erased, so all must be read again.
    """
    if not await _unchanged(raw, tenant_id, seen):
        return False
    await raw.execute(_STORE, tenant_id, seen.read_at, codes, *columns)
    return True


async def store_model(raw: Raw, tenant_id: UUID, seen: Span, row: ModelRow) -> bool:
    """Stores the model, or the reason why there is none, and drops every value of an earlier run.

    Returns:
        False when nothing was stored, as in `store_values`.
    """
    if not await _unchanged(raw, tenant_id, seen):
        return False
    await raw.execute(_DROP_OLD, tenant_id, seen.read_at)
    written = [None if part is None else json.dumps(part) for part in (row.parameters, row.holdout, row.deciles)]
    await raw.execute(
        _STORE_MODEL, tenant_id, seen.read_at, row.status, row.reason, seen.reference_date, seen.history_days,
        row.horizon_days, row.customers, row.expected_orders, row.expected_value, row.dependence, *written,
    )  # fmt: skip
    return True


async def _unchanged(raw: Raw, tenant_id: UUID, seen: Span) -> bool:
    """Keeps erasures away until the transaction ends, and says whether there was one since the histories were read."""
    await lock_tenants(raw, [tenant_id], [])
    return bool(await raw.fetchval(_UNCHANGED, tenant_id, seen.erasures))
