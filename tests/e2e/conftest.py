"""A gateway and a worker as real processes, started once for all end-to-end tests."""

from collections.abc import AsyncIterator

import pytest

from tests.e2e.installation import Installation, a_database, running, topics
from tests.e2e.two_tenants import Scene, set_scene
from tests.stack import Database, Stack


@pytest.fixture(scope="session")
async def e2e_database(stack: Stack, database_template: str) -> AsyncIterator[Database]:
    """The installation's database."""
    async with a_database(stack, database_template) as database:
        yield database


@pytest.fixture(scope="session")
async def e2e_prefix(stack: Stack) -> AsyncIterator[str]:
    """The installation's topics."""
    async with topics(stack) as prefix:
        yield prefix


@pytest.fixture(scope="session")
async def installation(
    stack: Stack, e2e_database: Database, e2e_prefix: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """The running installation."""
    async with running(stack, e2e_database, e2e_prefix, tmp_path_factory.mktemp("services")) as installation:
        yield installation


@pytest.fixture(scope="session")
async def scene(installation: Installation) -> Scene:
    """A tenant with one thing of every kind, settled, and others who try to reach it."""
    return await set_scene(installation)
