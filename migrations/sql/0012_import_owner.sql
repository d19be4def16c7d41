-- A killed importer's file goes on at once: its importer holds a lock that ends with its connection.
alter table gateway.import_job add column held_at timestamp with time zone;
comment on column gateway.import_job.held_at is
    'when its importer last showed itself while it held the lock of its name; null for one that holds none';

-- Whether the importer of that name, last seen then, has no session any more. After a restart of the server nobody has
-- one, so only what was seen since tells anything.
create function gateway.importer_is_gone(importer uuid, seen_at timestamp with time zone) returns boolean
    language sql volatile set search_path = ''
    as $$
        select seen_at > pg_postmaster_start_time() and not exists (
            select from pg_locks l where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
                and l.database = (select d.oid from pg_database d where d.datname = current_database())
                and ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended('importer ' || importer, 0))
    $$;

create or replace function gateway.claim_import(claimant uuid, lease_s integer) returns setof gateway.import_job
    language sql security definer set search_path = ''
    as $$
        update gateway.import_job set state = 'running', claimed_by = claimant, attempts = attempts + 1,
            lease_until = clock_timestamp() + make_interval(secs => lease_s), held_at = null,
            started_at = coalesce(started_at, clock_timestamp())
        where (tenant_id, import_id) = (
            select j.tenant_id, j.import_id from gateway.import_job j
            where j.state in ('queued', 'running') and (
                j.lease_until is null or j.lease_until < clock_timestamp()
                or (j.state = 'running' and gateway.importer_is_gone(j.claimed_by, j.held_at)))
            order by j.created_at limit 1 for update skip locked)
        returning *
    $$;
revoke all on function gateway.importer_is_gone(uuid, timestamp with time zone) from public;
