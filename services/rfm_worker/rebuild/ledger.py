"""The ledger as the source of a rebuild, where the topics do not hold all sales any more.

What is master data (identities, products, settings) and the erasures are copied: they cannot be computed from sales.
Everything else comes from the ledger's rows, which are given to the worker as if they were events.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Literal
from uuid import UUID

import asyncpg

from services.rfm_worker.domain.facts import Basket, Cancellation, Item, Return, Sale
from services.rfm_worker.rebuild.shadow import SHADOW
from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.tables import SCHEMA
from shared.events.payloads import SaleCancelledV1, SaleReturnedV1

Kind = Literal["sales", "returns", "cancellations"]
_MINE = "($1::uuid is null or tenant_id = $1)"
_COPIES = {
    "tenant": "true",
    "product_alias": "true",
    "erasure": "true",
    "customer": "master_version is not null",
    "product": "master_version is not null",
}
"""What is copied, and which rows of it."""
_IDENTITY = (
    "tenant_id", "customer_code", "code_hash", "master_version", "created_at", "first_name", "last_name", "email",
    "phone", "language", "tags",
)  # fmt: skip
_COLUMNS = {"customer": _IDENTITY, "product": ("tenant_id", "product_key", "master_version", "name", "family")}
_ALL_COLUMNS = """
select attname from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped
    and attgenerated = '' order by attnum
"""
_SALES = """
select tenant_id, sale_id, customer_code, sold_at, channel, currency, event_time, event_id, product_keys, labels,
    quantities::text[] as quantities, unit_prices::text[] as unit_prices, discounts::text[] as discounts,
    amounts::text[] as amounts, metadata::text as metadata
from {schema}.sale where {mine} and recorded
"""
_RETURNS = "select * from {schema}.sale_return where {mine}"
_CANCELLATIONS = "select * from {schema}.sale_cancellation where {mine}"
_COUNT = """
select (select count(*) from {schema}.sale where {mine} and recorded)
    + (select count(*) from {schema}.sale_return where {mine})
    + (select count(*) from {schema}.sale_cancellation where {mine})
"""


async def copy_master(raw: Raw, tenant_id: UUID | None) -> None:
    """Copies master data and erasures of one tenant, or of all, into the shadow."""
    for table, which in _COPIES.items():
        columns = ", ".join(_COLUMNS.get(table) or await columns_of(raw, f"{SCHEMA}.{table}"))
        await raw.execute(
            f"insert into {SHADOW}.{table} ({columns}) select {columns} from {SCHEMA}.{table} "  # noqa: S608
            f"where {_MINE} and {which}",
            tenant_id,
        )


async def columns_of(raw: Raw, table: str) -> list[str]:
    """The columns that can be written, as they are quoted in SQL."""
    return [f'"{row["attname"]}"' for row in await raw.fetch(_ALL_COLUMNS, table)]


async def count_facts(raw: Raw, tenant_id: UUID | None) -> int:
    """How many facts the ledger holds."""
    return int(await raw.fetchval(_COUNT.format(schema=SCHEMA, mine=_MINE), tenant_id))


async def read_facts(raw: Raw, kind: Kind, tenant_id: UUID | None, most: int) -> AsyncIterator[list[Item]]:
    """The facts of a kind, at most so many at a time.

    Args:
        raw: inside the transaction that also read how far the worker has come.
    """
    query, made = _FACTS[kind]
    items: list[Item] = []
    async for row in raw.cursor(query.format(schema=SCHEMA, mine=_MINE), tenant_id, prefetch=most):
        items.append(made(row))
        if len(items) == most:
            yield items
            items = []
    if items:
        yield items


def _sale(row: asyncpg.Record) -> Item:
    return Sale(row["tenant_id"], (row["event_time"], row["event_id"]), Basket(
        row["sale_id"], row["customer_code"], row["sold_at"], row["channel"], row["currency"], row["product_keys"],
        row["labels"], row["quantities"], row["unit_prices"], row["discounts"], row["amounts"],
        json.loads(row["metadata"]) if row["metadata"] else {},
    ))  # fmt: skip


def _return(row: asyncpg.Record) -> Item:
    lines = [
        {"product_key": product, "quantity": quantity, "amount": amount}
        for product, quantity, amount in zip(row["product_keys"], row["quantities"], row["amounts"], strict=True)
    ]
    body = SaleReturnedV1.model_validate({
        "return_id": row["return_id"], "sale_id": row["sale_id"], "returned_at": row["returned_at"], "lines": lines,
    })  # fmt: skip
    return Return(row["tenant_id"], (row["event_time"], row["event_id"]), body)


def _cancellation(row: asyncpg.Record) -> Item:
    body = SaleCancelledV1.model_validate({
        "sale_id": row["sale_id"], "cancelled_at": row["cancelled_at"], "reason": row["reason"],
    })  # fmt: skip
    return Cancellation(row["tenant_id"], (row["event_time"], row["event_id"]), body)


_FACTS: Mapping[Kind, tuple[str, Callable[[asyncpg.Record], Item]]] = {
    "sales": (_SALES, _sale),
    "returns": (_RETURNS, _return),
    "cancellations": (_CANCELLATIONS, _cancellation),
}
KINDS = tuple(_FACTS)
"""In the order in which they are applied: what changes a sale finds it there."""
