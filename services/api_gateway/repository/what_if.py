"""Where customers would stand by another method, other bounds or another reference date. Nothing is written."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

# The date and the bounds are found first: as expressions they would be computed for every customer.
_WHAT_IF = text(
    """
    with day as materialized (
        select rfm.reference_on(
            coalesce(cast(:reference as text), t.reference), (cast(:now as timestamptz) at time zone t.zone)::date,
            (select max(d.day) from rfm.day d where d.tenant_id = :tenant and d.orders > 0)
        ) as reference_date
        from rfm.settings_of(cast(:tenant as uuid)) t
    ),
    cut as materialized (
        select d.reference_date, q.*
        from day d
        cross join lateral rfm.cutoffs_by(
            cast(:tenant as uuid), cast(:method as text), cast(:bounds as jsonb), d.reference_date
        ) q
    )
    select q.*, w.previous, w.segment, w.customers, w.revenue, w.examples
    from cut q
    left join lateral rfm.moves(
        cast(:tenant as uuid), q.reference_date, q.recency_days, q.frequency, q.monetary
    ) w on true
    """
)


async def find_moves(
    connection: AsyncConnection,
    tenant_id: UUID,
    *,
    method: str,
    bounds: str | None,
    reference_date: str | None,
    now: datetime,
) -> Sequence[Row[Any]]:
    """One row per pair of segments that has customers, those that stay included; one row without a pair for a tenant
    without customers. Each carries the reference date and the bounds.

    Args:
        method: quintile or fixed.
        bounds: JSON of the tenant settings' `rfm.bounds`, for fixed.
        reference_date: as in the settings; None for the tenant's own.
        now: decides the tenant's date.
    """
    parameters = {"tenant": tenant_id, "method": method, "bounds": bounds, "reference": reference_date, "now": now}
    return (await connection.execute(_WHAT_IF, parameters)).all()
