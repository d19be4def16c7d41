"""Where customers stand: new scores are written, changes of segment kept and told, in the same transaction."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from services.rfm_worker.domain.scores import PROSPECT, Standing
from services.rfm_worker.repository.people import CustomerKey
from services.rfm_worker.repository.raw import Raw
from shared.db.engine import driver_connection
from shared.events.catalogue import CUSTOMER_SEGMENTS
from shared.events.envelope import Envelope
from shared.events.payloads import CustomerSegmentChangedV1
from shared.messaging.outbox import insert_outbox
from shared.messaging.record import Message
from shared.observability import metrics

SOURCE = "rfm_worker"
TYPE = "customer.segment-changed.v1"

_UPDATE = """
update customer c set r = k.r, f = k.f, m = k.m, segment = k.segment,
    segment_since = case when c.segment = k.segment then c.segment_since else $7::timestamptz end
from unnest($1::uuid[], $2::text[], $3::smallint[], $4::smallint[], $5::smallint[], $6::text[])
    as k(tenant_id, customer_code, r, f, m, segment)
where c.tenant_id = k.tenant_id and c.customer_code = k.customer_code
"""
# A customer that no master data and no earlier change ever named a prospect is seen for the first time.
_FIRST_SEEN = """
select k.tenant_id, k.customer_code from unnest($1::uuid[], $2::text[]) as k(tenant_id, customer_code)
join customer c using (tenant_id, customer_code)
where c.master_version is null and not exists (
    select from segment_change h where h.tenant_id = k.tenant_id and h.customer_code = k.customer_code
)
"""
# Kept as a row of its own, and at the end of the customer's path, which begins with the first change. Customers are
# locked, so nobody else begins one; an update costs half of what an upsert does.
_KEEP = """
with moved as materialized (
    select *, (extract(epoch from $6::timestamptz) * 1000000)::double precision as moment
    from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $7::text[], $8::text[])
        with ordinality as k(tenant_id, customer_code, previous, segment, rfm_code, cause, cause_id, n)
),
kept as (
    insert into segment_change (
        tenant_id, customer_code, previous, segment, rfm_code, changed_at, cause, cause_id
    )
    select tenant_id, customer_code, previous, segment, rfm_code, $6::timestamptz, cause, cause_id from moved order by n
),
followed as (
    update segment_path p set moments = p.moments || greatest(p.moments[cardinality(p.moments)], m.moment),
        states = p.states || set_byte('\\x00', 0, rfm.segment_number(m.segment))
    from moved m where p.tenant_id = m.tenant_id and p.customer_code = m.customer_code
    returning m.n
)
insert into segment_path (tenant_id, customer_code, known_at, moments, states)
select m.tenant_id, m.customer_code, c.created_at, array[m.moment],
    set_byte(set_byte('\\x0000', 0, rfm.segment_number(m.previous)), 1, rfm.segment_number(m.segment))
from moved m join customer c using (tenant_id, customer_code)
where m.n not in (select n from followed) order by m.n
"""


@dataclass(frozen=True, slots=True)
class Move:
    """A customer's scores as they are and as they shall be."""

    customer: CustomerKey
    was: Standing
    now: Standing


async def write_moves(
    connection: AsyncConnection,
    moves: Sequence[Move],
    cause_of: Callable[[CustomerKey], tuple[str, str | None]],
    now: datetime,
) -> int:
    """Writes scores that differ; keeps and publishes changes of segment. The customers' rows must be locked.

    Returns:
        How many customers changed their segment.
    """
    changed = [move for move in moves if move.was != move.now]
    if not changed:
        return 0
    raw = await driver_connection(connection)
    await raw.execute(
        _UPDATE, [x.customer[0] for x in changed], [x.customer[1] for x in changed], [x.now.r for x in changed],
        [x.now.f for x in changed], [x.now.m for x in changed], [x.now.segment for x in changed], now,
    )  # fmt: skip
    crossed = [move for move in changed if move.was.segment != move.now.segment]
    if crossed:
        await _tell(connection, raw, crossed, cause_of, now)
    return len(crossed)


async def _tell(
    connection: AsyncConnection,
    raw: Raw,
    moves: Sequence[Move],
    cause_of: Callable[[CustomerKey], tuple[str, str | None]],
    now: datetime,
) -> None:
    first = await _first_seen(raw, (x.customer for x in moves if x.was.segment == PROSPECT))
    events = []
    for move in moves:
        cause, cause_id = cause_of(move.customer)
        events.append((
            move.customer[0],
            CustomerSegmentChangedV1.model_validate({
                "customer_code": move.customer[1], "segment": move.now.segment,
                "previous": None if move.customer in first else move.was.segment, "rfm_code": move.now.code,
                "changed_at": now, "cause": cause, "cause_id": cause_id,
            }),
        ))  # fmt: skip
    await raw.execute(
        _KEEP, [t for t, _ in events], [e.customer_code for _, e in events], [e.previous for _, e in events],
        [e.segment for _, e in events], [e.rfm_code for _, e in events], now, [e.cause for _, e in events],
        [e.cause_id for _, e in events],
    )  # fmt: skip
    await insert_outbox(connection, None, [_message(tenant_id, event) for tenant_id, event in events])
    for move in moves:
        metrics.SEGMENT_CHANGES.labels(move.now.segment).inc()


async def _first_seen(raw: Raw, customers: Iterable[CustomerKey]) -> set[CustomerKey]:
    pairs = list(customers)
    if not pairs:
        return set()
    rows = await raw.fetch(_FIRST_SEEN, [p[0] for p in pairs], [p[1] for p in pairs])
    return {(row["tenant_id"], row["customer_code"]) for row in rows}


def _message(tenant_id: UUID, event: CustomerSegmentChangedV1) -> Message:
    envelope = Envelope.new(TYPE, tenant_id, source=SOURCE, subject=event.customer_code)
    return Message(
        CUSTOMER_SEGMENTS.name, f"{tenant_id}:{event.customer_code}".encode(), event.model_dump_json().encode(),
        envelope.to_headers(),
    )  # fmt: skip
