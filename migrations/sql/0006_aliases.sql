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
