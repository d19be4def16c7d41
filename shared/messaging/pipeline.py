"""Reading ahead: while one batch is in the database, the next one is polled and decoded.

One batch is applied at a time and one is in the making; that one grows until the other is done, so reading ahead never
makes batches smaller. A batch that has to come again takes with it what was read after it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError

from shared.messaging.delivery import BatchDelivery, Decoded
from shared.messaging.errors import Transient
from shared.messaging.record import NextOffsets, Record
from shared.messaging.turns import Turns
from shared.observability import metrics
from shared.observability.logging import get_logger

POLL_MS = 200
"""Longest wait of one poll. Records end it at once, so it costs no latency."""

log = get_logger(__name__)


@dataclass(slots=True)
class Batch:
    """A batch in the making."""

    rewinds: int
    """How often the consumer had been rewound when this batch was begun."""
    decoded: Decoded[Any]
    raw: list[ConsumerRecord] = field(default_factory=list)
    error: Exception | None = None
    """Why it must stop the worker, once the batch before it is done."""


class Pipeline:
    """Polls, decodes and applies the batches of one consumer, in their order."""

    def __init__(
        self,
        delivery: BatchDelivery[Any],
        *,
        to_record: Callable[[ConsumerRecord], Record],
        max_records: int,
        done: Callable[[NextOffsets], Awaitable[None]],
        fail: Callable[[BaseException], None],
        turns: Turns | None = None,
    ) -> None:
        """Args:
        max_records: most records of a batch.
        done: called with the offsets to commit once a batch is dealt with.
        fail: called when the worker must stop; nothing more is applied then.
        turns: shared with the other lanes of the process.
        """
        self._turns = turns or Turns()
        self._delivery, self._to_record, self._max_records = delivery, to_record, max_records
        self._done, self._fail = done, fail
        self._consumer: AIOKafkaConsumer | None = None
        self._next: Batch | None = None
        self._polling: asyncio.Task[dict[TopicPartition, list[ConsumerRecord]]] | None = None
        self._applying: asyncio.Task[None] | None = None
        self._rewinds = 0
        self._rewound_to: dict[TopicPartition, int] = {}
        self.stopped = False
        """Set once nothing more may be applied."""
        self.backlogged = False
        """Whether the last batch was as large as a batch may be: more waits behind it."""

    async def read(self, consumer: AIOKafkaConsumer) -> tuple[ConsumerRecord, ...]:
        """Polls and decodes until the batch before is dealt with and it is this lane's turn, or this one is full.

        Nothing where nothing came.
        """
        self._consumer = consumer
        batch = self._begin()
        try:
            while True:
                records = await self._poll(consumer, self._max_records - len(batch.raw))
                if batch.rewinds != self._rewinds:
                    self._put_back([*batch.raw, *records])
                    batch = self._begin()
                    continue
                self._take(batch, records)
                if batch.error is not None or len(batch.raw) >= self._max_records:
                    break
                if not self._busy() and (not batch.raw or self._turns.take(self)):
                    break
        except Exception:
            self._put_back(batch.raw)
            raise
        finally:
            self._turns.leave(self)
        self._next = batch
        self.backlogged = len(batch.raw) >= self._max_records
        return tuple(batch.raw)

    async def apply(self) -> None:
        """Begins to apply the batch that was read last, once the one before is done."""
        batch, self._next = self._next, None
        await self.settle()
        if batch is not None and not self.stopped and self._may_be_applied(batch):
            self._rewound_to.clear()
            self._applying = asyncio.create_task(self._apply(batch), name="apply")
            self._applying.add_done_callback(lambda _: self._turns.release(self))
        else:
            self._turns.release(self)

    def _may_be_applied(self, batch: Batch) -> bool:
        if batch.rewinds != self._rewinds:
            self._put_back(batch.raw)
        elif batch.error is not None:
            self._stop(batch.error)
        else:
            return True
        return False

    async def settle(self) -> None:
        """Waits for the batch that is being applied."""
        if self._applying is not None:
            await self._applying

    async def stop(self) -> None:
        """Lets the batch under way end; what was read after it will be read again."""
        self.stopped = True
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
        await self.settle()
        self._turns.release(self)

    def _begin(self) -> Batch:
        return Batch(self._rewinds, self._delivery.decode([]))

    def _busy(self) -> bool:
        return self._applying is not None and not self._applying.done()

    async def _poll(self, consumer: AIOKafkaConsumer, room: int) -> Sequence[ConsumerRecord]:
        """Records as soon as there are any; none when the poll, the batch under way or a wait for a turn ends first."""
        if self._polling is None:
            poll = consumer.getmany(timeout_ms=POLL_MS, max_records=room)
            self._polling = asyncio.create_task(poll, name="poll")
        waited: set[asyncio.Future[Any]] = {self._polling}
        if self._applying is not None and not self._applying.done():
            waited.add(self._applying)
        patience_s = None
        if wait := self._turns.wait_of(self):
            waited.add(wait.turn)
            patience_s = max(0.0, wait.until - time.monotonic())
        await asyncio.wait(waited, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        # A rewind may have taken what the poll brought.
        polling = self._polling
        return self._polled() if polling is not None and polling.done() else ()

    def _polled(self) -> Sequence[ConsumerRecord]:
        """What a finished poll brought."""
        polling, self._polling = self._polling, None
        assert polling is not None  # noqa: S101 - the caller has seen it finished
        try:
            return list(chain.from_iterable(polling.result().values()))
        except (KafkaError, ConsumerStoppedError):
            raise
        except Exception as error:
            # aiokafka cannot read a record (a header name that is not UTF-8, say) and has lost count of those before
            # it. Going on could commit past records that nobody saw.
            self._stop(error)
            return ()

    def _take(self, batch: Batch, records: Sequence[ConsumerRecord]) -> None:
        batch.raw += records
        try:
            self._delivery.decode([self._to_record(record) for record in records], batch.decoded)
        except Exception as error:
            batch.error = error

    async def _apply(self, batch: Batch) -> None:
        try:
            await self._done(await self._delivery.deal_with(batch.decoded))
        except Transient as error:
            self._rewind(batch.raw, error)
        except Exception as error:
            self._stop(error)

    def _stop(self, error: BaseException) -> None:
        self.stopped = True
        self._fail(error)

    def _rewind(self, records: Sequence[ConsumerRecord], error: Transient) -> None:
        """Goes back to the start of a batch, so that it is read again with all that was read after it."""
        metrics.REDELIVERIES.inc()
        log.error("batch is put back", cause=str(error), records=len(records))
        self._rewinds += 1
        polled = self._polling is not None and self._polling.done() and not self._polling.exception()
        after = self._polled() if polled else ()
        self._put_back([*records, *after])

    def _put_back(self, records: Iterable[ConsumerRecord]) -> None:
        """Rewinds to before these records, and never past what an earlier rewind went back to."""
        for record in records:
            place = TopicPartition(record.topic, record.partition)
            self._rewound_to[place] = min(self._rewound_to.get(place, record.offset), record.offset)
        assigned = self._consumer.assignment() if self._consumer is not None else ()
        for place, offset in self._rewound_to.items():
            if place in assigned:
                self._consumer.seek(place, offset)  # type: ignore[union-attr]  # assigned by it
