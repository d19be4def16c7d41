"""Servers and installations for the tests that kill them."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.embedded.infrastructure import Infrastructure
from tests.stack import ROOT, Stack
from tests.support.installation import Installation, installed, migrated_template


@dataclass(frozen=True)
class Breakable:
    """Servers that these tests may kill and stop; nobody else uses them."""

    servers: Infrastructure
    stack: Stack
    template: str


@pytest.fixture
async def installation(stack: Stack, database_template: str, tmp_path: Path) -> AsyncIterator[Installation]:
    """An installation on the servers of the whole run: only its own processes may be killed."""
    async with installed(stack, database_template, tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
async def _breakable() -> AsyncIterator[Breakable]:
    data = ROOT / ".data"
    data.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="test-faults-", dir=data) as folder:
        servers = Infrastructure(Path(folder), fsync=False)
        await asyncio.to_thread(servers.start)
        try:
            stack = Stack(servers.postgres.admin_url, servers.kafka.bootstrap, servers)
            yield Breakable(servers, stack, await migrated_template(stack))
        finally:
            await asyncio.to_thread(servers.stop)


@pytest.fixture
async def servers(_breakable: Breakable) -> AsyncIterator[Infrastructure]:
    """The breakable servers, both running at the start of a test and again at its end."""
    yield _breakable.servers
    await asyncio.to_thread(_breakable.servers.postgres.start)
    await asyncio.to_thread(_breakable.servers.kafka.start)


@pytest.fixture
async def shaky(_breakable: Breakable, servers: Infrastructure, tmp_path: Path) -> AsyncIterator[Installation]:
    """An installation on the breakable servers."""
    async with installed(_breakable.stack, _breakable.template, tmp_path) as made:
        yield made
        # A failed test may leave a server down, and what follows needs both.
        await asyncio.to_thread(servers.postgres.start)
        await asyncio.to_thread(servers.kafka.start)
