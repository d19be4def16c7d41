"""One run for one tenant: a step of its recomputation if there is one, else new cut-offs and whom they move."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.rfm_worker.repository import recompute as jobs
from services.rfm_worker.repository.locks import share_tables, try_lock_scorer, try_share_tenant
from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.repository.recompute import Recompute, advance, load_recompute
from services.rfm_worker.repository.redating import count_customers, count_sales, redate_customers, redate_sales
from services.rfm_worker.repository.scoring import Run, begin_run, chunks, finish_run, move_part, tell_progress
from services.rfm_worker.repository.tenants import find_tenants
from shared.db.engine import driver_connection, transaction
from shared.observability import metrics

BREATH_S = 0.005
"""Seconds between two parts of a run, which belong to the batches: their p99 fell by a third."""
ROUNDS_WITHOUT_WAITING = 4
"""How often those whom a batch has locked are left for later. Then the run waits for them, a few at a time: a walk-in
customer may be in every batch."""
HELD_FOR_S = 0.03
"""Seconds between two rounds, in which a batch comes to its end."""
WAITED_FOR_AT_ONCE = 5
SLICE_S = 1.0
"""Seconds that a recomputation dates things anew before other tenants get their turn."""


class ScoringRun:
    """Does what is due for a tenant; one at a time over all worker processes."""

    def __init__(self, engine: AsyncEngine, now: Callable[[], datetime]) -> None:
        self._engine, self._now = engine, now

    async def __call__(self, tenant_id: UUID) -> bool:
        """One run; answers whether the tenant has more to do at once. Nothing happens when another process is at it."""
        async with _alone(self._engine, tenant_id) as locked:
            if not locked:
                return False
            async with transaction(self._engine) as connection:
                recompute = await load_recompute(await driver_connection(connection), tenant_id)
            if recompute is not None and recompute.step != jobs.SCORES:
                await self._date_anew(tenant_id)
                return True
            try:
                with metrics.CUTOFF_SECONDS.time():
                    await self._score(tenant_id)
            except asyncpg.SerializationError:
                # A change of settings came between the snapshot and its use: the next run begins with it.
                return True
            return False

    async def _date_anew(self, tenant_id: UUID) -> None:
        until = time.monotonic() + SLICE_S
        while time.monotonic() < until:
            await asyncio.sleep(BREATH_S)
            async with transaction(self._engine) as connection:
                raw = await driver_connection(connection)
                if not await try_share_tenant(raw, tenant_id):
                    return  # an erasure, say, which waits for this run to end
                recompute = await load_recompute(raw, tenant_id)
                if recompute is None or recompute.step == jobs.SCORES:
                    return
                await _date_part(raw, tenant_id, recompute)

    async def _score(self, tenant_id: UUID) -> None:
        now = self._now()
        async with transaction(self._engine, snapshot=True) as connection:
            raw = await driver_connection(connection)
            tenant = (await find_tenants(raw, [tenant_id])).get(tenant_id)
            if tenant is None or tenant.erased:
                return
            run = await begin_run(raw, tenant, now)
            if not run.parts:
                return await finish_run(raw, run)
        await self._move(run, now)

    async def _move(self, run: Run, now: datetime) -> None:
        parts, rounds = run.parts, 0
        while parts:
            rounds += 1
            held = await self._round(run, parts, now, wait=rounds > ROUNDS_WITHOUT_WAITING)
            parts = chunks(held, WAITED_FOR_AT_ONCE) if rounds == ROUNDS_WITHOUT_WAITING else chunks(held)
            if parts:
                await asyncio.sleep(HELD_FOR_S)

    async def _round(self, run: Run, parts: Sequence[Sequence[str]], now: datetime, *, wait: bool) -> Sequence[str]:
        """Visits these customers; closes the run with the last of them. Answers who is left for another round."""
        held: list[str] = []
        for part in parts:
            await asyncio.sleep(BREATH_S)
            async with transaction(self._engine) as connection:
                held += await move_part(connection, run, part, now, wait=wait)
                raw = await driver_connection(connection)
                run.done += len(part)
                if part is parts[-1] and not held:
                    await finish_run(raw, run)
                else:
                    await tell_progress(raw, run)
        run.done -= len(held)
        return held


async def _date_part(raw: Raw, tenant_id: UUID, at: Recompute) -> None:
    """One part of the step that a recomputation is at, and where it goes on."""
    sales = at.step == jobs.DAYS
    total = at.total or await (count_sales if sales else count_customers)(raw, tenant_id)
    keys = await (redate_sales if sales else redate_customers)(raw, tenant_id, at.after)
    if keys:
        await advance(raw, tenant_id, at.step, keys[-1], done=at.done + len(keys), total=total)
    else:
        await advance(raw, tenant_id, jobs.CUSTOMERS if sales else jobs.SCORES)


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
    return await try_lock_scorer(raw, tenant_id)
