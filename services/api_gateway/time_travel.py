"""Answers as of an earlier day: what a system would say that knew only what had happened by then."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway.errors import Problem, invalid, not_found
from services.api_gateway.expiring import Expiring
from services.api_gateway.large_reads import LargeReads
from services.api_gateway.repository import customers
from services.api_gateway.repository import time_travel as repository
from services.api_gateway.repository.time_travel import TenantThen
from services.api_gateway.views.customers import Customer, customer_of, rfm_of
from services.api_gateway.views.lifetime import without_value
from shared.db.engine import transaction


class Past:
    """Reads earlier days. What a tenant came to on a day needs all of its sales, so it is kept for a few seconds, for
    that tenant and day alone; a customer's own part is always read anew.

    Args:
        engine: the gateway's.
        large_reads: turns for reading a tenant's sales.
        lifetime_s: seconds for which a tenant's state is trusted.
        entries: most states that are kept.
        now: the present moment, with its zone.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        large_reads: LargeReads,
        *,
        lifetime_s: float,
        entries: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._engine, self._large_reads, self._lifetime_s, self._now = engine, large_reads, lifetime_s, now
        self._states: Expiring[tuple[UUID, date], TenantThen] = Expiring(entries)

    async def tenant(self, tenant_id: UUID, day: date, *, anew: bool) -> TenantThen:
        """Cut-offs and distribution at the end of a local day.

        Args:
            anew: nothing kept will do, because the answer must show a write that the caller names.

        Raises:
            Problem: 422 for a day that has not come yet; 503 when too many such answers are waited for.
        """
        now = self._now()
        async with transaction(self._engine, tenant_id=tenant_id) as connection:
            if day > await repository.today_of(connection, tenant_id, now):
                raise invalid("as_of", "must not lie in the future")
        found = None if anew else self._states.get((tenant_id, day))
        return found or await self._find(tenant_id, day, now, anew=anew)

    async def _find(self, tenant_id: UUID, day: date, now: datetime, *, anew: bool) -> TenantThen:
        async with self._large_reads.turn(tenant_id):
            # Whoever waited for his turn may find what another has just computed.
            found = None if anew else self._states.get((tenant_id, day))
            if found is None:
                async with transaction(self._engine, tenant_id=tenant_id) as connection:
                    found = await repository.find_tenant_then(connection, tenant_id, day, now)
                self._states.put((tenant_id, day), found, self._lifetime_s)
        return found

    async def customer(self, tenant_id: UUID, code: str, day: date, *, anew: bool) -> Customer:
        """Today's identity with the values, scores and profile at the end of a local day.

        Raises:
            Problem: 422 as for the tenant; 404 for a customer who is unknown, or was not known by then.
        """
        then = await self.tenant(tenant_id, day, anew=anew)
        async with transaction(self._engine, tenant_id=tenant_id) as connection:
            row = await customers.get_customer(connection, tenant_id, code)
            if row is None:
                raise not_found("customer")
            values = await repository.get_customer_then(connection, tenant_id, code, then)
        if not values.existed:
            raise Problem(404, "not-found", "Not found", f"This customer was not known on {day} yet.")
        lifetime = without_value("not_known_of_the_past")
        return customer_of(row, values, lifetime).model_copy(update={"rfm": rfm_of(values)})
