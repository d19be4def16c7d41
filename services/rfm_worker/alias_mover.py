"""The alias mover: lets a tenant's history follow its aliases, beside the batches, some orders per transaction.

One run per tenant at a time over all worker processes; what a killed run left undone is noted still.
"""

import asyncio
from functools import lru_cache
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.repository.aliases import move_some, tenants_with_moves
from shared.background import BackgroundLoop, Backoff
from shared.db.engine import driver_connection, transaction
from shared.events.erasure import customer_hash
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
        backoff = Backoff(
            log, waits="alias mover waits", failed="alias mover failed", first_s=LOOK_EVERY_S, longest_s=LONGEST_PAUSE_S
        )
        self._loop = BackgroundLoop("alias-mover", self.look, backoff, pause_s=LOOK_EVERY_S)
        self.progress = self._loop.progress

    def start(self) -> None:
        """Begins to look for work, also for what was noted before this process started."""
        self._loop.start()

    async def stop(self) -> None:
        """Ends at once: an unfinished run is noted still."""
        await self._loop.stop()

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
