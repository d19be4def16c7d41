"""The sums: plain additions of the staged contributions, in the fixed order customer, customer x product, product, day.

Each statement takes its row locks in the order of the key, so that two batches on the same rows wait, never deadlock.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.rfm_worker.repository.people import CustomerKey
from services.rfm_worker.repository.raw import Raw

_CUSTOMERS = """
insert into customer as c (
    tenant_id, customer_code, code_hash, frequency, monetary, first_order_at, last_order_at, last_order_day
)
select s.tenant_id, s.counted, any_value(s.code_hash), sum(s.sign * s.orders), sum(s.sign * s.net),
    min(s.sold_at) filter (where s.orders = 1 and s.sign = 1),
    max(s.sold_at) filter (where s.orders = 1 and s.sign = 1),
    (max(s.sold_at) filter (where s.orders = 1 and s.sign = 1) at time zone any_value(t.timezone))::date
from stage s join tenant t using (tenant_id)
where s.counted is not null group by 1, 2 order by 1, 2
on conflict (tenant_id, customer_code) do update set
    frequency = c.frequency + excluded.frequency, monetary = c.monetary + excluded.monetary,
    first_order_at = least(c.first_order_at, excluded.first_order_at),
    last_order_at = greatest(c.last_order_at, excluded.last_order_at),
    last_order_day = case when excluded.last_order_at < c.last_order_at or excluded.last_order_at is null
        then c.last_order_day else excluded.last_order_day end
returning new.tenant_id, new.customer_code, old.frequency as was_frequency, old.monetary as was_monetary,
    old.last_order_day as was_day, new.frequency, new.monetary, new.last_order_day, new.r, new.f, new.m, new.segment
"""
# A counting order has a net amount above 0. The index leads to the first and the last one; those that were cancelled
# or fully returned are stepped over.
_LOOK_UP = """
update customer c set first_order_at = oldest.sold_at, last_order_at = newest.sold_at, last_order_day = newest.day
from unnest($1::uuid[], $2::text[]) as k(tenant_id, customer_code)
left join lateral (
    select s.sold_at from sale s
    where s.tenant_id = k.tenant_id and s.customer_code = k.customer_code and s.net > 0
    order by s.sold_at, s.sale_id limit 1
) oldest on true
left join lateral (
    select s.sold_at, s.day from sale s
    where s.tenant_id = k.tenant_id and s.customer_code = k.customer_code and s.net > 0
    order by s.sold_at desc, s.sale_id desc limit 1
) newest on true
where c.tenant_id = k.tenant_id and c.customer_code = k.customer_code
returning c.tenant_id, c.customer_code, c.frequency, c.monetary, c.last_order_day, c.r, c.f, c.m, c.segment
"""
_LINES = """
select s.tenant_id, s.counted, l.product_key, s.sign * l.units as units, s.sign * l.amount as amount,
    case when s.orders = 1 and l.units > 0 then s.sign else 0 end as orders, s.spend_weight, s.units_weight
from stage s, unnest(
    coalesce(s.part_keys, s.product_keys), coalesce(s.part_units, s.quantities), coalesce(s.part_amounts, s.amounts)
) as l(product_key, units, amount)
"""
# A product's number of customers changes where a customer's orders of it become the first ones, or none.
_PRODUCTS = f"""
with bought as (
    insert into customer_product as b (tenant_id, customer_code, product_key, orders, units, amount, spend_weight)
    select tenant_id, counted, product_key, sum(orders), sum(units), sum(amount), sum(amount * spend_weight)
    from ({_LINES} where s.counted is not null) x group by 1, 2, 3 order by 1, 2, 3
    on conflict (tenant_id, customer_code, product_key) do update set
        orders = b.orders + excluded.orders, units = b.units + excluded.units, amount = b.amount + excluded.amount,
        spend_weight = b.spend_weight + excluded.spend_weight
    returning b.tenant_id, b.product_key, (new.orders > 0)::int - (coalesce(old.orders, 0) > 0)::int as customers
)
insert into product as p (tenant_id, product_key, orders, units, revenue, units_weight, customers)
select tenant_id, product_key, sum(orders), sum(units), sum(amount), sum(units * units_weight), sum(customers)
from (
    select tenant_id, product_key, orders, units, amount, units_weight, 0 as customers from ({_LINES}) sold
    union all
    select tenant_id, product_key, 0, 0, 0, 0, customers from bought where customers <> 0
) x group by 1, 2 order by 1, 2
on conflict (tenant_id, product_key) do update set
    orders = p.orders + excluded.orders, units = p.units + excluded.units, revenue = p.revenue + excluded.revenue,
    units_weight = p.units_weight + excluded.units_weight, customers = p.customers + excluded.customers
"""  # noqa: S608
_DAYS = """
insert into day as d (tenant_id, day, orders, units, revenue)
select s.tenant_id, coalesce(s.day, (s.sold_at at time zone t.timezone)::date), sum(s.sign * s.orders),
    sum(s.sign * s.units), sum(s.sign * s.net)
from stage s join tenant t using (tenant_id)
where s.sold_at is not null group by 1, 2 order by 1, 2
on conflict (tenant_id, day) do update set
    orders = d.orders + excluded.orders, units = d.units + excluded.units, revenue = d.revenue + excluded.revenue,
    revision = d.revision + 1
"""


async def add_customers(raw: Raw, lowered: Iterable[CustomerKey]) -> Sequence[Mapping[str, Any]]:
    """Adds to the customers; answers the new rows (key, frequency, monetary, last_order_day, r, f, m, segment), with
    the first three also as they were (`was_frequency`, `was_monetary`, `was_day`; null for a new customer).

    Args:
        lowered: those that lost something; their first and last order come from the ledger again, once their rows
            are locked, so that another batch on the same customer is either seen or will look itself.
    """
    rows = await raw.fetch(_CUSTOMERS)
    pairs = sorted(lowered)
    if not pairs:
        return rows
    again = await raw.fetch(_LOOK_UP, [p[0] for p in pairs], [p[1] for p in pairs])
    newer = {(row["tenant_id"], row["customer_code"]): dict(row) for row in again}
    return [{**row, **newer.get((row["tenant_id"], row["customer_code"]), {})} for row in rows]


async def add_the_rest(raw: Raw) -> None:
    """Adds to customer x product, product and day."""
    await raw.execute(_PRODUCTS)
    await raw.execute(_DAYS)
