"""Dead letters: what could not be applied, kept with its origin and reason, to be inspected and replayed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from shared.messaging.errors import BrokerUnavailable, DeadReason, PublishRejected
from shared.messaging.record import Headers, Message, Record, RecordMetadata
from shared.observability import metrics
from shared.observability.logging import get_logger

SUFFIX = ".dead"
HEADER_PREFIX = "dead_"
LONGEST_DETAIL = 500
ROOM_FOR_HEADERS = 16 * 1024
"""Bytes by which a dead letter may outgrow its original."""
LARGEST_KEPT = 2 * 1024 * 1024
"""Bytes of a record that fit into a dead letter. A broker measures what is sent: compressed, a record may be larger."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Dead:
    """A record that can never be applied, and why."""

    record: Record
    reason: DeadReason
    detail: str


class Publisher(Protocol):
    """The part of the producer that dead letters and the relay need."""

    async def publish_many(self, messages: Sequence[Message], /) -> list[RecordMetadata]:
        """Publishes in order and waits for every acknowledgement."""


def utc_now() -> datetime:
    """The present moment, with its zone."""
    return datetime.now(UTC)


def dead_message(dead: Dead, service: str, at: datetime) -> Message:
    """The dead-letter record: the original key, value and headers, and `dead_*` headers about them.

    Of a record that is too large only these headers are kept, with its size: it stays where they say it was.
    """
    record = dead.record
    about = {
        "reason": dead.reason.value,
        "detail": dead.detail[:LONGEST_DETAIL],
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "at": at.isoformat(),
        "service": service,
    }
    size = _size(record)
    if size > LARGEST_KEPT:
        about["size"] = str(size)
        return Message(record.topic + SUFFIX, None, b"", [(HEADER_PREFIX + k, v.encode()) for k, v in about.items()])
    headers = [*original_headers(record.headers), *((HEADER_PREFIX + k, v.encode()) for k, v in about.items())]
    # Kafka has no record without key and value; an empty value stands for one that came that way.
    value = b"" if record.key is None and record.value is None else record.value
    return Message(record.topic + SUFFIX, record.key, value, headers)


def _size(record: Record) -> int:
    """Bytes, with room for the lengths that stand before each header."""
    headers = sum(len(name.encode()) + len(value or b"") + 10 for name, value in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def original_headers(headers: Headers) -> Headers:
    """The headers without those that a dead-letter writer adds."""
    return [(name, value) for name, value in headers if not name.startswith(HEADER_PREFIX)]


class DeadLetterWriter:
    """Writes dead letters beside their topics and returns once the broker has them."""

    def __init__(self, producer: Publisher, service: str, now: Callable[[], datetime] = utc_now) -> None:
        self._producer = producer
        self._service = service
        self._now = now

    async def write(self, dead: Sequence[Dead]) -> None:
        """Writes all of them.

        Raises:
            BrokerUnavailable: not all were acknowledged; some may have been written.
        """
        if not dead:
            return
        at = self._now()
        try:
            await self._producer.publish_many([dead_message(each, self._service, at) for each in dead])
        except PublishRejected as error:
            raise BrokerUnavailable(f"dead-letter topic refuses: {error}") from error
        for each in dead:
            record = each.record
            metrics.DEAD_LETTERS.labels(record.topic, each.reason.value).inc()
            log.error(
                "record dead-lettered",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=each.reason.value,
                detail=each.detail[:LONGEST_DETAIL],
            )
