-- Figures of long periods from fewer and narrower rows.

-- What was sold is summed by week and quarter too: a year is some 10 sums of a product instead of 40.
alter table rfm.period drop constraint period_grain_check;
alter table rfm.period add constraint period_grain_check check (grain in ('day', 'week', 'month', 'quarter'));
alter table rfm.product_period drop constraint product_period_grain_check;
alter table rfm.product_period add constraint product_period_grain_check
    check (grain in ('day', 'week', 'month', 'quarter'));
comment on table rfm.period is
    'Distinct customers of a day, ISO week, month or quarter; holds as long as the revisions of its days add up to '
    'revision.';
-- Weeks had no sums of products: they are summed anew.
delete from rfm.period where grain = 'week';

-- What was sold of each product from one day to another: quarters, months, weeks and days that were summed before and
-- still hold, the longest first; the ledger for the others. Revisions are positive, so those of some days add up to
-- what was noted only if they are all days of the sum: what lies partly outside or is covered already drops out.
create or replace function rfm.products_sold(p_tenant uuid, p_from date, p_to date)
    returns table (product_key text, orders numeric, units numeric, revenue numeric)
    language sql stable
    as $$
        with sold as materialized (
            select d.day, d.revision, date_trunc('quarter', d.day::timestamp)::date as quarter,
                date_trunc('month', d.day::timestamp)::date as month, date_trunc('week', d.day::timestamp)::date as week
            from rfm.day d where d.tenant_id = p_tenant and d.day between p_from and p_to
        ),
        quarters as materialized (
            select k.start from (select quarter as start, sum(revision) as revision from sold group by quarter) k
            join rfm.period p on p.tenant_id = p_tenant and p.grain = 'quarter' and p.start = k.start
                and p.revision = k.revision
        ),
        months as materialized (
            select k.start from (
                select month as start, sum(revision) as revision from sold
                where quarter not in (select start from quarters) group by month
            ) k
            join rfm.period p on p.tenant_id = p_tenant and p.grain = 'month' and p.start = k.start
                and p.revision = k.revision
        ),
        loose as materialized (
            select day, revision, week from sold
            where quarter not in (select start from quarters) and month not in (select start from months)
        ),
        weeks as materialized (
            select k.start from (select week as start, sum(revision) as revision from loose group by week) k
            join rfm.period p on p.tenant_id = p_tenant and p.grain = 'week' and p.start = k.start
                and p.revision = k.revision
        ),
        single as materialized (
            select l.day, p.start is not null as holds from loose l
            left join rfm.period p on p.tenant_id = p_tenant and p.grain = 'day' and p.start = l.day
                and p.revision = l.revision
            where l.week not in (select start from weeks)
        ),
        chosen as materialized (
            select 'quarter' as grain, start from quarters
            union all select 'month', start from months
            union all select 'week', start from weeks
            union all select 'day', day from single where holds
        )
        select x.product_key, sum(x.orders), sum(x.units), sum(x.revenue) from (
            select b.product_key, b.orders::bigint as orders, b.units, b.revenue from chosen k
            join rfm.product_period b on b.tenant_id = p_tenant and b.grain = k.grain and b.start = k.start
            union all
            select l.product_key, l.orders, l.units, l.revenue
            from rfm.product_sales(p_tenant, array(select day from single where not holds)) l
        ) x group by x.product_key
    $$;

-- Where each customer stood when, in one row: the movement between two days looks two moments up in it instead of folding
-- all changes since. `states` has one byte more than there are moments: where he stood before the first change, and after
-- each; bytes are places among the segments, 0 for none.
create function rfm.segment_number(p_segment text) returns integer
    language sql immutable parallel safe
    as $$
        select coalesce(
            array_position(
                array[
                    'champions', 'loyal', 'potential_loyalist', 'new', 'promising', 'need_attention', 'about_to_sleep',
                    'at_risk', 'cannot_lose', 'hibernating', 'lost', 'prospect'
                ], p_segment
            ), 0
        )
    $$;
create table rfm.segment_path (
    tenant_id uuid not null,
    customer_code text collate "C" not null,
    known_at timestamptz,
    moments double precision[] not null,
    states bytea not null,
    primary key (tenant_id, customer_code)
) with (fillfactor = 80);
comment on table rfm.segment_path is
    'The history of segments of each customer who has one: microseconds since 1970, never falling, and segments; '
    'known_at is when his master data came to be.';

-- What rfm.segment_path should say, from the history itself; of all tenants or customers where none is named. A clock
-- that was set back makes a change as late as the latest one before it.
create function rfm.segment_paths(p_tenant uuid, p_codes text[])
    returns table (
        tenant_id uuid, customer_code text, known_at timestamptz, moments double precision[], states bytea
    )
    language sql stable
    as $$
        select h.tenant_id, h.customer_code, c.created_at, array_agg(h.moment order by h.id),
            set_byte('\x00', 0, rfm.segment_number((array_agg(h.previous order by h.id))[1]))
                || string_agg(set_byte('\x00', 0, rfm.segment_number(h.segment)), '' order by h.id)
        from (
            select h.*, (
                extract(epoch from max(h.changed_at) over (partition by h.tenant_id, h.customer_code order by h.id))
                    * 1000000
            )::double precision as moment
            from rfm.segment_change h
            where (p_tenant is null or h.tenant_id = p_tenant) and (p_codes is null or h.customer_code = any(p_codes))
        ) h
        join rfm.customer c using (tenant_id, customer_code)
        group by h.tenant_id, h.customer_code, c.created_at
    $$;
insert into rfm.segment_path select * from rfm.segment_paths(null, null);
grant select, insert, update, delete on rfm.segment_path to iacrm_rfm;
grant select on rfm.segment_path to iacrm_gateway;
alter table rfm.segment_path enable row level security;
create policy own_service on rfm.segment_path to iacrm_rfm using (true);
create policy own_tenant on rfm.segment_path for select to iacrm_gateway
    using (tenant_id = (select gateway.current_tenant()));
-- Nothing else looked changes up by time.
drop index rfm.segment_change_by_time;
