"""Figures of a period, from the rfm worker's sums where they hold and from the ledger where they do not."""

from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.periods import DayRange, Grain, Span

Measure = Literal["revenue", "units", "orders"]
_CALENDAR = text("select * from rfm.calendar(:tenant)")
# All that existed at the end of a period, or at the reference date where that comes first, and who began in it. As of
# the reference date the customers themselves tell who is active, because they know when they bought last.
_CUSTOMERS = text(
    """
    with bound as materialized (
        select c.reference_date <= cast(:last as date) as current, c.reference_date - c.active_days as inactive,
            rfm.day_start(least(c.reference_date, cast(:last as date)) + 1, c.timezone) as now_over,
            rfm.day_start(least(c.reference_date, cast(:first as date) - 1) + 1, c.timezone) as then_over,
            rfm.day_start(:first, c.timezone) as now_first, rfm.day_start(:before, c.timezone) as then_first,
            rfm.day_start(cast(:last as date) + 1, c.timezone) as now_end
        from rfm.calendar(:tenant) c
    )
    select case when b.current then x.customers else x.customers - x.later end as total,
        x.customers - x.later_than_then as total_then, x.began, x.began_then,
        case when b.current then (
            select count(*) from rfm.customer c where c.tenant_id = :tenant and c.last_order_day > b.inactive
        ) end as active
    from bound b, (
        select count(*) as customers,
            count(*) filter (where least(c.created_at, c.first_order_at) >= (select now_over from bound)) as later,
            count(*) filter (where least(c.created_at, c.first_order_at) >= (select then_over from bound))
                as later_than_then,
            count(*) filter (
                where c.first_order_at >= (select now_first from bound)
                    and c.first_order_at < (select now_end from bound)
            ) as began,
            count(*) filter (
                where c.first_order_at >= (select then_first from bound)
                    and c.first_order_at < (select now_first from bound)
            ) as began_then
        from rfm.customer c where c.tenant_id = :tenant
    ) x
    """
)
_DAYS = text(
    """
    select coalesce(d.orders, 0) as orders, coalesce(d.revenue, 0) as revenue,
        rfm.average_basket(d.revenue, cast(d.orders as int)) as average_basket,
        coalesce(d.revision, 0) as revision
    from unnest(cast(:firsts as date[]), cast(:lasts as date[])) with ordinality as s(first, last, n)
    cross join lateral (
        select sum(d.orders) as orders, sum(d.revenue) as revenue, sum(d.revision) as revision from rfm.day d
        where d.tenant_id = :tenant and d.day between s.first and s.last
    ) d
    order by s.n
    """
)
_BUYERS = text(
    """
    select b.once, b.again
    from unnest(cast(:firsts as date[]), cast(:lasts as date[])) with ordinality as s(first, last, n)
    cross join lateral (
        select count(*) as once, count(*) filter (where x.orders >= 2) as again from (
            select o.customer_code, count(*) as orders from rfm.sale o
            where o.tenant_id = :tenant and o.day between s.first and s.last and o.net > 0
                and o.customer_code is not null
            group by o.customer_code
        ) x
        where not exists (
            select from rfm.erasure e where e.tenant_id = :tenant and e.pseudonym = x.customer_code
        )
    ) b
    order by s.n
    """
)
_TREND = text(
    """
    with point as materialized (
        select s.n, s.first, s.last, coalesce(d.orders, 0) as orders, coalesce(d.units, 0) as units,
            coalesce(d.revenue, 0) as revenue, p.customers
        from unnest(
            cast(:starts as date[]), cast(:firsts as date[]), cast(:lasts as date[]), cast(:whole as bool[])
        ) with ordinality as s(start, first, last, whole, n)
        cross join lateral (
            select sum(d.orders) as orders, sum(d.units) as units, sum(d.revenue) as revenue,
                sum(d.revision) as revision
            from rfm.day d where d.tenant_id = :tenant and d.day between s.first and s.last
        ) d
        left join rfm.period p on p.tenant_id = :tenant and p.grain = :grain and p.start = s.start and s.whole
            and p.revision = d.revision
    ),
    open as materialized (
        select n, first, last, row_number() over (order by n) as span from point where orders > 0 and customers is null
    ),
    counted as (
        select o.n, d.customers from open o join rfm.distinct_customers(
            :tenant, array(select first from open order by n), array(select last from open order by n)
        ) d using (span)
    )
    select p.orders, p.units, p.revenue, coalesce(p.customers, c.customers, 0) as customers
    from point p left join counted c using (n) order by p.n
    """
)
# The catalogue is read as a whole (`offset 0`): looked up one by one, its products took longer than their sums.
_PRODUCTS = """
    with sold as materialized (
        select s.product_key, s.orders, s.units, s.revenue, p.name, coalesce(p.family, 'unknown') as family
        from rfm.products_sold(:tenant, :first, :last) s
        left join (
            select product_key, name, family from rfm.product where tenant_id = :tenant offset 0
        ) p on p.product_key = s.product_key
        where s.units > 0 or s.revenue > 0
    )
    (select 'product' as kind, product_key as key, name, family, orders, units, revenue, 1 as products
     from sold order by {measure} desc, product_key limit :count)
    union all
    (select 'family', family, null, family, sum(orders), sum(units), sum(revenue), count(*)
     from sold group by family order by sum({measure}) desc, family collate "C" limit :count)
    union all
    select 'total', '', null, null, coalesce(sum(orders), 0), coalesce(sum(units), 0), coalesce(sum(revenue), 0),
        count(*)
    from sold
"""
_BY_MEASURE = {
    measure: text(_PRODUCTS.format(measure=measure)) for measure in ("revenue", "units", "orders")
}  # fmt: skip


async def calendar(connection: AsyncConnection, tenant_id: UUID) -> Row[Any]:
    """timezone, today, reference_date and active_days of the tenant."""
    return (await connection.execute(_CALENDAR, {"tenant": tenant_id})).one()


async def count_customers(connection: AsyncConnection, tenant_id: UUID, period: DayRange) -> Row[Any]:
    """total and began of now and (`_then`) of the period before; active of now, None where only the ledger knows."""
    parameters = {
        "tenant": tenant_id, "first": period.first, "last": period.last, "before": period.before().first,
    }  # fmt: skip
    return (await connection.execute(_CUSTOMERS, parameters)).one()


async def sum_days(connection: AsyncConnection, tenant_id: UUID, periods: Sequence[DayRange]) -> list[Row[Any]]:
    """orders, revenue and average_basket of each period, and the revisions of its days added up: it grows with every
    change of an order of theirs."""
    return list(await connection.execute(_DAYS, _spans(tenant_id, periods)))


async def count_buyers(connection: AsyncConnection, tenant_id: UUID, periods: Sequence[DayRange]) -> list[Row[Any]]:
    """Customers with an order (`once`) and with two or more (`again`) in each period; an erased person is none."""
    return list(await connection.execute(_BUYERS, _spans(tenant_id, periods)))


def _spans(tenant_id: UUID, periods: Sequence[DayRange]) -> dict[str, Any]:
    return {"tenant": tenant_id, "firsts": [p.first for p in periods], "lasts": [p.last for p in periods]}


async def trend(connection: AsyncConnection, tenant_id: UUID, grain: Grain, spans: Sequence[Span]) -> list[Row[Any]]:
    """orders, units, revenue and distinct customers of each span."""
    parameters = {
        "tenant": tenant_id, "grain": grain, "starts": [s.start for s in spans],
        "firsts": [s.inside.first for s in spans], "lasts": [s.inside.last for s in spans],
        "whole": [s.whole for s in spans],
    }  # fmt: skip
    return list(await connection.execute(_TREND, parameters))


async def top_products(
    connection: AsyncConnection, tenant_id: UUID, period: DayRange, measure: Measure, count: int
) -> list[Row[Any]]:
    """At most `count` rows of kind product and of kind family, largest first, and one of kind total."""
    parameters = {"tenant": tenant_id, "first": period.first, "last": period.last, "count": count}
    return list(await connection.execute(_BY_MEASURE[measure], parameters))
