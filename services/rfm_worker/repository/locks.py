"""Advisory locks of one transaction, always taken in this order: tenants, scorers, return ids; each sorted.

A batch shares its tenants with other batches. A change of settings or of an alias has the tenant to itself, and what
rewrites its ledger (an erasure) its scorer too. A return may be replaced by one that names another sale, so no order's
row stands for it: its id is locked instead. Only one process at a time moves the history of a tenant's aliases; it
tries that lock and never waits for it.
"""

import zlib
from collections.abc import Collection, Iterable
from uuid import UUID

from services.rfm_worker.repository.raw import Raw

TENANT, SCORER, RETURN, ALIASES = 11, 12, 13, 14
"""First half of the lock's key; the second half is a hash, and two that collide merely wait for each other."""

_TENANTS = """
select case when alone then pg_advisory_xact_lock($1, key)::text else pg_advisory_xact_lock_shared($1, key)::text end
from unnest($2::int[], $3::bool[]) as wanted(key, alone)
"""
_ALONE = "select pg_advisory_xact_lock($1, key) from unnest($2::int[]) as wanted(key)"


def key_of(*parts: object) -> int:
    """A signed 32-bit hash."""
    return zlib.crc32(":".join(map(str, parts)).encode()) - 2**31


async def lock_tenants(
    raw: Raw, shared: Iterable[UUID], alone: Collection[UUID] = (), unscored: Collection[UUID] = ()
) -> None:
    """Shares `shared` with other batches, keeps other batches away from `alone`, and the scorer too from `unscored`."""
    alone = {*alone, *unscored}
    wanted = {key_of(tenant): False for tenant in shared} | {key_of(tenant): True for tenant in alone}
    keys = sorted(wanted)
    await raw.fetch(_TENANTS, TENANT, keys, [wanted[key] for key in keys])
    if unscored:
        await raw.fetch(_ALONE, SCORER, sorted({key_of(tenant) for tenant in unscored}))


async def lock_returns(raw: Raw, ids: Iterable[tuple[UUID, str]]) -> None:
    """Keeps other batches away from these returns."""
    await raw.fetch(_ALONE, RETURN, sorted({key_of(*pair) for pair in ids}))
