"""A tenant of any size straight in the tables: seeded and skewed, with returns, cancellations and a walk-in customer.

The sums are computed from the ledger by SQL, as the worker's batches would have left them.
"""

from dataclasses import dataclass
from uuid import UUID

import asyncpg

DAYS = 730
FAMILIES = 40


@dataclass(frozen=True, slots=True)
class Size:
    """How much is loaded."""

    customers: int = 100_000
    sales: int = 150_000
    lines: int = 10
    """Per sale, on average; from 1 to twice as many."""
    products: int = 5_000
    changes: int = 3
    """Changes of segment per customer who has ordered, on average, over the last year."""


_SEED = "select setseed(0.42)"
_TENANT = """
insert into rfm.tenant (tenant_id, timezone, currency, version) values ($1, 'Europe/Paris', 'EUR', 1)
on conflict (tenant_id) do update set version = 1
"""
_PRODUCTS = """
insert into rfm.product (tenant_id, product_key, master_version, name, family)
select $1, 'P-' || n, 1, 'Product ' || n, 'Family ' || (n % $3::int) from generate_series(1, $2::int) n
"""
_CATALOGUE = """
insert into gateway.product (
    tenant_id, product_key, name, family, price, active, version, created_at, updated_at
)
select tenant_id, product_key, name, family, 9.9, true, 1, now(), now() from rfm.product where tenant_id = $1
"""
# A product in every fifth line, a customer without a name in every twentieth sale, one walk-in customer in every tenth.
_SALES = """
insert into rfm.sale (
    tenant_id, sale_id, recorded, customer_code, sold_at, day, channel, currency, gross, net, cancelled, returned,
    event_time, event_id, product_keys, labels, quantities, unit_prices, discounts, amounts
)
select $1, 'S-' || n, true,
    case when n % 20 = 0 then null when n % 10 = 1 then 'C-1' else 'C-' || customer end,
    at, (at at time zone 'Europe/Paris')::date, case when n % 3 = 0 then 'web' else 'store' end, 'EUR', gross,
    case when n % 97 = 0 then 0 when n % 53 = 0 then gross - amounts[1] else gross end, n % 97 = 0, n % 53 = 0,
    at, 'e-' || n, keys, array_fill(null::text, array[cardinality(keys)]), quantities, prices,
    array_fill(0::numeric, array[cardinality(keys)]), amounts
from (
    select n, 1 + floor(power(random(), 1.5) * $3)::int as customer,
        now() - ($2 - n) * ($4 * interval '1 day' / $2) as at
    from generate_series(1, $2::int) n
) s
cross join lateral (
    select array_agg('P-' || product) as keys, array_agg(quantity::numeric(18, 3)) as quantities,
        array_agg(price::numeric(18, 4)) as prices, array_agg((quantity * price)::numeric(18, 4)) as amounts,
        sum(quantity * price) as gross
    from (
        select case when i = 1 and s.n % 2 = 0 then 1 else 1 + floor(power(random(), 2) * $6)::int end as product,
            1 + floor(random() * 3)::int as quantity, 0.5 + floor(random() * 2000) / 100 as price
        from generate_series(1, 1 + floor(random() * (2 * $5 - 1) + s.n * 0)::int) i
    ) line
) l
order by n
"""
_RETURNS = """
insert into rfm.sale_return (
    tenant_id, return_id, sale_id, returned_at, event_time, event_id, product_keys, quantities, amounts
)
select tenant_id, 'R-' || sale_id, sale_id, sold_at, sold_at, 'r-' || sale_id, product_keys[1:1], quantities[1:1],
    amounts[1:1]
from rfm.sale where tenant_id = $1 and returned
"""
_CANCELLATIONS = """
insert into rfm.sale_cancellation (tenant_id, sale_id, cancelled_at, event_time, event_id)
select tenant_id, sale_id, sold_at, sold_at, 'c-' || sale_id from rfm.sale where tenant_id = $1 and cancelled
"""
_CUSTOMERS = """
insert into rfm.customer (
    tenant_id, customer_code, code_hash, master_version, created_at, first_name, last_name, email, language, tags,
    frequency, monetary, first_order_at, last_order_at, last_order_day, segment_since
)
select $1, 'C-' || n, decode(md5(n::text), 'hex'), 1, now() - n % $3 * interval '1 day',
    (array['Ana', 'Bo', 'Cleo', 'Dario', 'Emma', 'Farid', 'Greta', 'Hugo'])[1 + n % 8],
    (array['Ruiz', 'Martin', 'Bernard', 'Petit', 'Novak', 'Silva', 'Moreau'])[1 + n % 7] || n,
    'person' || n || '@example.org', 'fr', case when n % 4 = 0 then array['club'] when n % 997 = 0 then array['vip']
    else '{}' end, coalesce(o.orders, 0), coalesce(o.net, 0), o.first, o.last, o.day, now() - interval '400 days'
from generate_series(1, $2::int) n
left join (
    select customer_code, count(*) as orders, sum(net) as net, min(sold_at) as first, max(sold_at) as last,
        max(day) as day
    from rfm.sale where tenant_id = $1 and net > 0 and customer_code is not null group by 1
) o on o.customer_code = 'C-' || n
"""
_PART = """
create temp table part as
with line as (
    select s.sale_id, s.customer_code, s.net, s.sold_at, l.product_key, sum(l.quantity) as units,
        sum(l.amount) as amount
    from rfm.sale s, unnest(s.product_keys, s.quantities, s.amounts) as l(product_key, quantity, amount)
    where s.tenant_id = '{tenant}' and not s.cancelled group by 1, 2, 3, 4, 5
)
select l.*, extract(epoch from l.sold_at) - 1577836800 as age,
    greatest(0, l.units - coalesce(r.quantities[1], 0)) as net_units,
    greatest(0, l.amount - coalesce(r.amounts[1], 0)) as net_amount
from line l left join rfm.sale_return r
    on r.tenant_id = '{tenant}' and r.sale_id = l.sale_id and r.product_keys[1] = l.product_key
"""
_CUSTOMER_PRODUCTS = """
insert into rfm.customer_product (tenant_id, customer_code, product_key, orders, units, amount, spend_weight)
select $1, customer_code, product_key, count(*) filter (where net > 0 and net_units > 0), sum(net_units),
    sum(net_amount), sum(net_amount * round(power(2::float8, age / 15552000)::numeric, 9))
from part where customer_code is not null group by 2, 3
"""
_PRODUCT_SUMS = """
update rfm.product p set orders = x.orders, units = x.units, revenue = x.amount, units_weight = x.weight,
    customers = x.customers
from (
    select product_key, count(*) filter (where net > 0 and net_units > 0) as orders, sum(net_units) as units,
        sum(net_amount) as amount, sum(net_units * round(power(2::float8, age / 7776000)::numeric, 9)) as weight,
        count(distinct customer_code) filter (where net > 0 and net_units > 0) as customers
    from part group by 1
) x where p.tenant_id = $1 and p.product_key = x.product_key
"""
_DAYS = """
insert into rfm.day (tenant_id, day, orders, units, revenue)
select $1, s.day, count(*) filter (where s.net > 0), coalesce(sum(u.units), 0), sum(s.net)
from rfm.sale s left join (select sale_id, sum(net_units) as units from part group by 1) u using (sale_id)
where s.tenant_id = $1 group by s.day
"""
_SCORES = """
update rfm.customer c set r = x.r, f = x.f, m = x.m,
    segment = (array[
        'lost', 'hibernating', 'about_to_sleep', 'at_risk', 'cannot_lose', 'need_attention', 'new', 'promising',
        'potential_loyalist', 'loyal', 'champions'
    ])[1 + (x.r + x.f + x.m - 3) * 10 / 12]
from (
    select customer_code, ntile(5) over (order by last_order_day) as r, ntile(5) over (order by frequency) as f,
        ntile(5) over (order by monetary) as m
    from rfm.customer where tenant_id = $1 and frequency > 0
) x where c.tenant_id = $1 and c.customer_code = x.customer_code
"""
_CUTOFFS = """
insert into rfm.cutoffs (
    tenant_id, method, reference_date, customers, recency_days, frequency, monetary, average_basket, computed_at
)
select $1, 'quintile', (now() at time zone 'Europe/Paris')::date, count(*), '{30,90,180,365}', '{1,2,3,5}',
    '{50,100,150,300}', '{60,110}', now()
from rfm.customer where tenant_id = $1 and frequency > 0
"""
# A chain of segments per customer that ends in the one of today.
_HISTORY = """
insert into rfm.segment_change (tenant_id, customer_code, previous, segment, rfm_code, changed_at, cause)
select $1, customer_code, coalesce(lag(segment) over (partition by customer_code order by at), 'prospect'), segment,
    rfm_code, at, 'time'
from (
    select c.customer_code, (100 * c.r + 10 * c.f + c.m)::text as rfm_code,
        now() - (1 - (i - 1 + random()) / k.n) * interval '365 days' as at,
        case when i = k.n then c.segment
        else (array['lost', 'hibernating', 'at_risk', 'new', 'promising', 'loyal'])[1 + (k.x * 7 + i)::int % 6] end
            as segment
    from rfm.customer c
    cross join lateral (select 1 + floor(random() * (2 * $2 - 1) + c.frequency * 0)::int as n, random() as x) k
    cross join generate_series(1, k.n) i
    where c.tenant_id = $1 and c.frequency > 0
) h order by at
"""
_PATHS = "insert into rfm.segment_path select * from rfm.segment_paths($1, null)"
_QUEUE = """
insert into rfm.customer_queue (tenant_id, customer_codes, product_keys)
select $1, array_agg(customer_code), '{}' from rfm.customer where tenant_id = $1
group by hashtext(customer_code) % 100
"""


async def load(connection: "asyncpg.Connection[asyncpg.Record]", tenant_id: UUID, size: Size) -> int:
    """Fills the tables for a tenant that has nothing yet; answers the number of lines. As the superuser."""
    await connection.execute(_SEED)
    await connection.execute(_TENANT, tenant_id)
    await connection.execute(_PRODUCTS, tenant_id, size.products, FAMILIES)
    await connection.execute(_CATALOGUE, tenant_id)
    await connection.execute(_SALES, tenant_id, size.sales, size.customers, DAYS, size.lines, size.products)
    await connection.execute(_RETURNS, tenant_id)
    await connection.execute(_CANCELLATIONS, tenant_id)
    await connection.execute(_CUSTOMERS, tenant_id, size.customers, DAYS)
    await connection.execute(_PART.format(tenant=tenant_id))
    await connection.execute(_CUSTOMER_PRODUCTS, tenant_id)
    await connection.execute(_PRODUCT_SUMS, tenant_id)
    await connection.execute(_DAYS, tenant_id)
    await connection.execute("drop table part")
    await connection.execute(_SCORES, tenant_id)
    await connection.execute(_CUTOFFS, tenant_id)
    await connection.execute(_HISTORY, tenant_id, size.changes)
    await connection.execute(_PATHS, tenant_id)
    await connection.execute(_QUEUE, tenant_id)
    lines = "select sum(cardinality(product_keys)) from rfm.sale where tenant_id = $1"
    return int(await connection.fetchval(lines, tenant_id))
