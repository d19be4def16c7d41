"""The outbox relay: in order, once per schema, and knowing where each row went."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import text

from shared.db.engine import transaction
from shared.messaging import outbox
from shared.messaging.dead_letters import Publisher
from shared.messaging.outbox import OutboxRelay, insert_outbox
from shared.messaging.producer import EventProducer
from shared.messaging.record import Message
from tests.integration.messaging.conftest import eventually, read

SCHEMA = "rfm"


def changes(count: int, keys: int = 10) -> list[Message]:
    return [Message("customers", b"tenant:%d" % (n % keys), b"%d" % n, [("ce_id", b"%d" % n)]) for n in range(count)]


async def append(engine, messages) -> list[int]:
    async with transaction(engine) as connection:
        return await insert_outbox(connection, SCHEMA, messages)


async def rows(engine) -> dict[int, tuple[int, int]]:
    """Published rows: id -> partition and offset."""
    async with engine.connect() as connection:
        found = await connection.execute(
            text(f'select id, partition, "offset" from {SCHEMA}.outbox where published_at is not null')
        )
        return {row.id: (row.partition, row.offset) for row in found}


async def all_published(engine, count: int) -> dict[int, tuple[int, int]]:
    async def enough() -> bool:
        return len(await rows(engine)) >= count

    await eventually(enough)
    return await rows(engine)


@pytest.fixture
async def start_relay(rfm_engine) -> AsyncIterator[Callable[[Publisher], Awaitable[OutboxRelay]]]:
    """Starts relays and stops them at the end, also of a test that fails."""
    async with AsyncExitStack() as running:

        async def start(publisher: Publisher) -> OutboxRelay:
            relay = OutboxRelay(rfm_engine, SCHEMA, publisher)
            await relay.start()
            running.push_async_callback(relay.stop)
            return relay

        yield start


async def test_ids_come_back_in_the_order_of_the_messages(rfm_engine):
    ids = await append(rfm_engine, changes(500))
    assert ids == sorted(ids)
    async with rfm_engine.connect() as connection:
        found = await connection.execute(text(f"select id, value from {SCHEMA}.outbox"))
        stored = {row.id: row.value for row in found}
    assert [stored[i] for i in ids] == [b"%d" % n for n in range(500)]


async def test_a_rolled_back_change_publishes_nothing(rfm_engine, producer):
    async with rfm_engine.connect() as connection:
        await insert_outbox(connection, SCHEMA, changes(3))
        await connection.rollback()
    assert await append(rfm_engine, []) == []
    assert await rows(rfm_engine) == {}


async def test_each_key_is_published_in_the_order_of_its_changes_with_its_place(
    stack, topic_prefix, producer, rfm_engine, start_relay
):
    messages = [*changes(2500), Message("customers", b"tenant:gone", None, [])]
    ids = []
    for start in range(0, len(messages), 400):
        ids += await append(rfm_engine, messages[start : start + 400])
    await start_relay(producer)
    places = await all_published(rfm_engine, len(messages))
    records = await read(stack.kafka_bootstrap, f"{topic_prefix}customers", len(messages))
    by_place = {(r.partition, r.offset): r for r in records}
    per_key = defaultdict(list)
    for outbox_id, message in zip(ids, messages, strict=True):
        record = by_place[places[outbox_id]]
        assert (record.key, record.value, list(record.headers)) == (message.key, message.value, list(message.headers))
        per_key[message.key].append((record.partition, record.offset))
    assert all(offsets == sorted(offsets) for offsets in per_key.values())


async def test_the_relay_is_woken_by_a_commit_of_another_process(rfm_engine, producer, start_relay, monkeypatch):
    monkeypatch.setattr(outbox, "POLL_S", 5.0)
    await start_relay(producer)
    await append(rfm_engine, changes(1))
    await all_published(rfm_engine, 1)
    loop = asyncio.get_running_loop()
    started = loop.time()
    await append(rfm_engine, changes(1))
    await all_published(rfm_engine, 2)
    assert loop.time() - started < 2.0


async def test_a_second_relay_takes_over_when_the_first_loses_its_connection(
    stack, topic_prefix, producer, rfm_engine, admin_engine, start_relay, monkeypatch
):
    monkeypatch.setattr(outbox, "TAKEOVER_PAUSE_S", 0.2)
    relays = [await start_relay(producer) for _ in range(2)]
    messages = changes(60)
    for start in range(0, 60, 10):
        await append(rfm_engine, messages[start : start + 10])
        await all_published(rfm_engine, start + 10)
        async with admin_engine.begin() as connection:
            ended = await connection.scalar(
                text(
                    "select count(pg_terminate_backend(pid)) from pg_locks where locktype = 'advisory' and granted "
                    "and database = (select oid from pg_database where datname = current_database())"
                )
            )
        assert ended == 1
    for relay in relays:
        assert await relay.check() is None
    records = await read(stack.kafka_bootstrap, f"{topic_prefix}customers", 60)
    last: dict[bytes, int] = {}
    for record in records:
        assert last.get(record.key, -1) < int(record.value)
        last[record.key] = int(record.value)
    assert sorted(last.values()) == list(range(50, 60))


async def test_rows_wait_while_the_broker_is_away(rfm_engine, stack, topic_prefix, start_relay):
    nowhere = EventProducer("127.0.0.1:9", prefix=topic_prefix, deadline_s=0.2)
    await nowhere.start()
    relay = await start_relay(nowhere)
    await append(rfm_engine, changes(3))
    relay.notify()
    await asyncio.sleep(1.0)
    await relay.stop()
    await nowhere.stop()
    assert await rows(rfm_engine) == {}


async def test_what_was_published_long_ago_is_deleted(rfm_engine, admin_engine, producer, start_relay):
    await append(rfm_engine, changes(2))
    async with admin_engine.begin() as connection:
        await connection.execute(
            text(
                f"update {SCHEMA}.outbox set published_at = now() - interval '8 days' where id = "
                f"(select min(id) from {SCHEMA}.outbox)"
            )
        )
    await start_relay(producer)

    async def old_one_gone() -> bool:
        async with admin_engine.connect() as connection:
            left = await connection.scalar(text(f"select count(*) from {SCHEMA}.outbox"))
        return left == len(await rows(rfm_engine)) == 1

    await eventually(old_one_gone)


async def test_a_tombstone_forgets_whom_it_names_once_it_is_published(
    rfm_engine, producer, start_relay, stack, topic_prefix
) -> None:
    person = Message("customers", b"tenant:ana", None, [("ce_subject", b"ana")])
    ids = await append(rfm_engine, [person, Message("customers", b"tenant:bob", b"{}", [("ce_subject", b"bob")])])
    await start_relay(producer)
    placed = await all_published(rfm_engine, 2)
    assert set(placed) == set(ids)
    async with rfm_engine.connect() as connection:
        kept = (await connection.execute(text(f"select key, headers from {SCHEMA}.outbox order by id"))).all()
    assert [tuple(row) for row in kept] == [("", []), ("tenant:bob", [["ce_subject", "bob"]])]
    sent = {record.key: record for record in await read(stack.kafka_bootstrap, f"{topic_prefix}customers", 2)}
    assert sent[b"tenant:ana"].value is None
    assert dict(sent[b"tenant:ana"].headers)["ce_subject"] == b"ana"
