-- Customer lifetime value, and the last run of each background job.
create table rfm.job_run (
    tenant_id uuid not null,
    job text not null,
    finished_at timestamp with time zone not null,
    seconds double precision not null,
    outcome text not null,
    orders bigint not null,
    figures jsonb not null,
    primary key (tenant_id, job)
);
comment on table rfm.job_run is 'The last run of a job for a tenant, the counting orders it met, and figures without personal data.';

create table rfm.lifetime_model (
    tenant_id uuid not null,
    fitted_at timestamp with time zone not null,
    status text not null,
    reason text,
    reference_date date not null,
    history_days integer not null,
    horizon_days integer not null,
    customers integer not null,
    expected_orders numeric(24, 4),
    expected_value numeric(24, 4),
    dependence double precision,
    parameters jsonb,
    holdout jsonb,
    deciles jsonb,
    primary key (tenant_id)
);
comment on table rfm.lifetime_model is 'The last fit: parameters and holdout errors, or the reason why no values are given.';

create table rfm.lifetime_value (
    tenant_id uuid not null,
    customer_code text collate "C" not null,
    probability_alive numeric(5, 4) not null,
    expected_orders numeric(12, 4) not null,
    expected_value numeric(24, 4) not null,
    low numeric(24, 4) not null,
    high numeric(24, 4) not null,
    computed_at timestamp with time zone not null,
    primary key (tenant_id, customer_code)
);
comment on table rfm.lifetime_value is 'What each customer is expected to bring within the horizon of the model, with an 80 % interval.';

grant select, insert, update, delete on rfm.job_run, rfm.lifetime_model, rfm.lifetime_value to iacrm_rfm;
grant select on rfm.job_run, rfm.lifetime_model, rfm.lifetime_value to iacrm_gateway;

alter table rfm.job_run enable row level security;
create policy own_service on rfm.job_run to iacrm_rfm using (true);
create policy own_tenant on rfm.job_run for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));

alter table rfm.lifetime_model enable row level security;
create policy own_service on rfm.lifetime_model to iacrm_rfm using (true);
create policy own_tenant on rfm.lifetime_model for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));

alter table rfm.lifetime_value enable row level security;
create policy own_service on rfm.lifetime_value to iacrm_rfm using (true);
create policy own_tenant on rfm.lifetime_value for select to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));
