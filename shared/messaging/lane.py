"""A lane: one member of a worker's consumer group, with partitions, a pipeline and a transaction of its own.

Kafka deals the partitions out among the lanes of all processes alike. To the database two lanes of one process are
what two processes are: their batches hold different records and take their locks in one order.

FastStream's defaults are changed on purpose: manual acknowledgement, earliest offset, raw records, and a poll loop
that waits for its broker, never sleeps while records wait, and puts a failed batch back instead of losing it.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import FAKE_CONSUMER, KafkaMessage
from faststream.kafka.subscriber.usecase import BatchSubscriber

from shared.messaging import faults
from shared.messaging.delivery import BatchDelivery
from shared.messaging.pipeline import POLL_MS, Pipeline
from shared.messaging.record import NextOffsets, Record
from shared.messaging.turns import Turns
from shared.observability import metrics
from shared.observability.logging import get_logger

MEBIBYTE = 1024 * 1024
COMMIT_TIMEOUT_S = 10.0
GRACE_S = 6.0
"""Seconds that a stop waits for the batch under way."""
CLOSE_S = 3.0
CONNECT_RETRY_S = 1.0
OBSERVE_EVERY_S = 1.0

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ConsumerSettings:
    """How a worker reads."""

    max_records: int = 500
    """Most records in one batch and thus in one transaction."""
    max_partition_fetch_bytes: int = 4 * MEBIBYTE
    fetch_max_wait_ms: int = 20
    """Short: a partition that was just read waits for the fetch under way, which may cover others only."""
    session_timeout_ms: int = 10_000
    heartbeat_interval_ms: int = 2_000


class Lane:
    """Reads its partitions in batches and hands them to its delivery, one batch at a time."""

    def __init__(
        self,
        broker: KafkaBroker,
        topics: Sequence[str],
        *,
        group: str,
        prefix: str,
        delivery: BatchDelivery[Any],
        settings: ConsumerSettings,
        fail: Callable[[BaseException], None],
        joined: Callable[[], Awaitable[None]],
        stopping: Callable[[], Awaitable[None]],
        turns: Turns,
    ) -> None:
        """Args:
        topics: full names.
        prefix: what their names in the catalogue have before them.
        fail: called when the worker must stop.
        joined: called before each poll; waits until all lanes have joined the group.
        stopping: called when this lane's client is told to stop; halts all lanes.
        turns: shared by all lanes.
        """
        self.delivery, self.joined, self.stopping = delivery, joined, stopping
        self.has_joined = asyncio.Event()
        self.stopped = False
        """Set once nothing more may be read: another lane has failed."""
        self._prefix = prefix
        self._observed_at = 0.0
        self._committing: asyncio.Task[None] | None = None
        self._stopping = False
        self.pipeline = Pipeline(
            delivery, to_record=self._record, max_records=settings.max_records, done=self._applied, fail=fail,
            turns=turns,
        )  # fmt: skip
        self._subscriber = self._subscribe(broker, topics, group, settings)

    def _subscribe(
        self, broker: KafkaBroker, topics: Sequence[str], group: str, settings: ConsumerSettings
    ) -> "_Subscriber":
        limits = self.delivery.limits
        subscriber = broker.subscriber(
            *topics,
            batch=True,
            group_id=group,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            batch_timeout_ms=POLL_MS,
            max_records=settings.max_records,
            max_partition_fetch_bytes=settings.max_partition_fetch_bytes,
            fetch_max_wait_ms=settings.fetch_max_wait_ms,
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            max_poll_interval_ms=int(limits.max_poll_interval_s * 1000),
            rebalance_timeout_ms=int(limits.max_poll_interval_s * 1000),
            listener=_Rebalances(),
            parser=_parse,
            decoder=_decode,
        )
        # FastStream offers no way to name the subscriber's class; this one only overrides start, poll and stop.
        subscriber.__class__ = _Subscriber
        assert isinstance(subscriber, _Subscriber)  # noqa: S101 - for the type checker
        subscriber.lane = self
        subscriber(self._handle)
        return subscriber

    async def _handle(self, _records: tuple[ConsumerRecord, ...]) -> None:
        await self.pipeline.apply()
        if self._stopping:
            await self.pipeline.settle()
            await self.settle()

    async def _applied(self, following: NextOffsets) -> None:
        faults.reach("before_offset_commit")
        await self.settle()
        self._committing = asyncio.create_task(self._commit(following), name="offset-commit")

    async def settle(self) -> None:
        """Waits for the commit under way. One at a time, so that offsets never go back.

        The next batch does not wait for it: what the commit tells Kafka, the database knows already.
        """
        committing, self._committing = self._committing, None
        if committing is not None:
            await committing

    def _record(self, raw: ConsumerRecord) -> Record:
        return Record(
            raw.topic.removeprefix(self._prefix),
            raw.partition,
            raw.offset,
            raw.key,
            raw.value,
            raw.headers,
            raw.timestamp,
        )

    async def _commit(self, following: NextOffsets) -> None:
        """Commits to Kafka what the database already has. A failure only means that the records come again."""
        consumer = self.consumer()
        if consumer is None:
            return
        offsets = {TopicPartition(self._prefix + t, p): offset for (t, p), offset in following.items()}
        mine = {place: offset for place, offset in offsets.items() if place in consumer.assignment()}
        if len(mine) < len(offsets):
            _commit_failed("rebalanced")
        if not mine:
            return
        started = time.monotonic()
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT_S):
                await consumer.commit(mine)
        except (CommitFailedError, IllegalStateError):
            _commit_failed("rebalanced")
        except (KafkaError, TimeoutError) as error:
            _commit_failed(type(error).__name__)
        except Exception as error:
            _commit_failed(type(error).__name__, error)
        metrics.OFFSET_COMMIT_SECONDS.observe(time.monotonic() - started)

    def consumer(self) -> AIOKafkaConsumer | None:
        """The client, once it is connected."""
        return self._subscriber.consumer

    def stop_reading(self) -> None:
        """Nothing more is read, applied or committed: the worker has failed."""
        self.stopped = self.pipeline.stopped = True

    async def halt(self) -> None:
        """Lets the batch under way end; one that is backing off is given up and will be read again."""
        self._stopping = True
        self.delivery.interrupt()
        self.delivery.progress.rest()
        await self.pipeline.stop()
        await self.settle()

    async def polled(self, consumer: AIOKafkaConsumer) -> None:
        """Notes a poll; now and then reports how far behind each partition is."""
        self.delivery.progress.beat()
        now = time.monotonic()
        if now - self._observed_at < OBSERVE_EVERY_S:
            return
        self._observed_at = now
        for place in consumer.assignment():
            end = consumer.highwater(place)
            if end is not None:
                waiting = end - await _position(consumer, place, end)
                metrics.LAG.labels(place.topic.removeprefix(self._prefix), str(place.partition)).set(waiting)


class _Subscriber(BatchSubscriber):
    """FastStream's batch subscriber with a start that waits for the broker and a poll that does not sleep."""

    lane: Lane

    async def start(self) -> None:
        while True:
            try:
                await super().start()
            except (KafkaError, OSError) as error:
                log.warning("broker is not reachable", error=type(error).__name__)
                await self._drop_consumer()
                await asyncio.sleep(CONNECT_RETRY_S)
            else:
                return self.lane.has_joined.set()

    async def get_msg(self, consumer: AIOKafkaConsumer) -> tuple[ConsumerRecord, ...]:
        if self.lane.stopped:
            await asyncio.Event().wait()
        await self.lane.joined()
        await self.lane.polled(consumer)
        return await self.lane.pipeline.read(consumer)

    async def stop(self) -> None:
        await self.lane.stopping()
        try:
            async with asyncio.timeout(CLOSE_S):
                await super().stop()
        except TimeoutError:
            log.warning("consumer did not stop in time")

    async def _drop_consumer(self) -> None:
        consumer, self.consumer = self.consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(3):
                    await consumer.stop()


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    """Counts assignments. Nothing is to be done on revocation: a batch under way may commit, it is idempotent."""

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        pass

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        metrics.REBALANCES.inc()
        log.info("partitions assigned", partitions=sorted(f"{place.topic}-{place.partition}" for place in assigned))


async def _parse(records: tuple[ConsumerRecord, ...]) -> KafkaMessage:
    """One message for the whole batch, with nothing decoded: FastStream's own parser fails on odd headers."""
    return KafkaMessage(body=b"", raw_message=records, headers={}, message_id="", consumer=FAKE_CONSUMER)


async def _decode(message: KafkaMessage) -> Any:
    return message.raw_message


def _commit_failed(cause: str, unexpected: Exception | None = None) -> None:
    """Counts it. Nothing is lost: what Kafka was to be told, the database knows already."""
    metrics.OFFSET_COMMIT_FAILURES.labels(cause).inc()
    log.warning("offsets not committed; the records will come again", cause=cause, exc_info=unexpected)


async def _position(consumer: AIOKafkaConsumer, place: TopicPartition, end: int) -> int:
    """The offset that is read next: between two batches, the one after the last record dealt with."""
    with contextlib.suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(0.1):
            return min(end, int(await consumer.position(place)))
    return end
