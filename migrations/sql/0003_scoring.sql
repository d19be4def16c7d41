-- Kept beside what it is made of, so that an index can order customers by it.
alter table rfm.customer add column average_basket numeric(24, 4)
    generated always as (rfm.average_basket(monetary, frequency)) stored;

-- Scores are written beside the values that they follow: with room on the page that touches no index, unless the segment
-- changes.
alter table rfm.customer set (fillfactor = 60);

-- One order of customers per axis: the scorer steps along them, and finds in them who stands between two bounds.
create index customer_by_frequency on rfm.customer (tenant_id, frequency, customer_code);
create index customer_by_last_day on rfm.customer (tenant_id, last_order_day, customer_code);
create index customer_by_basket on rfm.customer (tenant_id, average_basket, customer_code);

create table rfm.quantile_mark (
    tenant_id uuid not null,
    axis text not null,
    k smallint not null,
    rank integer not null,
    value numeric not null,
    customer_code text collate "C" not null,
    primary key (tenant_id, axis, k)
);
comment on table rfm.quantile_mark is
    'Per quantile a place in the order of the customers, and how many stand before it; days are counted from 1970.';

-- Each batch says whose values it changed, as they were and as they are; the scorer moves its marks by these alone.
alter table rfm.score_request
    add column folded boolean not null default false,
    add column codes text[] collate "C" not null default '{}',
    add column was_frequency integer[] not null default '{}',
    add column was_monetary numeric[] not null default '{}',
    add column was_day date[] not null default '{}',
    add column now_frequency integer[] not null default '{}',
    add column now_monetary numeric[] not null default '{}',
    add column now_day date[] not null default '{}';

-- Between which values each bound has been since the last finished run: null when nobody is being moved.
alter table rfm.cutoffs
    add column moving_low numeric[],
    add column moving_high numeric[];

create table rfm.recompute (
    tenant_id uuid primary key,
    requested_at timestamp with time zone not null,
    cause text not null check (cause in ('settings', 'repair')),
    step text not null check (step in ('days', 'customers', 'scores')),
    after text collate "C" not null default '',
    done integer not null default 0,
    total integer not null default 0,
    updated_at timestamp with time zone not null
);
comment on table rfm.recompute is
    'Tenants that are looked at as a whole: why, which step is at work, after which key, and how far it is.';

alter table rfm.quantile_mark enable row level security;
create policy own_service on rfm.quantile_mark to iacrm_rfm using (true);
create policy own_tenant on rfm.quantile_mark for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
alter table rfm.recompute enable row level security;
create policy own_service on rfm.recompute to iacrm_rfm using (true);
create policy own_tenant on rfm.recompute for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
grant select, insert, update, delete on rfm.quantile_mark, rfm.recompute to iacrm_rfm;
grant select on rfm.quantile_mark, rfm.recompute to iacrm_gateway;

-- Requests of an older version name nobody; without marks, the first run looks at everybody.
delete from rfm.score_request;
insert into rfm.score_request (tenant_id) select tenant_id from rfm.tenant where status <> 'erased' order by tenant_id;

-- How far recomputations are, for everybody: whose they are is nobody else's business.
create function rfm.recompute_progress()
    returns table (cause text, step text, done integer, total integer, requested_at timestamptz, updated_at timestamptz)
    language sql stable security definer set search_path = ''
    as $$
        select cause, step, done, total, requested_at, updated_at from rfm.recompute order by requested_at limit 50
    $$;
revoke all on function rfm.recompute_progress() from public;
grant execute on function rfm.recompute_progress() to iacrm_gateway, iacrm_rfm;
