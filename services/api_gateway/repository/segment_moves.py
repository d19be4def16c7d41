"""Where customers stood at the end of two days, from the history of segments."""

from collections.abc import Mapping
from datetime import date
from typing import get_args
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.events.payloads import Segment

Flows = dict[tuple[str | None, str | None], int]
"""(segment at the first day's end, at the last day's end) -> customers; None: not a customer yet."""
_SEGMENTS: tuple[str, ...] = get_args(Segment)
_PROSPECT = "prospect"
# Of each customer's changes since the first day: what the first one left, what the first one after the last day left,
# what the newest one entered. A segment's number rides in the low bits of the change's id.
_FLOWS = text(
    """
    with bound as materialized (
        select rfm.day_start(cast(:first as date) + 1, c.timezone) as first_end,
            rfm.day_start(cast(:last as date) + 1, c.timezone) as last_end
        from rfm.calendar(:tenant) c
    ),
    changed as (
        select h.customer_code,
            min(16 * h.id + coalesce(array_position(cast(:segments as text[]), h.previous), 0)) as first,
            min(16 * h.id + coalesce(array_position(cast(:segments as text[]), h.previous), 0))
                filter (where h.changed_at >= b.last_end) as later,
            max(16 * h.id + array_position(cast(:segments as text[]), h.segment)) as newest
        from rfm.segment_change h, bound b
        where h.tenant_id = :tenant and h.changed_at >= b.first_end group by h.customer_code
    )
    select c.segment, x.first & 15 as was, coalesce(x.later, x.newest) & 15 as became,
        case when c.created_at >= b.last_end then 2 when c.created_at >= b.first_end then 1 else 0 end as begun,
        count(*) as customers
    from rfm.customer c cross join bound b left join changed x on x.customer_code = c.customer_code
    where c.tenant_id = :tenant
    group by c.segment, was, became, begun
    """
)


async def segment_flows(connection: AsyncConnection, tenant_id: UUID, first: date, last: date) -> Flows:
    """Customers by where they stood at the end of `first` and of `last`, those who stayed included.

    A customer stood where the first change after that day took him from, or without one where he stands now; as a
    prospect only once his master data existed. Who was erased since has no history.
    """
    parameters = {"tenant": tenant_id, "first": first, "last": last, "segments": list(_SEGMENTS)}
    flows: Flows = {}
    for row in await connection.execute(_FLOWS, parameters):
        was = row.segment if row.was is None else _named(row.was)
        became = row.segment if row.became is None else _named(row.became)
        pair = _begun(was, row.begun < 1), _begun(became, row.begun < 2)
        flows[pair] = flows.get(pair, 0) + row.customers
    return {pair: customers for pair, customers in flows.items() if pair != (None, None)}


def _named(number: int) -> str | None:
    return _SEGMENTS[number - 1] if number else None


def _begun(segment: str | None, known: bool) -> str | None:
    """None for a prospect whose master data did not exist yet."""
    return None if segment == _PROSPECT and not known else segment


def count_ends(flows: Mapping[tuple[str | None, str | None], int]) -> tuple[dict[str, int], dict[str, int]]:
    """Customers per segment at either end."""
    ends: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for pair, customers in flows.items():
        for end, segment in zip(ends, pair, strict=True):
            if segment is not None:
                end[segment] = end.get(segment, 0) + customers
    return ends
