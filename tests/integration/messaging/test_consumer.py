"""A worker on real Kafka and real Postgres: applied or dead-lettered, and only then committed."""

import asyncio

from shared.messaging.dead_letters import DeadLetterWriter
from shared.messaging.delivery import Limits
from shared.messaging.lane import GRACE_S, ConsumerSettings
from shared.messaging.record import Message
from shared.messaging.topics import create_topics
from shared.observability.health import Health
from tests.integration.messaging.conftest import WAIT_S, read, sales
from tests.support.waiting import until

IMPATIENT = Limits(retry_budget_s=1.0, first_backoff_s=0.05, longest_backoff_s=0.2)


async def test_a_poison_record_goes_to_the_dead_letter_topic_and_the_rest_is_applied(
    stack, topic_prefix, producer, workers, ledger
):
    placed = await producer.publish_many(
        [
            *sales(["a", b"\xff not text", "b", "bad for the database", "c"]),
            Message("sales", b"tenant:1", b"d", [("odd", b"\xff\xfe"), ("null", None)]),
        ]
    )
    worker = await workers.start()
    await ledger.until({"a", "b", "c", "d"})
    dead = sorted(await read(stack.kafka_bootstrap, f"{topic_prefix}sales.dead", 2), key=lambda r: r.value)
    await worker.broker.stop()
    origins = [dict(record.headers) for record in dead]
    assert [record.value for record in dead] == [b"bad for the database", b"\xff not text"]
    assert [(o["dead_reason"], o["dead_detail"]) for o in origins] == [
        (b"data_error", b"sqlstate 23514 (ledger_value_check)"),
        (b"invalid_payload", b"body: not_utf8"),
    ]
    assert [(int(o["dead_partition"]), int(o["dead_offset"])) for o in origins] == [placed[3][1:], placed[1][1:]]
    assert [record.key for record in dead] == [b"tenant:3", b"tenant:1"]
    assert {o["ce_id"] for o in origins} == {b"1", b"3"}
    ends: dict[int, int] = {}
    for at in placed:
        ends[at.partition] = max(ends.get(at.partition, 0), at.offset + 1)
    assert await workers.committed() == ends


class WatchedWriter(DeadLetterWriter):
    """Tells when writing has failed a few times."""

    failures = 0
    failed = asyncio.Event()

    async def write(self, dead):
        try:
            await super().write(dead)
        except BaseException:
            self.failures += 1
            if self.failures == 3:
                self.failed.set()
            raise


async def test_nothing_is_committed_while_the_dead_letter_topic_cannot_be_written(
    stack, topic_prefix, workers, ledger, producer, delete_topic
):
    await delete_topic(f"{topic_prefix}sales.dead")
    producer._deadline_s = 0.5
    await producer.publish_many(sales(["a", b"\xff", "b"]))
    writer = WatchedWriter(producer, "ledger_worker")
    await workers.start(limits=IMPATIENT, writer=writer)
    async with asyncio.timeout(WAIT_S):
        await writer.failed.wait()
    assert await workers.committed() == {}
    await create_topics(stack.kafka_bootstrap, prefix=topic_prefix)
    await ledger.until({"a", "b"})
    (dead,) = await read(stack.kafka_bootstrap, f"{topic_prefix}sales.dead", 1)
    assert dead.value == b"\xff"


async def test_a_programming_error_stops_the_worker_and_commits_nothing(workers, ledger, producer):
    def mistake(_items):
        raise KeyError("no such thing")

    ledger.before_apply = mistake
    await producer.publish_many(sales(["a"]))
    worker = await workers.start()
    health = Health()
    worker.register(health)
    async with asyncio.timeout(WAIT_S):
        await workers.fatal.wait()
    await producer.publish_many(sales(["b"]))
    calls = ledger.calls
    assert "KeyError" in str(worker.failure)
    assert (await health.live()).checks["worker"] == "stopped: Fatal"
    await worker.broker.stop()
    assert ledger.calls == calls == 1
    assert await workers.committed() == {}


async def test_a_batch_is_no_larger_than_asked_for(workers, ledger, producer):
    wanted = [f"v{n}" for n in range(1000)]
    await producer.publish_many(sales(wanted))
    await workers.start(settings=ConsumerSettings(max_records=64))
    await ledger.until(set(wanted))
    assert 32 <= ledger.largest <= 64


async def test_a_rebalance_while_applying_loses_and_doubles_nothing(workers, ledger, producer):
    applying, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_items):
        applying.set()
        await go_on.wait()

    ledger.before_apply = hold
    first = {f"v{n}" for n in range(200)}
    await producer.publish_many(sales(sorted(first)))
    one = await workers.start(settings=ConsumerSettings(max_records=50))
    async with asyncio.timeout(WAIT_S):
        await applying.wait()
    two = asyncio.create_task(workers.start(settings=ConsumerSettings(max_records=50)))
    ledger.before_apply = None
    go_on.set()
    two_worker = await asyncio.wait_for(two, WAIT_S)
    second = {f"w{n}" for n in range(200)}
    await producer.publish_many(sales(sorted(second)))
    await ledger.until(first | second)
    for worker in (one, two_worker):
        assert worker.failure is None
        await worker.broker.stop()
    assert sum((await workers.committed()).values()) == 400


async def test_a_database_outage_is_waited_for(workers, ledger, producer, stack, database):
    outages = iter([ConnectionResetError(), ConnectionRefusedError(), OSError("away")])

    def away(_items):
        if (error := next(outages, None)) is not None:
            raise error

    ledger.before_apply = away
    await producer.publish_many(sales(["a", "b"]))
    worker = await workers.start(limits=IMPATIENT)
    await ledger.until({"a", "b"})
    assert worker.failure is None


async def test_a_batch_whose_retries_ran_out_is_read_again(workers, ledger, producer):
    outages = iter([ConnectionResetError()] * 12)  # more than one budget holds

    def away(_items):
        if (error := next(outages, None)) is not None:
            raise error

    ledger.before_apply = away
    await producer.publish_many(sales(["a", "b"]))
    await workers.start(limits=Limits(retry_budget_s=0.3, first_backoff_s=0.05, longest_backoff_s=0.1))
    await ledger.until({"a", "b"})


async def test_readiness_waits_for_partitions_and_a_working_delivery(workers, ledger, producer):
    worker = await workers.start()
    health = Health()
    worker.register(health)
    assert (await health.ready()).ok
    await worker.broker.stop()
    report = await health.ready()
    assert report.checks["assignment"] == "no partitions assigned yet"
    assert (await health.live()).ok


async def test_two_lanes_apply_at_once_and_one_that_waits_keeps_no_other_back(workers, ledger, producer):
    waiting, go_on = [], asyncio.Event()

    async def hold_the_first(items):
        if not waiting:
            waiting.extend(items)
            await go_on.wait()

    worker = await workers.start(lanes=2)
    ledger.before_apply = hold_the_first
    wanted = {f"v{n}" for n in range(70)}
    await producer.publish_many(sales(sorted(wanted)))
    await until(ledger.values, seconds=WAIT_S, what="the other lane has applied something")
    assert waiting
    assert not await ledger.values() & set(waiting)
    go_on.set()
    await ledger.until(wanted)
    await worker.broker.stop()
    assert sum((await workers.committed()).values()) == 70


async def test_what_is_fatal_to_one_lane_stops_all(workers, ledger, producer):
    worker = await workers.start(lanes=2)

    def mistake(items):
        if "wrong" in items:
            raise KeyError("no such thing")

    ledger.before_apply = mistake
    await producer.publish_many(sales(["wrong"]))
    async with asyncio.timeout(WAIT_S):
        await workers.fatal.wait()
    await producer.publish_many(sales([f"v{n}" for n in range(20)]))
    await asyncio.sleep(1)
    await worker.broker.stop()
    assert await ledger.values() == set()
    assert await workers.committed() == {}


async def test_a_stop_waits_once_for_all_lanes(workers, ledger, producer):
    async def stand_still(_items):
        await asyncio.sleep(60)

    worker = await workers.start(lanes=2)
    ledger.before_apply = stand_still
    await producer.publish_many(sales([f"v{n}" for n in range(20)]))

    async def both_are_at_it() -> bool:
        return ledger.calls == 2

    await until(both_are_at_it, seconds=WAIT_S, what="both lanes are at it")
    began = asyncio.get_running_loop().time()
    await worker.broker.stop()
    assert asyncio.get_running_loop().time() - began < 2 * GRACE_S
    assert await workers.committed() == {}
