-- What came back or was cancelled after a moment is found without reading all that ever was.
create index sale_return_by_time on rfm.sale_return (tenant_id, returned_at);
create index sale_cancellation_by_time on rfm.sale_cancellation (tenant_id, cancelled_at);

-- Rules of the worker's domain that the database applies where one answer needs the scores of all customers. Tests hold
-- the two together.

-- The p_parts - 1 quantiles (5: quintiles, 3: terciles) of sorted values with up to 4 decimals, by linear interpolation;
-- empty without a value. Fifths of a gap are exact. Thirds are rounded to 8 decimals, finer than any gap between a value
-- and a third between two such, so every comparison comes out as with the exact third.
create function rfm.quantiles(p_sorted numeric[], p_parts integer) returns numeric[]
    language sql immutable parallel safe
    as $$
        select coalesce(
            array_agg(
                low + case p_parts
                    when 5 then (high - low) * (place % 5) * 0.2
                    else div((high - low) * (place % p_parts) * 100000000 + p_parts / 2, p_parts) * 0.00000001
                end
                order by place
            ), '{}'
        )
        from (
            select place, p_sorted[(place / p_parts)::integer + 1] as low,
                p_sorted[least((place / p_parts)::integer + 2, cardinality(p_sorted))] as high
            from generate_series(1, p_parts - 1) as k,
                lateral (select k * (cardinality(p_sorted) - 1)::bigint as place) p
            where cardinality(p_sorted) > 0
        ) x
    $$;

-- How many of four bounds lie below a value.
create function rfm.passed(p_bounds numeric[], p_value numeric) returns integer
    language sql immutable parallel safe
    as $$
        select (p_bounds[1] < p_value)::integer + (p_bounds[2] < p_value)::integer + (p_bounds[3] < p_value)::integer
            + (p_bounds[4] < p_value)::integer
    $$;

-- The 125 codes with their segments.
create function rfm.segment_codes() returns table (code integer, segment text)
    language sql immutable parallel safe
    as $$
        select c::integer, s.segment
        from (
            values
                ('champions', '555 554 544 545 454 455 445'),
                ('loyal', '543 444 435 355 354 345 344 335'),
                ('potential_loyalist', '553 551 552 541 542 533 532 531 452 451 442 441 431 453 433 432 423 353 352 351 '
                    '342 341 333 323'),
                ('new', '512 511 422 421 412 411 311'),
                ('promising', '525 524 523 522 521 515 514 513 425 424 413 414 415 315 314 313'),
                ('need_attention', '535 534 443 434 343 334 325 324'),
                ('about_to_sleep', '331 321 312 221 213 231 241 251'),
                ('at_risk', '255 254 245 244 253 252 243 242 235 234 225 224 153 152 145 143 142 135 134 133 125 124'),
                ('cannot_lose', '155 154 144 214 215 115 114 113'),
                ('hibernating', '332 322 233 232 223 222 132 123 122 212 211'),
                ('lost', '111 112 121 131 141 151')
        ) s(segment, codes), unnest(string_to_array(s.codes, ' ')) as c
    $$;

-- Four bounds of one axis from a tenant's settings.
create function rfm.bounds_of(p_bounds jsonb, p_axis text) returns numeric[]
    language sql immutable parallel safe
    as $$
        select array_agg(b.value::numeric order by b.n)
        from jsonb_array_elements_text(p_bounds -> p_axis) with ordinality as b(value, n)
    $$;

-- What recency is measured from, for a tenant's setting: its local date, its newest day with an order, or a fixed date.
create function rfm.reference_on(p_setting text, p_today date, p_newest date) returns date
    language sql stable parallel safe
    as $$
        select case p_setting
            when 'now' then p_today when 'latest_sale' then coalesce(p_newest, p_today) else p_setting::date
        end
    $$;

-- What an order comes to.
create function rfm.net_of(p_gross numeric, p_cancelled boolean, p_returned numeric) returns numeric
    language sql immutable parallel safe
    as $$ select case when p_cancelled then 0 else greatest(0, p_gross - coalesce(p_returned, 0)) end $$;

-- What a customer spent at a moment weighs: 2 ** (whole seconds since 2020 / 180 days) to 15 digits, as the batches
-- weigh it. A power of two for the whole half-lives, exactly, times the rest.
create function rfm.spend_weight(p_at timestamptz) returns numeric
    language sql stable parallel safe
    as $$
        select round(w, 14 - floor(log(w::float8))::integer)
        from (select floor(extract(epoch from p_at))::bigint - 1577836800 as seconds) s,
            lateral (select floor(seconds / 15552000.0)::integer as halvings) h,
            lateral (
                select exp(0.693147180559945309417232121458 * (seconds - halvings * 15552000::bigint) / 15552000)
                    * case when halvings < 0
                        then power(5::numeric, -halvings) * ('1e' || halvings)::numeric
                        else power(2::numeric, halvings)
                    end as w
            ) x
    $$;

-- The settings of a tenant that values depend on; the defaults while its event has not arrived.
create function rfm.settings_of(p_tenant uuid)
    returns table (zone text, reference text, method text, bounds jsonb)
    language sql stable
    as $$
        select coalesce(t.timezone, 'Europe/Paris'), coalesce(t.reference_date, 'now'),
            case when t.rfm_bounds is null then 'quintile' else t.rfm_method end, t.rfm_bounds
        from (select p_tenant as tenant_id) k left join rfm.tenant t using (tenant_id)
    $$;

-- The tenant at the end of a local day, from the sales, returns and cancellations up to it: cut-offs, and for each
-- segment that has customers their number and revenue (text). Always one row. Orders that nothing happened to since
-- count as they are today; only the others are computed again.
create function rfm.tenant_as_of(p_tenant uuid, p_day date)
    returns table (
        reference_date date, method text, recency_days numeric[], frequency numeric[], monetary numeric[],
        average_basket numeric[], segments jsonb
    )
    language sql stable
    as $$
        with setting as materialized (
            select s.*, p_day::timestamp at time zone s.zone as morning from rfm.settings_of(p_tenant) s
        ),
        changed_since as (
            select r.sale_id from setting t, rfm.sale_return r
            where r.tenant_id = p_tenant and r.returned_at >= t.morning
                and (r.returned_at at time zone t.zone)::date > p_day
            union
            select v.sale_id from setting t, rfm.sale_cancellation v
            where v.tenant_id = p_tenant and v.cancelled_at >= t.morning
                and (v.cancelled_at at time zone t.zone)::date > p_day
        ),
        then_worth as materialized (
            select s.sale_id, rfm.net_of(
                s.gross,
                exists (
                    select from rfm.sale_cancellation v
                    where v.tenant_id = p_tenant and v.sale_id = s.sale_id
                        and (v.cancelled_at at time zone t.zone)::date <= p_day
                ),
                (
                    select sum(amount) from rfm.sale_return r, unnest(r.amounts) as amount
                    where r.tenant_id = p_tenant and r.sale_id = s.sale_id
                        and (r.returned_at at time zone t.zone)::date <= p_day
                )
            ) as net
            from changed_since c join rfm.sale s on s.tenant_id = p_tenant and s.sale_id = c.sale_id, setting t
            where s.recorded and s.day <= p_day
        ),
        bought as materialized (
            select o.customer_code, count(*) filter (where o.net > 0) as frequency, sum(o.net) as monetary,
                max(o.day) filter (where o.net > 0) as last_order_day
            from (
                select s.customer_code, s.day, coalesce(w.net, s.net) as net
                from rfm.sale s left join then_worth w on w.sale_id = s.sale_id
                where s.tenant_id = p_tenant and s.recorded and s.day <= p_day
            ) o
            group by o.customer_code
        ),
        reference as materialized (
            select rfm.reference_on(t.reference, p_day, (select max(b.last_order_day) from bought b)) as day
            from setting t
        ),
        person as materialized (
            select coalesce(b.frequency, 0)::numeric as frequency, coalesce(b.monetary, 0) as monetary,
                greatest(0, q.day - b.last_order_day)::numeric as recency,
                rfm.average_basket(b.monetary, b.frequency::integer) as basket
            from rfm.customer c left join bought b on b.customer_code = c.customer_code, reference q, setting t
            where c.tenant_id = p_tenant
                and (b.customer_code is not null or (c.created_at at time zone t.zone)::date <= p_day)
        ),
        quintile as materialized (
            select rfm.quantiles(array_agg(p.recency order by p.recency), 5) as recency,
                rfm.quantiles(array_agg(p.frequency order by p.frequency), 5) as frequency,
                rfm.quantiles(array_agg(p.monetary order by p.monetary), 5) as monetary,
                rfm.quantiles(array_agg(p.basket order by p.basket), 3) as basket
            from person p where p.frequency > 0
        ),
        cut as materialized (
            select t.method, fixed.recency, fixed.frequency, fixed.monetary, n.basket
            from setting t, quintile n,
                lateral (
                    select rfm.bounds_of(t.bounds, 'recency_days'), rfm.bounds_of(t.bounds, 'frequency'),
                        rfm.bounds_of(t.bounds, 'monetary')
                    where t.method = 'fixed' and n.basket <> '{}'
                    union all
                    select n.recency, n.frequency, n.monetary where t.method <> 'fixed' or n.basket = '{}'
                ) fixed(recency, frequency, monetary)
        ),
        coded as (
            select 100 * (5 - rfm.passed(q.recency, p.recency)) + 10 * (1 + rfm.passed(q.frequency, p.frequency))
                    + 1 + rfm.passed(q.monetary, p.monetary) as code,
                count(*) as customers, sum(p.monetary) as revenue
            from person p, cut q where p.frequency > 0 group by 1
        ),
        counted as (
            select s.segment, sum(k.customers) as customers, sum(k.revenue) as revenue
            from coded k join rfm.segment_codes() s using (code) group by s.segment
            union all
            select 'prospect', count(*), sum(p.monetary) from person p where p.frequency = 0 having count(*) > 0
        )
        select r.day, q.method, q.recency, q.frequency, q.monetary, q.basket, coalesce(
            (
                select jsonb_object_agg(
                    c.segment, jsonb_build_object('customers', c.customers, 'revenue', c.revenue::text)
                ) from counted c
            ), '{}'
        )
        from reference r, cut q
    $$;

-- One customer at the end of a local day against that day's cut-offs: `known` tells whether a sale or the worker's copy
-- of the master data named the customer by then. Always one row. Erased people have no row in rfm.customer, and nothing
-- asked here finds their pseudonyms.
create function rfm.customer_as_of(
    p_tenant uuid, p_code text, p_day date, p_reference date, p_recency numeric[], p_frequency numeric[],
    p_monetary numeric[], p_baskets numeric[]
)
    returns table (
        known boolean, frequency integer, monetary numeric, r integer, f integer, m integer, segment text,
        first_order_at timestamptz, last_order_at timestamptz, last_order_day date, average_basket numeric,
        preferred_families jsonb, budget_band text, budget_typical numeric, budget_low numeric, budget_high numeric,
        usual_interval_days numeric, next_order_expected_at date
    )
    language sql stable
    as $$
        with setting as materialized (
            select s.*, (p_day + 2)::timestamp at time zone s.zone as later from rfm.settings_of(p_tenant) s
        ),
        placed as materialized (
            select s.sale_id, s.sold_at, s.day, s.product_keys, s.effective_keys, s.quantities, s.unit_prices,
                s.amounts, void.void,
                rfm.net_of(s.gross, void.void, back.amount) as net, rfm.spend_weight(s.sold_at) as weight
            from setting t, rfm.sale s,
                lateral (
                    select s.cancelled and exists (
                        select from rfm.sale_cancellation v
                        where v.tenant_id = p_tenant and v.sale_id = s.sale_id
                            and (v.cancelled_at at time zone t.zone)::date <= p_day
                    ) as void
                ) void,
                lateral (
                    select sum(amount) as amount from rfm.sale_return r, unnest(r.amounts) as amount
                    where s.returned and r.tenant_id = p_tenant and r.sale_id = s.sale_id
                        and (r.returned_at at time zone t.zone)::date <= p_day
                ) back
            where s.tenant_id = p_tenant and s.customer_code = p_code and s.recorded and s.day <= p_day
                and s.sold_at < t.later
        ),
        total as (
            select count(*) > 0 as known, (count(*) filter (where net > 0))::integer as frequency,
                coalesce(sum(net), 0) as monetary, min(sold_at) filter (where net > 0) as first_order_at,
                max(sold_at) filter (where net > 0) as last_order_at, max(day) filter (where net > 0) as last_order_day
            from placed
        ),
        score as (
            select 5 - rfm.passed(p_recency, greatest(0, p_reference - o.last_order_day)) as r,
                1 + rfm.passed(p_frequency, o.frequency) as f, 1 + rfm.passed(p_monetary, o.monetary) as m
            from total o where o.frequency > 0
        ),
        back as (
            select r.sale_id, rfm.effective_key(l.product_key, s.product_keys, s.effective_keys) as product_key,
                sum(l.amount) as amount
            from setting t, placed s, rfm.sale_return r, unnest(r.product_keys, r.amounts) as l(product_key, amount)
            where r.tenant_id = p_tenant and r.sale_id = s.sale_id and (r.returned_at at time zone t.zone)::date <= p_day
            group by 1, 2
        ),
        spent as (
            select b.product_key, sum(greatest(0, b.amount - coalesce(back.amount, 0)) * b.weight) as weight
            from (
                select s.sale_id, s.weight, l.product_key, sum(l.amount) as amount
                from placed s, unnest(coalesce(s.effective_keys, s.product_keys), s.amounts) as l(product_key, amount)
                where not s.void group by 1, 2, 3
            ) b left join back using (sale_id, product_key)
            group by 1
        ),
        family as (
            select coalesce(p.family, 'unknown') collate "C" as family, sum(s.weight) as weight
            from spent s left join rfm.product p on p.tenant_id = p_tenant and p.product_key = s.product_key
            where s.weight > 0 group by 1
        ),
        best as (
            select family, round(weight / sum(weight) over (), 4) as share, weight
            from family order by weight desc, family limit 3
        ),
        line as (
            select l.price, greatest(1, round(l.quantity)) as units
            from (select * from placed where net > 0 order by sold_at desc, sale_id desc limit 50) s,
                unnest(s.unit_prices, s.quantities) with ordinality as l(price, quantity, n)
            order by s.sold_at desc, s.sale_id desc, l.n desc limit 50
        ),
        upto as (select price, sum(units) over (order by price) as units from line),
        price as (
            select array_agg(low + part * (high - low) order by k) as q
            from (
                select k, div((total - 1) * k, 4) as whole, mod((total - 1) * k, 4) * 0.25 as part
                from (select max(units) as total from upto) t, generate_series(1, 3) as k where total is not null
            ) place,
                lateral (select min(price) as low from upto where upto.units > place.whole) l,
                lateral (
                    select coalesce(min(price), (select max(price) from upto)) as high
                    from upto where upto.units > place.whole + 1
                ) h
        ),
        visit as (select distinct day from placed where net > 0 order by day desc limit 50),
        gap as (select day - lag(day) over (order by day) as days from visit),
        ranked as (
            select days, row_number() over (order by days) - 1 as i, count(*) over () as n
            from gap where days is not null
        ),
        usual as (select avg(days)::numeric(12, 1) as days from ranked where i in ((n - 1) / 2, n / 2))
        select o.known or exists (
                select from rfm.customer c, setting t
                where c.tenant_id = p_tenant and c.customer_code = p_code
                    and (c.created_at at time zone t.zone)::date <= p_day
            ),
            o.frequency, o.monetary, x.r, x.f, x.m,
            coalesce((select k.segment from rfm.segment_codes() k where k.code = 100 * x.r + 10 * x.f + x.m), 'prospect'),
            o.first_order_at, o.last_order_at, o.last_order_day, basket.average,
            coalesce(
                (select jsonb_agg(jsonb_build_object('family', b.family, 'share', b.share)
                    order by b.weight desc, b.family) from best b), '[]'
            ),
            case when o.frequency > 0 and cardinality(p_baskets) = 2 then
                (array['low', 'medium', 'high'])[
                    1 + (p_baskets[1] < basket.average)::integer + (p_baskets[2] < basket.average)::integer
                ]
            end,
            price.q[2], price.q[1], price.q[3], usual.days, o.last_order_day + floor(usual.days + 0.5)::integer
        from total o left join score x on true, price, usual,
            lateral (select rfm.average_basket(o.monetary, o.frequency) as average) basket
    $$;

-- The cut-offs that a tenant's customers have, or would have, by a method, bounds and reference date; empty bounds
-- while nobody has a counting order.
create function rfm.cutoffs_by(p_tenant uuid, p_method text, p_bounds jsonb, p_reference date)
    returns table (recency_days numeric[], frequency numeric[], monetary numeric[])
    language sql stable
    as $$
        select rfm.bounds_of(p_bounds, 'recency_days'), rfm.bounds_of(p_bounds, 'frequency'),
            rfm.bounds_of(p_bounds, 'monetary')
        where p_method = 'fixed'
        union all
        select rfm.quantiles(array_agg(c.recency order by c.recency), 5),
            rfm.quantiles(array_agg(c.frequency order by c.frequency), 5),
            rfm.quantiles(array_agg(c.monetary order by c.monetary), 5)
        from (
            select greatest(0, p_reference - last_order_day)::numeric as recency, frequency::numeric, monetary
            from rfm.customer where p_method <> 'fixed' and tenant_id = p_tenant and frequency > 0
        ) c
        where p_method <> 'fixed'
        having p_method <> 'fixed'
    $$;

-- Where the customers of each segment would stand by these cut-offs: one row for every pair of segments that has any,
-- those that stay included. For those that move, the ten with the largest monetary value, with scores now and then.
create function rfm.moves(
    p_tenant uuid, p_reference date, p_recency numeric[], p_frequency numeric[], p_monetary numeric[]
)
    returns table (previous text, segment text, customers bigint, revenue numeric, examples jsonb)
    language sql stable
    as $$
        with scored as (
            select c.customer_code, c.frequency, c.monetary, c.last_order_day, c.r, c.f, c.m, c.segment as previous,
                100 * (5 - rfm.passed(p_recency, greatest(0, p_reference - c.last_order_day)))
                    + 10 * (1 + rfm.passed(p_frequency, c.frequency)) + 1 + rfm.passed(p_monetary, c.monetary) as code
            from rfm.customer c where c.tenant_id = p_tenant and c.frequency > 0
        ),
        standing as materialized (
            select x.*, k.segment from scored x join rfm.segment_codes() k using (code)
        ),
        ranked as (
            select *, row_number() over (partition by previous, segment order by monetary desc, customer_code) as n
            from standing where previous <> segment
        ),
        example as (
            select previous, segment, jsonb_agg(
                jsonb_build_object(
                    'customer_code', customer_code, 'recency_days', greatest(0, p_reference - last_order_day),
                    'frequency', frequency, 'monetary', monetary::text,
                    'before', jsonb_build_object('r', r, 'f', f, 'm', m),
                    'after', jsonb_build_object('r', code / 100, 'f', code / 10 % 10, 'm', code % 10)
                ) order by n
            ) as examples
            from ranked where n <= 10 group by previous, segment
        ),
        flow as (
            select previous, segment, count(*) as customers, sum(monetary) as revenue
            from standing group by previous, segment
            union all
            select c.segment, 'prospect', count(*), sum(c.monetary)
            from rfm.customer c where c.tenant_id = p_tenant and c.frequency = 0 group by c.segment
        )
        select w.previous, w.segment, w.customers, w.revenue, coalesce(e.examples, '[]')
        from flow w left join example e on e.previous = w.previous and e.segment = w.segment
    $$;
