"""The topics as a rebuild reads them: from an offset to an offset, outside of any consumer group."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from services.rfm_worker.rebuild.errors import RebuildError
from shared.events.catalogue import BY_NAME
from shared.messaging.record import Record
from shared.messaging.record import TopicPartition as Place

Offsets = Mapping[Place, int]

FETCH_BYTES = 8 * 1024 * 1024
POLL_MS = 1000
SILENT_POLLS = 30
"""Polls without a record after which the broker is said to be away."""
_NOTHING = (
    "Kafka delivers nothing any more. If its topics were lost and made anew, empty rfm.applied_offset and rebuild from "
    "the ledger."
)


class Log(Protocol):
    """Records by topic and partition."""

    async def beginnings(self, places: Sequence[Place]) -> dict[Place, int]:
        """The first offset that is still there, per place."""

    def read(self, start: Offsets, end: Offsets, most: int) -> AsyncIterator[list[Record]]:
        """The records of these places from `start` up to and without `end`, at most so many at a time."""


class KafkaLog:
    """The topics of an installation."""

    def __init__(self, bootstrap: str, prefix: str = "") -> None:
        self._bootstrap, self._prefix = bootstrap, prefix

    async def beginnings(self, places: Sequence[Place]) -> dict[Place, int]:
        """The first offset that is still there, per place.

        Raises:
            RebuildError: the broker is away, or has no such topic.
        """
        async with self._consumer(places) as consumer:
            try:
                found = await consumer.beginning_offsets([self._full(place) for place in places])
            except (KafkaError, TimeoutError) as error:
                raise RebuildError(f"Kafka does not answer ({type(error).__name__}).") from error
        return {(at.topic.removeprefix(self._prefix), at.partition): offset for at, offset in found.items()}

    async def read(self, start: Offsets, end: Offsets, most: int) -> AsyncIterator[list[Record]]:
        """The records of these places from `start` up to and without `end`, at most so many at a time.

        Raises:
            RebuildError: the broker is away.
        """
        waiting = {self._full(place) for place, offset in end.items() if start.get(place, 0) < offset}
        if not waiting:
            return
        async with self._consumer([(at.topic.removeprefix(self._prefix), at.partition) for at in waiting]) as consumer:
            for at in waiting:
                consumer.seek(at, start.get((at.topic.removeprefix(self._prefix), at.partition), 0))
            silent = 0
            while waiting:
                batches = await consumer.getmany(*waiting, timeout_ms=POLL_MS, max_records=most)
                silent = 0 if batches else silent + 1
                if silent > SILENT_POLLS:
                    raise RebuildError(_NOTHING)
                records = [self._record(raw) for batch in batches.values() for raw in batch]
                wanted = [record for record in records if record.offset < end[record.topic, record.partition]]
                if wanted:
                    yield wanted
                for at in list(waiting):
                    # Compaction leaves gaps: the place itself may be past the end where no record is.
                    if await consumer.position(at) >= end[at.topic.removeprefix(self._prefix), at.partition]:
                        waiting.remove(at)
                        consumer.pause(at)

    def _full(self, place: Place) -> TopicPartition:
        return TopicPartition(BY_NAME[place[0]].full_name(self._prefix), place[1])

    def _record(self, raw: ConsumerRecord) -> Record:
        return Record(
            raw.topic.removeprefix(self._prefix), raw.partition, raw.offset, raw.key, raw.value, raw.headers,
            raw.timestamp,
        )  # fmt: skip

    @asynccontextmanager
    async def _consumer(self, places: Sequence[Place]) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, client_id="rebuild", enable_auto_commit=False,
            auto_offset_reset="earliest", max_partition_fetch_bytes=FETCH_BYTES,
        )  # fmt: skip
        try:
            await consumer.start()
        except (KafkaError, OSError) as error:
            await consumer.stop()
            raise RebuildError(f"Kafka does not answer ({type(error).__name__}).") from error
        try:
            consumer.assign([self._full(place) for place in places])
            yield consumer
        finally:
            await consumer.stop()
