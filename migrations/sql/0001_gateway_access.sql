-- Row-level security: the gateway's role sees one tenant, the one named by its transaction.
create function gateway.current_tenant() returns uuid language sql stable
    as $$ select nullif(current_setting('app.tenant', true), '')::uuid $$;
create function gateway.is_operator() returns boolean language sql stable
    as $$ select coalesce(current_setting('app.operator', true), '') = 'on' $$;

grant usage on schema gateway to iacrm_gateway;
grant select, insert, update, delete on all tables in schema gateway to iacrm_gateway;

alter table gateway.tenant enable row level security;
create policy own_tenant on gateway.tenant to iacrm_gateway
    using (tenant_id = (select gateway.current_tenant()) or (select gateway.is_operator()));
alter table gateway.tenant_settings_history enable row level security;
create policy own_tenant on gateway.tenant_settings_history to iacrm_gateway
    using (tenant_id = (select gateway.current_tenant()) or (select gateway.is_operator()));
alter table gateway.user_account enable row level security;
create policy own_tenant on gateway.user_account to iacrm_gateway
    using (tenant_id = (select gateway.current_tenant()) or (tenant_id is null and (select gateway.is_operator())));
alter table gateway.refresh_token enable row level security;
create policy own_tenant on gateway.refresh_token to iacrm_gateway
    using (tenant_id = (select gateway.current_tenant()) or (tenant_id is null and (select gateway.is_operator())));
alter table gateway.api_key enable row level security;
create policy own_tenant on gateway.api_key to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
alter table gateway.customer enable row level security;
create policy own_tenant on gateway.customer to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
alter table gateway.product enable row level security;
create policy own_tenant on gateway.product to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
alter table gateway.idempotency_key enable row level security;
create policy own_tenant on gateway.idempotency_key to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));

-- A credential is looked up before its tenant is known. These functions are the only way past the policies, and each
-- answers for exactly one credential.
create function gateway.find_login(wanted text) returns setof gateway.user_account
    language sql stable security definer set search_path = ''
    as $$ select * from gateway.user_account where username = wanted $$;
create function gateway.find_api_key(wanted bytea) returns setof gateway.api_key
    language sql stable security definer set search_path = ''
    as $$ select * from gateway.api_key where key_hash = wanted $$;
create function gateway.find_refresh_token(wanted bytea) returns setof gateway.refresh_token
    language sql stable security definer set search_path = ''
    as $$ select * from gateway.refresh_token where token_hash = wanted $$;
create function gateway.purge_expired() returns void
    language sql security definer set search_path = ''
    as $$
        delete from gateway.refresh_token where expires_at < now() - interval '1 day';
        delete from gateway.idempotency_key where created_at < now() - interval '24 hours';
    $$;
revoke all on function gateway.find_login(text), gateway.find_api_key(bytea), gateway.find_refresh_token(bytea),
    gateway.purge_expired() from public;
grant execute on function gateway.find_login(text), gateway.find_api_key(bytea), gateway.find_refresh_token(bytea),
    gateway.purge_expired() to iacrm_gateway;
