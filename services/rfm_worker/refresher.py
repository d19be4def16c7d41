"""The refresher: brings derived rows up to date beside the batches, in small transactions.

Search entries and rhythms of the customers that batches queued, and sums of periods that no longer hold. No answer
depends on its being quick but those in the order of the expected next order: whoever reads takes what is queued or
stale from the source.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.repository.locks import REFRESHER, key_of, lock_tenants
from services.rfm_worker.repository.periods import Stale, all_tenants, refresh_period, stale_periods
from services.rfm_worker.repository.queue import Taken, done, take, waiting_tenants
from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.repository.search import refresh_customers
from shared.background import BackgroundLoop, Backoff
from shared.db.engine import driver_connection, transaction
from shared.observability.logging import get_logger

CHUNK = 200
"""Customers in one transaction."""
BREATH_S = 0.01
"""Least seconds between two transactions, which belong to the batches."""
REST = 9.0
"""How often as long as it worked it rests: while sales pour in, a tenth of a processor is its own. It serves a customer
once however often he is queued meanwhile, so it falls behind no further than it takes to come by everybody."""
LOOK_EVERY_ALL_S = 60.0
"""Seconds after which every tenant is looked at, not only those that somebody is queued of."""
LONGEST_PAUSE_S = 30.0
LOOK_AGAIN_S = 0.2
STUCK_AFTER_S = 180.0

log = get_logger(__name__)


class Refresher:
    """Runs beside the consumer of each worker process; a tenant is refreshed by one process at a time."""

    def __init__(self, engine: AsyncEngine, *, interval_s: float, busy: Callable[[], bool] = lambda: False) -> None:
        """Args:
        busy: whether batches work off a backlog, to which it gives way for a while.
        interval_s: seconds between two looks. A period that changed between them is left for later: it is still
            being written to, and whoever reads it takes it from the ledger.
        """
        self._engine, self._busy = engine, busy
        self._seen: dict[UUID, set[Stale]] = {}
        self._looked_at_all: float | None = None
        backoff = Backoff(
            log, waits="refresher waits", failed="refresher failed", first_s=interval_s, longest_s=LONGEST_PAUSE_S
        )
        self._loop = BackgroundLoop("refresher", self.look, backoff, pause_s=interval_s)
        self.progress = self._loop.progress

    def start(self) -> None:
        """Begins to look for work, also for what an earlier process left."""
        self._loop.start()

    async def stop(self) -> None:
        """Ends at once: what is unfinished is still queued or stale."""
        await self._loop.stop()

    async def look(self) -> None:
        """Refreshes what is queued, and what is stale and at rest."""
        for tenant_id in await self._tenants():
            self.progress.beat()
            await self.refresh_customers(tenant_id)
            await self.refresh_periods(tenant_id, rested=self._seen.get(tenant_id, set()))

    async def _tenants(self) -> list[UUID]:
        now = asyncio.get_running_loop().time()
        async with transaction(self._engine) as connection:
            raw = await driver_connection(connection)
            found = set(await waiting_tenants(raw)) | self._seen.keys()
            if self._looked_at_all is None or now - self._looked_at_all >= LOOK_EVERY_ALL_S:
                self._looked_at_all = now
                found |= set(await all_tenants(raw))
        return sorted(found)

    async def refresh_customers(self, tenant_id: UUID) -> None:
        """Serves everybody who is queued of a tenant."""
        while True:
            async with transaction(self._engine) as connection:
                taken = await take(await driver_connection(connection), tenant_id)
            if not taken.ids:
                return
            for start in range(0, max(1, len(taken.codes)), CHUNK):
                await self._serve(tenant_id, taken, taken.codes[start : start + CHUNK])

    async def _give_way(self) -> None:
        until = time.monotonic() + LONGEST_PAUSE_S
        while self._busy() and time.monotonic() < until:
            self.progress.beat()
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _serve(self, tenant_id: UUID, taken: Taken, codes: Sequence[str]) -> None:
        await self._give_way()
        began = time.monotonic()
        async with transaction(self._engine) as connection:
            raw = await driver_connection(connection)
            await _alone(raw, tenant_id)
            if codes:
                await refresh_customers(raw, tenant_id, codes)
            if not codes or codes[-1] == taken.codes[-1]:
                await done(raw, tenant_id, taken)
        await _rest(began)

    async def refresh_periods(self, tenant_id: UUID, rested: set[Stale] | None = None) -> None:
        """Sums stale periods of a tenant anew.

        Args:
            rested: periods as the last look found them; others are left for the next one. None: all.
        """
        async with transaction(self._engine) as connection:
            stale = await stale_periods(await driver_connection(connection), tenant_id)
        for period in stale:
            if rested is None or period in rested:
                await self._give_way()
                self.progress.beat()
                began = time.monotonic()
                async with transaction(self._engine) as connection:
                    raw = await driver_connection(connection)
                    await _alone(raw, tenant_id)
                    await refresh_period(raw, tenant_id, period)
                await _rest(began)
        left = set(stale) if rested is None else set(stale) - rested
        if left:
            self._seen[tenant_id] = left
        else:
            self._seen.pop(tenant_id, None)


async def _rest(began: float) -> None:
    await asyncio.sleep(max(BREATH_S, REST * (time.monotonic() - began)))


async def _alone(raw: Raw, tenant_id: UUID) -> None:
    """Keeps erasures and other refreshers of the tenant away; batches go on."""
    await lock_tenants(raw, [tenant_id], [])
    await raw.fetch("select pg_advisory_xact_lock($1, $2)", REFRESHER, key_of(tenant_id))
