"""A tenant and its customers as they were at the end of an earlier local day, computed from the ledger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.api_gateway.repository.rfm import SegmentCount

_TODAY = text("select (cast(:now as timestamptz) at time zone zone)::date from rfm.settings_of(cast(:tenant as uuid))")
_TENANT = text("select * from rfm.tenant_as_of(cast(:tenant as uuid), cast(:day as date))")
_CUSTOMER = text(
    """
    select v.*, cast(null as timestamptz) as segment_since, cast(:reference as date) as reference_date,
        cast(:computed_at as timestamptz) as cutoffs_at,
        v.known or exists (
            select from gateway.customer m, rfm.settings_of(cast(:tenant as uuid)) t
            where m.tenant_id = :tenant and m.customer_code = :code
                and (m.created_at at time zone t.zone)::date <= :day
        ) as existed
    from rfm.customer_as_of(
        cast(:tenant as uuid), cast(:code as text), cast(:day as date), cast(:reference as date),
        cast(:recency_days as numeric[]), cast(:frequency as numeric[]), cast(:monetary as numeric[]),
        cast(:average_basket as numeric[])
    ) v
    """
)


@dataclass(frozen=True, slots=True)
class TenantThen:
    """What all customers of a tenant together came to at the end of `day`.

    Bounds as in `rfm.cutoffs`: four per axis, two terciles of the average basket; all empty while nobody had ordered.
    `segments` has those that had customers.
    """

    day: date
    computed_at: datetime
    reference_date: date
    method: str
    recency_days: Sequence[Decimal]
    frequency: Sequence[Decimal]
    monetary: Sequence[Decimal]
    average_basket: Sequence[Decimal]
    segments: Mapping[str, SegmentCount]


async def today_of(connection: AsyncConnection, tenant_id: UUID, now: datetime) -> date:
    """The tenant's local date at a moment, by the time zone that its sales are dated with."""
    found: date = (await connection.execute(_TODAY, {"tenant": tenant_id, "now": now})).scalar_one()
    return found


async def find_tenant_then(connection: AsyncConnection, tenant_id: UUID, day: date, now: datetime) -> TenantThen:
    """Cut-offs and distribution at the end of a day. It reads all sales of the tenant up to that day.

    Args:
        now: kept as `computed_at`.
    """
    row = (await connection.execute(_TENANT, {"tenant": tenant_id, "day": day})).one()._asdict()
    counts = {
        name: SegmentCount(found["customers"], Decimal(found["revenue"])) for name, found in row.pop("segments").items()
    }
    return TenantThen(day=day, computed_at=now, segments=counts, **row)


async def get_customer_then(connection: AsyncConnection, tenant_id: UUID, code: str, then: TenantThen) -> Row[Any]:
    """Values, scores and habits of one customer at the end of that day.

    Columns are those of the projection and of `rfm.customer_profiles`; `existed` tells whether a sale or master data
    named the customer by then.
    """
    parameters = {
        "tenant": tenant_id,
        "code": code,
        "day": then.day,
        "reference": then.reference_date,
        "computed_at": then.computed_at,
        "recency_days": then.recency_days,
        "frequency": then.frequency,
        "monetary": then.monetary,
        "average_basket": then.average_basket,
    }
    return (await connection.execute(_CUSTOMER, parameters)).one()
