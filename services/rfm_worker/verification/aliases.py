"""Whether the ledger's effective keys are what the aliases say."""

from collections.abc import Iterable
from uuid import UUID

import asyncpg

from services.rfm_worker.verification.snapshot import Snapshot

# Only orders that hold an alias, or that say they do, are looked at one by one.
_WRONG = """
with mine as (select alias, product_key from product_alias where tenant_id = $1),
concerned as (
    select sale_id, product_keys, effective_keys from sale
    where tenant_id = $1 and recorded and (
        effective_keys is not null
        or exists (select from mine) and product_keys && (select array_agg(alias) from mine)
    )
)
select sale_id, effective_keys, due from concerned, lateral (
    select array_agg(coalesce(m.product_key, k.key) order by k.n) as keys
    from unnest(product_keys) with ordinality as k(key, n) left join mine m on m.alias = k.key
) resolved, lateral (select case when keys <> product_keys then keys end as due) d
where effective_keys is distinct from due
order by sale_id
"""
_PENDING = "select exists (select from alias_move where tenant_id = $1)"


async def alias_differences(seen: Snapshot, tenant_id: UUID) -> list[str]:
    """One sentence per order that differs; none while history is still following a changed alias."""
    ((pending,),) = await seen.rows(_PENDING, tenant_id)
    return [] if pending else list(_told(tenant_id, await seen.rows(_WRONG, tenant_id)))


def _told(tenant_id: UUID, rows: Iterable[asyncpg.Record]) -> Iterable[str]:
    for row in rows:
        name = f"sale {tenant_id}/{row['sale_id']}"
        yield f"{name}: effective_keys are {row['effective_keys']}, should be {row['due']}"
