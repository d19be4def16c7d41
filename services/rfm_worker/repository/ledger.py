"""The ledger's fast path: new sales go in, sales that are known already come out, all order rows locked in one pass."""

from dataclasses import dataclass
from datetime import datetime

from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.repository.rows import SaleKey

# A conflicting row is locked even though WHERE false leaves it as it is. The order of the rows is the order of the
# locks, new and known ones together, so two batches that share orders wait for each other and never deadlock.
_INSERT = """
with added as (
    insert into sale (
        tenant_id, sale_id, recorded, customer_code, sold_at, day, channel, currency, gross, net, event_time,
        event_id, product_keys, effective_keys, labels, quantities, unit_prices, discounts, amounts, metadata
    )
    select s.tenant_id, s.sale_id, s.recorded, s.customer_code, s.sold_at,
        (s.sold_at at time zone t.timezone)::date, s.channel,
        s.currency, s.net, s.net, s.event_time, s.event_id, s.product_keys,
        s.effective_keys, s.labels, s.quantities, s.unit_prices, s.discounts, s.amounts, s.metadata
    from stage s join tenant t using (tenant_id)
    order by s.tenant_id, s.sale_id
    on conflict (tenant_id, sale_id) do update set sale_id = excluded.sale_id where false
    returning tenant_id, sale_id
)
select s.n, s.tenant_id, s.sale_id from stage s
where not exists (select from added a where a.tenant_id = s.tenant_id and a.sale_id = s.sale_id)
"""
_STANDING = """
select s.tenant_id, s.sale_id, s.recorded, s.event_time, s.event_id
from unnest($1::uuid[], $2::text[]) as k(tenant_id, sale_id) join sale s using (tenant_id, sale_id)
"""


@dataclass(frozen=True, slots=True)
class Known:
    """A staged sale that the ledger has already, `accepted` as there; None while only its place is kept."""

    n: int
    accepted: tuple[datetime, str] | None


async def insert_new(raw: Raw) -> dict[SaleKey, Known]:
    """Inserts the staged sales that are new and locks all staged orders; answers those that were known."""
    met = {(row["tenant_id"], row["sale_id"]): row["n"] for row in await raw.fetch(_INSERT)}
    if not met:
        return {}
    standing = await raw.fetch(_STANDING, [key[0] for key in met], [key[1] for key in met])
    return {
        (row["tenant_id"], row["sale_id"]): Known(
            met[row["tenant_id"], row["sale_id"]], (row["event_time"], row["event_id"]) if row["recorded"] else None
        )
        for row in standing
    }
