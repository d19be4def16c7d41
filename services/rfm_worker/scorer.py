"""The scorer: keeps the cut-offs of tenants that changed, beside the batches and never inside their transactions.

A run per tenant at a time over all worker processes, at most once per interval, a few tenants at once, so that a large
one keeps no small one waiting. What a killed run left undone is still requested and is done by the next one.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.repository.scoring import tenants_due
from services.rfm_worker.scoring_run import ScoringRun
from shared.db.engine import driver_connection, transaction
from shared.messaging.errors import IsTransient, classify
from shared.observability.health import Progress
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
        self._wake = asyncio.Event()
        self._next: dict[UUID, float] = {}
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._failures: dict[UUID | None, int] = {}
        self._task: asyncio.Task[None] | None = None
        self.progress = Progress()

    def start(self) -> None:
        """Begins to look for work, also for what was requested before this process started."""
        self._task = asyncio.create_task(self._run(), name="scorer")

    async def stop(self) -> None:
        """Ends at once: an unfinished run is requested still."""
        tasks = [*self._running.values(), *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.progress.rest()

    def wake(self) -> None:
        """A batch changed some tenant."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self.progress.beat()
            self._wake.clear()
            try:
                pause_s = await self._begin_due()
                self._failures.pop(None, None)
            except Exception as error:
                pause_s = self._failed(None, error)
            await asyncio.sleep(LEAST_PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()

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
        self._wake.set()

    async def _serve(self, tenant_id: UUID) -> None:
        try:
            more = await self.score(tenant_id)
            self._failures.pop(tenant_id, None)
            if more:
                self._next[tenant_id] = time.monotonic()
        except Exception as error:
            self._next[tenant_id] = time.monotonic() + max(self._interval_s, self._failed(tenant_id, error))

    def _failed(self, tenant_id: UUID | None, error: Exception) -> float:
        """Seconds to wait after a failure: more of them after each in a row."""
        self._failures[tenant_id] = failures = self._failures.get(tenant_id, 0) + 1
        outcome = classify(error)
        if isinstance(outcome, IsTransient):
            log.warning("scorer waits", cause=outcome.cause, tenant_id=tenant_id)
        else:
            log.error("scorer failed", error=type(error).__name__, tenant_id=tenant_id, exc_info=error)
        return float(min(LONGEST_PAUSE_S, LOOK_EVERY_S * 2.0**failures))
