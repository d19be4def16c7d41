-- Imports of files: one row per uploaded file, worked on by the importer.
CREATE TABLE gateway.import_job (
    tenant_id UUID NOT NULL,
    import_id UUID NOT NULL,
    kind TEXT NOT NULL CHECK (kind in ('sales', 'returns', 'customers', 'products')),
    state TEXT NOT NULL CHECK (state in ('uploading', 'queued', 'running', 'paused', 'completed', 'failed', 'cancelled')),
    options JSONB NOT NULL,
    file_name TEXT,
    format TEXT,
    size_bytes BIGINT DEFAULT 0 NOT NULL,
    sha256 TEXT,
    request_id TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_by TEXT NOT NULL,
    accepted_at TIMESTAMP WITH TIME ZONE,
    started_at TIMESTAMP WITH TIME ZONE,
    finished_at TIMESTAMP WITH TIME ZONE,
    expires_at TIMESTAMP WITH TIME ZONE,
    claimed_by UUID,
    lease_until TIMESTAMP WITH TIME ZONE,
    attempts INTEGER DEFAULT 0 NOT NULL,
    understood JSONB,
    plan TEXT,
    parts INTEGER,
    parts_done INTEGER DEFAULT 0 NOT NULL,
    counts JSONB DEFAULT '{}' NOT NULL,
    errors JSONB DEFAULT '[]' NOT NULL,
    sample JSONB,
    positions JSONB DEFAULT '[]' NOT NULL,
    reason TEXT,
    PRIMARY KEY (tenant_id, import_id)
);
CREATE INDEX import_job_newest ON gateway.import_job (tenant_id, created_at, import_id);
CREATE INDEX import_job_open ON gateway.import_job (created_at) WHERE state in ('queued', 'running');
CREATE INDEX import_job_expiry ON gateway.import_job (expires_at) WHERE expires_at is not null;
COMMENT ON COLUMN gateway.import_job.accepted_at IS 'when the file was complete: the time of every event made of it';
COMMENT ON COLUMN gateway.import_job.expires_at IS 'when its stored files are due to be deleted; null once they are gone';
COMMENT ON COLUMN gateway.import_job.attempts IS 'claims since the last part that was finished';
COMMENT ON COLUMN gateway.import_job.plan IS 'what the division into parts depends on; another one begins anew';
COMMENT ON COLUMN gateway.import_job.positions IS 'where its newest events are, as entries of a consistency token';

grant select, insert, update, delete on gateway.import_job to iacrm_gateway;
alter table gateway.import_job enable row level security;
create policy own_tenant on gateway.import_job to iacrm_gateway using (tenant_id = (select gateway.current_tenant()));

-- The importer takes the oldest waiting file, whosever it is, or one whose importer gives no sign of life any more.
create function gateway.claim_import(claimant uuid, lease_s integer) returns setof gateway.import_job
    language sql security definer set search_path = ''
    as $$
        update gateway.import_job set state = 'running', claimed_by = claimant, attempts = attempts + 1,
            lease_until = clock_timestamp() + make_interval(secs => lease_s),
            started_at = coalesce(started_at, clock_timestamp())
        where (tenant_id, import_id) = (
            select j.tenant_id, j.import_id from gateway.import_job j
            where j.state in ('queued', 'running') and (j.lease_until is null or j.lease_until < clock_timestamp())
            order by j.created_at limit 1 for update skip locked)
        returning *
    $$;
-- The janitor deletes files that are due, tenant by tenant; an upload that never ended is due after a day.
create function gateway.expired_imports(most integer) returns table (tenant_id uuid, import_id uuid)
    language sql stable security definer set search_path = ''
    as $$
        select j.tenant_id, j.import_id from gateway.import_job j
        where j.expires_at <= now() and j.state not in ('queued', 'running') order by j.expires_at limit most
    $$;
revoke all on function gateway.claim_import(uuid, integer), gateway.expired_imports(integer) from public;
grant execute on function gateway.claim_import(uuid, integer), gateway.expired_imports(integer) to iacrm_gateway;
