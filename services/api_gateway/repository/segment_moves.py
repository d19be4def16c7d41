"""Where customers stood at the end of two days, from the history of segments."""

from collections import Counter
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
# Whoever has a history is found in it at both ends, and where he stands now. All customers beside them, by where they
# stand now: those without a history are what is left. Only of prospects it matters since when they are known.
_STANDINGS = text(
    """
    with bound as materialized (
        select x.first_end, x.last_end, cast(extract(epoch from x.first_end) * 1000000 - 0.5 as float8) as before_first,
            cast(extract(epoch from x.last_end) * 1000000 - 0.5 as float8) as before_last
        from rfm.calendar(:tenant) c, lateral (
            select rfm.day_start(cast(:first as date) + 1, c.timezone) as first_end,
                rfm.day_start(cast(:last as date) + 1, c.timezone) as last_end
        ) x
    )
    select get_byte(p.states, width_bucket((select before_first from bound), p.moments)) as was,
        get_byte(p.states, width_bucket((select before_last from bound), p.moments)) as became,
        get_byte(p.states, cardinality(p.moments)) as number,
        case when p.known_at >= (select first_end from bound)
            then case when p.known_at >= (select last_end from bound) then 2 else 1 end else 0 end as begun,
        count(*) as customers
    from rfm.segment_path p where p.tenant_id = :tenant
    group by was, became, number, begun
    union all
    select null, null, rfm.segment_number(c.segment), 0, c.customers
    from (
        select segment, count(*) as customers from rfm.customer
        where tenant_id = :tenant and segment <> 'prospect' group by segment
    ) c
    union all
    select null, null, rfm.segment_number('prospect'), c.begun, c.customers
    from (
        select case when created_at >= (select first_end from bound)
                then case when created_at >= (select last_end from bound) then 2 else 1 end else 0 end as begun,
            count(*) as customers
        from rfm.customer where tenant_id = :tenant and segment = 'prospect' group by begun
    ) c
    """
)


async def segment_flows(connection: AsyncConnection, tenant_id: UUID, first: date, last: date) -> Flows:
    """Customers by where they stood at the end of `first` and of `last`, those who stayed included.

    A customer stood where the last change up to that day brought him, before his first one where that found him, and
    without any where he stands now; as a prospect only once his master data existed. Who was erased since has no
    history.
    """
    flows, staying = Counter[tuple[str | None, str | None]](), Counter[tuple[str | None, int]]()
    for row in await connection.execute(_STANDINGS, {"tenant": tenant_id, "first": first, "last": last}):
        now = _named(row.number)
        group = now, row.begun if now == _PROSPECT else 0
        if row.was is None:
            staying[group] += row.customers
        else:
            staying[group] -= row.customers
            flows[_begun(_named(row.was), row.begun < 1), _begun(_named(row.became), row.begun < 2)] += row.customers
    for (segment, begun), customers in staying.items():
        flows[_begun(segment, begun < 1), _begun(segment, begun < 2)] += customers
    return {pair: customers for pair, customers in flows.items() if customers and pair != (None, None)}


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
