"""A gateway and a worker as real processes, started once for all end-to-end tests."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from cli.ports import RANGE, is_free
from shared.messaging.topics import create_topics, with_dead_letters
from tests.e2e.installation import Installation, environment
from tests.e2e.two_tenants import Scene, set_scene
from tests.stack import GATEWAY_PASSWORD, RFM_PASSWORD, Database, Stack
from tests.support.processes import Process


async def _administer(stack: Stack, statement: str) -> None:
    connection = await asyncpg.connect(stack.url("postgres").replace("+asyncpg", ""))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
async def e2e_database(stack: Stack, database_template: str) -> AsyncIterator[Database]:
    """The installation's database."""
    name = f"iacrm_e2e_{uuid.uuid4().hex[:12]}"
    await _administer(stack, f"create database {name} template {database_template}")
    yield Database(
        name=name,
        admin_url=stack.url(name),
        gateway_url=stack.url(name, "iacrm_gateway", GATEWAY_PASSWORD),
        rfm_url=stack.url(name, "iacrm_rfm", RFM_PASSWORD),
    )
    await _administer(stack, f"drop database if exists {name} with (force)")


@pytest.fixture(scope="session")
async def e2e_prefix(stack: Stack) -> AsyncIterator[str]:
    """The installation's topics."""
    prefix = f"e2e{uuid.uuid4().hex[:8]}-"
    await create_topics(stack.kafka_bootstrap, prefix=prefix)
    yield prefix
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic.full_name(prefix) for topic in with_dead_letters()])
    finally:
        await admin.close()


@pytest.fixture(scope="session")
async def installation(
    stack: Stack, e2e_database: Database, e2e_prefix: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """The running installation."""
    logs = tmp_path_factory.mktemp("services")
    services = [
        Process(name, environment(stack, url, e2e_prefix, port, logs), logs / f"{name}.log", port)
        for name, url in (
            ("api_gateway", e2e_database.gateway_url),
            ("importer", e2e_database.gateway_url),
            ("rfm_worker", e2e_database.rfm_url),
        )
        for port in [next(port for port in random.sample(RANGE, 500) if is_free(port))]
    ]
    try:
        await asyncio.gather(*(service.ready() for service in services))
        async with httpx.AsyncClient(base_url=services[0].url, timeout=40) as http:
            yield Installation(stack, e2e_database, e2e_prefix, http)
    finally:
        await asyncio.gather(*(service.stop() for service in services))


@pytest.fixture(scope="session")
async def scene(installation: Installation) -> Scene:
    """A tenant with one thing of every kind, settled, and others who try to reach it."""
    return await set_scene(installation)
