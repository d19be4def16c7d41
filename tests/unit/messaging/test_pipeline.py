"""Reading ahead never loses a record, never applies one out of order, and never makes batches smaller."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError

from shared.messaging.delivery import BatchDelivery, Limits
from shared.messaging.errors import BrokerUnavailable
from shared.messaging.pipeline import Pipeline
from shared.messaging.record import NextOffsets, Record

PLACES = [TopicPartition("sales", 0), TopicPartition("sales", 1)]


def record(place: TopicPartition, offset: int) -> ConsumerRecord:
    return ConsumerRecord(
        topic=place.topic, partition=place.partition, offset=offset, timestamp=0, timestamp_type=0, key=None,
        value=b"%d" % offset, checksum=None, serialized_key_size=0, serialized_value_size=1, headers=(),
    )  # fmt: skip


class Log:
    """Two partitions that grow, read as aiokafka reads them: a position per partition that a seek moves."""

    def __init__(self, ends: int, chance: random.Random) -> None:
        self.positions = dict.fromkeys(PLACES, 0)
        self.ends = dict.fromkeys(PLACES, ends)
        self.chance = chance

    def assignment(self) -> set[TopicPartition]:
        return set(PLACES)

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.positions[place] = offset

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        for _ in range(self.chance.randrange(3)):
            await asyncio.sleep(0)
        place = self.chance.choice(PLACES)
        first = self.positions[place]
        last = min(self.ends[place], first + self.chance.randrange(1, max_records + 1))
        self.positions[place] = last
        await asyncio.sleep(0) if first == last else None
        return {place: [record(place, offset) for offset in range(first, last)]}


class Table:
    """Applies in memory what a database would; now and then it is away for longer than a batch may wait."""

    def __init__(self, chance: random.Random, failures: float) -> None:
        self.chance, self.failures = chance, failures
        self.seen: dict[int, list[int]] = defaultdict(list)
        self.next: NextOffsets = {}
        self.sizes: list[int] = []

    async def apply(self, items: Sequence[tuple[int, int]], following: NextOffsets) -> None:
        for _ in range(self.chance.randrange(6)):
            await asyncio.sleep(0)
        if self.chance.random() < self.failures:
            raise BrokerUnavailable("away")
        for partition, offset in items:
            self.seen[partition].append(offset)
        self.sizes.append(len(items))
        self.next = {**self.next, **following}


def made(table: Table, most: int = 7) -> tuple[Pipeline, list[BaseException]]:
    failed: list[BaseException] = []

    def decode(one: Record) -> tuple[int, int]:
        return one.partition, one.offset

    async def done(_: NextOffsets) -> None:
        await asyncio.sleep(0)

    delivery = BatchDelivery(
        decode=decode, apply=table.apply, dead_letters=None,  # type: ignore[arg-type]
        limits=Limits(retry_budget_s=0.0001, first_backoff_s=1),
    )  # fmt: skip
    pipeline = Pipeline(
        delivery, to_record=lambda r: Record(r.topic, r.partition, r.offset, r.key, r.value, r.headers, r.timestamp),
        max_records=most, done=done, fail=failed.append,
    )  # fmt: skip
    return pipeline, failed


@pytest.mark.parametrize("seed", range(40))
async def test_every_record_is_applied_in_the_order_of_its_partition_whatever_fails(seed: int) -> None:
    chance = random.Random(seed)
    log, table = Log(60, chance), Table(chance, failures=0.3 if seed % 2 else 0.0)
    pipeline, failed = made(table)
    async with asyncio.timeout(20):
        while any(table.next.get(("sales", place.partition), 0) < 60 for place in PLACES):
            if await pipeline.read(log):
                await pipeline.apply()
    await pipeline.stop()
    assert not failed
    for place in PLACES:
        assert table.seen[place.partition] == list(range(60))


async def test_a_batch_grows_while_the_one_before_it_is_applied() -> None:
    chance = random.Random(1)
    log, table = Log(0, chance), Table(chance, failures=0)
    gate = asyncio.Event()
    pipeline, _ = made(table, most=50)
    plain = table.apply

    async def slow(items: Sequence[tuple[int, int]], following: NextOffsets) -> None:
        await gate.wait()
        await plain(items, following)

    pipeline._delivery._apply = slow
    log.ends[PLACES[0]] = 1
    while not await pipeline.read(log):
        pass
    await pipeline.apply()
    reading = asyncio.create_task(pipeline.read(log))
    for end in range(2, 22):
        log.ends[PLACES[0]] = end
        for _ in range(20):
            await asyncio.sleep(0)
    assert not reading.done()
    gate.set()
    assert len(await reading) == 20
    await pipeline.apply()
    await pipeline.stop()
    assert table.sizes == [1, 20]


async def test_a_poll_that_fails_puts_back_what_was_read_before_it() -> None:
    chance = random.Random(2)
    log, table = Log(5, chance), Table(chance, failures=0)
    pipeline, _ = made(table)
    gate = asyncio.Event()
    plain, getmany = table.apply, log.getmany

    async def slow(items: Sequence[tuple[int, int]], following: NextOffsets) -> None:
        await gate.wait()
        await plain(items, following)

    pipeline._delivery._apply = slow
    while not (first := await pipeline.read(log)):
        pass
    await pipeline.apply()
    calls = 0

    async def failing(*, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KafkaConnectionError
        return await getmany(timeout_ms=timeout_ms, max_records=max_records)

    log.getmany = failing  # type: ignore[method-assign]
    pipeline._max_records = 1000
    with pytest.raises(KafkaConnectionError):
        await pipeline.read(log)
    gate.set()
    await pipeline.settle()
    applied = {place: [r.offset for r in first if r.partition == place.partition] for place in PLACES}
    for place in PLACES:
        assert log.positions[place] == len(applied[place])
    await pipeline.stop()


async def test_an_unreadable_record_stops_the_worker_and_commits_nothing_behind_it() -> None:
    chance = random.Random(3)
    log, table = Log(5, chance), Table(chance, failures=0)
    pipeline, failed = made(table)

    async def unreadable(**_: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a header's name")

    log.getmany = unreadable  # type: ignore[method-assign]
    assert await pipeline.read(log) == ()
    await pipeline.apply()
    assert [type(error) for error in failed] == [UnicodeDecodeError]
    assert table.sizes == []
    await pipeline.stop()
