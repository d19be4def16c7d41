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
_BOUND = """
    with bound as materialized (
        select rfm.day_start(cast(:first as date) + 1, c.timezone) as first_end,
            rfm.day_start(cast(:last as date) + 1, c.timezone) as last_end
        from rfm.calendar(:tenant) c
    )
"""
# Of each customer's changes since the first day: what the first one left, what the first one after the last day left,
# what the newest one entered. A segment's number rides in the low bits of the change's id.
_CHANGED = text(
    f"""
    {_BOUND},
    changed as (
        select h.customer_code,
            min(16 * h.id + coalesce(array_position(cast(:segments as text[]), h.previous), 0)) as first,
            min(16 * h.id + coalesce(array_position(cast(:segments as text[]), h.previous), 0))
                filter (where h.changed_at >= b.last_end) as later,
            max(16 * h.id + array_position(cast(:segments as text[]), h.segment)) as newest
        from rfm.segment_change h, bound b
        where h.tenant_id = :tenant and h.changed_at >= b.first_end group by h.customer_code
    ),
    stood as (
        select customer_code, first & 15 as was, coalesce(later, newest) & 15 as became, newest & 15 as stands
        from changed
    )
    select s.was, s.became, s.stands, count(*) as customers,
        case when c.created_at >= b.last_end then 2 when c.created_at >= b.first_end then 1 else 0 end as begun
    from stood s cross join bound b
    left join rfm.customer c on c.tenant_id = :tenant and c.customer_code = s.customer_code
        and :prospect in (s.was, s.became, s.stands)
    group by s.was, s.became, s.stands, begun
    """  # noqa: S608 - our own text
)
_TODAY = text(
    f"""
    {_BOUND}
    select c.segment, count(*) as customers,
        case when c.segment <> 'prospect' then 0 when c.created_at >= b.last_end then 2
            when c.created_at >= b.first_end then 1 else 0 end as begun
    from rfm.customer c, bound b where c.tenant_id = :tenant group by c.segment, begun
    """  # noqa: S608 - our own text
)


async def segment_flows(connection: AsyncConnection, tenant_id: UUID, first: date, last: date) -> Flows:
    """Customers by where they stood at the end of `first` and of `last`, those who stayed included.

    A customer stood where the first change after that day took him from, or without one where he stands now; as a
    prospect only once his master data existed. Who was erased since has no history.
    """
    parameters = {"tenant": tenant_id, "first": first, "last": last}
    numbered = {"segments": list(_SEGMENTS), "prospect": _SEGMENTS.index(_PROSPECT) + 1}
    flows: Flows = {}
    stayed = {
        (row.segment, row.begun): row.customers for row in await connection.execute(_TODAY, parameters)
    }  # fmt: skip
    for row in await connection.execute(_CHANGED, parameters | numbered):
        was, became, stands = (_named(number) for number in (row.was, row.became, row.stands))
        _add(flows, was, became, row.begun, row.customers)
        key = (stands, row.begun if stands == _PROSPECT else 0)
        stayed[key] = stayed.get(key, 0) - row.customers
    for (segment, begun), customers in stayed.items():
        _add(flows, segment, segment, begun, customers)
    return {pair: customers for pair, customers in flows.items() if customers and pair != (None, None)}


def _named(number: int) -> str | None:
    return _SEGMENTS[number - 1] if number else None


def _add(flows: Flows, was: str | None, became: str | None, begun: int, customers: int) -> None:
    """`begun`: master data came before the end of the first day (0), of the last day (1), or later (2)."""
    pair = (None if was == _PROSPECT and begun > 0 else was, None if became == _PROSPECT and begun > 1 else became)
    flows[pair] = flows.get(pair, 0) + customers


def count_ends(flows: Mapping[tuple[str | None, str | None], int]) -> tuple[dict[str, int], dict[str, int]]:
    """Customers per segment at either end."""
    ends: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for pair, customers in flows.items():
        for end, segment in zip(ends, pair, strict=True):
            if segment is not None:
                end[segment] = end.get(segment, 0) + customers
    return ends
