"""Fixtures for every test: the real servers once per run, a migrated database and topics per test."""

import asyncio
import inspect
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.db.engine import create_engine
from shared.messaging.topics import create_topics, with_dead_letters
from tests.stack import GATEWAY_PASSWORD, RFM_PASSWORD, ROOT, Database, Stack, running_stack

LEFT_RUNNING_S = 2.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the choice of servers, and whether images are built."""
    parser.addoption(
        "--stack",
        choices=("embedded", "testcontainers"),
        default="embedded",
        help="real servers for the tests: embedded (default), or containers from "
        "IACRM_TEST_POSTGRES_IMAGE and IACRM_TEST_KAFKA_IMAGE",
    )
    parser.addoption("--containers", action="store_true", help="build and run the container images too")


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """PostgreSQL and Kafka, started once per run (or named by IACRM_TEST_PG_URL and IACRM_TEST_KAFKA)."""
    with running_stack(request.config.getoption("--stack")) as running:
        yield running


async def _administer(stack: Stack, *statements: str) -> None:
    connection = await asyncpg.connect(stack.url("postgres").replace("+asyncpg", ""))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
async def database_template(stack: Stack) -> AsyncIterator[str]:
    """A migrated database that the tests' own are copied from."""
    name = f"iacrm_template_{os.getpid()}"
    await _administer(stack, f"drop database if exists {name} with (force)", f"create database {name}")
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "IACRM_ADMIN_DATABASE_URL": stack.url(name),
        "IACRM_GATEWAY_DB_PASSWORD": GATEWAY_PASSWORD,
        "IACRM_RFM_DB_PASSWORD": RFM_PASSWORD,
    }
    migrated = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "migrations"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert migrated.returncode == 0, migrated.stderr
    yield name
    await _administer(stack, f"drop database if exists {name} with (force)")


@pytest.fixture
async def database(stack: Stack, database_template: str) -> AsyncIterator[Database]:
    """A fresh, migrated database."""
    name = f"iacrm_test_{uuid.uuid4().hex[:12]}"
    await _administer(stack, f"create database {name} template {database_template}")
    yield Database(
        name=name,
        admin_url=stack.url(name),
        gateway_url=stack.url(name, "iacrm_gateway", GATEWAY_PASSWORD),
        rfm_url=stack.url(name, "iacrm_rfm", RFM_PASSWORD),
    )
    await _administer(stack, f"drop database if exists {name} with (force)")


@pytest.fixture
async def admin_engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """Engine of the superuser, for looking at what other roles may not see."""
    engine = create_engine(database.admin_url, application_name="tests")
    yield engine
    await engine.dispose()


@pytest.fixture
async def gateway_engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """Engine with the gateway's role."""
    engine = create_engine(database.gateway_url, application_name="api_gateway")
    yield engine
    await engine.dispose()


@pytest.fixture
async def rfm_engine(database: Database) -> AsyncIterator[AsyncEngine]:
    """Engine with the rfm worker's role."""
    engine = create_engine(database.rfm_url, application_name="rfm_worker", schema="rfm")
    yield engine
    await engine.dispose()


@pytest.fixture
async def topic_prefix(stack: Stack) -> AsyncIterator[str]:
    """A prefix of the test's own, with every topic of the catalogue."""
    prefix = f"t{uuid.uuid4().hex[:10]}-"
    await create_topics(stack.kafka_bootstrap, prefix=prefix)
    yield prefix
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic.full_name(prefix) for topic in with_dead_letters()])
    finally:
        await admin.close()


@pytest.fixture(autouse=True)
def _nothing_hidden(request: pytest.FixtureRequest) -> None:
    """An exception that nobody saw, or a task that was left running, fails the test that caused it."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("_watched_loop")


@pytest.fixture
async def _watched_loop() -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    unseen: list[dict[str, Any]] = []
    previous = loop.get_exception_handler()
    loop.set_exception_handler(lambda _loop, context: unseen.append(context))
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=LEFT_RUNNING_S)
    loop.set_exception_handler(previous)
    assert not left, f"tasks left running: {sorted(task.get_name() for task in left if task is not None)}"
    assert not unseen, f"errors that nobody saw: {[c.get('exception') or c['message'] for c in unseen]}"
