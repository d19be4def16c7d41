-- Rows that every batch updates keep free space beside them, so that an update stays on its page and touches no index.
alter table rfm.product set (fillfactor = 50);
alter table rfm.day set (fillfactor = 50);
alter table rfm.customer_product set (fillfactor = 90);

-- monetary / frequency rounded half-even to 4 decimals; null without an order. Exact: no quotient is cut off before it
-- is rounded.
create function rfm.average_basket(monetary numeric, frequency integer) returns numeric
    language sql immutable parallel safe
    as $$
        select case when frequency > 0 then (
            div(monetary * 10000, frequency)
            + case sign(2 * mod(monetary * 10000, frequency) - frequency)
                when 1 then 1
                when 0 then mod(div(monetary * 10000, frequency), 2)
                else 0
              end
        ) * 0.0001 end
    $$;

-- Up to three families by share of decayed net spend, largest first, each share to 4 decimals.
create function rfm.preferred_families(p_tenant uuid, p_code text) returns jsonb
    language sql stable
    as $$
        with family as (
            select coalesce(p.family, 'unknown') collate "C" as family, sum(b.spend_weight) as weight
            from rfm.customer_product b
            left join rfm.product p on p.tenant_id = b.tenant_id and p.product_key = b.product_key
            where b.tenant_id = p_tenant and b.customer_code = p_code and b.spend_weight > 0
            group by 1
        ),
        best as (
            select family, round(weight / sum(weight) over (), 4) as share, weight
            from family order by weight desc, family limit 3
        )
        select coalesce(
            jsonb_agg(jsonb_build_object('family', family, 'share', share) order by weight desc, family), '[]'
        ) from best
    $$;

-- The 25, 50 and 75 % quantiles of the unit prices of the units bought in the last 50 lines (linear interpolation; a
-- line counts its quantity in whole units, at least one). Null without a counting order.
create function rfm.price_quartiles(p_tenant uuid, p_code text) returns numeric[]
    language sql stable
    as $$
        with recent as (
            select sold_at, sale_id, unit_prices, quantities from rfm.sale
            where tenant_id = p_tenant and customer_code = p_code and net > 0
            order by sold_at desc, sale_id desc limit 50
        ),
        line as (
            select l.price, greatest(1, round(l.quantity)) as units
            from recent r, unnest(r.unit_prices, r.quantities) with ordinality as l(price, quantity, n)
            order by r.sold_at desc, r.sale_id desc, l.n desc limit 50
        ),
        upto as (select price, sum(units) over (order by price) as units from line),
        place as (
            select k, div((total - 1) * k, 4) as whole, mod((total - 1) * k, 4) * 0.25 as part
            from (select max(units) as total from upto) t, generate_series(1, 3) as k
            where total is not null
        )
        select array_agg(low + part * (high - low) order by k)
        from place,
            lateral (select min(price) as low from upto where upto.units > place.whole) l,
            lateral (
                select coalesce(min(price), (select max(price) from upto)) as high
                from upto where upto.units > place.whole + 1
            ) h
    $$;

-- Median gap in days between the last 50 distinct local order dates; null with fewer than two. Each step jumps to the
-- newest counting order before the day just found, so many orders on one day cost one probe of the index.
create function rfm.usual_interval(p_tenant uuid, p_code text, p_zone text) returns numeric
    language sql stable
    as $$
        with recursive visit(day, n) as (
            (select s.day, 1 from rfm.sale s
             where s.tenant_id = p_tenant and s.customer_code = p_code and s.net > 0
             order by s.sold_at desc, s.sale_id desc limit 1)
            union all
            select before.day, visit.n + 1
            from visit, lateral (
                select s.day from rfm.sale s
                where s.tenant_id = p_tenant and s.customer_code = p_code and s.net > 0
                    and s.sold_at < (visit.day::timestamp at time zone p_zone) and s.day < visit.day
                order by s.sold_at desc, s.sale_id desc limit 1
            ) before
            where visit.n < 50
        ),
        gap as (select lag(day) over (order by n) - day as days from visit),
        ranked as (
            select days, row_number() over (order by days) - 1 as i, count(*) over () as n from gap where days is not null
        )
        select avg(days)::numeric(12, 1) from ranked where i in ((n - 1) / 2, n / 2)
    $$;

-- Profiles of up to a page of customers. The work per customer is bounded, whatever its history. The caller's own
-- rights apply: the gateway's role sees the tenant of its transaction only.
create function rfm.customer_profiles(p_tenant uuid, p_codes text[])
    returns table (
        customer_code text, average_basket numeric, preferred_families jsonb, budget_band text,
        budget_typical numeric, budget_low numeric, budget_high numeric,
        usual_interval_days numeric, next_order_expected_at date
    )
    language sql stable
    as $$
        select c.customer_code, basket.average, families.best,
            case when c.frequency > 0 and cardinality(q.average_basket) = 2 then
                (array['low', 'medium', 'high'])[
                    1 + (q.average_basket[1] < basket.average)::int + (q.average_basket[2] < basket.average)::int
                ]
            end,
            prices.q[2], prices.q[1], prices.q[3],
            gap.days, c.last_order_day + floor(gap.days + 0.5)::int
        from rfm.customer c
        join rfm.tenant t on t.tenant_id = c.tenant_id
        left join rfm.cutoffs q on q.tenant_id = c.tenant_id
        cross join lateral (select rfm.average_basket(c.monetary, c.frequency) as average) basket
        cross join lateral (select rfm.preferred_families(c.tenant_id, c.customer_code) as best) families
        cross join lateral (select rfm.price_quartiles(c.tenant_id, c.customer_code) as q) prices
        cross join lateral (select rfm.usual_interval(c.tenant_id, c.customer_code, t.timezone) as days) gap
        where c.tenant_id = p_tenant and c.customer_code = any(p_codes)
    $$;
