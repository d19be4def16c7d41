"""The Kafka edge of a worker: one FastStream broker, one batch subscriber, offsets committed after the transaction.

FastStream's defaults are changed on purpose: manual acknowledgement, earliest offset, raw records, and a poll loop
that waits for its broker, never sleeps while records wait, and puts a failed batch back instead of losing it.
"""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import FAKE_CONSUMER, KafkaMessage
from faststream.kafka.subscriber.usecase import BatchSubscriber

from shared.events.catalogue import Topic
from shared.messaging import faults
from shared.messaging.delivery import BatchDelivery
from shared.messaging.pipeline import POLL_MS, Pipeline
from shared.messaging.record import NextOffsets, Record
from shared.observability import metrics
from shared.observability.health import Health
from shared.observability.logging import get_logger

MEBIBYTE = 1024 * 1024
COMMIT_TIMEOUT_S = 10.0
GRACE_S = 6.0
"""Seconds that a stop waits for the batch under way."""
CONNECT_RETRY_S = 1.0
OBSERVE_EVERY_S = 1.0
FETCH_STALE_S = 60.0

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


class WorkerConsumer:
    """Reads a worker's topics in batches and hands them to its delivery.

    `broker` goes into the worker's `AsgiFastStream`, which starts and stops it. When something fatal happens,
    `failure` is set, nothing more is read or committed, and `on_fatal` is called (by default: SIGTERM to this
    process, so that it stops cleanly); `__main__` then exits with a code that is not zero.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        service: str,
        topics: Sequence[Topic],
        delivery: BatchDelivery[Any],
        prefix: str = "",
        settings: ConsumerSettings | None = None,
        on_fatal: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._prefix = prefix
        self._delivery = delivery
        self._on_fatal = on_fatal or _terminate
        self._settings = settings or ConsumerSettings()
        self._observed_at = 0.0
        self._committing: asyncio.Task[None] | None = None
        self._stopping = False
        self.group = f"{prefix}{service}"
        self.failure: BaseException | None = None
        self.pipeline = Pipeline(
            delivery, to_record=self._record, max_records=self._settings.max_records, done=self._applied, fail=self.fail
        )
        self.broker = KafkaBroker(
            bootstrap,
            client_id=service,
            consumer_only=True,
            allow_auto_create_topics=False,
            apply_types=False,
            graceful_timeout=GRACE_S,
            logger=_framework_log(),
            log_level=logging.DEBUG,
        )
        self._subscriber = self._subscribe([topic.full_name(prefix) for topic in topics])

    def _subscribe(self, names: Sequence[str]) -> "_Subscriber":
        settings, limits = self._settings, self._delivery.limits
        subscriber = self.broker.subscriber(
            *names,
            batch=True,
            group_id=self.group,
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
        subscriber.worker = self
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
        consumer = self._consumer()
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

    def fail(self, error: BaseException) -> None:
        """Stops reading and committing for good, and tells the process."""
        self.failure = error
        log.critical("worker stops", error=str(error), exc_info=error)
        self._on_fatal(error)

    def _consumer(self) -> AIOKafkaConsumer | None:
        return self._subscriber.consumer

    def interrupt(self) -> None:
        """Called when the process stops: a batch that is backing off is given up and will be read again."""
        self._stopping = True
        self._delivery.interrupt()
        self._delivery.progress.rest()

    async def polled(self, consumer: AIOKafkaConsumer) -> None:
        """Notes a poll; now and then reports how far behind each partition is."""
        self._delivery.progress.beat()
        now = time.monotonic()
        if now - self._observed_at < OBSERVE_EVERY_S:
            return
        self._observed_at = now
        for place in consumer.assignment():
            end = consumer.highwater(place)
            if end is not None:
                waiting = end - await _position(consumer, place, end)
                metrics.LAG.labels(place.topic.removeprefix(self._prefix), str(place.partition)).set(waiting)

    def register(self, health: Health) -> None:
        """Adds this worker's checks to the process's health."""
        limits = self._delivery.limits
        stall_s = limits.apply_timeout_s + limits.longest_backoff_s + 30
        health.add_live("worker", self._check_failure)
        health.add_live("poll", self._delivery.progress.stuck(stall_s, "poll loop"))
        health.add_live("fetch", self._check_fetch)
        health.add_ready("assignment", self._check_assignment)
        health.add_ready("delivery", self._check_delivery)

    async def _check_failure(self) -> str | None:
        return f"stopped: {type(self.failure).__name__}" if self.failure else None

    async def _check_assignment(self) -> str | None:
        consumer = self._consumer()
        return None if consumer is not None and consumer.assignment() else "no partitions assigned yet"

    async def _check_delivery(self) -> str | None:
        return f"the current batch fails: {self._delivery.failing}" if self._delivery.failing else None

    async def _check_fetch(self) -> str | None:
        """aiokafka can get stuck after a broker's restart: the broker answers, but nothing is fetched any more."""
        consumer = self._consumer()
        if consumer is None or self._delivery.progress.idle_for is None or self._delivery.progress.idle_for > 1:
            return None
        fetched = [at for place in consumer.assignment() if (at := consumer.last_poll_timestamp(place))]
        if not fetched or time.time() - max(fetched) / 1000 < FETCH_STALE_S:
            return None
        return "nothing fetched although the broker answers" if await _reachable(self._bootstrap) else None


class _Subscriber(BatchSubscriber):
    """FastStream's batch subscriber with a start that waits for the broker and a poll that does not sleep."""

    worker: WorkerConsumer

    async def start(self) -> None:
        while True:
            try:
                return await super().start()
            except (KafkaError, OSError) as error:
                log.warning("broker is not reachable", error=type(error).__name__)
                await self._drop_consumer()
                await asyncio.sleep(CONNECT_RETRY_S)

    async def get_msg(self, consumer: AIOKafkaConsumer) -> tuple[ConsumerRecord, ...]:
        if self.worker.failure is not None:
            await asyncio.Event().wait()
        await self.worker.polled(consumer)
        return await self.worker.pipeline.read(consumer)

    async def stop(self) -> None:
        self.worker.interrupt()
        try:
            async with asyncio.timeout(GRACE_S + 3):
                await self.worker.pipeline.stop()
                await self.worker.settle()
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


def _framework_log() -> logging.Logger:
    """FastStream's own logger brings a handler along and announces every start; only its errors are of interest."""
    logger = logging.getLogger("shared.messaging.faststream")
    logger.setLevel(logging.ERROR)
    return logger


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


async def _reachable(bootstrap: str) -> bool:
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(1):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return True
    return False


def _terminate(_error: BaseException) -> None:
    signal.raise_signal(signal.SIGTERM)
