"""Waits until the workers have applied a write. One poller serves all waiters and runs only while somebody waits."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway.consistency_token import Entry, OutboxRange, Position, bad_token
from services.api_gateway.repository import progress
from services.api_gateway.repository.progress import Place
from shared.db.applied import Applied
from shared.db.engine import transaction

PERIOD_S = 0.01


@dataclass(frozen=True, slots=True)
class Behind:
    """What was still missing when the time was over: places with applied and wanted next offset, and reasons."""

    places: dict[Place, tuple[int, int]]
    unpublished: bool
    scoring: bool


@dataclass(eq=False, slots=True)
class _Waiter:
    tenant_id: UUID
    wanted: dict[Place, int]
    ranges: list[OutboxRange]
    scored: bool
    watermark: int | None = None
    missing: dict[Place, tuple[int, int]] = field(default_factory=dict)
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def finish(self, error: BaseException | None = None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)

    def behind(self) -> Behind:
        return Behind(self.missing, bool(self.ranges), not self.missing and not self.ranges)


class Freshness:
    """Knows how far the rfm worker is, for those who ask.

    Args:
        engine: the gateway's.
        period_s: seconds between two looks while somebody waits.
    """

    def __init__(self, engine: AsyncEngine, *, period_s: float = PERIOD_S) -> None:
        self._engine = engine
        self._period_s = period_s
        self._waiters: set[_Waiter] = set()
        self._poller: asyncio.Task[None] | None = None

    async def wait(
        self, tenant_id: UUID, entries: Sequence[Entry], timeout_s: float, *, scored: bool = False
    ) -> Behind | None:
        """Waits until every entry is applied; with `scored` also until the tenant's cut-offs follow.

        Returns:
            None when they are, else how far it is after `timeout_s` seconds. At least one look is taken.

        Raises:
            Problem: 400 for an outbox entry that was never written.
            Exception: of the database, when it is away.
        """
        waiter = _Waiter(tenant_id, _places(entries), [e for e in entries if isinstance(e, OutboxRange)], scored)
        await self._look([waiter])
        if not waiter.done.done() and timeout_s > 0:
            await self._watch(waiter, timeout_s)
        if not waiter.done.done():
            return waiter.behind()
        waiter.done.result()
        return None

    async def _watch(self, waiter: _Waiter, timeout_s: float) -> None:
        self._waiters.add(waiter)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="freshness-poller")
        try:
            await asyncio.wait([waiter.done], timeout=timeout_s)
        finally:
            self._waiters.discard(waiter)

    async def stop(self) -> None:
        """Ends the poller; whoever still waits is told so."""
        if self._poller is not None:
            self._poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._poller
        for waiter in list(self._waiters):
            waiter.finish(ConnectionError("the process stops"))

    async def _poll(self) -> None:
        while self._waiters:
            await asyncio.sleep(self._period_s)
            waiting = [waiter for waiter in self._waiters if not waiter.done.done()]
            try:
                await self._look(waiting)
            except Exception as error:
                for waiter in waiting:
                    waiter.finish(error)

    async def _look(self, waiters: list[_Waiter]) -> None:
        async with transaction(self._engine) as connection:
            ranges = [(waiter, range_) for waiter in waiters for range_ in waiter.ranges]
            if ranges:
                published = await progress.where_published(connection, [(r.first, r.last) for _, r in ranges])
                for (waiter, range_), found in zip(ranges, published, strict=True):
                    _resolve(waiter, range_, found)
            applied = await progress.applied_by_rfm(connection)
        unscored: dict[UUID, list[_Waiter]] = {}
        for waiter in waiters:
            if _is_applied(waiter, applied):
                if waiter.scored:
                    unscored.setdefault(waiter.tenant_id, []).append(waiter)
                else:
                    waiter.finish()
        for tenant_id, of_tenant in unscored.items():
            async with transaction(self._engine, tenant_id=tenant_id) as connection:
                open_requests = await progress.score_requests(connection, tenant_id)
            for waiter in of_tenant:
                _score(waiter, open_requests)


def _places(entries: Sequence[Entry]) -> dict[Place, int]:
    """Place -> next offset that must be applied."""
    wanted: dict[Place, int] = {}
    for entry in entries:
        if isinstance(entry, Position):
            place = (entry.topic, entry.partition)
            wanted[place] = max(wanted.get(place, 0), entry.offset + 1)
    return wanted


def _resolve(waiter: _Waiter, range_: OutboxRange, found: progress.Published) -> None:
    if not found.known:
        waiter.finish(bad_token())
    elif not found.pending:
        waiter.ranges.remove(range_)
        for place, offset in found.offsets.items():
            waiter.wanted[place] = max(waiter.wanted.get(place, 0), offset + 1)


def _is_applied(waiter: _Waiter, applied: dict[Place, Applied]) -> bool:
    waiter.missing = {
        place: (applied[place].next_offset if place in applied else 0, wanted)
        for place, wanted in waiter.wanted.items()
        if place not in applied or applied[place].next_offset < wanted
    }
    return not waiter.missing and not waiter.ranges


def _score(waiter: _Waiter, open_requests: tuple[int, int] | None) -> None:
    if open_requests is None:
        waiter.finish()
        return
    lowest, highest = open_requests
    if waiter.watermark is None:
        waiter.watermark = highest
    elif lowest > waiter.watermark:
        waiter.finish()
