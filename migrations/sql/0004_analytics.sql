-- What lists and figures are read from, so that none of them grows slow with the ledger.

-- Counting customers, by segment with their revenue or by when they began, reads this index alone.
drop index rfm.customer_by_segment;
create index customer_by_segment on rfm.customer (tenant_id, segment, customer_code)
    include (monetary, created_at, first_order_at);

-- Orders and distinct customers of any days.
create index sale_by_day on rfm.sale (tenant_id, day) include (customer_code, net);
create index segment_change_by_time on rfm.segment_change (tenant_id, changed_at)
    include (id, customer_code, previous, segment);

-- The largest popularity is found among the few products of the highest class. A class is a factor of about 4 wide, so that a
-- product rarely leaves it and most updates touch no index.
alter table rfm.product add column customers integer not null default 0;
alter table rfm.product add column popularity_class smallint not null generated always as (
    case when units_weight > 0 then floor(log(units_weight::float8) * 1.66)::smallint else (-32768)::smallint end
) stored;
create index product_by_popularity on rfm.product (tenant_id, popularity_class);
update rfm.product p set customers = b.customers
from (select tenant_id, product_key, count(*) as customers from rfm.customer_product where orders > 0 group by 1, 2) b
where b.tenant_id = p.tenant_id and b.product_key = p.product_key;

-- Grows with every change of the day's orders, so that what was computed from a day tells whether it still holds. It
-- begins with the time in microseconds, so that a row that was deleted and made again has grown too.
alter table rfm.day add column revision bigint not null
    default (extract(epoch from clock_timestamp()) * 1000000)::bigint;

create table rfm.period (
    tenant_id uuid not null,
    grain text not null check (grain in ('day', 'week', 'month')),
    start date not null,
    revision bigint not null,
    customers integer not null,
    primary key (tenant_id, grain, start)
);
comment on table rfm.period is
    'Distinct customers of a day, ISO week or month; holds as long as the revisions of its days add up to revision.';
create table rfm.product_period (
    tenant_id uuid not null,
    grain text not null check (grain in ('day', 'month')),
    start date not null,
    product_key text collate "C" not null,
    orders integer not null,
    units numeric(24, 3) not null,
    revenue numeric(24, 4) not null,
    primary key (tenant_id, grain, start, product_key)
);
comment on table rfm.product_period is 'What was sold of a product in a day or month; holds as long as its rfm.period.';

create table rfm.customer_queue (
    id bigint generated always as identity primary key,
    tenant_id uuid not null,
    customer_codes text[] collate "C" not null,
    product_keys text[] collate "C" not null
);
create index customer_queue_of_tenant on rfm.customer_queue (tenant_id, id);
comment on table rfm.customer_queue is
    'Customers that a batch changed and products whose family it changed; removed once search and rhythm follow.';
create table rfm.customer_search (
    tenant_id uuid not null,
    customer_code text collate "C" not null,
    words text not null,
    tags text[] not null,
    families text[] not null,
    primary key (tenant_id, customer_code)
);
create index customer_search_words on rfm.customer_search
    using gin (tenant_id, words public.gin_trgm_ops, tags, families);
comment on table rfm.customer_search is 'What customers are found by, apart from rfm.customer, whose rows every sale updates.';
create table rfm.rhythm (
    tenant_id uuid not null,
    customer_code text collate "C" not null,
    usual_interval_days numeric(12, 1),
    next_order_expected_at date,
    primary key (tenant_id, customer_code)
);
create index rhythm_by_date on rfm.rhythm (tenant_id, next_order_expected_at, customer_code);
comment on table rfm.rhythm is 'The expected next order of every customer, for lists in its order.';

insert into rfm.customer_queue (tenant_id, customer_codes, product_keys)
select tenant_id, array_agg(customer_code), '{}' from (
    select tenant_id, customer_code, row_number() over (partition by tenant_id order by customer_code) / 1000 as part
    from rfm.customer
) c group by tenant_id, part;

-- The moment at which a local day begins: the first one, where clocks are set back over midnight.
create function rfm.day_start(p_day date, p_zone text) returns timestamptz
    language sql stable parallel safe
    as $$
        select case when ((x.start - interval '1 hour') at time zone p_zone)::date >= p_day
            then x.start - interval '1 hour' else x.start end
        from (select p_day::timestamp at time zone p_zone as start) x
    $$;

-- What a tenant's "days since" are measured from, and what it counts as active; defaults until its event has come.
create function rfm.calendar(p_tenant uuid)
    returns table (timezone text, today date, reference_date date, active_days integer)
    language sql stable
    as $$
        select s.zone, s.today, case s.reference
                when 'now' then s.today
                when 'latest_sale' then coalesce(
                    (select max(d.day) from rfm.day d where d.tenant_id = p_tenant and d.orders > 0), s.today
                )
                else s.reference::date
            end, s.active_days
        from (
            select z.zone, (now() at time zone z.zone)::date as today, coalesce(t.reference_date, 'now') as reference,
                coalesce(t.active_days, 90) as active_days
            from (select p_tenant as tenant_id) k left join rfm.tenant t using (tenant_id),
                lateral (select coalesce(t.timezone, 'Europe/Paris') as zone) z
        ) s
    $$;

-- What each order of some days comes to per product, from the ledger; of one product alone where it is named.
create function rfm.order_parts(p_tenant uuid, p_days date[], p_product text)
    returns table (sale_id text, customer_code text, net numeric, product_key text, units numeric, amount numeric)
    language sql stable
    as $$
        with part as (
            select s.sale_id, s.customer_code, s.net, s.returned, l.product_key, sum(l.quantity) as units,
                sum(l.amount) as amount
            from rfm.sale s, unnest(s.product_keys, s.quantities, s.amounts) as l(product_key, quantity, amount)
            where s.tenant_id = p_tenant and s.day = any(p_days) and not s.cancelled
                and (p_product is null or s.product_keys @> array[p_product])
                and (p_product is null or l.product_key = p_product)
            group by s.sale_id, s.customer_code, s.net, s.returned, l.product_key
        ),
        back as (
            select r.sale_id, l.product_key, sum(l.quantity) as units, sum(l.amount) as amount
            from (select distinct sale_id from part where returned) p
            join rfm.sale_return r on r.tenant_id = p_tenant and r.sale_id = p.sale_id,
                unnest(r.product_keys, r.quantities, r.amounts) as l(product_key, quantity, amount)
            group by r.sale_id, l.product_key
        )
        select p.sale_id, p.customer_code, p.net, p.product_key, greatest(0, p.units - coalesce(b.units, 0)),
            greatest(0, p.amount - coalesce(b.amount, 0))
        from part p left join back b using (sale_id, product_key)
    $$;

-- What was sold of each product on some days, from the ledger.
create function rfm.product_sales(p_tenant uuid, p_days date[])
    returns table (product_key text, orders bigint, units numeric, revenue numeric)
    language sql stable
    as $$
        select o.product_key, count(*) filter (where o.net > 0 and o.units > 0), sum(o.units), sum(o.amount)
        from rfm.order_parts(p_tenant, p_days, null) o group by o.product_key
    $$;

-- What was sold of each product from one day to another: whole months and days that were summed before and still hold,
-- the ledger for the others.
create function rfm.products_sold(p_tenant uuid, p_from date, p_to date)
    returns table (product_key text, orders numeric, units numeric, revenue numeric)
    language sql stable
    as $$
        with sold as materialized (
            select d.day, d.revision, date_trunc('month', d.day::timestamp)::date as month
            from rfm.day d where d.tenant_id = p_tenant and d.day between p_from and p_to
        ),
        whole as materialized (
            select m.month from (
                select month, sum(revision) as revision from sold
                where month >= p_from and (month + interval '1 month')::date <= p_to + 1 group by month
            ) m
            join rfm.period p on p.tenant_id = p_tenant and p.grain = 'month' and p.start = m.month
                and p.revision = m.revision
        ),
        single as materialized (
            select s.day, p.start is not null as holds from sold s
            left join rfm.period p on p.tenant_id = p_tenant and p.grain = 'day' and p.start = s.day
                and p.revision = s.revision
            where s.month not in (select month from whole)
        )
        select x.product_key, sum(x.orders), sum(x.units), sum(x.revenue) from (
            select b.product_key, b.orders, b.units, b.revenue from whole w
            join rfm.product_period b on b.tenant_id = p_tenant and b.grain = 'month' and b.start = w.month
            union all
            select b.product_key, b.orders, b.units, b.revenue from single s
            join rfm.product_period b on b.tenant_id = p_tenant and b.grain = 'day' and b.start = s.day
            where s.holds
            union all
            select l.product_key, l.orders, l.units, l.revenue
            from rfm.product_sales(p_tenant, array(select day from single where not holds)) l
        ) x group by x.product_key
    $$;

-- Distinct customers with a counting order in each span of days; an erased person is none.
create function rfm.distinct_customers(p_tenant uuid, p_from date[], p_to date[])
    returns table (span bigint, customers bigint)
    language sql stable
    as $$
        select x.span, count(*) from (
            select k.span, s.customer_code
            from unnest(p_from, p_to) with ordinality as k(day_from, day_to, span)
            join rfm.sale s on s.tenant_id = p_tenant and s.day between k.day_from and k.day_to
            where s.net > 0 and s.customer_code is not null
            group by k.span, s.customer_code
        ) x
        where not exists (
            select from rfm.erasure e where e.tenant_id = p_tenant and e.pseudonym = x.customer_code
        )
        group by x.span
    $$;

-- Comparisons of decimals and texts may not use an index under row-level security, because they might leak. These
-- views are a policy of their own: they show the tenant of the transaction and nobody else.
create view rfm.own_customer as select * from rfm.customer where tenant_id = gateway.current_tenant();
create view rfm.own_customer_search as select * from rfm.customer_search where tenant_id = gateway.current_tenant();
create view rfm.own_rhythm as select * from rfm.rhythm where tenant_id = gateway.current_tenant();
grant select on rfm.own_customer, rfm.own_customer_search, rfm.own_rhythm to iacrm_gateway;

grant select, insert, update, delete on rfm.period, rfm.product_period, rfm.customer_queue, rfm.customer_search,
    rfm.rhythm to iacrm_rfm;
grant select on rfm.period, rfm.product_period, rfm.customer_queue, rfm.customer_search, rfm.rhythm to iacrm_gateway;
alter table rfm.period enable row level security;
create policy own_service on rfm.period to iacrm_rfm using (true);
create policy own_tenant on rfm.period for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
alter table rfm.product_period enable row level security;
create policy own_service on rfm.product_period to iacrm_rfm using (true);
create policy own_tenant on rfm.product_period for select to iacrm_gateway
    using (tenant_id = (select gateway.current_tenant()));
alter table rfm.customer_queue enable row level security;
create policy own_service on rfm.customer_queue to iacrm_rfm using (true);
create policy own_tenant on rfm.customer_queue for select to iacrm_gateway
    using (tenant_id = (select gateway.current_tenant()));
alter table rfm.customer_search enable row level security;
create policy own_service on rfm.customer_search to iacrm_rfm using (true);
create policy own_tenant on rfm.customer_search for select to iacrm_gateway
    using (tenant_id = (select gateway.current_tenant()));
alter table rfm.rhythm enable row level security;
create policy own_service on rfm.rhythm to iacrm_rfm using (true);
create policy own_tenant on rfm.rhythm for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
