"""What the worker knows of its tenants: settings, current cut-offs, and what a change of settings rewrites."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.rfm_worker.domain.cutoffs import Cutoffs
from services.rfm_worker.domain.facts import TenantChange
from services.rfm_worker.repository.raw import Raw

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
_DATED_SALES = """
update sale set day = (sold_at at time zone $2)::date
where tenant_id = $1 and recorded and day is distinct from (sold_at at time zone $2)::date
"""
_DATED_CUSTOMERS = """
update customer set last_order_day = (last_order_at at time zone $2)::date
where tenant_id = $1 and last_order_at is not null
    and last_order_day is distinct from (last_order_at at time zone $2)::date
"""
_DATED_DAYS = """
with sold as (
    select s.sale_id, s.day, s.net, l.product_key, sum(l.quantity) as units
    from sale s
    left join lateral unnest(s.product_keys, s.quantities) as l(product_key, quantity) on not s.cancelled
    where s.tenant_id = $1 and s.recorded group by s.sale_id, s.day, s.net, l.product_key
),
back as (
    select r.sale_id, l.product_key, sum(l.quantity) as units
    from sale_return r, unnest(r.product_keys, r.quantities) as l(product_key, quantity)
    where r.tenant_id = $1 group by 1, 2
),
sale as (
    select sold.day, sold.net, sum(greatest(0, sold.units - coalesce(back.units, 0))) as units
    from sold left join back using (sale_id, product_key) group by sold.sale_id, sold.day, sold.net
)
insert into day (tenant_id, day, orders, units, revenue)
select $1, day, count(*) filter (where net > 0), coalesce(sum(units), 0), sum(net) from sale group by day
"""
_OWNED = (
    "sale", "sale_return", "sale_cancellation", "customer", "customer_product", "product", "day", "cutoffs",
    "score_request", "segment_change", "erasure", "period", "product_period", "customer_queue", "customer_search",
    "rhythm",
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
    found = await _load(raw, wanted)
    missing = sorted(set(wanted) - found.keys())
    if missing:
        await raw.execute(_ENSURE, missing)
        found |= await _load(raw, missing)
    return found


async def _load(raw: Raw, wanted: Iterable[UUID]) -> dict[UUID, Tenant]:
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

    Returns:
        Tenants whose customers must be scored anew.
    """
    scored_anew = set()
    for change in changes:
        before = known[change.tenant_id]
        if before.erased or change.body.version <= before.version:
            continue  # an erased tenant stays erased, whatever else the same batch says of it
        await _store(raw, change)
        after = (await _load(raw, [change.tenant_id]))[change.tenant_id]
        known[change.tenant_id] = after
        if after.erased:
            await _forget(raw, change.tenant_id)
            continue
        if after.timezone != before.timezone:
            await _date_anew(raw, after)
        if (after.timezone, after.reference, after.method, after.bounds) != (
            before.timezone, before.reference, before.method, before.bounds
        ):  # fmt: skip
            scored_anew.add(change.tenant_id)
    return scored_anew


async def _store(raw: Raw, change: TenantChange) -> None:
    settings = change.body.settings
    bounds = settings.rfm.bounds
    await raw.execute(
        _STORE, change.tenant_id, change.body.status, settings.timezone, settings.currency,
        str(settings.reference_date), settings.rfm.method, bounds.model_dump_json() if bounds else None,
        settings.active_days, change.body.version,
    )  # fmt: skip


async def _date_anew(raw: Raw, tenant: Tenant) -> None:
    """Every local date of the tenant, from the ledger."""
    await raw.execute(_DATED_SALES, tenant.tenant_id, tenant.timezone)
    await raw.execute(_DATED_CUSTOMERS, tenant.tenant_id, tenant.timezone)
    await raw.execute("delete from day where tenant_id = $1", tenant.tenant_id)
    await raw.execute(_DATED_DAYS, tenant.tenant_id)


async def _forget(raw: Raw, tenant_id: UUID) -> None:
    """Deletes all that is kept of a tenant, but that it was erased."""
    for table in _OWNED:
        await raw.execute(f"delete from {table} where tenant_id = $1", tenant_id)  # noqa: S608
    await raw.execute("delete from outbox where starts_with(key, $1)", f"{tenant_id}:")
