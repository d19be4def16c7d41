-- Master data of the gateway: which product of the catalogue a key of a till or shop stands for.
create table gateway.product_alias (
    tenant_id uuid not null,
    alias text collate "C" not null,
    product_key text collate "C" not null,
    version integer not null,
    created_at timestamp with time zone not null,
    updated_at timestamp with time zone not null,
    primary key (tenant_id, alias)
);
create index product_alias_of_product on gateway.product_alias (tenant_id, product_key, alias);
grant select, insert, update, delete on gateway.product_alias to iacrm_gateway;
alter table gateway.product_alias enable row level security;
create policy own_tenant on gateway.product_alias to iacrm_gateway
    using (tenant_id = (select gateway.current_tenant()));

-- The worker's part of it, and the history that has not followed yet.
create table rfm.product_alias (
    tenant_id uuid not null,
    alias text collate "C" not null,
    product_key text collate "C" not null,
    version integer not null,
    primary key (tenant_id, alias)
);
comment on table rfm.product_alias is 'Keys that tills and shops send, and the products that they stand for.';
create table rfm.alias_move (
    tenant_id uuid not null,
    alias text collate "C" not null,
    position text collate "C" default '' not null,
    primary key (tenant_id, alias)
);
comment on table rfm.alias_move is
    'Aliases whose history has not moved yet; orders up to the sale_id in position have.';
alter table rfm.sale add column effective_keys text[] collate "C";
comment on column rfm.sale.product_keys is 'as they were sent';
comment on column rfm.sale.effective_keys is 'the products that these stand for; null: themselves';

grant select, insert, update, delete on rfm.product_alias, rfm.alias_move to iacrm_rfm;
grant select on rfm.product_alias, rfm.alias_move to iacrm_gateway;
alter table rfm.product_alias enable row level security;
create policy own_service on rfm.product_alias to iacrm_rfm using (true);
create policy own_tenant on rfm.product_alias for select to iacrm_gateway
    using (tenant_id = (select gateway.current_tenant()));
alter table rfm.alias_move enable row level security;
create policy own_service on rfm.alias_move to iacrm_rfm using (true);
create policy own_tenant on rfm.alias_move for select to iacrm_gateway
    using (tenant_id = (select gateway.current_tenant()));

-- The product that a key stands for in one sale; a key that the sale was not sent with stands for itself.
create function rfm.effective_key(sent text, product_keys text[], effective_keys text[]) returns text
    language sql immutable parallel safe
    as $$ select coalesce(effective_keys[array_position(product_keys, sent)], sent) $$;

-- As in 0004, with the products that the keys of a sale stand for.
create or replace function rfm.order_parts(p_tenant uuid, p_days date[], p_product text)
    returns table (sale_id text, customer_code text, net numeric, product_key text, units numeric, amount numeric)
    language sql stable
    as $$
        with part as (
            select s.sale_id, s.customer_code, s.net, s.returned, l.product_key, sum(l.quantity) as units,
                sum(l.amount) as amount
            from rfm.sale s, unnest(coalesce(s.effective_keys, s.product_keys), s.quantities, s.amounts)
                as l(product_key, quantity, amount)
            where s.tenant_id = p_tenant and s.day = any(p_days) and not s.cancelled
                and (
                    p_product is null or (
                        coalesce(s.effective_keys, s.product_keys) @> array[p_product] and l.product_key = p_product
                    )
                )
            group by s.sale_id, s.customer_code, s.net, s.returned, l.product_key
        ),
        back as (
            select r.sale_id, rfm.effective_key(l.product_key, s.product_keys, s.effective_keys) as product_key,
                sum(l.quantity) as units, sum(l.amount) as amount
            from (select distinct sale_id from part where returned) p
            join rfm.sale s on s.tenant_id = p_tenant and s.sale_id = p.sale_id
            join rfm.sale_return r on r.tenant_id = p_tenant and r.sale_id = p.sale_id,
                unnest(r.product_keys, r.quantities, r.amounts) as l(product_key, quantity, amount)
            group by 1, 2
        )
        select p.sale_id, p.customer_code, p.net, p.product_key, greatest(0, p.units - coalesce(b.units, 0)),
            greatest(0, p.amount - coalesce(b.amount, 0))
        from part p left join back b using (sale_id, product_key)
    $$;
