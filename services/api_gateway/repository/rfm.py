"""Segments and cut-offs of a tenant, as the rfm worker computed them."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

_CUTOFFS = text(
    """
    select c.*, r.cause as recompute_cause, r.step as recompute_step, r.done as recompute_done,
        r.total as recompute_total, r.requested_at as recompute_requested_at
    from rfm.cutoffs c left join rfm.recompute r using (tenant_id) where tenant_id = :tenant
    """
)
_SEGMENTS = text(
    """
    select segment, count(*) as customers, sum(monetary) as revenue
    from rfm.customer where tenant_id = :tenant group by segment
    """
)


@dataclass(frozen=True, slots=True)
class SegmentCount:
    """Customers of a segment and their net revenue."""

    customers: int
    revenue: Decimal


async def get_cutoffs(connection: AsyncConnection, tenant_id: UUID) -> Row[Any] | None:
    """Current cut-offs, and how far a recomputation of the tenant is; None before the first were found."""
    return (await connection.execute(_CUTOFFS, {"tenant": tenant_id})).one_or_none()


async def count_segments(connection: AsyncConnection, tenant_id: UUID) -> dict[str, Row[Any]]:
    """Customers and net revenue per segment; segments without customers are absent."""
    return {row.segment: row for row in await connection.execute(_SEGMENTS, {"tenant": tenant_id})}
