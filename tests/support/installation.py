"""One installation of the product for one test: its own database, topics and processes, on shared servers."""

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient

from shared.events.catalogue import SALES
from shared.messaging.producer import EventProducer
from shared.messaging.record import Message
from shared.messaging.topics import create_topics, with_dead_letters
from tests.stack import GATEWAY_PASSWORD, RFM_PASSWORD, ROOT, Stack
from tests.support.processes import Process
from tests.support.sales_stream import Fact
from tests.support.waiting import until

CHUNK = 500
APPLY_S = 60.0
QUICK_GROUP = {"IACRM_SESSION_TIMEOUT_S": "2"}
"""A killed worker's partitions are free after this, so that a test waits 2 s for them and not 10."""

_ports = count(20_000 + os.getpid() % 5_000)


@dataclass
class Installation:
    """Its processes are killed when the test ends; what it asks the servers goes past the product's own code."""

    stack: Stack
    database: str
    prefix: str
    folder: Path
    tenant_id: UUID = field(default_factory=uuid.uuid4)
    url: str = ""
    """Of the gateway that a fixture has started, where one did."""
    produced: dict[tuple[str, int], int] = field(default_factory=dict)
    """Per topic and partition the offset after the last record that this test produced itself."""
    _processes: list[Process] = field(default_factory=list)

    @property
    def bootstrap(self) -> str:
        return self.stack.kafka_bootstrap

    def environment(self, service: str, settings: Mapping[str, str]) -> dict[str, str]:
        """What a service of this installation is told."""
        role, password = {
            "api_gateway": ("iacrm_gateway", GATEWAY_PASSWORD),
            "importer": ("iacrm_gateway", GATEWAY_PASSWORD),
            "rfm_worker": ("iacrm_rfm", RFM_PASSWORD),
        }[service]
        return {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "IACRM_DATABASE_URL": self.stack.url(self.database, role, password),
            "IACRM_KAFKA_BOOTSTRAP": self.bootstrap,
            "IACRM_TOPIC_PREFIX": self.prefix,
            "IACRM_IMPORT_STORAGE": str(self.folder / "imports"),
            "IACRM_IMPORT_WORK": str(self.folder / "import-work"),
            **{name: value for name, value in os.environ.items() if name == "IACRM_TEST_RUN"},
            **settings,
        }

    def worker(self, **settings: str) -> Process:
        """Starts an rfm worker; settings are given without their prefix, in lower case."""
        return self._start("rfm_worker", {**QUICK_GROUP, **_upper(settings)})

    def gateway(self, **settings: str) -> Process:
        """Starts a gateway."""
        return self._start("api_gateway", _upper(settings))

    def importer(self, **settings: str) -> Process:
        """Starts an importer; another one takes over what it leaves after 3 s."""
        return self._start("importer", {"IACRM_IMPORT_LEASE_S": "3", "IACRM_IMPORT_POLL_S": "0.1", **_upper(settings)})

    def _start(self, service: str, settings: Mapping[str, str]) -> Process:
        port = _free_port()
        environment = {**self.environment(service, settings), "IACRM_PORT": str(port)}
        log = self.folder / f"{service}.{len(self._processes)}.log"
        process = Process(service, environment, log, port)
        self._processes.append(process)
        return process

    async def run(self, module: str, *arguments: str, service: str = "rfm_worker") -> str:
        """Runs `python -m module` with the settings of a service; answers what it printed, fails when it fails."""
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-P", "-m", module, *arguments], cwd=ROOT,
            env=self.environment(service, {}), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{module} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def kill_all(self) -> None:
        """Ends every process that was started."""
        for process in self._processes:
            process.kill()

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[EventProducer]:
        """A producer as upstream systems have one."""
        producer = EventProducer(self.bootstrap, prefix=self.prefix, client_id="upstream")
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def produce(self, facts: Sequence[Fact], *, per_second: float | None = None) -> None:
        """Produces facts in their order, at once or at a rate, and notes where they went."""
        async with self.producer() as producer:
            for start in range(0, len(facts), CHUNK):
                chunk = facts[start : start + CHUNK]
                await self.publish(producer, [fact.message(self.tenant_id) for fact in chunk])
                if per_second is not None:
                    await asyncio.sleep(len(chunk) / per_second)

    async def publish(self, producer: EventProducer, messages: Sequence[Message]) -> None:
        """Publishes messages and notes where they went."""
        for at in await producer.publish_many(messages):
            place = (at.topic, at.partition)
            self.produced[place] = max(self.produced.get(place, 0), at.offset + 1)

    async def query(self, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Rows of a query as the superuser, on a connection of its own."""
        connection = await asyncpg.connect(self.stack.url(self.database).replace("+asyncpg", ""), timeout=10)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
            return rows
        finally:
            await connection.close()

    async def applied(self) -> dict[tuple[str, int], int]:
        """Per topic and partition the offset after the last record that the worker's database has."""
        rows = await self.query("select topic, partition, next_offset from rfm.applied_offset")
        return {(row["topic"], row["partition"]): row["next_offset"] for row in rows}

    async def applied_sales(self) -> int:
        """How many records of the topic `sales` are applied."""
        return sum(offset for (topic, _), offset in (await self.applied()).items() if topic == SALES.name)

    async def all_applied(self, seconds: float = APPLY_S) -> None:
        """Waits until everything that this test produced is applied."""

        async def missing() -> dict[tuple[str, int], int]:
            applied = await self.applied()
            return {at: end for at, end in self.produced.items() if applied.get(at, 0) < end}

        async def done() -> bool:
            return not await missing()

        try:
            await until(done, seconds=seconds, what="everything produced is applied")
        except AssertionError as error:
            logs = "\n".join(f"--- {each.log.name}\n{each.tail(15)}" for each in self._processes)
            raise AssertionError(f"{error}; waiting: {await missing()}\n{logs}") from None

    async def committed(self, group: str = "rfm_worker") -> dict[int, int]:
        """Per partition the offset that the worker's group has committed to Kafka for the topic `sales`."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            offsets = await admin.list_consumer_group_offsets(f"{self.prefix}{group}")
        finally:
            await admin.close()
        name = SALES.full_name(self.prefix)
        return {place.partition: at.offset for place, at in offsets.items() if place.topic == name and at.offset > 0}

    async def committed_sales(self, group: str = "rfm_worker") -> int:
        """Sum of these offsets."""
        return sum((await self.committed(group)).values())


@asynccontextmanager
async def installed(stack: Stack, template: str, folder: Path) -> AsyncIterator[Installation]:
    """A fresh installation; afterwards its processes, database and topics are gone."""
    name = f"iacrm_fault_{uuid.uuid4().hex[:12]}"
    await administer(stack, f"create database {name} template {template}")
    prefix = f"f{uuid.uuid4().hex[:8]}-"
    await create_topics(stack.kafka_bootstrap, prefix=prefix)
    installation = Installation(stack, name, prefix, folder)
    try:
        yield installation
    finally:
        installation.kill_all()
        await administer(stack, f"drop database if exists {name} with (force)")
        await _delete_topics(stack.kafka_bootstrap, prefix)


async def migrated_template(stack: Stack) -> str:
    """Makes a migrated database on these servers, to be copied by `installed`; answers its name."""
    name = f"iacrm_fault_template_{os.getpid()}"
    await administer(stack, f"drop database if exists {name} with (force)", f"create database {name}")
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "IACRM_ADMIN_DATABASE_URL": stack.url(name),
        "IACRM_GATEWAY_DB_PASSWORD": GATEWAY_PASSWORD,
        "IACRM_RFM_DB_PASSWORD": RFM_PASSWORD,
    }
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "migrations"], cwd=ROOT, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return name


async def administer(stack: Stack, *statements: str) -> None:
    """Runs statements as the superuser, outside of any installation."""
    connection = await asyncpg.connect(stack.url("postgres").replace("+asyncpg", ""))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _delete_topics(bootstrap: str, prefix: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic.full_name(prefix) for topic in with_dead_letters()])
    finally:
        await admin.close()


def _upper(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"IACRM_{name.upper()}": value for name, value in settings.items()}


def _free_port() -> int:
    from cli.ports import is_free

    return next(port for port in _ports if is_free(port))
