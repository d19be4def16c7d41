"""A rebuild from its beginning to its end. Until the last transaction commits, the live tables are what they were."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.rfm_worker.rebuild.connections import alone, as_of, keep_everybody_away, owners_engine
from services.rfm_worker.rebuild.errors import NoSuchTenantError, RebuildError
from services.rfm_worker.rebuild.filling import BATCH, LANES, Filling
from services.rfm_worker.rebuild.ledger import KINDS, copy_master, count_facts, read_facts
from services.rfm_worker.rebuild.news import News, Silent
from services.rfm_worker.rebuild.settings import RebuildSettings
from services.rfm_worker.rebuild.shadow import SHADOW, create_shadow, drop_shadow
from services.rfm_worker.rebuild.swap import (
    carry_over,
    empty,
    refuse_loss,
    replace_all,
    replace_tenant,
    tell_changes,
)
from services.rfm_worker.rebuild.topics import KafkaLog, Log, Offsets
from services.rfm_worker.repository.erasures import Pseudonyms
from services.rfm_worker.repository.queue import queue_everybody
from services.rfm_worker.repository.raw import Raw
from services.rfm_worker.scoring_run import ScoringRun
from services.rfm_worker.tables import REBUILT_TABLES, SCHEMA
from shared.db.applied import load_applied
from shared.db.engine import driver_connection, transaction
from shared.events.catalogue import consumed_by
from shared.messaging import faults
from shared.messaging.errors import Fatal, Transient
from shared.messaging.record import TopicPartition

Source = Literal["auto", "topics", "ledger"]
NEAR = 2000
"""Records behind the worker from which on the rest is read while the worker waits."""
MOST_PASSES = 20

_KNOWN = "select exists (select from rfm.tenant where tenant_id = $1)"
_ERASURES = "select tenant_id, code_hash, erased_at, pseudonym from rfm.erasure"
_TENANTS = "select tenant_id from tenant where status <> 'erased' order by tenant_id"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did."""

    source: Literal["topics", "ledger"]
    records: int
    """Events and ledger rows that were applied."""
    lines: int
    """Lines of sales among them."""
    refused: int
    """Records that can never be applied; the worker has them in its dead letters."""
    segment_changes: int
    """Customers whose segment was another one than the last that was told."""
    seconds: float
    waiting_s: float
    """How long the worker had to wait at the end."""


async def run(
    settings: RebuildSettings, *, tenant_id: UUID | None = None, source: Source = "auto", news: News | None = None
) -> Rebuilt:
    """Rebuilds the tables of these settings' database: of one tenant, or all.

    Raises:
        RebuildError: it cannot be done; nothing has changed.
    """
    log = KafkaLog(settings.kafka_bootstrap, settings.topic_prefix)
    return await rebuild(
        settings.admin_database_url.get_secret_value(), settings.erasure_secret.get_secret_value(), log,
        tenant_id=tenant_id, source=source, news=news,
    )  # fmt: skip


def _present() -> datetime:
    return datetime.now(UTC)


async def rebuild(
    admin_url: str,
    erasure_secret: str,
    log: Log,
    *,
    tenant_id: UUID | None = None,
    source: Source = "auto",
    news: News | None = None,
    now: Callable[[], datetime] = _present,
) -> Rebuilt:
    """Rebuilds from a log of records, or from the ledger.

    Args:
        admin_url: SQLAlchemy URL of an administrator.
        source: auto takes the topics, or the ledger where the topics do not go back to the first sale, and refuses to
            lose what the tables have; the others insist.
        now: the present moment, with its zone.

    Raises:
        RebuildError: it cannot be done; nothing has changed.
    """
    live, shadow = owners_engine(admin_url, SCHEMA), owners_engine(admin_url, SHADOW)
    try:
        async with alone(live):
            work = _Rebuild(live, shadow, erasure_secret, log, tenant_id=tenant_id, news=news or Silent(), now=now)
            return await work.run(source)
    except (Transient, Fatal, SQLAlchemyError, asyncpg.PostgresError, OSError) as error:
        raise RebuildError(f"It stopped on the way ({type(error).__name__}). Run it again.") from error
    finally:
        await shadow.dispose()
        await live.dispose()


class _Rebuild:
    def __init__(
        self,
        live: AsyncEngine,
        shadow: AsyncEngine,
        erasure_secret: str,
        log: Log,
        *,
        tenant_id: UUID | None,
        news: News,
        now: Callable[[], datetime],
    ) -> None:
        self._live, self._shadow, self._log = live, shadow, log
        self._tenant_id, self._news, self._now = tenant_id, news, now
        self._pseudonyms = Pseudonyms()
        self._filling = Filling(shadow, erasure_secret, pseudonyms=self._pseudonyms, tenant_id=tenant_id, now=now)
        self._run_tenant = ScoringRun(shadow, now)
        self._began = time.monotonic()

    async def run(self, source: Source) -> Rebuilt:
        """All steps in turn."""
        await self._open()
        chosen = await self._choose(source)
        if chosen == "ledger":
            await self._from_ledger()
        else:
            places = [(topic.name, n) for topic in consumed_by("rfm_worker") for n in range(topic.partitions)]
            self._filling.position = await self._log.beginnings(places)
        await self._follow()
        faults.reach("rebuild_filled")
        await self._score()
        await self._prepare()
        changes, waiting_s = await self._finish(may_lose=source != "auto")
        async with transaction(self._live) as connection:
            await drop_shadow(await driver_connection(connection))
        filling = self._filling
        return Rebuilt(
            chosen, filling.records, filling.lines, filling.refused, changes,
            round(time.monotonic() - self._began, 2), round(waiting_s, 2),
        )  # fmt: skip

    async def _open(self) -> None:
        async with transaction(self._live) as connection:
            raw = await driver_connection(connection)
            if self._tenant_id is not None and not await raw.fetchval(_KNOWN, self._tenant_id):
                raise NoSuchTenantError(f"There is no tenant {self._tenant_id} among those that the worker knows.")
            await create_shadow(raw)
        faults.reach("rebuild_opened")

    async def _choose(self, source: Source) -> Literal["topics", "ledger"]:
        """Where the facts come from; only topics that nothing was ever deleted from hold all of them."""
        if source == "ledger":
            return "ledger"
        facts = [(t.name, n) for t in consumed_by("rfm_worker") if t.cleanup == "delete" for n in range(t.partitions)]
        first = await self._log.beginnings(facts)
        if not any(first.values()):
            return "topics"
        if source == "topics":
            raise RebuildError("The topics do not go back to the first sale: rebuild from the ledger.")
        self._news.say("The topics do not go back to the first sale: the ledger is the source")
        return "ledger"

    async def _from_ledger(self) -> None:
        """Copies what is no sum, and applies every fact of the ledger, all as of one moment."""
        async with as_of(self._live) as connection:
            raw = await driver_connection(connection)
            moment = await raw.fetchval("select pg_export_snapshot()")
            async with as_of(self._live, moment) as other:
                await copy_master(await driver_connection(other), self._tenant_id)
            await self._know_pseudonyms(raw)
            done = _Done(self._news, "Ledger", await count_facts(raw, self._tenant_id))
            for kind in KINDS:
                await self._filling.add(read_facts(raw, kind, self._tenant_id, BATCH * LANES), done)
            applied = await load_applied(connection, SCHEMA)
        self._filling.position = {place: at.next_offset for place, at in applied.items()}

    async def _know_pseudonyms(self, raw: Raw) -> None:
        for row in await raw.fetch(_ERASURES):
            self._pseudonyms.know(*row)

    async def _follow(self) -> None:
        """Applies what the worker has applied, until little is left for the moment in which it waits."""
        for attempt in range(MOST_PASSES):
            async with transaction(self._live) as connection:
                end = await self._applied(connection)
                await self._know_pseudonyms(await driver_connection(connection))
            behind = self._behind(end)
            if not behind or (attempt and behind <= NEAR):
                return
            await self._filling.take(self._log, end, _Done(self._news, "Events", behind))
        raise RebuildError("The worker applies more than a rebuild can follow; try again when less comes in.")

    async def _applied(self, connection: AsyncConnection) -> dict[TopicPartition, int]:
        return {place: at.next_offset for place, at in (await load_applied(connection, SCHEMA)).items()}

    def _behind(self, end: Offsets) -> int:
        position = self._filling.position
        return sum(max(0, offset - position.get(place, 0)) for place, offset in end.items())

    async def _score(self) -> None:
        """Cut-offs, scores and segments of the shadow's tenants; what that tells stays in the shadow."""
        async with transaction(self._shadow) as connection:
            tenants = [row["tenant_id"] for row in await (await driver_connection(connection)).fetch(_TENANTS)]
        for tenant_id in tenants:
            if self._tenant_id in (None, tenant_id):
                while await self._run_tenant(tenant_id):
                    pass

    async def _prepare(self) -> None:
        """What would take long in the last moment."""
        self._news.say("Scores are computed; the tables are analysed")
        async with transaction(self._shadow) as connection:
            raw = await driver_connection(connection)
            await carry_over(raw)
            for table in REBUILT_TABLES:
                await raw.execute(f"analyze {SHADOW}.{table}")

    async def _finish(self, *, may_lose: bool) -> tuple[int, float]:
        """Brings the shadow to where the worker is, while it waits, and swaps; answers changes told and seconds."""
        async with transaction(self._live) as connection:
            raw = await driver_connection(connection)
            await raw.execute("set local synchronous_commit = on")
            await keep_everybody_away(raw)
            began = time.monotonic()
            faults.reach("rebuild_locked")
            end = await self._applied(connection)
            await self._know_pseudonyms(raw)
            await self._filling.take(self._log, end, _Done(Silent(), "", 0))
            if not may_lose:
                await refuse_loss(raw, self._tenant_id)
            await self._score()
            await carry_over(raw)
            if self._tenant_id is None:
                await replace_all(raw)
            else:
                await replace_tenant(raw, self._tenant_id)
            await empty(raw, self._tenant_id)
            await queue_everybody(raw, self._tenant_id)
            changes = await tell_changes(connection, self._tenant_id, self._now())
            faults.reach("rebuild_swapped")
        return changes, time.monotonic() - began


class _Done:
    """Counts what is applied, for whoever watches."""

    def __init__(self, news: News, label: str, total: int) -> None:
        self._news, self._label, self._total, self._done = news, label, total, 0
        news.progress(label, 0, total)

    def __call__(self, count: int) -> None:
        self._done += count
        self._news.progress(self._label, min(self._done, self._total), self._total)
