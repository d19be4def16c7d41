"""The scorer: moves the cut-offs of tenants that changed, beside the batches and never inside their transactions.

One run per tenant at a time over all worker processes (advisory lock), at most once per interval; what a killed run
left undone is still requested and is done by the next one.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.rfm_worker.repository.locks import SCORER, key_of, share_tables
from services.rfm_worker.repository.scoring import (
    chunks,
    close_requests,
    move_customers,
    move_cutoffs,
    open_requests,
    request_scores,
    tenants_due,
)
from services.rfm_worker.repository.tenants import load_tenants
from shared.db.engine import driver_connection, transaction
from shared.messaging.errors import IsTransient, classify
from shared.observability import metrics
from shared.observability.health import Progress
from shared.observability.logging import get_logger

LOOK_EVERY_S = 0.5
"""Seconds after which the scorer looks unasked: other workers' batches and midnights do not wake it."""
LEAST_PAUSE_S = 0.05
"""Seconds between two looks: under load every batch wakes the scorer, and a look is a query."""
BREATH_S = 0.005
"""Seconds between two parts of a run, which belong to the batches: their p99 fell by a third."""
LONGEST_PAUSE_S = 5.0
STUCK_AFTER_S = 180.0

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
        self._wake = asyncio.Event()
        self._started: dict[UUID, float] = {}
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self.progress = Progress()

    def start(self) -> None:
        """Begins to look for work, also for what was requested before this process started."""
        self._task = asyncio.create_task(self._run(), name="scorer")

    async def stop(self) -> None:
        """Ends at once: an unfinished run is requested still."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.progress.rest()

    def wake(self) -> None:
        """A batch changed some tenant."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self.progress.beat()
            self._wake.clear()
            try:
                pause_s = await self.look()
                self._failures = 0
            except Exception as error:
                pause_s = self._failed(error)
            await asyncio.sleep(LEAST_PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()

    def _failed(self, error: Exception) -> float:
        self._failures += 1
        outcome = classify(error)
        if isinstance(outcome, IsTransient):
            log.warning("scorer waits", cause=outcome.cause)
        else:
            log.error("scorer failed", error=type(error).__name__, exc_info=error)
        return float(min(LONGEST_PAUSE_S, LOOK_EVERY_S * 2.0**self._failures))

    async def look(self) -> float:
        """Scores the tenants that are due; answers the seconds until the next one may be."""
        async with transaction(self._engine) as connection:
            due = await tenants_due(await driver_connection(connection), self._now())
        pause_s = LOOK_EVERY_S
        # Whoever was served longest ago comes first, so that a tenant whose run fails does not keep others waiting.
        for tenant_id in sorted(due, key=lambda tenant: self._started.get(tenant, 0.0)):
            wait_s = self._started.get(tenant_id, -self._interval_s) + self._interval_s - time.monotonic()
            if wait_s > 0:
                pause_s = min(pause_s, wait_s)
                continue
            self._started[tenant_id] = time.monotonic()
            self.progress.beat()
            await self.score(tenant_id)
        return pause_s

    async def score(self, tenant_id: UUID) -> None:
        """One run for one tenant; nothing happens when another process is at it."""
        async with _alone(self._engine, tenant_id) as locked:
            if locked:
                with metrics.CUTOFF_SECONDS.time():
                    await self._score(tenant_id)

    async def _score(self, tenant_id: UUID) -> None:
        now = self._now()
        async with transaction(self._engine) as connection:
            raw = await driver_connection(connection)
            requests = await open_requests(raw, tenant_id)
            tenant = (await load_tenants(raw, [tenant_id]))[tenant_id]
            if tenant.erased:
                return await close_requests(raw, tenant_id, requests)
            cutoffs, codes = await move_cutoffs(raw, tenant, now)
            # Without a request nobody's values changed: only the date moved on.
            cause = "cutoff_shift" if requests else "time"
            if not codes:
                return await close_requests(raw, tenant_id, requests)
            if not requests:
                # The new date is stored with this step: a run that dies before its last part must still be due.
                requests = await request_scores(raw, [tenant_id])
        parts = chunks(codes)
        for part in parts:
            await asyncio.sleep(BREATH_S)
            async with transaction(self._engine) as connection:
                await move_customers(connection, tenant_id, part, cutoffs, cause=cause, now=now)
                if part is parts[-1]:
                    await close_requests(await driver_connection(connection), tenant_id, requests)


@contextlib.asynccontextmanager
async def _alone(engine: AsyncEngine, tenant_id: UUID) -> AsyncIterator[bool]:
    """Whether this process has the tenant's scorer to itself, over several transactions.

    The lock's own transaction stays open meanwhile; it ends with its connection, so a killed process frees it.
    """
    async with transaction(engine) as connection:
        yield await _try_lock(connection, tenant_id)


async def _try_lock(connection: AsyncConnection, tenant_id: UUID) -> bool:
    raw = await driver_connection(connection)
    await raw.execute("set local idle_in_transaction_session_timeout = 0")
    await share_tables(raw)
    locked: bool = await raw.fetchval("select pg_try_advisory_xact_lock($1, $2)", SCORER, key_of(tenant_id))
    return locked
