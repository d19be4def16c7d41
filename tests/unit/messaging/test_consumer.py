"""Offsets are committed beside the next batch, one commit at a time, for the partitions that are still ours."""

import asyncio

from aiokafka import TopicPartition
from aiokafka.util import commit_structure_validate

from shared.events.catalogue import SALES
from shared.messaging.consumer import WorkerConsumer
from shared.messaging.delivery import BatchDelivery, Decoded
from shared.messaging.lane import Lane
from shared.messaging.pipeline import Batch
from shared.messaging.record import Record, next_offsets
from shared.observability import metrics


class Nothing(BatchDelivery[bytes]):
    """Every batch is dealt with; the next offset grows by one."""

    def __init__(self) -> None:
        self.offset = 0
        super().__init__(decode=lambda record: record.value or b"", apply=None, dead_letters=None)  # type: ignore[arg-type]

    async def deal_with(self, decoded: Decoded[bytes]) -> dict[tuple[str, int], int]:
        self.offset += 1
        return next_offsets([Record("sales", 0, self.offset - 1, None, None, [], 0)])


class Consumer:
    """Commits what aiokafka would; the first attempts may fail."""

    def __init__(self) -> None:
        self.mine: set[TopicPartition] = set()
        self.errors: list[Exception] = []
        self.committed: list[int] = []

    def assignment(self) -> set[TopicPartition]:
        return self.mine

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        commit_structure_validate(offsets)
        if self.errors:
            raise self.errors.pop(0)
        self.committed += offsets.values()


def reader() -> tuple[WorkerConsumer, Lane, Consumer]:
    worker, consumer = WorkerConsumer("nowhere:1", service="test", topics=[SALES], deliveries=[Nothing()]), Consumer()
    (lane,) = worker.lanes
    lane._subscriber.consumer = consumer
    return worker, lane, consumer


async def one_batch(lane: Lane) -> None:
    lane.pipeline._next = Batch(0, Decoded(0))
    await lane._handle(())
    await lane.pipeline.settle()


async def test_a_rebalance_that_takes_every_partition_away_spoils_no_later_commit():
    _, lane, consumer = reader()
    await one_batch(lane)
    await asyncio.sleep(0)
    consumer.mine = {TopicPartition("sales", 0)}
    await one_batch(lane)
    await one_batch(lane)
    await lane.settle()
    assert consumer.committed == [2, 3]


async def test_a_commit_that_fails_unexpectedly_is_counted_and_the_next_one_goes_on():
    worker, lane, consumer = reader()
    consumer.mine = {TopicPartition("sales", 0)}
    consumer.errors = [RuntimeError("unexpected")]
    failures = metrics.OFFSET_COMMIT_FAILURES.labels("RuntimeError")
    before = failures._value.get()
    await one_batch(lane)
    await one_batch(lane)
    await lane.settle()
    assert consumer.committed == [2]
    assert failures._value.get() == before + 1
    assert worker.failure is None
