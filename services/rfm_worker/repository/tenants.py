"""What the worker knows of its tenants: settings, current cut-offs, and what a change of settings rewrites."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.rfm_worker.domain.cutoffs import Cutoffs
from services.rfm_worker.domain.facts import TenantChange
from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.repository.recompute import DAYS, SCORES, request_recompute

ERASED = "erased"
_ENSURE = """
insert into tenant (tenant_id) select t from unnest($1::uuid[]) t order by t on conflict do nothing
"""
_LOAD = """
select t.tenant_id, t.status, t.timezone, t.currency, t.reference_date as reference, t.rfm_method,
    t.rfm_bounds::text as rfm_bounds, t.version, c.method, c.reference_date, c.customers, c.recency_days,
    c.frequency, c.monetary
from tenant t left join cutoffs c using (tenant_id) where t.tenant_id = any($1::uuid[])
"""
_STORE = """
update tenant set status = $2, timezone = $3, currency = $4, reference_date = $5, rfm_method = $6,
    rfm_bounds = $7::text::jsonb, active_days = $8, version = $9
where tenant_id = $1
"""
_OWNED = (
    "sale", "sale_return", "sale_cancellation", "customer", "customer_product", "product", "day", "cutoffs",
    "quantile_mark", "score_request", "recompute", "segment_change", "segment_path", "erasure", "job_run",
    "lifetime_model", "lifetime_value", "product_alias", "alias_move",
    "period", "product_period", "customer_queue", "customer_search", "rhythm",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant's settings as far as they change values, and the cut-offs that its customers are scored against."""

    tenant_id: UUID
    status: str
    timezone: str
    currency: str | None
    reference: str
    method: str
    bounds: dict[str, list[object]] | None
    version: int
    cutoffs: Cutoffs | None

    @property
    def erased(self) -> bool:
        """Whether nothing of it may be kept."""
        return self.status == ERASED


async def load_tenants(raw: Raw, wanted: Collection[UUID]) -> dict[UUID, Tenant]:
    """The tenants; one whose event has not arrived is inserted with the defaults."""
    found = await find_tenants(raw, wanted)
    missing = sorted(set(wanted) - found.keys())
    if missing:
        await raw.execute(_ENSURE, missing)
        found |= await find_tenants(raw, missing)
    return found


async def find_tenants(raw: Raw, wanted: Iterable[UUID]) -> dict[UUID, Tenant]:
    """Those of the tenants that the worker knows."""
    rows = await raw.fetch(_LOAD, list(wanted))
    return {
        r["tenant_id"]: Tenant(
            r["tenant_id"], r["status"], r["timezone"], r["currency"], r["reference"], r["rfm_method"],
            json.loads(r["rfm_bounds"]) if r["rfm_bounds"] else None, r["version"],
            None if r["method"] is None else Cutoffs(
                r["method"], r["reference_date"], r["customers"], r["recency_days"], r["frequency"], r["monetary"]
            ),
        )
        for r in rows
    }  # fmt: skip


async def change_tenants(raw: Raw, changes: Sequence[TenantChange], known: dict[UUID, Tenant]) -> set[UUID]:
    """Takes over newer settings; the tenants must be locked alone.

    What stored values depend on is asked to be recomputed in the background; until then the old ones can be read.

    Returns:
        Tenants that are to be recomputed.
    """
    recomputed = set()
    for change in changes:
        before = known[change.tenant_id]
        if before.erased or change.body.version <= before.version:
            continue  # an erased tenant stays erased, whatever else the same batch says of it
        await _store(raw, change)
        after = (await find_tenants(raw, [change.tenant_id]))[change.tenant_id]
        known[change.tenant_id] = after
        if after.erased:
            await _forget(raw, change.tenant_id)
            continue
        if after.timezone != before.timezone:
            await request_recompute(raw, change.tenant_id, "settings", DAYS)
        elif _scored_by(after) != _scored_by(before):
            await request_recompute(raw, change.tenant_id, "settings", SCORES)
        else:
            continue
        recomputed.add(change.tenant_id)
    return recomputed


def _scored_by(tenant: Tenant) -> tuple[object, ...]:
    return tenant.reference, tenant.method, tenant.bounds


async def _store(raw: Raw, change: TenantChange) -> None:
    settings = change.body.settings
    bounds = settings.rfm.bounds
    await raw.execute(
        _STORE, change.tenant_id, change.body.status, settings.timezone, settings.currency,
        str(settings.reference_date), settings.rfm.method, bounds.model_dump_json() if bounds else None,
        settings.active_days, change.body.version,
    )  # fmt: skip


async def _forget(raw: Raw, tenant_id: UUID) -> None:
    """Deletes all that is kept of a tenant, but that it was erased."""
    for table in _OWNED:
        await raw.execute(f"delete from {table} where tenant_id = $1", tenant_id)  # noqa: S608
    await raw.execute("delete from outbox where starts_with(key, $1)", f"{tenant_id}:")
