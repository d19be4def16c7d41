"""Aliases beside the master data: lists, what stands in their way, keys that nothing in the catalogue knows."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

MOST_CATALOGUE = 200_000
"""Products that suggestions are looked for among."""
RECENT_SALES = 20_000
"""Newest sales among which the label of an unmapped key is looked for."""
_COLUMNS = """
a.alias, a.product_key, a.version, a.created_at, a.updated_at,
coalesce(w.version = a.version, false) and m.alias is null as history_moved
"""
_FROM = """
gateway.product_alias a
left join rfm.product_alias w on w.tenant_id = a.tenant_id and w.alias = a.alias
left join rfm.alias_move m on m.tenant_id = a.tenant_id and m.alias = a.alias
"""
_ONE = text(f"select {_COLUMNS} from {_FROM} where a.tenant_id = :tenant and a.alias = :alias")  # noqa: S608
_PAGE = text(
    f"""
    select {_COLUMNS} from {_FROM} where a.tenant_id = :tenant
        and (cast(:product as text) is null or a.product_key = :product)
        and (cast(:after as text) is null or a.alias > :after)
    order by a.alias limit :count
    """  # noqa: S608
)
# One writer of a tenant's aliases at a time: two that pass their checks at once could make a chain.
_ALONE = text("select pg_advisory_xact_lock(hashtextextended(:key, 0))")
_BESIDE_OTHERS = text("select pg_advisory_xact_lock_shared(hashtextextended(:key, 0))")
_KNOWN = text("select product_key from gateway.product where tenant_id = :tenant and product_key = any(:keys)")
_ALIASES = text("select alias from gateway.product_alias where tenant_id = :tenant and alias = any(:keys)")
_STANDS_FOR = text(
    """
    select alias, product_key from gateway.product_alias
    where tenant_id = :tenant and (cast(:keys as text[]) is null or alias = any(:keys))
    """
)
_TARGETS = text(
    "select distinct product_key from gateway.product_alias where tenant_id = :tenant and product_key = any(:keys)"
)
_CATALOGUE = text(
    "select product_key, name from gateway.product where tenant_id = :tenant order by product_key limit :count"
)
_UNMAPPED = text(
    """
    select p.product_key, p.orders, p.units, p.revenue from rfm.product p
    where p.tenant_id = :tenant and (p.orders > 0 or p.units > 0 or p.revenue > 0)
        and not exists (
            select from gateway.product m where m.tenant_id = p.tenant_id and m.product_key = p.product_key
        )
        and not exists (
            select from gateway.product_alias a where a.tenant_id = p.tenant_id and a.alias = p.product_key
        )
        and (cast(:revenue as numeric) is null or (p.revenue, p.product_key) < (:revenue, :after))
    order by p.revenue desc, p.product_key desc limit :count
    """
)
_LABELS = text(
    """
    select distinct on (l.product_key) l.product_key, l.label
    from (
        select product_keys, labels, sold_at from rfm.sale where tenant_id = :tenant and recorded
        order by sold_at desc, sale_id desc limit :count
    ) s, unnest(s.product_keys, s.labels) as l(product_key, label)
    where l.product_key = any(:keys) and l.label is not null order by l.product_key, s.sold_at desc, l.label
    """
)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is stored about the keys of some new aliases.

    Attributes:
        products: those of their targets that are in the catalogue.
        aliases: those of their targets that are aliases.
        targets: those of them that other aliases stand for.
        catalogued: those of them that are products of the catalogue themselves.
    """

    products: frozenset[str]
    aliases: frozenset[str]
    targets: frozenset[str]
    catalogued: frozenset[str]


async def get_alias(connection: AsyncConnection, tenant_id: UUID, alias: str) -> Row[Any] | None:
    """An alias, and whether the worker's sums follow it already."""
    return (await connection.execute(_ONE, {"tenant": tenant_id, "alias": alias})).one_or_none()


async def list_aliases(
    connection: AsyncConnection, tenant_id: UUID, *, product_key: str | None, after: str | None, count: int
) -> list[Row[Any]]:
    """At most `count` aliases behind `after`, sorted; of one product where it is named."""
    parameters = {"tenant": tenant_id, "product": product_key, "after": after, "count": count}
    return list(await connection.execute(_PAGE, parameters))


async def lock_aliases(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Keeps other writers of this tenant's aliases away until the transaction ends."""
    await connection.execute(_ALONE, _lock_of(tenant_id))


async def share_aliases(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Lets no alias of this tenant appear until the transaction ends; others may share this."""
    await connection.execute(_BESIDE_OTHERS, _lock_of(tenant_id))


def _lock_of(tenant_id: UUID) -> dict[str, str]:
    return {"key": f"product_alias:{tenant_id}"}


async def aliases_among(
    connection: AsyncConnection, tenant_id: UUID, keys: Iterable[str] | None = None
) -> dict[str, str]:
    """Those of some keys, or of all, that are aliases, each with the product that it stands for."""
    wanted = None if keys is None else list(keys)
    rows = await connection.execute(_STANDS_FOR, {"tenant": tenant_id, "keys": wanted})
    return {row.alias: row.product_key for row in rows}


async def standing_of(
    connection: AsyncConnection, tenant_id: UUID, aliases: Iterable[str], products: Iterable[str]
) -> Standing:
    """What is stored about new aliases and the products that they are to stand for."""
    wanted, named = list(set(products)), list(set(aliases))

    async def among(statement: Any, keys: list[str]) -> frozenset[str]:
        rows = await connection.execute(statement, {"tenant": tenant_id, "keys": keys})
        return frozenset(rows.scalars())

    return Standing(
        products=await among(_KNOWN, wanted),
        aliases=await among(_ALIASES, wanted),
        targets=await among(_TARGETS, named),
        catalogued=await among(_KNOWN, named),
    )


async def catalogue(connection: AsyncConnection, tenant_id: UUID) -> list[tuple[str, str | None]]:
    """Key and name of the products, at most `MOST_CATALOGUE`."""
    rows = await connection.execute(_CATALOGUE, {"tenant": tenant_id, "count": MOST_CATALOGUE})
    return [(row.product_key, row.name) for row in rows]


async def unmapped(
    connection: AsyncConnection, tenant_id: UUID, *, after: tuple[Decimal, str] | None, count: int
) -> list[Row[Any]]:
    """Keys that were sold and are neither in the catalogue nor an alias, by revenue, largest first."""
    revenue, key = after or (None, None)
    parameters = {"tenant": tenant_id, "revenue": revenue, "after": key, "count": count}
    return list(await connection.execute(_UNMAPPED, parameters))


async def labels_of(connection: AsyncConnection, tenant_id: UUID, keys: Collection[str]) -> dict[str, str]:
    """The newest label with which each key was sold, as far as the newest sales show one."""
    parameters = {"tenant": tenant_id, "keys": list(keys), "count": RECENT_SALES}
    return {row.product_key: row.label for row in await connection.execute(_LABELS, parameters)}
