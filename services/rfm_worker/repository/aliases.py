"""Aliases: keys that tills and shops send, the products that they stand for, and the history that follows a change.

A batch takes a change with its tenant to itself and only notes it; every sale from then on is resolved by it. The
orders of before are visited afterwards, some at a time: their effective keys are written anew and the sums follow in
the same transaction, so the sums are those of the ledger at every moment.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from services.rfm_worker.domain.contribution import Contribution
from services.rfm_worker.domain.facts import AliasChange
from services.rfm_worker.repository.aggregates import add_the_rest
from services.rfm_worker.repository.locks import lock_tenants, try_lock_aliases
from services.rfm_worker.repository.orders import Hashes, Order, effective_keys, load_orders
from services.rfm_worker.repository.queue import queue_changes
from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.repository.rows import SaleKey, delta_row
from services.rfm_worker.repository.stage import copy_rows, open_stage

NOTHING: Mapping[str, str] = {}
_STORE = """
insert into product_alias as a (tenant_id, alias, product_key, version) values ($1, $2, $3, $4)
on conflict (tenant_id, alias) do update set product_key = excluded.product_key, version = excluded.version
where a.version < excluded.version returning alias
"""
_REMOVE = "delete from product_alias where tenant_id = $1 and alias = $2 returning alias"
_NOTE = """
insert into alias_move (tenant_id, alias) values ($1, $2)
on conflict (tenant_id, alias) do update set position = ''
"""
_USERS = "select t from unnest($1::uuid[]) t where exists (select from product_alias a where a.tenant_id = t)"
_LOAD = """
select a.tenant_id, a.alias, a.product_key
from unnest($1::uuid[], $2::text[]) as k(tenant_id, alias) join product_alias a using (tenant_id, alias)
where a.product_key <> a.alias
"""
_DUE = "select distinct tenant_id from alias_move order by tenant_id"
_PENDING = "select alias, position from alias_move where tenant_id = $1"
_WINDOW = """
with visited as (
    select sale_id, product_keys from sale where tenant_id = $1 and sale_id > $2 order by sale_id limit $3
)
select count(*) as seen, max(sale_id) as last,
    coalesce(array_agg(sale_id) filter (where product_keys && $4::text[]), '{}') as concerned
from visited
"""
_LOCK = """
select from sale where tenant_id = $1 and sale_id = any($2::text[]) order by tenant_id, sale_id for update
"""
_REWRITE = "update sale set effective_keys = $3 where tenant_id = $1 and sale_id = $2"
_ADVANCE = "update alias_move set position = $2 where tenant_id = $1 and position < $2"
_DONE = "delete from alias_move where tenant_id = $1"


@dataclass(frozen=True, slots=True)
class Aliases:
    """The aliases among some keys."""

    known: Mapping[UUID, Mapping[str, str]]

    def of(self, tenant_id: UUID, keys: Iterable[str]) -> Mapping[str, str]:
        """Those of these keys that stand for another product, and which."""
        mine = self.known.get(tenant_id)
        return {key: mine[key] for key in keys if key in mine} if mine else NOTHING


async def change_aliases(raw: Raw, changes: Sequence[AliasChange]) -> None:
    """Takes over newer aliases, in the order of their records, and notes that their history must move.

    The tenants must be locked alone.
    """
    for change in changes:
        key = (change.tenant_id, change.alias)
        if change.body is None:
            changed = await raw.fetchval(_REMOVE, *key)
        else:
            changed = await raw.fetchval(_STORE, *key, change.body.product_key, change.body.version)
        if changed is not None:
            await raw.execute(_NOTE, *key)


async def load_aliases(raw: Raw, sold: Iterable[tuple[UUID, Sequence[str]]]) -> Aliases:
    """The aliases among the keys of some sales; the tenants must be locked. Tenants without any cost one probe."""
    keys: dict[UUID, set[str]] = {}
    for tenant_id, products in sold:
        keys.setdefault(tenant_id, set()).update(products)
    if not keys:
        return Aliases({})
    users = [row["t"] for row in await raw.fetch(_USERS, list(keys))]
    pairs = [(tenant_id, key) for tenant_id in users for key in keys[tenant_id]]
    found: dict[UUID, dict[str, str]] = {}
    rows = await raw.fetch(_LOAD, [p[0] for p in pairs], [p[1] for p in pairs]) if pairs else []
    for row in rows:
        found.setdefault(row["tenant_id"], {})[row["alias"]] = row["product_key"]
    return Aliases(found)


async def tenants_with_moves(raw: Raw) -> list[UUID]:
    """Tenants with history that has not followed their aliases yet."""
    return [row["tenant_id"] for row in await raw.fetch(_DUE)]


async def move_some(raw: Raw, tenant_id: UUID, hashes: Hashes, *, orders: int) -> bool:
    """Looks at the next orders of a tenant and moves those that hold a changed key, in the caller's transaction.

    Args:
        orders: how many to look at.

    Returns:
        Whether more is to do. False also where another process is at it.
    """
    await open_stage(raw)
    await lock_tenants(raw, [tenant_id])
    if not await try_lock_aliases(raw, tenant_id):
        return False
    pending = {row["alias"]: row["position"] for row in await raw.fetch(_PENDING, tenant_id)}
    if not pending:
        return False
    window = await raw.fetchrow(_WINDOW, tenant_id, min(pending.values()), orders, list(pending))
    assert window is not None  # noqa: S101 - an aggregate has a row
    if window["concerned"]:
        await _move(raw, tenant_id, window["concerned"], hashes)
    if window["seen"] < orders:
        await raw.execute(_DONE, tenant_id)
        return False
    await raw.execute(_ADVANCE, tenant_id, window["last"])
    return True


async def _move(raw: Raw, tenant_id: UUID, sale_ids: Collection[str], hashes: Hashes) -> None:
    await raw.execute(_LOCK, tenant_id, list(sale_ids))
    before = await load_orders(raw, [(tenant_id, sale_id) for sale_id in sale_ids], hashes)
    sold = {key: order for key, order in before.items() if order.lines is not None}
    aliases = await load_aliases(raw, ((tenant_id, order.lines.products) for order in sold.values() if order.lines))
    after: dict[SaleKey, Order] = {}
    for key, order in sold.items():
        assert order.lines is not None  # noqa: S101 - filtered above
        mapped = aliases.of(tenant_id, order.lines.products)
        if mapped != order.mapped:
            after[key] = replace(order, mapped=mapped)
    await raw.executemany(
        _REWRITE, [(*key, effective_keys(o.lines.products, o.mapped)) for key, o in after.items() if o.lines]
    )
    await copy_rows(raw, [row for key, order in after.items() for row in _rows(before[key], order)])
    # A customer's own values hold no product; only what is counted per product, and the units of a day, move.
    await add_the_rest(raw)
    # Their families may be others.
    await queue_changes(raw, {(tenant_id, o.buyer.counted) for o in after.values() if o.buyer.counted is not None}, ())


def _rows(old: Order, new: Order) -> list[str]:
    """The contribution taken away as it was and added as it is, without the products for which it stays the same."""
    was, now = old.contribution(), new.contribution()
    moved = {key for key in was.parts.keys() | now.parts.keys() if was.parts.get(key) != now.parts.get(key)}
    if old.sold_at is None or not moved:
        return []
    both = ((-1, was), (1, now))
    return [
        delta_row(sign, old.key, old.sold_at, old.buyer, _of_products(given, moved), day=old.day)
        for sign, given in both
    ]


def _of_products(given: Contribution, keys: Collection[str]) -> Contribution:
    return replace(given, parts={key: part for key, part in given.parts.items() if key in keys})
