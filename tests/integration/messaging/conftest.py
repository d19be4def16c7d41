"""A worker as small as one can be: it writes what it reads into a table, exactly as the real ones do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.applied import save_applied
from shared.db.engine import transaction
from shared.events.catalogue import SALES
from shared.messaging.consumer import WorkerConsumer
from shared.messaging.dead_letters import DeadLetterWriter
from shared.messaging.delivery import BatchDelivery, Limits
from shared.messaging.errors import DeadReason, Poison
from shared.messaging.lane import ConsumerSettings
from shared.messaging.producer import EventProducer
from shared.messaging.record import Message, NextOffsets, Record

SERVICE = "ledger_worker"
WAIT_S = 45


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    """Waits for a state of a server that tells nobody when it changes."""
    async with asyncio.timeout(WAIT_S):
        while not await check():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def decode(record: Record) -> str:
    if record.value is None or record.value.startswith(b"\xff"):
        raise Poison(DeadReason.INVALID_PAYLOAD, "body: not_utf8")
    return record.value.decode()


@dataclass
class Ledger:
    """Applies values into a table with a natural key; the table refuses the value `bad`."""

    engine: AsyncEngine
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    calls: int = 0
    largest: int = 0
    before_apply: Callable[[Sequence[str]], object] | None = None

    async def create(self) -> None:
        async with self.engine.begin() as connection:
            await connection.execute(
                text("create table public.ledger (value text primary key check (value not like 'bad%'))")
            )

    async def apply(self, items: Sequence[str], following: NextOffsets) -> None:
        self.calls += 1
        self.largest = max(self.largest, len(items))
        if self.before_apply is not None:
            answer = self.before_apply(items)
            if asyncio.iscoroutine(answer):
                await answer
        async with transaction(self.engine) as connection:
            await connection.execute(
                text("insert into public.ledger select unnest(cast(:v as text[])) on conflict do nothing"),
                {"v": list(items)},
            )
            await save_applied(connection, "rfm", following)
        async with self.changed:
            self.changed.notify_all()

    async def values(self) -> set[str]:
        async with self.engine.connect() as connection:
            return {row.value for row in await connection.execute(text("select value from public.ledger"))}

    async def until(self, wanted: set[str]) -> None:
        """Waits until exactly these values are there."""
        async with asyncio.timeout(WAIT_S), self.changed:
            while not wanted <= await self.values():
                await self.changed.wait()
        assert await self.values() == wanted


@pytest.fixture
async def ledger(admin_engine: AsyncEngine) -> Ledger:
    made = Ledger(admin_engine)
    await made.create()
    return made


@pytest.fixture
async def producer(stack, topic_prefix) -> AsyncIterator[EventProducer]:
    made = EventProducer(stack.kafka_bootstrap, prefix=topic_prefix)
    await made.start()
    yield made
    await made.stop()


@dataclass
class Workers:
    """Starts workers of the ledger in one consumer group."""

    bootstrap: str
    prefix: str
    producer: EventProducer
    ledger: Ledger
    running: AsyncExitStack

    async def start(
        self,
        *,
        limits: Limits | None = None,
        settings: ConsumerSettings | None = None,
        writer: DeadLetterWriter | None = None,
        ledger: Ledger | None = None,
        lanes: int = 1,
    ) -> WorkerConsumer:
        deliveries = [
            BatchDelivery(
                decode=decode,
                apply=(ledger or self.ledger).apply,
                limits=limits,
                dead_letters=writer or DeadLetterWriter(self.producer, SERVICE),
            )
            for _ in range(lanes)
        ]
        consumer = WorkerConsumer(
            self.bootstrap,
            service=SERVICE,
            topics=[SALES],
            deliveries=deliveries,
            prefix=self.prefix,
            settings=settings,
            on_fatal=lambda _error: self.fatal.set(),
        )
        self.fatal = asyncio.Event()
        self.running.push_async_callback(consumer.broker.stop)
        await consumer.broker.start()
        return consumer

    async def committed(self) -> dict[int, int]:
        """Partition -> committed offset of the group, those without one left out."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(f"{self.prefix}{SERVICE}")
        finally:
            await admin.close()
        return {place.partition: at.offset for place, at in offsets.items() if at.offset >= 0}


@pytest.fixture
async def workers(stack, topic_prefix, producer, ledger) -> AsyncIterator[Workers]:
    async with AsyncExitStack() as running:
        yield Workers(stack.kafka_bootstrap, topic_prefix, producer, ledger, running)


def sales(values: Sequence[str | bytes]) -> list[Message]:
    bodies = [value if isinstance(value, bytes) else value.encode() for value in values]
    return [Message("sales", f"tenant:{n % 7}".encode(), body, [("ce_id", b"%d" % n)]) for n, body in enumerate(bodies)]


@asynccontextmanager
async def reading(bootstrap: str, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(WAIT_S):
            yield consumer
    finally:
        await consumer.stop()


async def read(bootstrap: str, topic: str, count: int) -> list[ConsumerRecord]:
    """The first `count` records of a topic."""
    async with reading(bootstrap, topic) as consumer:
        return [await consumer.getone() for _ in range(count)]


@pytest.fixture
async def delete_topic(stack):
    """Deletes a topic and waits until the broker has forgotten it."""

    async def delete(name: str) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
        await admin.start()
        try:
            await admin.delete_topics([name])

            async def forgotten() -> bool:
                return name not in await admin.list_topics()

            await eventually(forgotten)
        finally:
            await admin.close()

    return delete
