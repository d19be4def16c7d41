-- As in 0002, for many customers in one pass over what they bought: by far the largest part of a profile. Customers who
-- spent nothing have no row. "strict" has a reason: a function that may be null is not put in the place of its call, so
-- it keeps its plan, and one customer costs no planning.
create function rfm.preferred_families(p_tenant uuid, p_codes text[])
    returns table (customer_code text, best jsonb)
    language sql stable strict rows 50
    as $$
        with family as (
            select b.customer_code, coalesce(p.family, 'unknown') collate "C" as family, sum(b.spend_weight) as weight
            from rfm.customer_product b
            left join rfm.product p on p.tenant_id = b.tenant_id and p.product_key = b.product_key
            where b.tenant_id = p_tenant and b.customer_code = any(p_codes) and b.spend_weight > 0
            group by 1, 2
        ),
        ranked as (
            select f.*, sum(weight) over (partition by f.customer_code) as total,
                row_number() over (partition by f.customer_code order by weight desc, family) as place
            from family f
        )
        select r.customer_code,
            jsonb_agg(jsonb_build_object('family', family, 'share', round(weight / total, 4)) order by place)
        from ranked r where place <= 3 group by 1
    $$;

-- As in 0007, with the families of all these customers at once.
create or replace function rfm.customer_profiles(p_tenant uuid, p_codes text[])
    returns table (
        customer_code text, average_basket numeric, preferred_families jsonb, budget_band text,
        budget_typical numeric, budget_low numeric, budget_high numeric,
        usual_interval_days numeric, next_order_expected_at date
    )
    language sql stable
    as $$
        select c.customer_code, basket.average, coalesce(families.best, '[]'),
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
        left join rfm.preferred_families(p_tenant, p_codes) families on families.customer_code = c.customer_code
        cross join lateral (select rfm.average_basket(c.monetary, c.frequency) as average offset 0) basket
        cross join lateral (select rfm.price_quartiles(c.tenant_id, c.customer_code) as q offset 0) prices
        cross join lateral (select rfm.usual_interval(c.tenant_id, c.customer_code, t.timezone) as days offset 0) gap
        where c.tenant_id = p_tenant and c.customer_code = any(p_codes)
    $$;
drop function rfm.preferred_families(uuid, text);
