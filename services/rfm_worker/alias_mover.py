"""The alias mover: lets a tenant's history follow its aliases, beside the batches, some orders per transaction.

One run per tenant at a time over all worker processes; what a killed run left undone is noted still.
"""

import asyncio
from functools import lru_cache
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.repository.aliases import move_some, tenants_with_moves
from shared.db.engine import driver_connection, transaction
from shared.events.erasure import customer_hash
from shared.messaging.errors import IsTransient, classify
from shared.observability.health import Progress
from shared.observability.logging import get_logger

LOOK_EVERY_S = 0.5
"""Seconds after which it looks unasked: other workers' batches do not wake it."""
BREATH_S = 0.01
"""Seconds between two parts, which belong to the batches."""
LONGEST_PAUSE_S = 5.0
STUCK_AFTER_S = 180.0
ORDERS_AT_ONCE = 500
REMEMBERED_HASHES = 5_000

log = get_logger(__name__)


class AliasMover:
    """Runs beside the consumer of each worker process."""

    def __init__(self, engine: AsyncEngine, erasure_secret: str, *, orders_at_once: int = ORDERS_AT_ONCE) -> None:
        """Args:
        orders_at_once: how many orders one transaction looks at.
        """
        self._engine, self._orders = engine, orders_at_once
        self._hashes = lru_cache(REMEMBERED_HASHES)(lambda key: customer_hash(erasure_secret, *key))
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self.progress = Progress()

    def start(self) -> None:
        """Begins to look for work, also for what was noted before this process started."""
        self._task = asyncio.create_task(self._run(), name="alias-mover")

    async def stop(self) -> None:
        """Ends at once: an unfinished run is noted still."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self.progress.rest()

    async def _run(self) -> None:
        while True:
            self.progress.beat()
            pause_s = LOOK_EVERY_S
            try:
                await self.look()
                self._failures = 0
            except Exception as error:
                pause_s = self._failed(error)
            await asyncio.sleep(pause_s)

    def _failed(self, error: Exception) -> float:
        self._failures += 1
        outcome = classify(error)
        if isinstance(outcome, IsTransient):
            log.warning("alias mover waits", cause=outcome.cause)
        else:
            log.error("alias mover failed", error=type(error).__name__, exc_info=error)
        return float(min(LONGEST_PAUSE_S, LOOK_EVERY_S * 2.0 ** min(self._failures, 10)))

    async def look(self) -> None:
        """Moves what there is to move, of all tenants, a part of each in turn.

        Raises:
            Exception: the first one; tenants whose parts do not fail are served all the same.
        """
        async with transaction(self._engine) as connection:
            due = await tenants_with_moves(await driver_connection(connection))
        failed: list[Exception] = []
        while due:
            due = [tenant_id for tenant_id in due if await self._try(tenant_id, failed)]
        if failed:
            raise failed[0]

    async def _try(self, tenant_id: UUID, failed: list[Exception]) -> bool:
        try:
            return await self.step(tenant_id)
        except Exception as error:
            failed.append(error)
            return False

    async def step(self, tenant_id: UUID) -> bool:
        """One part of one tenant; says whether there is more."""
        self.progress.beat()
        async with transaction(self._engine) as connection:
            raw = await driver_connection(connection)
            more = await move_some(raw, tenant_id, self._hashes, orders=self._orders)
        await asyncio.sleep(BREATH_S)
        return more
