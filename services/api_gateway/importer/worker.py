"""The importer's loop: takes one import at a time, shows that it lives, and gives back what it cannot finish."""

import asyncio
import contextlib
import threading
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from services.api_gateway.importer.job import Job, Workplace
from services.api_gateway.importer.parts import StoppedError
from services.api_gateway.importer.presence import Presence
from services.api_gateway.importer.settings import ImporterSettings
from services.api_gateway.importer.sources import ImportRefusedError
from services.api_gateway.importer.spill import remove_abandoned
from services.api_gateway.repository import imports as repository
from services.api_gateway.tenant_cache import TenantState
from shared.background import BackgroundLoop, Backoff
from shared.db.engine import transaction
from shared.messaging.errors import IsTransient, classify
from shared.observability import metrics
from shared.observability.health import Progress
from shared.observability.logging import get_logger

RETRY_S = 5.0
HOLD_AGAIN_S = 1.0
STUCK_AFTER_S = 120.0
log = get_logger(__name__)


class ImportWorker:
    """Works on imports until it is stopped.

    Args:
        place: with what.
        settings: knobs.
        load_tenant: the tenant as it is now.
        progress: told whenever something went forward.
    """

    def __init__(
        self,
        place: Workplace,
        settings: ImporterSettings,
        load_tenant: Callable[[UUID], Awaitable[TenantState | None]],
        progress: Progress,
    ) -> None:
        self._place, self._settings, self._load_tenant = place, settings, load_tenant
        self._me = uuid.uuid4()
        self._presence = Presence(place.engine, self._me)
        pause_s = settings.import_poll_s
        backoff = Backoff(
            log, waits="importer waits", failed="importer failed", first_s=pause_s, longest_s=max(RETRY_S, pause_s)
        )
        self._loop = BackgroundLoop("importer", self._step, backoff, pause_s=pause_s, progress=progress)
        self.progress = progress

    def start(self) -> None:
        """Begins; needs neither database nor broker to be up."""
        self._loop.start()

    async def stop(self) -> None:
        """Gives the import under way back, at its last finished part."""
        await self._loop.stop()
        await self._presence.end()

    async def _step(self) -> float | None:
        """Works on the next import, after which another may wait."""
        row = await self._claim()
        if row is None:
            return None
        await self._work(row)
        return 0.0

    async def _claim(self) -> Row[Any] | None:
        async with transaction(self._place.engine) as connection:
            return await repository.claim(connection, self._me, self._settings.import_lease_s)

    async def _work(self, row: Row[Any]) -> None:
        await asyncio.to_thread(remove_abandoned, self._place.folder, time.time())
        stop = threading.Event()
        beat = asyncio.create_task(self._hold(row, stop), name="import-lease")
        try:
            await self._carry_out(row, stop)
        except asyncio.CancelledError:
            stop.set()
            with contextlib.suppress(Exception):
                await asyncio.shield(self._give_back(row, 0, counts=False))
            raise
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)

    async def _carry_out(self, row: Row[Any], stop: threading.Event) -> None:
        tenant = await self._load_tenant(row.tenant_id)
        if tenant is None or tenant.status != "active":
            await self._end(row, "cancelled", "The tenant is closed.")
            return
        if row.attempts > self._settings.import_attempts:
            await self._end(row, "failed", f"It came to nothing in {row.attempts - 1} attempts.")
            return
        job = Job(self._place, row, tenant, stop)
        try:
            await job.run()
        except StoppedError:
            log.info("import left", import_id=row.import_id)
        except ImportRefusedError as refused:
            await asyncio.to_thread(job.clean_up)
            await self._end(row, "failed", str(refused))
        except Exception as error:
            passes = _passes(error)
            if not passes:
                log.exception("import failed", import_id=row.import_id)
            await self._give_back(row, RETRY_S, counts=not passes)
        else:
            await asyncio.to_thread(job.clean_up)
            await self._end(row, "completed", None)

    async def _hold(self, row: Row[Any], stop: threading.Event) -> None:
        """Shows that it lives and renews the lease, until that is lost.

        A database that is away does not end the lease; only others can. Whoever lost his connection may have lost the
        import with it, and looks at once.
        """
        while not stop.is_set():
            self.progress.beat()
            try:
                await self._presence.show()
                async with transaction(self._place.engine, tenant_id=row.tenant_id) as connection:
                    if not await repository.hold(connection, row, self._settings.import_lease_s):
                        stop.set()
            except Exception as error:
                log.warning("lease not renewed", import_id=row.import_id, error=type(error).__name__)
                await asyncio.sleep(HOLD_AGAIN_S)
                continue
            await self._presence.lost(within_s=self._settings.import_lease_s / 3)

    async def _give_back(self, row: Row[Any], again_in_s: float, *, counts: bool) -> None:
        async with transaction(self._place.engine, tenant_id=row.tenant_id) as connection:
            await repository.release(connection, row, again_in_s, counts=counts)

    async def _end(self, row: Row[Any], state: str, reason: str | None) -> None:
        async with transaction(self._place.engine, tenant_id=row.tenant_id) as connection:
            if await repository.end(connection, row, state, reason, self._settings.import_retention_days):
                metrics.IMPORTS_ENDED.labels(state).inc()
                log.info("import ended", import_id=row.import_id, state=state)


def _passes(error: Exception) -> bool:
    """Whether trying again is all that it takes: database, broker or storage are away."""
    return isinstance(error, OSError) or isinstance(classify(error), IsTransient)
