"""Offsets are committed beside the next batch, one commit at a time, for the partitions that are still ours."""

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka import TopicPartition
from aiokafka.util import commit_structure_validate

from shared.events.catalogue import SALES
from shared.messaging.consumer import WorkerConsumer
from shared.messaging.delivery import BatchDelivery
from shared.messaging.record import Record, next_offsets


class Nothing(BatchDelivery[bytes]):
    """Every batch is dealt with; the next offset grows by one."""

    def __init__(self) -> None:
        self.offset = 0
        super().__init__(decode=lambda record: record.value or b"", apply=None, dead_letters=None)  # type: ignore[arg-type]

    async def handle(self, records: Sequence[Record]) -> dict[tuple[str, int], int]:
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


def reader() -> tuple[WorkerConsumer, Consumer]:
    worker, consumer = WorkerConsumer("nowhere:1", service="test", topics=[SALES], delivery=Nothing()), Consumer()
    worker._subscriber.consumer = consumer
    return worker, consumer


async def test_a_rebalance_that_takes_every_partition_away_spoils_no_later_commit():
    worker, consumer = reader()
    await worker._handle(())
    await asyncio.sleep(0)
    consumer.mine = {TopicPartition("sales", 0)}
    await worker._handle(())
    await worker._handle(())
    await worker.settle()
    assert consumer.committed == [2, 3]


async def test_a_commit_that_fails_unexpectedly_is_reported_once():
    worker, consumer = reader()
    consumer.mine = {TopicPartition("sales", 0)}
    consumer.errors = [RuntimeError("unexpected")]
    await worker._handle(())
    with pytest.raises(RuntimeError):
        await worker.settle()
    await worker._handle(())
    await worker.settle()
    assert consumer.committed == [2]
