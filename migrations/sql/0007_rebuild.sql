-- Rebuild beside the running worker, and a verification that asks for every profile.

-- As in 0002, but each function is asked once a customer: without "offset 0" the planner puts the call in the place of
-- every mention of its answer, and the quartiles were computed three times.
create or replace function rfm.customer_profiles(p_tenant uuid, p_codes text[])
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
        cross join lateral (select rfm.average_basket(c.monetary, c.frequency) as average offset 0) basket
        cross join lateral (select rfm.preferred_families(c.tenant_id, c.customer_code) as best) families
        cross join lateral (select rfm.price_quartiles(c.tenant_id, c.customer_code) as q offset 0) prices
        cross join lateral (select rfm.usual_interval(c.tenant_id, c.customer_code, t.timezone) as days offset 0) gap
        where c.tenant_id = p_tenant and c.customer_code = any(p_codes)
    $$;
