"""Whether an importer lives, as the database sees it."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.api_gateway.importer.presence import Presence
from shared.db.engine import create_engine, transaction
from tests.stack import Database
from tests.support.waiting import until

GONE = text("select gateway.importer_is_gone(:name, :seen_at)")
HOLDER = text(
    "select pid from pg_locks where locktype = 'advisory' and granted and mode = 'ShareLock' "
    "and database = (select oid from pg_database where datname = current_database())"
)


@pytest.fixture
async def admin(database: Database) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database.admin_url, application_name="tests")
    yield engine
    await engine.dispose()


@pytest.fixture
async def importer(database: Database) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database.gateway_url, application_name="importer")
    yield engine
    await engine.dispose()


async def ask(admin: AsyncEngine, query: Any, **parameters: Any) -> Any:
    async with transaction(admin) as connection:
        return (await connection.execute(query, parameters)).scalar_one_or_none()


async def test_an_importer_is_gone_when_its_session_is_and_not_before(
    admin: AsyncEngine, importer: AsyncEngine
) -> None:
    me, other = uuid.uuid4(), uuid.uuid4()
    presence = Presence(importer, me)
    await presence.show()
    now = datetime.now(UTC)
    assert await ask(admin, GONE, name=me, seen_at=now) is False
    assert await ask(admin, GONE, name=other, seen_at=now) is True
    await presence.show()
    await presence.lost(0.05)
    assert await ask(admin, GONE, name=me, seen_at=now) is False
    await presence.end()

    async def gone() -> bool:
        return bool(await ask(admin, GONE, name=me, seen_at=now))

    await until(gone, seconds=5, what="the session has ended")


async def test_what_was_seen_before_the_server_started_tells_nothing(admin: AsyncEngine) -> None:
    """After a restart of the server no importer has a session yet; each keeps its imports until their leases end."""
    name = uuid.uuid4()
    assert await ask(admin, GONE, name=name, seen_at=datetime.now(UTC) - timedelta(days=1)) is False
    assert await ask(admin, GONE, name=name, seen_at=None) is not True, "one that never held a lock has a lease only"


async def test_an_importer_notices_that_its_session_was_ended_and_shows_itself_again(
    admin: AsyncEngine, importer: AsyncEngine
) -> None:
    me = uuid.uuid4()
    presence = Presence(importer, me)
    await presence.show()
    pid = await ask(admin, HOLDER)
    await ask(admin, text("select pg_terminate_backend(:pid)"), pid=pid)
    await presence.lost(within_s=5)
    await presence.show()
    assert await ask(admin, HOLDER) not in (None, pid)
    assert await ask(admin, GONE, name=me, seen_at=datetime.now(UTC)) is False
    await presence.end()
    await presence.end()
