"""Guarantee 10: of an erased person nothing is left in any table, topic or log, nor after everything is read again."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from cli.paths import log_folder
from services.rfm_worker.verification.run import verify
from shared.db.engine import create_engine
from shared.events.catalogue import CUSTOMERS, consumed_by
from shared.messaging.topics import with_dead_letters
from tests.e2e.installation import TOKEN, Installation, a_database, expect, joined_tokens, running, start, topics
from tests.stack import Database, Stack
from tests.support.topics import administration, configure_topic, read_topic
from tests.support.waiting import until

BY_DESIGN = {"sales", "customer-segments"}
"""Topics that keep what happened for ever, and a customer's code with it; see docs/personal-data.md."""
CLEANED_AT_ONCE = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.0",
    "delete.retention.ms": "0",
    "max.compaction.lag.ms": "1",
}
CLEANING_S = 90.0


@dataclass(frozen=True)
class Person:
    """Somebody whose every string is found nowhere else."""

    code: str
    texts: tuple[str, ...]
    """Names and addresses in every form in which they were sent."""
    body: dict[str, Any]

    @classmethod
    def fresh(cls) -> "Person":
        mark = secrets.token_hex(6)
        first, last, email, phone = f"First{mark}", f"Last{mark}", f"{mark}@example.org", f"+33 {int(mark, 16)}"
        consent = {"status": "opted_in", "at": "2026-01-05T09:00:00Z", "source": f"desk{mark}"}
        body = {
            "customer_code": f"code-{mark}", "first_name": first, "last_name": last, "email": email, "phone": phone,
            "attributes": {"nick": f"Nick{mark}"}, "tags": [f"tag{mark}"], "consents": {"email": consent},
        }  # fmt: skip
        texts = (first, last, email, phone, f"Nick{mark}", f"tag{mark}", f"desk{mark}")
        return cls(f"code-{mark}", texts, body)


async def live_and_leave(installation: Installation, person: Person, stays: Person) -> dict[str, str]:
    """Both are written in every way there is, buy and bring back; bad requests name them too. One is erased."""
    tenant = await installation.register("Erasure everywhere")
    http, auth = installation.http, tenant.auth
    tokens: list[str] = []
    for who in (person, stays):
        path = f"/v1/customers/{who.code}"
        sale = {
            "sale_id": f"sale-{secrets.token_hex(6)}", "customer_code": who.code, "sold_at": "2026-10-01T10:00:00Z",
            "lines": [{"product_key": "P", "quantity": "2", "unit_price": "10"}],
        }  # fmt: skip
        back = {
            "return_id": f"return-{secrets.token_hex(6)}", "customer_code": who.code,
            "returned_at": "2026-10-02T10:00:00Z", "lines": [{"product_key": "P", "quantity": "1", "amount": "10"}],
        }  # fmt: skip
        once = {**auth, "Idempotency-Key": secrets.token_hex(8)}
        bulk = {**auth, "Idempotency-Key": secrets.token_hex(8)}
        bad = {**who.body, "email": who.texts[0]}
        writes = [
            await http.post("/v1/customers", json=who.body, headers=once),
            await http.patch(path, json={"language": "fr"}, headers=auth),
            await http.put(path, json={k: v for k, v in who.body.items() if k != "customer_code"}, headers=auth),
            await http.post("/v1/customers/bulk", json={"customers": [who.body, bad]}, headers=bulk),
            await http.post("/v1/sales", json=sale, headers=auth),
            await http.post(f"/v1/sales/{sale['sale_id']}/returns", json=back, headers=auth),
        ]
        assert all(write.is_success for write in writes), [write.text for write in writes]
        tokens += [write.headers[TOKEN] for write in writes]
        refused = [
            await http.post("/v1/customers", json=bad, headers={**auth, "Idempotency-Key": secrets.token_hex(8)}),
            await http.post("/v1/customers", json=who.body, headers=auth),
            await http.patch(path, json={"phone": who.texts[0]}, headers=auth),
            await http.get("/v1/customers", params={"q": who.texts[0], "limit": "0"}, headers=auth),
            await http.post("/v1/sales", json={**sale, "customer_code": who.texts[2]}, headers=auth),
        ]
        assert [answer.status_code for answer in refused] == [422, 409, 422, 422, 422]
    seen = {**auth, TOKEN: joined_tokens(*tokens), "Prefer": "wait=30"}
    for who in (person, stays):
        assert expect(await http.get("/v1/customers", params={"q": who.texts[1]}, headers=seen), 200)["items"]
        document = expect(await http.get(f"/v1/customers/{who.code}/export", headers=seen), 200)
        assert (document["customer"]["rfm"]["frequency"], len(document["sales"])) == (1, 1)
    erased = await http.delete(f"/v1/customers/{person.code}", headers=auth)
    assert erased.status_code == 204
    seen[TOKEN] = erased.headers[TOKEN]
    assert (await http.get(f"/v1/customers/{person.code}/export", headers=seen)).status_code == 404
    await installation.all_published()
    await installation.all_applied()
    return auth


async def tables_with(database: Database, texts: Sequence[str]) -> set[str]:
    """Tables of any schema, in any column of which one of the texts stands."""
    connection = await asyncpg.connect(database.admin_url.replace("+asyncpg", ""))
    try:
        rows = await connection.fetch(
            "select c.oid::regclass::text as name, array(select attname::text from pg_attribute a where "
            "a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.atttypid = 'bytea'::regtype) as binaries "
            "from pg_class c where c.relkind in ('r', 'm', 'p') and c.relpersistence <> 't' and "
            "c.relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema', 'pg_toast')"
        )
        found = set()
        for row in rows:
            binaries = "".join(f" || coalesce(encode(t.{name}, 'escape'), '')" for name in row["binaries"])
            matches = f"position(x in t::text{binaries}) > 0"
            query = f"select exists (select from {row['name']} t, unnest($1::text[]) x where {matches})"
            if await connection.fetchval(query, list(texts)):
                found.add(row["name"])
        return found
    finally:
        await connection.close()


async def topics_with(installation: Installation, texts: Sequence[str]) -> set[str]:
    """Topics, dead letters too, in a key, header or value of which one of the texts stands."""
    wanted = [text.encode() for text in texts]
    found = set()
    for topic in with_dead_letters():
        for record in await read_topic(installation.stack.kafka_bootstrap, topic.full_name(installation.prefix)):
            parts = [
                record.key,
                record.value,
                *(part for name, value in record.headers for part in (name.encode(), value)),
            ]
            if any(text in part for text in wanted for part in parts if part):
                found.add(topic.name)
    return found


def logs_with(folders: Sequence[Path], texts: Sequence[str]) -> set[str]:
    """Log files in which one of the texts stands."""
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert files
    return {file.name for file in files if any(text.encode() in file.read_bytes() for text in texts)}


async def clean_soon(stack: Stack, prefix: str) -> None:
    """Lets the broker compact the topic of customers within seconds."""
    await configure_topic(stack.kafka_bootstrap, CUSTOMERS.full_name(prefix), CLEANED_AT_ONCE)
    async with administration(stack.kafka_bootstrap) as admin:
        (broker,) = (await admin.describe_cluster())["brokers"]
        eager = {"log.cleaner.backoff.ms": "500"}
        await admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, str(broker["node_id"]), eager)])


async def cleaned(installation: Installation, auth: dict[str, str], texts: Sequence[str]) -> None:
    """Waits until compaction has taken the texts out of the topic of customers.

    Only closed segments are compacted, and a segment closes when a record comes after its time: others go on living.
    """

    async def gone() -> bool:
        others = {"customers": [{"customer_code": f"other-{number}"} for number in range(60)]}
        assert (await installation.http.post("/v1/customers/bulk", json=others, headers=auth)).is_success
        await installation.all_published()
        await asyncio.sleep(1)
        records = await read_topic(installation.stack.kafka_bootstrap, CUSTOMERS.full_name(installation.prefix))
        return not any(text.encode() in (r.key or b"") + (r.value or b"") for text in texts for r in records)

    await until(gone, seconds=CLEANING_S, what="the cleaner has run")


async def read_again(installation: Installation, database: Database, logs: Path) -> Installation:
    """Every topic, from its beginning, into an empty database."""
    group, names = (
        f"{installation.prefix}rfm_worker",
        [t.full_name(installation.prefix) for t in consumed_by("rfm_worker")],
    )
    places = {TopicPartition(name, number): 0 for name in names for number in range(CUSTOMERS.partitions)}
    consumer = AIOKafkaConsumer(
        bootstrap_servers=installation.stack.kafka_bootstrap, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign(list(places))

        async def set_back() -> bool:
            try:
                await consumer.commit(places)
            except KafkaError:
                return False  # the worker that was stopped is still a member
            return True

        await until(set_back, seconds=30, what="the group is at the beginning")
    finally:
        await consumer.stop()
    again = Installation(installation.stack, database, installation.prefix, installation.http)
    worker = start("rfm_worker", installation.stack, database, installation.prefix, logs)
    try:
        await worker.ready()
        await again.all_applied()
        engine = create_engine(database.rfm_url, application_name="verify", schema="rfm")
        report = await verify(engine)
        await engine.dispose()
        assert report, report.lines()
    finally:
        await worker.stop()
    return again


@pytest.mark.timeout(300)
async def test_nothing_of_an_erased_person_is_left_anywhere(
    stack: Stack, database_template: str, tmp_path: Path
) -> None:
    person, stays = Person.fresh(), Person.fresh()
    folders = [tmp_path, *([log_folder(stack.infrastructure.data)] if stack.infrastructure else [])]
    async with topics(stack) as prefix:
        await clean_soon(stack, prefix)
        async with (
            a_database(stack, database_template) as database,
            running(stack, database, prefix, tmp_path) as installation,
        ):
            auth = await live_and_leave(installation, person, stays)
            await cleaned(installation, auth, [person.code, *person.texts])
            assert await tables_with(database, [person.code, *person.texts]) == set()
            assert await topics_with(installation, person.texts) == set()
            assert await topics_with(installation, [person.code]) == BY_DESIGN
            # The same search finds somebody who was not erased, and everywhere where it should.
            assert await tables_with(database, [stays.texts[0]]) == {
                "gateway.customer", "gateway.outbox", "gateway.idempotency_key", "rfm.customer",
            }  # fmt: skip
            assert await tables_with(database, [stays.code]) >= {"rfm.sale", "rfm.customer_product", "rfm.outbox"}
            assert await topics_with(installation, [stays.texts[0]]) == {"customers"}
        async with a_database(stack, database_template) as database:
            again = await read_again(installation, database, tmp_path)
            assert await tables_with(database, [stays.texts[0]]) == {"rfm.customer"}
            assert await tables_with(database, [person.code, *person.texts]) == set()
            assert await topics_with(again, person.texts) == set()
            assert await topics_with(again, [person.code]) == BY_DESIGN
        assert logs_with(folders, [person.code, stays.code, *person.texts, *stays.texts]) == set()
