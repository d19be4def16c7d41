"""Deleting what is kept of a whole tenant, in chunks."""

from typing import Any
from uuid import UUID

from sqlalchemy import Table, case, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.tables import (
    api_key,
    customer,
    idempotency_key,
    outbox,
    product,
    product_alias,
    tenant_settings_history,
    user_account,
)


async def take_customers(connection: AsyncConnection, tenant_id: UUID, most: int) -> list[str]:
    """Deletes up to `most` customers; their codes."""
    return await _take(connection, customer, customer.c.customer_code, tenant_id, most)


async def take_products(connection: AsyncConnection, tenant_id: UUID, most: int) -> list[str]:
    """Deletes up to `most` products; their keys."""
    return await _take(connection, product, product.c.product_key, tenant_id, most)


async def take_aliases(connection: AsyncConnection, tenant_id: UUID, most: int) -> list[str]:
    """Deletes up to `most` aliases; they themselves."""
    return await _take(connection, product_alias, product_alias.c.alias, tenant_id, most)


async def _take(connection: AsyncConnection, table: Table, key: Any, tenant_id: UUID, most: int) -> list[str]:
    chosen = select(key).where(table.c.tenant_id == tenant_id).order_by(key).limit(most).with_for_update()
    keys = list((await connection.execute(chosen)).scalars())
    if keys:
        await connection.execute(delete(table).where(table.c.tenant_id == tenant_id, key.in_(keys)))
    return keys


async def remove_accounts(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Deletes people with their tokens, keys, remembered answers, and who changed which setting."""
    for table in (user_account, api_key, idempotency_key, tenant_settings_history):
        await connection.execute(delete(table).where(table.c.tenant_id == tenant_id))


async def blank_events(connection: AsyncConnection, tenant_id: UUID) -> None:
    """Takes personal data out of the outbox.

    Entries not yet published become tombstones, as the last ones are; the others forget even their keys.
    """
    published = outbox.c.published_at.is_not(None)
    await connection.execute(
        update(outbox)
        .where(outbox.c.topic == "customers")
        .where(func.starts_with(outbox.c.key, f"{tenant_id}:"))
        .where(~func.starts_with(outbox.c.key, f"{tenant_id}:erased:"))
        .values(
            value=None,
            key=case((published, ""), else_=outbox.c.key),
            headers=case((published, literal([], JSONB)), else_=outbox.c.headers),
        )
    )
