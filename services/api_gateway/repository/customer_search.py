"""Lists of customers, read from the rfm worker's projection."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.repository.customers import PROJECTION

Sort = Literal["code", "-code", "monetary", "-monetary", "frequency", "-frequency", "last_order_at", "-last_order_at"]
NEVER = "1800-01-01 00:00:00+00"
"""Stands for the last order of a customer without one, who sorts as the oldest; sales begin in 1900."""
_COLUMNS: dict[str, tuple[str, type[Any]]] = {
    "monetary": ("c.monetary", Decimal),
    "frequency": ("c.frequency", int),
    "last_order_at": (f"coalesce(c.last_order_at, timestamptz '{NEVER}')", datetime),
}


@dataclass(frozen=True, slots=True)
class CustomerFilter:
    """What a list is narrowed to; None narrows nothing.

    Attributes:
        q: part of the code, a name or the e-mail address, in any case.
        segment: key of a segment.
        family: customers with net purchases in it.
        min_spend: least monetary value.
        tag: one of the customer's tags.
    """

    q: str | None = None
    segment: str | None = None
    family: str | None = None
    min_spend: Decimal | None = None
    tag: str | None = None


def sort_types(sort: Sort) -> tuple[type[Any], ...]:
    """Types of the values that a cursor of this order holds."""
    name = sort.removeprefix("-")
    return (str,) if name == "code" else (_COLUMNS[name][1], str)


def sort_values(sort: Sort, row: Row[Any]) -> tuple[Any, ...]:
    """The values of the order's key in one row of `search`."""
    name = sort.removeprefix("-")
    return (row.customer_code,) if name == "code" else (row.sort_value, row.customer_code)


async def search(
    connection: AsyncConnection,
    tenant_id: UUID,
    wanted: CustomerFilter,
    sort: Sort,
    *,
    after: Sequence[Any] | None,
    count: int,
) -> list[Row[Any]]:
    """At most `count` customers behind the cursor's values, in the order asked for, ties by code."""
    parameters: dict[str, Any] = {"tenant": tenant_id, "count": count}
    conditions = ["c.tenant_id = :tenant", *_narrow(wanted, parameters)]
    name, descending = sort.removeprefix("-"), sort.startswith("-")
    value = "c.customer_code" if name == "code" else _COLUMNS[name][0]
    key = value if name == "code" else f"{value}, c.customer_code"
    if after is not None:
        marks = ", ".join(f":after_{number}" for number in range(len(after)))
        conditions.append(f"({key}) {'<' if descending else '>'} ({marks})")
        parameters |= {f"after_{number}": part for number, part in enumerate(after)}
    order = ", ".join(f"{part} {'desc' if descending else 'asc'}" for part in _parts(name, value))
    statement = text(
        f"select c.customer_code, c.first_name, c.last_name, c.email, c.phone, c.language, c.tags, c.created_at, "  # noqa: S608
        f"{PROJECTION}, {value} as sort_value "
        "from rfm.customer c left join rfm.cutoffs q on q.tenant_id = c.tenant_id "
        f"where {' and '.join(conditions)} order by {order} limit :count"
    )
    return list(await connection.execute(statement, parameters))


def _parts(name: str, value: str) -> tuple[str, ...]:
    return (value,) if name == "code" else (value, "c.customer_code")


def _narrow(wanted: CustomerFilter, parameters: dict[str, Any]) -> list[str]:
    conditions = []
    if wanted.q is not None:
        escaped = wanted.q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        parameters["q"] = f"%{escaped}%"
        conditions.append(
            "lower(concat_ws(' ', c.customer_code, c.first_name, c.last_name, c.email) collate pg_c_utf8) "
            "like lower(cast(:q as text) collate pg_c_utf8)"
        )
    if wanted.segment is not None:
        parameters["segment"] = wanted.segment
        conditions.append("c.segment = :segment")
    if wanted.min_spend is not None:
        parameters["min_spend"] = wanted.min_spend
        conditions.append("c.monetary >= :min_spend")
    if wanted.tag is not None:
        parameters["tag"] = wanted.tag
        conditions.append("c.tags @> array[cast(:tag as text)]")
    if wanted.family is not None:
        parameters["family"] = wanted.family
        conditions.append(
            "exists (select from rfm.customer_product b "
            "left join rfm.product p on p.tenant_id = b.tenant_id and p.product_key = b.product_key "
            "where b.tenant_id = c.tenant_id and b.customer_code = c.customer_code and b.amount > 0 "
            "and coalesce(p.family, 'unknown') = :family)"
        )
    return conditions
