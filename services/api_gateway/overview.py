"""The overview of a period. How many customers bought in it is remembered as long as none of its orders changes."""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.api_gateway import periods
from services.api_gateway.expiring import Expiring
from services.api_gateway.periods import DayRange
from services.api_gateway.repository import analytics as repository
from services.api_gateway.views.analytics import Buyers, Overview, overview_of
from shared.db.engine import transaction

LIFETIME_S = 86_400.0
"""A count never becomes wrong: the revision that it belongs to never comes back. It only leaves when nobody asks."""


class Overviews:
    """Reads overviews.

    Args:
        engine: the gateway's.
        entries: most periods whose buyers are remembered, about 300 bytes each.
    """

    def __init__(self, engine: AsyncEngine, *, entries: int) -> None:
        self._engine = engine
        self._buyers: Expiring[tuple[UUID, DayRange, Decimal], Buyers] = Expiring(entries)

    async def read(self, tenant_id: UUID, first: date | None, last: date | None, currency: str) -> Overview:
        """Customers, orders, revenue, average basket and repeat rate of a period and of the one before, at one moment.

        Raises:
            Problem: 422 for a period that is too long or ends before it begins.
        """
        async with transaction(self._engine, tenant_id=tenant_id, snapshot=True) as connection:
            calendar = await repository.calendar(connection, tenant_id)
            days = periods.choose(first, last, calendar.reference_date)
            customers = await repository.count_customers(connection, tenant_id, days)
            active = [_until(min(calendar.reference_date, day), calendar.active_days) for day in _ends(days)]
            spans = [days, days.before(), *active]
            sums = await repository.sum_days(connection, tenant_id, spans)
            wanted = spans if customers.active is None else [*spans[:2], spans[3]]
            buyers = await self._count(connection, tenant_id, wanted, dict(zip(spans, sums, strict=True)))
        return overview_of(days, currency, customers, sums[:2], [buyers.get(span) for span in spans])

    async def _count(
        self, connection: AsyncConnection, tenant_id: UUID, wanted: Sequence[DayRange], sums: dict[DayRange, Any]
    ) -> dict[DayRange, Buyers]:
        keys = {span: (tenant_id, span, sums[span].revision) for span in wanted}
        found = {span: kept for span, key in keys.items() if (kept := self._buyers.get(key)) is not None}
        missing = [span for span in keys if span not in found]
        if missing:
            rows = await repository.count_buyers(connection, tenant_id, missing)
            for span, row in zip(missing, rows, strict=True):
                found[span] = Buyers(row.once, row.again)
                self._buyers.put(keys[span], found[span], LIFETIME_S)
        return found


def _ends(days: DayRange) -> tuple[date, date]:
    return days.last, days.before().last


def _until(day: date, length: int) -> DayRange:
    return DayRange(day - timedelta(days=length - 1), day)
