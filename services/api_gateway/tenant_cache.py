"""Status and settings of tenants, trusted for at most a minute, so that facts need no database."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from services.api_gateway.expiring import Expiring
from shared.events.tenant_settings import TenantSettings
from shared.messaging.errors import IsTransient, classify

AFTER_FAILURE_S = 1.0
"""Seconds in which a failed load is not tried again: an outage must not slow down every request."""


@dataclass(frozen=True, slots=True)
class TenantState:
    """What most requests need of a tenant. `status` is active, closed or erased."""

    tenant_id: UUID
    name: str
    status: str
    settings: TenantSettings
    version: int


class TenantCache:
    """Loads each tenant at most once per lifetime, once for all who wait for it."""

    def __init__(
        self, load: Callable[[UUID], Awaitable[TenantState | None]], *, lifetime_s: float, entries: int
    ) -> None:
        self._load = load
        self._lifetime_s = lifetime_s
        self._cache: Expiring[UUID, TenantState] = Expiring(entries)
        self._loading: dict[UUID, asyncio.Task[TenantState | None]] = {}
        self._failed_at = float("-inf")

    async def get(self, tenant_id: UUID) -> TenantState | None:
        """The tenant, at most `lifetime_s` seconds old; None when there is none.

        Raises:
            sqlalchemy.exc.SQLAlchemyError, OSError: it is not cached and the database is away.
        """
        return self._cache.get(tenant_id) or await self._reload(tenant_id)

    async def known(self, tenant_id: UUID) -> TenantState | None:
        """As `get`, but while the database is away an older state counts, and None where there is not even that.

        For facts, which are accepted without the database: the worker checks them again with the tenant's settings.
        """
        found = self._cache.get(tenant_id)
        if found is not None:
            return found
        if time.monotonic() - self._failed_at < AFTER_FAILURE_S:
            return self._cache.stale(tenant_id)
        try:
            return await self._reload(tenant_id)
        except Exception as error:
            if not isinstance(classify(error), IsTransient):
                raise
            self._failed_at = time.monotonic()
            return self._cache.stale(tenant_id)

    def put(self, state: TenantState) -> None:
        """Takes over a state that this process has just written."""
        self._cache.put(state.tenant_id, state, self._lifetime_s)

    def drop(self, tenant_id: UUID) -> None:
        """Forgets a tenant, so that the next request loads it."""
        self._cache.drop(tenant_id)

    async def _reload(self, tenant_id: UUID) -> TenantState | None:
        task = self._loading.get(tenant_id)
        if task is None:
            task = asyncio.create_task(self._fetch(tenant_id))
            self._loading[tenant_id] = task
            task.add_done_callback(lambda _: self._loading.pop(tenant_id, None))
        return await asyncio.shield(task)

    async def _fetch(self, tenant_id: UUID) -> TenantState | None:
        state = await self._load(tenant_id)
        if state is not None:
            self.put(state)
        return state
