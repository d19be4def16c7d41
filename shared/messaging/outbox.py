"""The outbox: events written in the transaction of the change they tell of, and the relay that publishes them."""

import asyncio
import contextlib
import json
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.messaging import faults
from shared.messaging.dead_letters import Publisher
from shared.messaging.errors import IsTransient, PublishRejected, Transient, classify
from shared.messaging.record import Headers, Message
from shared.observability import metrics
from shared.observability.health import Progress
from shared.observability.logging import get_logger

BATCH_ROWS = 250
"""Few enough that preparing and sending them holds up the process for some milliseconds only."""
POLL_S = 0.5
"""Seconds after which the relay looks without having been told: a notification is lost with its connection."""
LONGEST_PAUSE_S = 5.0
TAKEOVER_PAUSE_S = 4.0
"""Seconds that a relay waits after another one lost the lock: as long as that one's last publish may take."""
STUCK_AFTER_S = 60.0
STOP_TIMEOUT_S = 6.0
KEEP_PUBLISHED = "7 days"
PURGE_EVERY_S = 3600.0
PURGE_ROWS = 5000
QUERY_TIMEOUT_S = 10.0

log = get_logger(__name__)
if TYPE_CHECKING:
    RawConnection = asyncpg.Connection[Any]


def channel(schema: str) -> str:
    """The NOTIFY channel on which a schema's relay listens."""
    return f"{schema}_outbox"


async def insert_outbox(connection: AsyncConnection, schema: str | None, messages: Sequence[Message]) -> list[int]:
    """Appends messages to `<schema>.outbox` in one statement and wakes the relay when the transaction commits.

    Take the row lock of what changed before calling: ids ascend in the order of the calls, and the relay
    publishes in the order of ids, so the last record of a key is then its newest state.

    Args:
        connection: inside the transaction of the change.
        schema: the service's own schema; None for the first one of the connection's search path.
        messages: in the order in which they are to be published; keys are UTF-8.

    Returns:
        One outbox id per message, in the same order.
    """
    if not messages:
        return []
    rows = await connection.execute(
        text(
            "with appended as ("  # noqa: S608 - the schema is a name from our own code
            f"insert into {schema + '.' if schema else ''}outbox (topic, key, value, headers) "
            "select topic, key, value, headers::jsonb from unnest(cast(:topics as text[]), cast(:keys as text[]), "
            "cast(:bodies as bytea[]), cast(:headers as text[])) with ordinality as m(topic, key, value, headers, n) "
            "order by n returning id) "
            "select id, (select pg_notify(coalesce(cast(:channel as text), current_schema() || '_outbox'), '')) "
            "from appended order by id"
        ),
        {
            "topics": [message.topic for message in messages],
            "keys": [(message.key or b"").decode() for message in messages],
            "bodies": [message.value for message in messages],
            "headers": [pack_headers(message.headers) for message in messages],
            "channel": channel(schema) if schema else None,
        },
    )
    return [row.id for row in rows]


def pack_headers(headers: Headers) -> str:
    """Headers as a JSON array of pairs, which keeps their order and repetitions."""
    return json.dumps([[name, None if value is None else value.decode()] for name, value in headers])


def unpack_headers(packed: str) -> list[tuple[str, bytes | None]]:
    """The inverse of `pack_headers`."""
    return [(name, None if value is None else value.encode()) for name, value in json.loads(packed)]


class OutboxRelay:
    """Publishes a schema's outbox in the order of ids, at least once; one relay per schema leads at a time.

    The leader holds an advisory lock on the one connection that it also reads, marks and listens on: whoever loses
    the connection has lost the lead. The others try for the lock every `POLL_S`.
    """

    def __init__(self, engine: AsyncEngine, schema: str, producer: Publisher, *, linger_s: float = 0.0) -> None:
        """Args:
        linger_s: seconds that a woken relay waits for more rows; 0 where somebody waits for the event.
        """
        self._engine = engine
        self._linger_s = linger_s
        self._schema = schema
        self._producer = producer
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._purged_at = -PURGE_EVERY_S
        self.progress = Progress()

    async def start(self) -> None:
        """Begins to relay; needs neither database nor broker to be up."""
        self._stopping.clear()
        self._task = asyncio.create_task(self._run(), name=f"{self._schema}-outbox-relay")

    async def stop(self) -> None:
        """Ends the relay, letting a publish under way come to its end."""
        task, self._task = self._task, None
        if task is None:
            return
        self._stopping.set()
        self._wake.set()
        await asyncio.wait([task], timeout=STOP_TIMEOUT_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self.progress.rest()

    def notify(self) -> None:
        """Wakes the relay: call it after committing a transaction that appended."""
        self._wake.set()

    async def check(self) -> str | None:
        """Liveness check: the relay goes round its loop."""
        return await self.progress.stuck(STUCK_AFTER_S, f"{self._schema} outbox relay")()

    async def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self.progress.beat()
            try:
                async with _dedicated(self._engine) as connection:
                    await self._take_lead(connection)
                    failures = 0
                    await self._lead(connection)
            except Exception as error:
                failures += 1
                self._failed(error)
            finally:
                metrics.OUTBOX_LEADER.labels(self._schema).set(0)
            await self._pause(_pause_s(failures))

    async def _take_lead(self, connection: "RawConnection") -> None:
        waited = False
        while not self._stopping.is_set():
            self.progress.beat()
            key = zlib.crc32(channel(self._schema).encode())
            if await connection.fetchval("select pg_try_advisory_lock($1)", key, timeout=QUERY_TIMEOUT_S):
                break
            waited = True
            await self._pause(POLL_S)
        if waited:
            # The last leader's connection is gone, but a publish of its own may still be on its way to the broker.
            await self._pause(TAKEOVER_PAUSE_S)
        metrics.OUTBOX_LEADER.labels(self._schema).set(1)

    async def _lead(self, connection: "RawConnection") -> None:
        await connection.add_listener(channel(self._schema), lambda *_: self._wake.set())
        failures = 0
        while not self._stopping.is_set():
            self.progress.beat()
            self._wake.clear()
            try:
                moved = await self._move(connection)
                failures = 0
            except (Transient, PublishRejected) as error:
                failures += 1
                self._failed(error)
                await self._pause(_pause_s(failures))
                continue
            if moved < BATCH_ROWS:
                await self._purge(connection)
                await self._until_woken()
                await self._pause(self._linger_s)

    async def _move(self, connection: "RawConnection") -> int:
        """Publishes the next rows and marks them; answers how many."""
        rows = await connection.fetch(
            f"select id, topic, key, value, headers::text as headers, created_at from {self._schema}.outbox "  # noqa: S608
            f"where published_at is null order by id limit {BATCH_ROWS}",
            timeout=QUERY_TIMEOUT_S,
        )
        await self._report_pending(connection, len(rows))
        if not rows:
            return 0
        placed = await self._producer.publish_many(
            [Message(r["topic"], r["key"].encode(), r["value"], unpack_headers(r["headers"])) for r in rows]
        )
        faults.reach("before_mark")
        # The key of a tombstone may name a person who was erased: it is forgotten once the broker has it.
        await connection.execute(
            f"with held as (select id from {self._schema}.outbox where id = any($1) order by id for update) "  # noqa: S608
            f"update {self._schema}.outbox o set published_at = clock_timestamp(), "
            'partition = p.partition, "offset" = p."offset", key = case when o.value is null then \'\' else o.key end, '
            "headers = case when o.value is null then '[]' else o.headers end "
            'from held join unnest($1::bigint[], $2::int[], $3::bigint[]) as p(id, partition, "offset") using (id) '
            "where o.id = held.id",
            [r["id"] for r in rows],
            [at.partition for at in placed],
            [at.offset for at in placed],
            timeout=QUERY_TIMEOUT_S,
        )
        metrics.OUTBOX_RELAYED.labels(self._schema).inc(len(rows))
        oldest = rows[0]["created_at"]
        metrics.OUTBOX_DELAY_SECONDS.labels(self._schema).observe(
            max(0.0, (datetime.now(oldest.tzinfo) - oldest).total_seconds())
        )
        return len(rows)

    async def _report_pending(self, connection: "RawConnection", found: int) -> None:
        if found == BATCH_ROWS:
            found = await connection.fetchval(
                f"select count(*) from (select from {self._schema}.outbox "  # noqa: S608
                "where published_at is null limit 100000) waiting",
                timeout=QUERY_TIMEOUT_S,
            )
        metrics.OUTBOX_PENDING.labels(self._schema).set(found)

    async def _purge(self, connection: "RawConnection") -> None:
        """Deletes what was published long ago, a part at a time so that nothing waits for it."""
        now = time.monotonic()
        if now - self._purged_at < PURGE_EVERY_S:
            return
        deleted = await connection.execute(
            f"delete from {self._schema}.outbox where id in (select id from {self._schema}.outbox "  # noqa: S608
            f"where published_at < now() - interval '{KEEP_PUBLISHED}' limit {PURGE_ROWS})",
            timeout=QUERY_TIMEOUT_S,
        )
        if deleted != f"DELETE {PURGE_ROWS}":
            self._purged_at = now

    async def _until_woken(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()

    async def _pause(self, seconds: float) -> None:
        """Waits, whatever is appended meanwhile, but not beyond a stop."""
        if seconds <= 0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _failed(self, error: Exception) -> None:
        match classify(error):
            case IsTransient(cause):
                log.warning("outbox relay waits", schema=self._schema, cause=cause)
            case _:
                cause = type(error).__name__
                log.error("outbox relay failed", schema=self._schema, cause=cause, exc_info=error)
        metrics.OUTBOX_FAILURES.labels(self._schema, cause).inc()


def _pause_s(failures: int) -> float:
    return min(LONGEST_PAUSE_S, POLL_S * 2.0 ** min(failures, 10))


@contextlib.asynccontextmanager
async def _dedicated(engine: AsyncEngine) -> AsyncIterator["RawConnection"]:
    """A driver connection of one's own, closed afterwards: lock and listener end with it."""
    async with engine.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None  # noqa: S101 - a fresh connection has its driver's
        try:
            yield cast("RawConnection", raw)
        finally:
            raw.terminate()
            await connection.invalidate()
