"""Which aliases are allowed: each stands for a product of the catalogue, in one step, and is none itself."""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.errors import conflict, invalid
from services.api_gateway.reasons import FieldReason
from services.api_gateway.repository.product_aliases import (
    Standing,
    aliases_among,
    lock_aliases,
    share_aliases,
    standing_of,
)

IS_PRODUCT = "must not be a product of the catalogue: delete the product first"


async def check_aliases(connection: AsyncConnection, tenant_id: UUID, rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuses aliases that what is stored, or their company, forbids; no other writer comes in between.

    Raises:
        Problem: 422 for a product that is not in the catalogue or the alias itself, 409 for a chain, or for an alias
            that is in the catalogue.
    """
    await lock_aliases(connection, tenant_id)
    for refusal in (await refusals(connection, tenant_id, rows)).values():
        if refusal["field"] == "product_key":
            raise invalid(**refusal)
        slug = "key-is-product" if refusal["reason"] == IS_PRODUCT else "alias-chain"
        raise conflict(slug, f"The alias {refusal['reason']}.")


async def check_products(connection: AsyncConnection, tenant_id: UUID, rows: Sequence[Mapping[str, Any]]) -> None:
    """Refuses products whose key is an alias, under which nothing could ever be sold; no alias comes in between.

    Raises:
        Problem: 409.
    """
    await share_aliases(connection, tenant_id)
    refused = await product_refusals(connection, tenant_id, [row["product_key"] for row in rows])
    for refusal in refused.values():
        raise conflict("key-is-alias", f"The key {refusal['reason']}.")


async def product_refusals(
    connection: AsyncConnection, tenant_id: UUID, keys: Collection[str]
) -> dict[str, FieldReason]:
    """Per key that no product may have the reason why."""
    found = await aliases_among(connection, tenant_id, keys)
    return {alias: {"field": "product_key", "reason": why_no_product(product)} for alias, product in found.items()}


def why_no_product(product: str) -> str:
    """The reason against a product whose key is an alias of this one."""
    return f"is an alias of the product {product}: delete the alias first"


async def refusals(
    connection: AsyncConnection, tenant_id: UUID, rows: Sequence[Mapping[str, Any]]
) -> dict[str, FieldReason]:
    """Per alias that may not be stored the first reason why. The rows have distinct aliases.

    They are looked at in their order: one that makes a chain with those before it is the one refused.
    """
    wanted = {row["alias"]: row["product_key"] for row in rows}
    stored = await standing_of(connection, tenant_id, wanted.keys(), wanted.values())
    aliases, targets = set(stored.aliases), set(stored.targets)
    found: dict[str, FieldReason] = {}
    for alias, product in wanted.items():
        refusal = _refusal(alias, product, stored, aliases, targets)
        if refusal is None:
            aliases.add(alias)
            targets.add(product)
        else:
            found[alias] = refusal
    return found


def _refusal(
    alias: str, product: str, stored: Standing, aliases: AbstractSet[str], targets: AbstractSet[str]
) -> FieldReason | None:
    if product == alias:
        return {"field": "product_key", "reason": "must be another key than the alias"}
    if product not in stored.products:
        return {"field": "product_key", "reason": "must be in the catalogue"}
    if product in aliases:
        return {"field": "alias", "reason": "must not stand for a key that is an alias itself"}
    if alias in targets:
        return {"field": "alias", "reason": "must not be a product that other aliases stand for"}
    if alias in stored.catalogued:
        return {"field": "alias", "reason": IS_PRODUCT}
    return None
