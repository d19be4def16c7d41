"""Local days after a change of the time zone: sales in parts, each with its sums, then the last orders of customers.

The ledger and the sums agree after every part: a sale's `day` always names the day that it is summed under.
"""

from uuid import UUID

from services.rfm_worker.repository.changes import changes_of, request_scores
from services.rfm_worker.repository.queue import queue_customers
from services.rfm_worker.repository.raw import Raw

PART = 1000
"""Sales or customers in one transaction: a batch that wants one of them waits some ten milliseconds."""

_LOCK_SALES = """
select sale_id from sale where tenant_id = $1 and sale_id > $2 and recorded order by sale_id limit $3 for update
"""
_MOVED = """
select s.sale_id, s.day, (s.sold_at at time zone t.timezone)::date as new_day, s.net, s.cancelled, s.product_keys,
    s.effective_keys, s.quantities
from sale s join tenant t using (tenant_id)
where s.tenant_id = $1 and s.sale_id = any($2::text[])
    and s.day is distinct from (s.sold_at at time zone t.timezone)::date
"""
_SUMS = f"""
with moved as materialized ({_MOVED}),
sold as (
    select m.sale_id, l.product_key, sum(l.quantity) as units
    from moved m, unnest(coalesce(m.effective_keys, m.product_keys), m.quantities) as l(product_key, quantity)
    where not m.cancelled group by 1, 2
),
back as (
    select m.sale_id, rfm.effective_key(l.product_key, m.product_keys, m.effective_keys) as product_key,
        sum(l.quantity) as units
    from moved m join sale_return r on r.tenant_id = $1 and r.sale_id = m.sale_id,
        unnest(r.product_keys, r.quantities) as l(product_key, quantity)
    group by 1, 2
),
unit as (
    select sale_id, sum(greatest(0, sold.units - coalesce(back.units, 0))) as units
    from sold left join back using (sale_id, product_key) group by 1
),
part as (
    select p.day, sum(p.sign * (m.net > 0)::int) as orders, sum(p.sign * coalesce(u.units, 0)) as units,
        sum(p.sign * m.net) as revenue
    from moved m left join unit u using (sale_id), lateral (values (m.day, -1), (m.new_day, 1)) as p(day, sign)
    group by 1
)
insert into day as d (tenant_id, day, orders, units, revenue)
select $1, day, orders, units, revenue from part order by day
on conflict (tenant_id, day) do update set
    orders = d.orders + excluded.orders, units = d.units + excluded.units, revenue = d.revenue + excluded.revenue,
    revision = d.revision + 1
returning day
"""  # noqa: S608 - statements of our own
_EMPTY_DAYS = "delete from day where tenant_id = $1 and day = any($2::date[]) and (orders, units, revenue) = (0, 0, 0)"
_REDATE = f"""
update sale s set day = m.new_day from ({_MOVED}) m where s.tenant_id = $1 and s.sale_id = m.sale_id
"""  # noqa: S608
_LOCK_CUSTOMERS = """
select customer_code from customer where tenant_id = $1 and customer_code > $2
order by customer_code limit $3 for update
"""
_LAST_DAYS = """
update customer c set last_order_day = (c.last_order_at at time zone t.timezone)::date
from tenant t
where c.tenant_id = $1 and c.customer_code = any($2::text[]) and t.tenant_id = c.tenant_id
    and c.last_order_day is distinct from (c.last_order_at at time zone t.timezone)::date
returning new.tenant_id, new.customer_code, old.frequency as was_frequency, old.monetary as was_monetary,
    old.last_order_day as was_day, new.frequency, new.monetary, new.last_order_day
"""


async def redate_sales(raw: Raw, tenant_id: UUID, after: str) -> list[str]:
    """Dates the sales behind `after` anew; answers the ids that it came by, none at the end.

    The tenant must be shared with batches, so that its time zone cannot change meanwhile.
    """
    ids = [row["sale_id"] for row in await raw.fetch(_LOCK_SALES, tenant_id, after, PART)]
    if ids:
        days = [row["day"] for row in await raw.fetch(_SUMS, tenant_id, ids)]
        await raw.execute(_EMPTY_DAYS, tenant_id, days)
        await raw.execute(_REDATE, tenant_id, ids)
    return ids


async def redate_customers(raw: Raw, tenant_id: UUID, after: str) -> list[str]:
    """Dates the last orders of the customers behind `after` anew, and tells the scorer; answers the codes."""
    codes = [row["customer_code"] for row in await raw.fetch(_LOCK_CUSTOMERS, tenant_id, after, PART)]
    if not codes:
        return codes
    # The days between orders may be others, even where the last one is the same.
    await queue_customers(raw, tenant_id, codes)
    changes = changes_of(await raw.fetch(_LAST_DAYS, tenant_id, codes))
    if changes:
        await request_scores(raw, [tenant_id], changes)
    return codes


async def count_sales(raw: Raw, tenant_id: UUID) -> int:
    """Sales of the tenant."""
    return int(await raw.fetchval("select count(*) from sale where tenant_id = $1 and recorded", tenant_id))


async def count_customers(raw: Raw, tenant_id: UUID) -> int:
    """Customers of the tenant."""
    return int(await raw.fetchval("select count(*) from customer where tenant_id = $1", tenant_id))
