"""The producer: acknowledged or refused within the deadline."""

import asyncio

import pytest

from shared.messaging.errors import BrokerUnavailable, PublishRejected
from shared.messaging.producer import EventProducer
from shared.messaging.record import Message
from tests.integration.messaging.conftest import read, sales


async def test_a_record_arrives_as_it_was_given(stack, topic_prefix, producer):
    at = await producer.publish("sales", b"tenant:1", b"{}", [("ce_id", b"1"), ("null", None), ("odd", b"\xff")])
    (record,) = await read(stack.kafka_bootstrap, f"{topic_prefix}sales", 1)
    assert at == ("sales", record.partition, record.offset)
    assert (record.key, record.value) == (b"tenant:1", b"{}")
    assert list(record.headers) == [("ce_id", b"1"), ("null", None), ("odd", b"\xff")]


async def test_many_records_keep_their_order_and_say_their_places(stack, topic_prefix, producer):
    placed = await producer.publish_many(sales([f"v{n}" for n in range(2000)]))
    records = await read(stack.kafka_bootstrap, f"{topic_prefix}sales", 2000)
    values = {(record.partition, record.offset): record.value.decode() for record in records}
    assert [values[at.partition, at.offset] for at in placed] == [f"v{n}" for n in range(2000)]
    for number in range(4):
        offsets = [at.offset for at in placed if at.partition == number]
        assert offsets == sorted(offsets)


async def test_without_a_broker_it_starts_refuses_in_time_and_stops():
    producer = EventProducer("127.0.0.1:9", deadline_s=0.3)
    await producer.start()
    async with asyncio.timeout(3):
        with pytest.raises(BrokerUnavailable):
            await producer.publish("sales", b"k", b"v")
        assert await producer.check() == "the broker does not acknowledge"
        await producer.stop()


async def test_a_topic_that_does_not_exist_is_an_outage_not_a_hang(stack):
    producer = EventProducer(stack.kafka_bootstrap, prefix="nobody-made-", deadline_s=0.5)
    await producer.start()
    async with asyncio.timeout(10):
        with pytest.raises(BrokerUnavailable):
            await producer.publish("sales", b"k", b"v")
        await producer.stop()


async def test_a_record_that_is_too_large_is_rejected_and_the_next_one_passes(producer):
    with pytest.raises(PublishRejected):
        await producer.publish("sales", b"k", b"x" * 3_000_000)
    with pytest.raises(PublishRejected):
        await producer.publish("sales", b"k", b"x" * 2_100_000)
    assert (await producer.publish("sales", b"k", b"x" * 2_000_000)).topic == "sales"


async def test_a_client_that_breaks_is_replaced(producer):
    await producer.publish("sales", b"k", b"v")
    broken = producer._client
    await broken.client.close()
    producer._replace(broken)
    assert (await producer.publish_many([Message("sales", b"k", b"v")]))[0].topic == "sales"
    assert producer._client is not broken
    assert producer.connected


async def test_giving_up_on_many_records_leaves_no_error_behind(producer):
    await producer.publish("sales", b"k", b"v")
    producer._deadline_s = 0.0
    with pytest.raises(BrokerUnavailable):
        await producer.publish_many(sales([f"v{n}" for n in range(100)]))
