"""Lists of products, read from the master data."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection


async def list_products(
    connection: AsyncConnection,
    tenant_id: UUID,
    *,
    q: str | None,
    family: str | None,
    active: bool | None,
    after: str | None,
    count: int,
) -> list[Row[Any]]:
    """At most `count` products behind key `after`, sorted by key; `q` is part of key or name in any case."""
    conditions, parameters = ["tenant_id = :tenant"], {"tenant": tenant_id, "count": count}
    if q is not None:
        escaped = q.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        parameters["q"] = f"%{escaped}%"
        conditions.append(
            "lower(concat_ws(' ', product_key, name) collate pg_c_utf8) like lower(cast(:q as text) collate pg_c_utf8)"
        )
    if family is not None:
        parameters["family"] = family
        conditions.append("family = :family")
    if active is not None:
        parameters["active"] = active
        conditions.append("active = :active")
    if after is not None:
        parameters["after"] = after
        conditions.append("product_key > :after")
    rows = await connection.execute(
        text(
            f"select * from gateway.product where {' and '.join(conditions)} "  # noqa: S608
            "order by product_key limit :count"
        ),
        parameters,
    )
    return list(rows)
