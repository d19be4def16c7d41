"""The last run of each background job for each tenant, so that a restart neither skips nor repeats one."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.rfm_worker.repository.locks import key_of
from services.rfm_worker.repository.raw import Raw, Rows

FAILED = "failed"
JOB = 21
"""First half of the advisory lock's key, beside those of `locks`. It is only ever tried, so it cannot deadlock."""
# The night that counts is the newest one, or for a job of every n days the one n - 1 days before it.
_DUE = """
select t.tenant_id
from tenant t
left join job_run j on j.tenant_id = t.tenant_id and j.job = $1
cross join lateral (select coalesce(sum(d.orders), 0) as orders from day d where d.tenant_id = t.tenant_id) seen
cross join lateral (select ($2::timestamptz at time zone t.timezone) - make_interval(hours => $3) as shifted) clock
cross join lateral (
    select (date_trunc('day', clock.shifted) - make_interval(days => $4 - 1) + make_interval(hours => $3))
        at time zone t.timezone as began
) night
where t.status <> 'erased' and (t.tenant_id = $8 or $8 is null) and case
    when j.finished_at is null then seen.orders > 0
    when j.outcome = 'failed' then j.finished_at < $2 - $5::interval
    else j.finished_at < night.began
        or (abs(seen.orders - j.orders) > j.orders * $6::float8 and j.finished_at < $2 - $7::interval)
end
order by j.finished_at nulls first, t.tenant_id
"""
_RECORD = """
insert into job_run (tenant_id, job, finished_at, seconds, outcome, orders, figures)
select t.tenant_id, $2, $3, $4, $5,
    (select coalesce(sum(d.orders), 0) from day d where d.tenant_id = t.tenant_id), $6::text::jsonb
from tenant t where t.tenant_id = $1 and t.status <> 'erased'
on conflict (tenant_id, job) do update set finished_at = excluded.finished_at, seconds = excluded.seconds,
    outcome = excluded.outcome, orders = excluded.orders, figures = excluded.figures
"""
_AWAIT_NIGHT = """
insert into job_run (tenant_id, job, finished_at, seconds, outcome, orders, figures)
select t.tenant_id, $1, $2, 0, 'waiting', 0, '{}' from tenant t
where t.status <> 'erased' and not exists (select from job_run j where j.tenant_id = t.tenant_id and j.job = $1)
    and exists (select from day d where d.tenant_id = t.tenant_id and d.orders > 0)
order by t.tenant_id
on conflict do nothing
"""
_SUMMARY = """
select job, outcome, count(*) as tenants, max(finished_at) as last_run,
    coalesce(sum((figures ->> 'differences')::bigint), 0) as differences
from job_run group by job, outcome
"""


async def due(
    raw: Raw, job: str, now: datetime, *, night_hour: int, every_days: int, retry: timedelta,
    growth: float | None, pause: timedelta, tenant_id: UUID | None = None,
) -> list[UUID]:  # fmt: skip
    """Tenants whose turn it is, who waited longest first.

    Args:
        job: name of the job.
        night_hour: hour of the tenant's day after which a night's run is due.
        every_days: nights between two runs.
        retry: how long after a failure it is tried again.
        growth: share by which the number of counting orders must have changed to be due before the night; None: never.
        pause: least time between two runs for that reason.
        tenant_id: look at this tenant alone.
    """
    rows = await raw.fetch(_DUE, job, now, night_hour, every_days, retry, growth, pause, tenant_id)
    return [row["tenant_id"] for row in rows]


async def await_night(raw: Raw, job: str, now: datetime) -> None:
    """Notes tenants that the job has not met yet, as if it had run for them now: their next night is the first."""
    await raw.execute(_AWAIT_NIGHT, job, now)


async def try_lock(raw: Raw, job: str, tenant_id: UUID) -> bool:
    """Whether this transaction has the job for the tenant to itself, over all processes, until it ends."""
    await raw.execute("set local idle_in_transaction_session_timeout = 0")
    locked: bool = await raw.fetchval("select pg_try_advisory_xact_lock($1, $2)", JOB, key_of(job, tenant_id))
    return locked


async def record(
    raw: Raw, job: str, tenant_id: UUID, *, now: datetime, seconds: float, outcome: str, figures: Mapping[str, Any]
) -> None:
    """Remembers a run in place of the one before; figures are counts, never personal data."""
    await raw.execute(_RECORD, tenant_id, job, now, seconds, outcome, json.dumps(figures))


async def summary(raw: Raw) -> Rows:
    """Per job and outcome: how many tenants, the newest run, and the differences found."""
    return await raw.fetch(_SUMMARY)
