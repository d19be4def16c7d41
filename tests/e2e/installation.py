"""One installation of the product for a whole run: where it is, and what may be looked up behind its back."""

import asyncio
import base64
import json
import os
import random
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from cli.ports import RANGE, is_free
from shared.events.catalogue import Topic, consumed_by
from shared.messaging.topics import create_topics, with_dead_letters
from tests.stack import GATEWAY_PASSWORD, RFM_PASSWORD, ROOT, Database, Stack
from tests.support.processes import Process
from tests.support.topics import administration
from tests.support.waiting import until

JWT_KID = "e2e"
JWT_SECRET = "signing-secret-of-the-end-to-end-tests-as-long-as-any-algorithm-wants-it"
ERASURE_SECRET = "erasure-secret-of-the-end-to-end-tests"
PASSWORD = "a long pass phrase for tests"
TOKEN = "X-Consistency-Token"


@dataclass(frozen=True)
class Tenant:
    """A registered tenant with its owner's tokens."""

    tenant_id: str
    owner_id: str
    username: str
    access_token: str
    refresh_token: str

    @property
    def auth(self) -> dict[str, str]:
        """Headers of its owner."""
        return {"Authorization": f"Bearer {self.access_token}"}


class Installation:
    """A running gateway and worker over a database and topics of their own."""

    def __init__(self, stack: Stack, database: Database, prefix: str, http: httpx.AsyncClient) -> None:
        self.stack, self.database, self.prefix, self.http = stack, database, prefix, http

    @property
    def base_url(self) -> str:
        """Where the gateway listens."""
        return str(self.http.base_url).rstrip("/")

    async def register(self, name: str = "Shop", *, settings: Mapping[str, Any] | None = None) -> Tenant:
        """A fresh tenant."""
        username = f"owner-{secrets.token_hex(8)}"
        body: dict[str, Any] = {
            "tenant_name": name,
            "username": username,
            "email": f"{username}@example.org",
            "password": PASSWORD,
        }
        if settings is not None:
            body["settings"] = dict(settings)
        made = expect(await self.http.post("/v1/auth/register", json=body), 201)
        tokens = await self.log_in(username)
        return Tenant(
            made["tenant_id"], made["owner"]["user_id"], username, tokens["access_token"], tokens["refresh_token"]
        )

    async def log_in(self, username: str, password: str = PASSWORD) -> Any:
        """Tokens of a person."""
        form = {"username": username, "password": password}
        return expect(await self.http.post("/v1/auth/token", data=form), 200)

    async def api_key(self, tenant: Tenant, *scopes: str, name: str = "till") -> dict[str, str]:
        """Headers of a fresh API key; all scopes when none are named."""
        chosen = list(scopes) or ["read", "sales:write", "customers:write", "products:write", "campaigns:write"]
        body = {"name": name, "scopes": chosen}
        made = expect(await self.http.post("/v1/api-keys", json=body, headers=tenant.auth), 201)
        return {"X-API-Key": made["api_key"]}

    async def admin(self) -> asyncpg.Connection:
        """A connection of the superuser; the caller closes it."""
        return await asyncpg.connect(self.database.admin_url.replace("+asyncpg", ""))

    async def all_published(self) -> None:
        """Waits until the relay has published every entry of the gateway's outbox."""
        admin = await self.admin()
        query = "select not exists (select from gateway.outbox where published_at is null)"
        try:
            await until(lambda: admin.fetchval(query), seconds=20, what="the outbox is published")
        finally:
            await admin.close()

    async def all_applied(self) -> None:
        """Waits until the worker has applied every record that its topics hold now."""
        ends = await self.end_offsets()
        wanted = {topic.name: ends[topic.full_name(self.prefix)] for topic in consumed_by("rfm_worker")}
        admin = await self.admin()
        query = "select topic, sum(next_offset)::bigint as next from rfm.applied_offset group by topic"

        async def nothing_waits() -> bool:
            applied = {row["topic"]: row["next"] for row in await admin.fetch(query)}
            return all(applied.get(topic, 0) >= end for topic, end in wanted.items())

        try:
            await until(nothing_waits, seconds=30, what="the worker has applied everything")
        finally:
            await admin.close()

    async def all_refreshed(self) -> None:
        """Waits until the refresher has come by everybody: expected next orders in lists follow it."""
        admin = await self.admin()

        async def nobody_waits() -> bool:
            return not await admin.fetchval("select exists (select from rfm.customer_queue)")

        try:
            await until(nobody_waits, seconds=60, what="the refresher has come by everybody")
        finally:
            await admin.close()

    async def records(self, topic: Topic) -> list[tuple[int, str, bytes | None]]:
        """(offset, key, value) of everything in a topic, partition by partition."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.stack.kafka_bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            places = [TopicPartition(topic.full_name(self.prefix), number) for number in range(topic.partitions)]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            found: list[tuple[int, str, bytes | None]] = []
            for place in places:
                await consumer.seek_to_beginning(place)
                while await consumer.position(place) < ends[place]:
                    for record in (await consumer.getmany(place, timeout_ms=1000)).get(place, []):
                        found.append((record.offset, (record.key or b"").decode(), record.value))
            return found
        finally:
            await consumer.stop()

    async def end_offsets(self) -> dict[str, int]:
        """Topic -> records ever written to it, without the topics that the worker writes to by itself."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.stack.kafka_bootstrap)
        await consumer.start()
        try:
            places = [
                TopicPartition(topic.full_name(self.prefix), partition)
                for topic in with_dead_letters()
                if topic.producer != "rfm_worker"
                for partition in range(topic.partitions)
            ]
            consumer.assign(places)  # without it, asking takes a round of metadata that fails first
            ends = await consumer.end_offsets(places)
        finally:
            await consumer.stop()
        totals: dict[str, int] = {}
        for place, end in ends.items():
            totals[place.topic] = totals.get(place.topic, 0) + end
        return totals


def environment(stack: Stack, database_url: str, prefix: str, port: int, files: Path) -> dict[str, str]:
    """Settings of a service: production's code paths, limits wide enough for a suite from one address."""
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "PYTHONPATH": str(ROOT),
        "IACRM_HOST": "127.0.0.1",
        "IACRM_PORT": str(port),
        "IACRM_ENV": "production",
        "IACRM_KAFKA_BOOTSTRAP": stack.kafka_bootstrap,
        "IACRM_TOPIC_PREFIX": prefix,
        "IACRM_DATABASE_URL": database_url,
        "IACRM_IMPORT_STORAGE": str(files / "imports"),
        "IACRM_IMPORT_WORK": str(files / "import-work"),
        "IACRM_IMPORT_POLL_S": "0.1",
        "IACRM_ERASURE_SECRET": ERASURE_SECRET,
        "IACRM_JWT_SECRETS": json.dumps({JWT_KID: JWT_SECRET}),
        "IACRM_JWT_ACTIVE_KID": JWT_KID,
        "IACRM_PASSWORD_MEMORY_KIB": "8192",
        "IACRM_PASSWORD_TIME_COST": "1",
        "IACRM_REGISTRATIONS_PER_ADDRESS": "10000",
        "IACRM_LOGIN_FAILURES_PER_ADDRESS": "10000",
        "IACRM_RATE_LIMIT_REFUSED": "100000",
    }


async def _administer(stack: Stack, statement: str) -> None:
    connection = await asyncpg.connect(stack.url("postgres").replace("+asyncpg", ""))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def a_database(stack: Stack, template: str) -> AsyncIterator[Database]:
    """A migrated database, dropped afterwards."""
    name = f"iacrm_e2e_{secrets.token_hex(6)}"
    await _administer(stack, f"create database {name} template {template}")
    yield Database(
        name=name,
        admin_url=stack.url(name),
        gateway_url=stack.url(name, "iacrm_gateway", GATEWAY_PASSWORD),
        rfm_url=stack.url(name, "iacrm_rfm", RFM_PASSWORD),
    )
    await _administer(stack, f"drop database if exists {name} with (force)")


@asynccontextmanager
async def topics(stack: Stack) -> AsyncIterator[str]:
    """The prefix of a set of topics, deleted afterwards."""
    prefix = f"e2e{secrets.token_hex(4)}-"
    await create_topics(stack.kafka_bootstrap, prefix=prefix)
    yield prefix
    async with administration(stack.kafka_bootstrap) as admin:
        await admin.delete_topics([topic.full_name(prefix) for topic in with_dead_letters()])


def start(name: str, stack: Stack, database: Database, prefix: str, logs: Path) -> Process:
    """A service as a process; its log is a file in `logs`."""
    url = database.rfm_url if name == "rfm_worker" else database.gateway_url
    port = next(port for port in random.sample(RANGE, 500) if is_free(port))
    return Process(name, environment(stack, url, prefix, port, logs), logs / f"{name}-{port}.log", port)


@asynccontextmanager
async def running(stack: Stack, database: Database, prefix: str, logs: Path) -> AsyncIterator[Installation]:
    """A gateway, an importer and a worker, stopped afterwards."""
    services = [start(name, stack, database, prefix, logs) for name in ("api_gateway", "importer", "rfm_worker")]
    try:
        await asyncio.gather(*(service.ready() for service in services))
        async with httpx.AsyncClient(base_url=services[0].url, timeout=40) as http:
            yield Installation(stack, database, prefix, http)
    finally:
        await asyncio.gather(*(service.stop() for service in services))


def expect(response: httpx.Response, status: int) -> Any:
    """The JSON of an answer that must have this status."""
    assert response.status_code == status, f"{response.request.method} {response.request.url}: {response.text}"
    return response.json() if response.content else None


def joined_tokens(*tokens: str) -> str:
    """One consistency token for several writes."""
    entries = [entry for token in tokens for entry in json.loads(base64.urlsafe_b64decode(token + "=="))]
    newest: dict[tuple[str, int], dict[str, Any]] = {}
    rest = []
    for entry in entries:
        if "t" not in entry:
            rest.append(entry)
        elif entry["o"] >= newest.get((entry["t"], entry["p"]), entry)["o"]:
            newest[entry["t"], entry["p"]] = entry
    return base64.urlsafe_b64encode(json.dumps([*newest.values(), *rest]).encode()).decode().rstrip("=")
