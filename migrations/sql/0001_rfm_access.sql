-- The worker writes its own schema for all tenants; the gateway reads one tenant of it and writes nothing.
grant usage on schema rfm to iacrm_rfm, iacrm_gateway;
grant select, insert, update, delete on all tables in schema rfm to iacrm_rfm;
grant select on rfm.applied_offset to iacrm_gateway;

alter table rfm.customer enable row level security;
create policy own_service on rfm.customer to iacrm_rfm using (true);
create policy own_tenant on rfm.customer for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
grant select on rfm.customer to iacrm_gateway;

alter table rfm.customer_product enable row level security;
create policy own_service on rfm.customer_product to iacrm_rfm using (true);
create policy own_tenant on rfm.customer_product for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
grant select on rfm.customer_product to iacrm_gateway;

alter table rfm.cutoffs enable row level security;
create policy own_service on rfm.cutoffs to iacrm_rfm using (true);
create policy own_tenant on rfm.cutoffs for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
grant select on rfm.cutoffs to iacrm_gateway;

alter table rfm.day enable row level security;
create policy own_service on rfm.day to iacrm_rfm using (true);
create policy own_tenant on rfm.day for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
grant select on rfm.day to iacrm_gateway;

alter table rfm.erasure enable row level security;
create policy own_service on rfm.erasure to iacrm_rfm using (true);
create policy own_tenant on rfm.erasure for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
grant select on rfm.erasure to iacrm_gateway;

alter table rfm.product enable row level security;
create policy own_service on rfm.product to iacrm_rfm using (true);
create policy own_tenant on rfm.product for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
grant select on rfm.product to iacrm_gateway;

alter table rfm.sale enable row level security;
create policy own_service on rfm.sale to iacrm_rfm using (true);
create policy own_tenant on rfm.sale for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
grant select on rfm.sale to iacrm_gateway;

alter table rfm.sale_cancellation enable row level security;
create policy own_service on rfm.sale_cancellation to iacrm_rfm using (true);
create policy own_tenant on rfm.sale_cancellation for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
grant select on rfm.sale_cancellation to iacrm_gateway;

alter table rfm.sale_return enable row level security;
create policy own_service on rfm.sale_return to iacrm_rfm using (true);
create policy own_tenant on rfm.sale_return for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
grant select on rfm.sale_return to iacrm_gateway;

alter table rfm.score_request enable row level security;
create policy own_service on rfm.score_request to iacrm_rfm using (true);
create policy own_tenant on rfm.score_request for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
grant select on rfm.score_request to iacrm_gateway;

alter table rfm.segment_change enable row level security;
create policy own_service on rfm.segment_change to iacrm_rfm using (true);
create policy own_tenant on rfm.segment_change for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
grant select on rfm.segment_change to iacrm_gateway;

alter table rfm.tenant enable row level security;
create policy own_service on rfm.tenant to iacrm_rfm using (true);
create policy own_tenant on rfm.tenant for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
grant select on rfm.tenant to iacrm_gateway;
