"""Advisory locks of one transaction, always taken in this order: tables, tenants, scorers, return ids; each sorted.

A batch shares its tenants with other batches. A change of settings or of an alias has the tenant to itself, and what
rewrites its ledger (an erasure) its scorer too. A return may be replaced by one that names another sale, so no order's
row stands for it: its id is locked instead. Only one process at a time moves the history of a tenant's aliases; it
tries that lock and never waits for it.

A run of a scorer has its lock on one connection and works on another, where the database sees no deadlock. So whoever
has a scorer waits for no tenant and no tables: it tries, and comes back later. Its own lock shares the tables.

Whoever writes shares the tables; a rebuild has them to itself while it puts its own in their place. The shadow that it
fills meanwhile is a schema with the same statements, and locks of its own.
"""

import zlib
from collections.abc import Collection, Iterable
from uuid import UUID

from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.tables import SCHEMA

TENANT, SCORER, RETURN, TABLES, ALIASES, REFRESHER = 11, 12, 13, 14, 15, 16
"""First half of the lock's key; the second half is a hash, and two that collide merely wait for each other."""

# 0 in the live schema, something else in any other.
_APART = f"(hashtext(current_schema()) # hashtext('{SCHEMA}'))"
_SHARE_TABLES = f"select pg_advisory_xact_lock_shared({TABLES}, {_APART})::text"
_TENANTS = f"""
{_SHARE_TABLES}
union all
select case when alone then pg_advisory_xact_lock($1, key # {_APART})::text
    else pg_advisory_xact_lock_shared($1, key # {_APART})::text end
from unnest($2::int[], $3::bool[]) as wanted(key, alone)
"""  # noqa: S608
_ALONE = f"select pg_advisory_xact_lock($1, key # {_APART}) from unnest($2::int[]) as wanted(key)"  # noqa: S608
_TRY_SHARED = f"select pg_try_advisory_xact_lock_shared($1, $2::int # {_APART})"
_TRY = f"select pg_try_advisory_xact_lock($1, $2::int # {_APART})"
_TABLES_ALONE = f"select pg_advisory_xact_lock({TABLES}, {_APART})"


def key_of(*parts: object) -> int:
    """A signed 32-bit hash."""
    return zlib.crc32(":".join(map(str, parts)).encode()) - 2**31


async def share_tables(raw: Raw) -> None:
    """Waits for a rebuild that is putting its tables in the place of these, and keeps others from it."""
    await raw.execute(_SHARE_TABLES)


async def lock_tables(raw: Raw) -> None:
    """Keeps every batch, every run of a scorer and every verification away."""
    await raw.execute(_TABLES_ALONE)


async def lock_tenants(
    raw: Raw, shared: Iterable[UUID], alone: Collection[UUID] = (), unscored: Collection[UUID] = ()
) -> None:
    """Shares `shared` with other batches, keeps other batches away from `alone`, and the scorer too from `unscored`.

    It shares the tables as well.
    """
    alone = {*alone, *unscored}
    wanted = {key_of(tenant): False for tenant in shared} | {key_of(tenant): True for tenant in alone}
    keys = sorted(wanted)
    await raw.fetch(_TENANTS, TENANT, keys, [wanted[key] for key in keys])
    if unscored:
        await raw.fetch(_ALONE, SCORER, sorted({key_of(tenant) for tenant in unscored}))


async def try_share_tenant(raw: Raw, tenant_id: UUID) -> bool:
    """Shares the tenant with batches, unless one has it to itself or waits for that."""
    return bool(await raw.fetchval(_TRY_SHARED, TENANT, key_of(tenant_id)))


async def try_lock_scorer(raw: Raw, tenant_id: UUID) -> bool:
    """Has the tenant's scorer to itself, unless somebody else has."""
    return bool(await raw.fetchval(_TRY, SCORER, key_of(tenant_id)))


async def try_lock_aliases(raw: Raw, tenant_id: UUID) -> bool:
    """Has the moves of the tenant's aliases to itself, unless somebody else has."""
    return bool(await raw.fetchval(_TRY, ALIASES, key_of(tenant_id)))


async def lock_returns(raw: Raw, ids: Iterable[tuple[UUID, str]]) -> None:
    """Keeps other batches away from these returns."""
    await raw.fetch(_ALONE, RETURN, sorted({key_of(*pair) for pair in ids}))
