"""The producer: a record is acknowledged by all in-sync replicas or refused within a deadline."""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTopicError, KafkaError, MessageSizeTooLargeError, TopicAuthorizationFailedError

from shared.messaging.dead_letters import ROOM_FOR_HEADERS
from shared.messaging.errors import BrokerUnavailable, PublishRejected
from shared.messaging.record import Headers, Message, RecordMetadata
from shared.observability import metrics
from shared.observability.logging import get_logger

DEADLINE_S = 4.0
"""Seconds that one publish may take: a request is answered 503 within 5 s when the broker is away."""
STOP_TIMEOUT_S = 5.0
STUCK_AFTER_S = 30.0
"""Seconds of failures without one acknowledgement after which the client is replaced: it is known to get stuck."""
CONNECT_RETRY_S = 0.5
BATCH_BYTES = 512 * 1024
"""Largest batch per partition: 500 sales of 2 KB over 4 partitions leave in one request."""
RECORD_BYTES = 2 * 1024 * 1024 + ROOM_FOR_HEADERS
"""Largest record that is handed to the broker, which has the last word per topic."""

_REJECTED = (MessageSizeTooLargeError, InvalidTopicError, TopicAuthorizationFailedError)

log = get_logger(__name__)


class EventProducer:
    """Publishes records with acks=all and idempotence, through one client that is replaced when it breaks.

    It may be used before the broker is up: the client connects in the background. A record whose deadline passed
    may still land later, so consumers rely on natural keys, never on a publish that failed.
    """

    def __init__(
        self, bootstrap: str, *, prefix: str = "", client_id: str = "iacrm", deadline_s: float = DEADLINE_S
    ) -> None:
        self._bootstrap = bootstrap
        self._prefix = prefix
        self._client_id = client_id
        self._deadline_s = deadline_s
        self._client: AIOKafkaProducer | None = None
        self._connected = asyncio.Event()
        self._connecting: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._failing_since: float | None = None
        self._stopped = True

    async def start(self) -> None:
        """Begins to connect; returns at once."""
        self._stopped = False
        self._connecting = asyncio.create_task(self._connect(), name="producer-connect")

    async def stop(self) -> None:
        """Sends what is buffered and disconnects; gives up after `STOP_TIMEOUT_S`."""
        self._stopped = True
        if self._connecting is not None:
            # An attempt under way is let finish first: cancelled in its middle, aiokafka leaves a connection open.
            _, unfinished = await asyncio.wait({self._connecting}, timeout=STOP_TIMEOUT_S)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        self._connected.clear()
        client, self._client = self._client, None
        if client is not None:
            await _close(client)
        await asyncio.gather(*self._closing)

    @property
    def connected(self) -> bool:
        """Whether the client is connected and its last publish was not a failure."""
        return self._connected.is_set() and self._failing_since is None

    async def check(self) -> str | None:
        """Readiness check."""
        return None if self.connected else "the broker does not acknowledge"

    async def publish(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> RecordMetadata:
        """Publishes one record and waits for its acknowledgement.

        Args:
            topic: name without the installation's prefix.
            key: decides the partition; None spreads.
            value: payload; None is a tombstone.
            headers: pairs of name and bytes.

        Raises:
            BrokerUnavailable: no acknowledgement within the deadline.
            PublishRejected: this record will never be accepted.
        """
        (metadata,) = await self.publish_many((Message(topic, key, value, headers),))
        return metadata

    async def publish_many(self, messages: Sequence[Message]) -> list[RecordMetadata]:
        """Publishes records pipelined, in order within each partition, and waits for all acknowledgements.

        All under one deadline; on failure some of the records may have landed.

        Raises:
            BrokerUnavailable: not all were acknowledged within the deadline.
            PublishRejected: one of the records will never be accepted.
        """
        started = time.monotonic()
        client: AIOKafkaProducer | None = None
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._connected.wait()
                client = self._client
                acknowledged = await self._send(client, messages)
        except TimeoutError:
            self._failed(client, "deadline", len(messages))
            raise BrokerUnavailable(f"no acknowledgement within {self._deadline_s:g} s") from None
        except _REJECTED as error:
            metrics.PUBLISH_FAILURES.labels("rejected").inc(len(messages))
            raise PublishRejected(type(error).__name__) from error
        except KafkaError as error:
            self._failed(client, "producer", len(messages), error)
            raise BrokerUnavailable(type(error).__name__) from error
        self._failing_since = None
        metrics.PUBLISH_SECONDS.observe(time.monotonic() - started)
        _count(acknowledged)
        return acknowledged

    async def _send(self, client: AIOKafkaProducer, messages: Sequence[Message]) -> list[RecordMetadata]:
        prefix = self._prefix
        futures: list[asyncio.Future[Any]] = []
        try:
            for topic, key, value, headers in messages:
                futures.append(await client.send(prefix + topic, value, key, headers=headers))
            # One after the other: most are done once the first one is, and gathering costs a callback for each.
            done = [await future for future in futures]
        except BaseException:
            _forget(futures)
            raise
        return [
            RecordMetadata(message.topic, at.partition, at.offset) for message, at in zip(messages, done, strict=True)
        ]

    def _failed(
        self, client: AIOKafkaProducer | None, cause: str, records: int, error: KafkaError | None = None
    ) -> None:
        """Counts a failure and replaces a client that will not recover by itself.

        Errors that reach a publish are past aiokafka's own retries. After some of them, such as an out-of-order
        sequence, every later send of the same client fails too, so any of them is reason enough.
        """
        metrics.PUBLISH_FAILURES.labels(cause).inc(records)
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            log.warning("publish failed", cause=cause, error=type(error).__name__ if error else None)
        stuck = now - self._failing_since > STUCK_AFTER_S
        if client is not None and client is self._client and (error is not None or stuck):
            self._replace(client)

    def _replace(self, client: AIOKafkaProducer) -> None:
        metrics.PRODUCER_RECREATED.inc()
        log.warning("producer is replaced")
        self._failing_since = time.monotonic()
        self._connected.clear()
        self._client = None
        closing = asyncio.create_task(_close(client), name="producer-close")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        if not self._stopped:
            self._connecting = asyncio.create_task(self._connect(after=closing), name="producer-connect")

    async def _connect(self, after: asyncio.Task[None] | None = None) -> None:
        """Connects until it works. The old client is closed first, so that its records cannot overtake new ones."""
        if after is not None:
            await asyncio.shield(after)
        while not self._stopped:
            client = self._build()
            try:
                async with asyncio.timeout(10):
                    await client.start()
            except asyncio.CancelledError:
                await _close(client)
                raise
            except Exception as error:
                # Whatever it is: without a next attempt this process would never publish again.
                log.warning("broker is not reachable", error=type(error).__name__)
                await _close(client)
                await asyncio.sleep(CONNECT_RETRY_S)
            else:
                self._client = client
                self._connected.set()
                return

    def _build(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=BATCH_BYTES,
            max_request_size=RECORD_BYTES,
            request_timeout_ms=10_000,
            retry_backoff_ms=50,
            metadata_max_age_ms=60_000,
        )


async def _close(client: AIOKafkaProducer) -> None:
    """Closes a client, which may hang with a broker that is away, within a time limit."""
    with contextlib.suppress(TimeoutError, KafkaError, OSError):
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await client.stop()
            return
    # aiokafka leaves its sender running then, which would try the dead connection for ever.
    sender = client._sender.sender_task
    if sender is not None:
        sender.cancel()
    with contextlib.suppress(TimeoutError, KafkaError, OSError):
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await client.client.close()


def _forget(futures: Iterable[asyncio.Future[Any]]) -> None:
    """Takes the outcome of records nobody waits for any more, so that it is not reported as never retrieved."""
    for future in futures:
        future.cancel()
        if future.done() and not future.cancelled():
            future.exception()


def _count(acknowledged: Sequence[RecordMetadata]) -> None:
    if len(acknowledged) == 1:
        metrics.PUBLISHED.labels(acknowledged[0].topic).inc()
        return
    topics = [at.topic for at in acknowledged]
    for topic in set(topics):
        metrics.PUBLISHED.labels(topic).inc(topics.count(topic))
