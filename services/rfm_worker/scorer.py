"""The scorer: keeps the cut-offs of tenants that changed, beside the batches and never inside their transactions.

A run per tenant at a time over all worker processes, at most once per interval, a few tenants at once, so that a large
one keeps no small one waiting. What a killed run left undone is still requested and is done by the next one.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.repository.scoring import tenants_due
from services.rfm_worker.scoring_run import ScoringRun
from shared.background import BackgroundLoop, Backoff
from shared.db.engine import driver_connection, transaction
from shared.observability.logging import get_logger

LOOK_EVERY_S = 0.5
"""Seconds after which the scorer looks unasked: other workers' batches and midnights do not wake it."""
LEAST_PAUSE_S = 0.05
"""Seconds between two looks: under load every batch wakes the scorer, and a look is a query."""
LONGEST_PAUSE_S = 5.0
STUCK_AFTER_S = 180.0
MOST_AT_ONCE = 3
"""Tenants that are scored at once; each takes two connections."""

log = get_logger(__name__)


class Scorer:
    """Runs beside the consumer of each worker process."""

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        now: Callable[[], datetime],
        interval_s: float,
    ) -> None:
        """Args:
        now: the present moment, with its zone; decides when a tenant's midnight has passed.
        interval_s: least seconds between the starts of two runs for one tenant.
        """
        self._engine, self._now, self._interval_s = engine, now, interval_s
        self._run_tenant = ScoringRun(engine, now)
        self._next: dict[UUID, float] = {}
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._backoffs: dict[UUID, Backoff] = {}
        self._loop = BackgroundLoop(
            "scorer", self._begin_due, _backoff(), pause_s=LOOK_EVERY_S, least_pause_s=LEAST_PAUSE_S
        )
        self.progress = self._loop.progress

    def start(self) -> None:
        """Begins to look for work, also for what was requested before this process started."""
        self._loop.start()

    async def stop(self) -> None:
        """Ends at once: an unfinished run is requested still."""
        await self._loop.stop()
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """A batch changed some tenant."""
        self._loop.wake()

    async def look(self) -> None:
        """Scores the tenants that are due, once each, and waits until they are."""
        await self._begin_due(at_once=None)
        await asyncio.gather(*self._running.values())

    async def score(self, tenant_id: UUID) -> bool:
        """One run for one tenant; answers whether it has more to do at once."""
        return await self._run_tenant(tenant_id)

    async def _begin_due(self, at_once: int | None = MOST_AT_ONCE) -> float:
        """Begins runs for tenants that are due; answers the seconds until the next one may be."""
        async with transaction(self._engine) as connection:
            due = await tenants_due(await driver_connection(connection), self._now())
        pause_s, now = LOOK_EVERY_S, time.monotonic()
        self._next = {tenant: at for tenant, at in self._next.items() if at > now or tenant in due}
        # Whoever was served longest ago comes first, so that no tenant keeps the others waiting.
        for tenant_id in sorted(due, key=lambda tenant: self._next.get(tenant, 0.0)):
            wait_s = self._next.get(tenant_id, now) - now
            if wait_s > 0:
                pause_s = min(pause_s, wait_s)
            elif tenant_id not in self._running and (at_once is None or len(self._running) < at_once):
                self._begin(tenant_id)
        return pause_s

    def _begin(self, tenant_id: UUID) -> None:
        self._next[tenant_id] = time.monotonic() + self._interval_s
        task = asyncio.create_task(self._serve(tenant_id), name=f"scorer of {tenant_id}")
        self._running[tenant_id] = task
        task.add_done_callback(lambda _: self._ended(tenant_id))

    def _ended(self, tenant_id: UUID) -> None:
        self._running.pop(tenant_id, None)
        self._loop.wake()

    async def _serve(self, tenant_id: UUID) -> None:
        try:
            more = await self.score(tenant_id)
            self._backoffs.pop(tenant_id, None)
            if more:
                self._next[tenant_id] = time.monotonic()
        except Exception as error:
            backoff = self._backoffs.setdefault(tenant_id, _backoff(tenant_id=tenant_id))
            self._next[tenant_id] = time.monotonic() + max(self._interval_s, backoff.failed(error))


def _backoff(**fields: Any) -> Backoff:
    return Backoff(
        log, waits="scorer waits", failed="scorer failed", first_s=LOOK_EVERY_S, longest_s=LONGEST_PAUSE_S, **fields
    )
