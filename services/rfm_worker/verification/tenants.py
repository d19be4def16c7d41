"""The tenants to verify: their settings and cut-offs, whether the scorer has served them, and rows of nobody's."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.tables import TENANT_TABLES

_TENANTS = """
select t.tenant_id, t.timezone, t.reference_date, t.rfm_method, t.rfm_bounds::text as rfm_bounds,
    c.reference_date as on_date, c.customers, c.recency_days, c.frequency, c.monetary,
    c.average_basket, (select max(d.day) from day d where d.tenant_id = t.tenant_id and d.orders > 0) as newest,
    exists (select from score_request q where q.tenant_id = t.tenant_id) as waiting
from tenant t left join cutoffs c using (tenant_id)
where (t.tenant_id = $1 or $1 is null) order by t.tenant_id
"""
# From one tenant to the next through the index that starts with the tenant: no table is read for its few tenants.
_STRANGERS = """
with recursive found(tenant_id) as (
    (select tenant_id from {table} order by tenant_id limit 1)
    union all
    select (select x.tenant_id from {table} x where x.tenant_id > f.tenant_id order by x.tenant_id limit 1)
    from found f where f.tenant_id is not null
)
select tenant_id from found f where ($1::uuid is null or tenant_id = $1)
    and tenant_id is not null and not exists (select from tenant t where t.tenant_id = f.tenant_id)
"""


@dataclass(frozen=True, slots=True)
class StoredCutoffs:
    """What the worker's row says; terciles are rounded to 8 decimals."""

    reference_date: date
    customers: int
    axes: Mapping[str, Sequence[Decimal]]
    average_basket: Sequence[Decimal]


@dataclass(frozen=True, slots=True)
class Verified:
    """A tenant's settings as far as they change values, and its stored cut-offs."""

    tenant_id: UUID
    timezone: str
    reference: str
    fixed: Mapping[str, Sequence[object]] | None
    """The tenant's own bounds, where its method is `fixed`."""
    newest: date | None
    """Its newest day with a counting order."""
    waiting: bool
    """Whether a batch asked for fresh cut-offs and was not served yet."""
    cutoffs: StoredCutoffs | None

    def today(self, now: datetime) -> date:
        """The tenant's local date."""
        return now.astimezone(ZoneInfo(self.timezone)).date()

    def behind(self, now: datetime) -> bool:
        """Whether the scorer still has something to do: a request, or a midnight that has passed."""
        passed = self.reference == "now" and self.cutoffs is not None and self.cutoffs.reference_date != self.today(now)
        return self.waiting or passed

    def reference_date(self, now: datetime) -> date:
        """What recency is measured from."""
        if self.reference == "now":
            return self.today(now)
        if self.reference == "latest_sale":
            return self.newest or (self.cutoffs.reference_date if self.cutoffs else self.today(now))
        return date.fromisoformat(self.reference)


async def load_tenants(raw: Raw, tenant_id: UUID | None) -> list[Verified]:
    """One tenant, or all."""
    return [
        Verified(
            r["tenant_id"], r["timezone"], r["reference_date"],
            json.loads(r["rfm_bounds"]) if r["rfm_method"] == "fixed" and r["rfm_bounds"] else None,
            r["newest"], r["waiting"],
            None if r["on_date"] is None else StoredCutoffs(
                r["on_date"], r["customers"],
                {axis: r[axis] for axis in ("recency_days", "frequency", "monetary")}, r["average_basket"],
            ),
        )
        for r in await raw.fetch(_TENANTS, tenant_id)
    ]  # fmt: skip


async def strangers(raw: Raw, tenant_id: UUID | None) -> list[str]:
    """A sentence for each table that has rows of a tenant that does not exist."""
    return [
        f"{table}: rows of the unknown tenant {row['tenant_id']}"
        for table in TENANT_TABLES
        for row in await raw.fetch(_STRANGERS.format(table=table), tenant_id)
    ]
