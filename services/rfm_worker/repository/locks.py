"""Advisory locks of one transaction, always taken in this order: tenants, scorers, return ids; each sorted.

A batch shares its tenants with other batches. What rewrites a tenant's ledger (an erasure, a changed time zone) has
the tenant and its scorer to itself. A return may be replaced by one that names another sale, so no order's row stands
for it: its id is locked instead.
"""

import zlib
from collections.abc import Collection, Iterable
from uuid import UUID

from services.rfm_worker.repository.raw import Raw

TENANT, SCORER, RETURN, REFRESHER = 11, 12, 13, 14
"""First half of the lock's key; the second half is a hash, and two that collide merely wait for each other."""

_TENANTS = """
select case when alone then pg_advisory_xact_lock($1, key)::text else pg_advisory_xact_lock_shared($1, key)::text end
from unnest($2::int[], $3::bool[]) as wanted(key, alone)
"""
_ALONE = "select pg_advisory_xact_lock($1, key) from unnest($2::int[]) as wanted(key)"


def key_of(*parts: object) -> int:
    """A signed 32-bit hash."""
    return zlib.crc32(":".join(map(str, parts)).encode()) - 2**31


async def lock_tenants(raw: Raw, shared: Iterable[UUID], alone: Collection[UUID]) -> None:
    """Shares `shared` with other batches and keeps everyone else, the scorer too, away from `alone`."""
    wanted = {key_of(tenant): False for tenant in shared} | {key_of(tenant): True for tenant in alone}
    keys = sorted(wanted)
    await raw.fetch(_TENANTS, TENANT, keys, [wanted[key] for key in keys])
    if alone:
        await raw.fetch(_ALONE, SCORER, sorted({key_of(tenant) for tenant in alone}))


async def lock_returns(raw: Raw, ids: Iterable[tuple[UUID, str]]) -> None:
    """Keeps other batches away from these returns."""
    await raw.fetch(_ALONE, RETURN, sorted({key_of(*pair) for pair in ids}))
