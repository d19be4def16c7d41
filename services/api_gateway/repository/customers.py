"""One customer: the master record joined with the rfm worker's projection; erasure."""

from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.repository import imports
from shared.events.catalogue import CUSTOMERS

PROJECTION = (
    "c.frequency, c.monetary, c.r, c.f, c.m, c.segment, c.segment_since, c.first_order_at, c.last_order_at, "
    "c.last_order_day, q.reference_date, q.computed_at as cutoffs_at"
)
"""Columns that `views.customers.rfm_of` reads; `c` is rfm.customer and `q` rfm.cutoffs."""

_ONE = text(
    f"""
    select k.customer_code, m.first_name, m.last_name, m.email, m.phone, m.language, m.timezone, m.birth_date,
        m.tags, m.attributes, m.consents, m.version, m.created_at, m.updated_at, {PROJECTION}
    from (select cast(:tenant as uuid) as tenant_id, cast(:code as text) collate "C" as customer_code) k
    left join gateway.customer m using (tenant_id, customer_code)
    left join rfm.customer c using (tenant_id, customer_code)
    left join rfm.cutoffs q using (tenant_id)
    where m.customer_code is not null or c.customer_code is not null
    """  # noqa: S608 - names from our own code
)
_PROFILE = text("select * from rfm.customer_profiles(cast(:tenant as uuid), cast(:codes as text[]))")
_LIFETIME = text(
    """
    select m.status, m.reason, m.fitted_at, m.reference_date, m.horizon_days, m.holdout, v.probability_alive,
        v.expected_orders, v.expected_value, v.low, v.high, v.computed_at
    from rfm.lifetime_model m
    left join rfm.lifetime_value v on v.tenant_id = m.tenant_id and v.customer_code = :code
    where m.tenant_id = :tenant
    """
)
_KNOWN = text("select exists (select from rfm.customer where tenant_id = :tenant and customer_code = :code)")
# Rows are locked in the order of their ids, as the relay locks them that publishes meanwhile.
_BLANK = text(
    """
    with held as (select id from gateway.outbox where topic = :topic and key = :key order by id for update)
    update gateway.outbox o set value = null, key = case when o.published_at is null then o.key else '' end,
        headers = case when o.published_at is null then o.headers else '[]' end
    from held where o.id = held.id
    """
)
_FORGET = text(
    "update gateway.idempotency_key set body = null, headers = null "
    "where tenant_id = :tenant and position(cast(:part as bytea) in body) > 0"
)
_HISTORY = text(
    """
    select id, previous, segment, rfm_code, changed_at, cause, cause_id from rfm.segment_change
    where tenant_id = :tenant and customer_code = :code and (cast(:before as bigint) is null or id < :before)
    order by id desc limit :count
    """
)


async def get_customer(connection: AsyncConnection, tenant_id: UUID, code: str) -> Row[Any] | None:
    """Identity from the master record, values from the projection; None when neither knows the customer."""
    return (await connection.execute(_ONE, {"tenant": tenant_id, "code": code})).one_or_none()


async def get_profile(connection: AsyncConnection, tenant_id: UUID, code: str) -> Row[Any] | None:
    """Habits found in the ledger; None when the projection does not know the customer."""
    return (await connection.execute(_PROFILE, {"tenant": tenant_id, "codes": [code]})).one_or_none()


async def get_lifetime(connection: AsyncConnection, tenant_id: UUID, code: str) -> Row[Any] | None:
    """The tenant's model and what it says of one customer, nulls where nothing; None before the first fit."""
    return (await connection.execute(_LIFETIME, {"tenant": tenant_id, "code": code})).one_or_none()


async def is_known_from_sales(connection: AsyncConnection, tenant_id: UUID, code: str) -> bool:
    """Whether the projection has the customer, whatever the master data say."""
    return bool(await connection.scalar(_KNOWN, {"tenant": tenant_id, "code": code}))


async def blank_events(connection: AsyncConnection, tenant_id: UUID, code: str) -> None:
    """Takes a customer's personal data out of what the gateway keeps beside the record itself.

    Outbox entries that are not yet published become tombstones, the others forget even their keys. Remembered answers
    are forgotten, but not that the request was carried out: trying it again must not bring the person back. Files
    of ended imports are due at once.
    """
    await connection.execute(_BLANK, {"topic": CUSTOMERS.name, "key": f"{tenant_id}:{code}"})
    part = b'"customer_code":' + orjson.dumps(code)
    await connection.execute(_FORGET, {"tenant": tenant_id, "part": part})
    await imports.expire_of_person(connection, tenant_id)


async def segment_history(
    connection: AsyncConnection, tenant_id: UUID, code: str, *, before: int | None, count: int
) -> list[Row[Any]]:
    """Moves between segments, newest first."""
    rows = await connection.execute(_HISTORY, {"tenant": tenant_id, "code": code, "before": before, "count": count})
    return list(rows)
