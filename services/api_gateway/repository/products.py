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


_POPULARITY = text(
    """
    with known as (
        select p.orders, p.units, p.revenue, p.customers, p.units_weight, p.family, p.name
        from rfm.product p where p.tenant_id = :tenant and p.product_key = :key
    ),
    best as (
        select max(p.units_weight) as weight from rfm.product p
        where p.tenant_id = :tenant and p.popularity_class = (
            select max(x.popularity_class) from rfm.product x where x.tenant_id = :tenant
        )
    ),
    part as (
        select o.* from rfm.calendar(:tenant) c, rfm.order_parts(
            :tenant, array(select cast(c.reference_date - n as date) from generate_series(0, 29) n), :key
        ) o
    )
    select c.reference_date, coalesce(k.orders, 0) as orders, coalesce(k.units, 0) as units,
        coalesce(k.revenue, 0) as revenue, coalesce(k.customers, 0) as customers,
        case when k.units_weight > 0 then round(k.units_weight / best.weight, 6) else 0 end as popularity, r.*
    from rfm.calendar(:tenant) c cross join best
    left join known k on true
    cross join lateral (
        select count(*) filter (where p.net > 0 and p.units > 0) as recent_orders,
            coalesce(sum(p.units), 0) as recent_units, coalesce(sum(p.amount), 0) as recent_revenue,
            count(distinct p.customer_code) filter (
                where p.net > 0 and p.units > 0 and not exists (
                    select from rfm.erasure e where e.tenant_id = :tenant and e.pseudonym = p.customer_code
                )
            ) as recent_customers
        from part p
    ) r
    where k.orders is not null
        or exists (select from gateway.product g where g.tenant_id = :tenant and g.product_key = :key)
    """
)


async def popularity(connection: AsyncConnection, tenant_id: UUID, product_key: str) -> Row[Any] | None:
    """Popularity and sums of all time and (`recent_`) of 30 days; None when nothing was sold and nobody wrote it."""
    return (await connection.execute(_POPULARITY, {"tenant": tenant_id, "key": product_key})).one_or_none()
