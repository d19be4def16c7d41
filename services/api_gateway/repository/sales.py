"""The ledger as the rfm worker keeps it: sales with what was returned and cancelled."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class SaleFilter:
    """What the ledger is narrowed to; None narrows nothing.

    A date bounds local days, both included; a time bounds moments, the later one excluded.
    """

    customer_code: str | None = None
    channel: str | None = None
    since: date | datetime | None = None
    until: date | datetime | None = None


_ONE = text("select * from rfm.sale where tenant_id = :tenant and sale_id = :sale_id and recorded")
_RETURNS = text(
    """
    select * from rfm.sale_return where tenant_id = :tenant and sale_id = any(:sale_ids)
    order by sale_id, returned_at, return_id
    """
)
_CANCELLATIONS = text("select * from rfm.sale_cancellation where tenant_id = :tenant and sale_id = any(:sale_ids)")


async def get_sale(connection: AsyncConnection, tenant_id: UUID, sale_id: str) -> Row[Any] | None:
    """The sale; None when none was recorded under that id."""
    return (await connection.execute(_ONE, {"tenant": tenant_id, "sale_id": sale_id})).one_or_none()


async def list_sales(
    connection: AsyncConnection,
    tenant_id: UUID,
    wanted: SaleFilter,
    *,
    after: tuple[datetime, str] | None,
    count: int,
) -> list[Row[Any]]:
    """At most `count` sales behind (sold_at, sale_id), newest first."""
    parameters: dict[str, Any] = {"tenant": tenant_id, "count": count}
    conditions = ["tenant_id = :tenant", "recorded", *_narrow(wanted, parameters)]
    if after is not None:
        conditions.append("(sold_at, sale_id) < (:sold_at, :sale_id)")
        parameters["sold_at"], parameters["sale_id"] = after
    rows = await connection.execute(
        text(
            f"select * from rfm.sale where {' and '.join(conditions)} "  # noqa: S608
            "order by sold_at desc, sale_id desc limit :count"
        ),
        parameters,
    )
    return list(rows)


async def returns_of(
    connection: AsyncConnection, tenant_id: UUID, sale_ids: Sequence[str]
) -> dict[str, list[Row[Any]]]:
    """Returns per sale, oldest first."""
    found: dict[str, list[Row[Any]]] = {}
    for row in await connection.execute(_RETURNS, {"tenant": tenant_id, "sale_ids": list(sale_ids)}):
        found.setdefault(row.sale_id, []).append(row)
    return found


async def cancellations_of(
    connection: AsyncConnection, tenant_id: UUID, sale_ids: Sequence[str]
) -> dict[str, Row[Any]]:
    """The cancellation per cancelled sale."""
    rows = await connection.execute(_CANCELLATIONS, {"tenant": tenant_id, "sale_ids": list(sale_ids)})
    return {row.sale_id: row for row in rows}


def _narrow(wanted: SaleFilter, parameters: dict[str, Any]) -> list[str]:
    conditions = []
    if wanted.customer_code is not None:
        parameters["customer_code"] = wanted.customer_code
        conditions.append("customer_code = :customer_code")
    if wanted.channel is not None:
        parameters["channel"] = wanted.channel
        conditions.append("channel = :channel")
    if wanted.since is not None:
        parameters["since"] = wanted.since
        conditions.append("sold_at >= :since" if isinstance(wanted.since, datetime) else "day >= :since")
    if wanted.until is not None:
        parameters["until"] = wanted.until
        conditions.append("sold_at < :until" if isinstance(wanted.until, datetime) else "day <= :until")
    return conditions
