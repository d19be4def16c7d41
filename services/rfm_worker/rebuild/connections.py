"""The connections of a rebuild: who it is, that it is alone, and that at the end nobody else is at the tables."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.rfm_worker.rebuild.errors import RebuildError
from services.rfm_worker.rebuild.shadow import OWNER
from services.rfm_worker.repository.locks import lock_tables
from services.rfm_worker.repository.raw import Raw
from shared.db.engine import create_engine

STATEMENT_TIMEOUT_S = 3600.0
PATIENCE, TRIES, PAUSE_S = "2s", 300, 0.2
"""How long, how often, and with which pauses it waits for batches, runs of the scorer and verifications to end."""
REBUILDER = 0x1AC3
"""Key of the lock that one rebuild at a time holds."""


def owners_engine(admin_url: str, schema: str) -> AsyncEngine:
    """An engine that acts as the owner. What it commits is on disk a moment later: a shadow needs no more."""
    return create_engine(
        admin_url, application_name="rebuild", schema=schema, statement_timeout_s=STATEMENT_TIMEOUT_S,
        options={"role": OWNER, "idle_in_transaction_session_timeout": "0", "synchronous_commit": "off"},
    )  # fmt: skip


@asynccontextmanager
async def alone(live: AsyncEngine) -> AsyncIterator[None]:
    """No other rebuild runs meanwhile.

    Raises:
        RebuildError: one does, or the database does not let us in.
    """
    try:
        connection = await live.connect()
    except (asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError, DBAPIError) as error:
        reason = getattr(error, "orig", error)
        raise RebuildError(f"The role of this address may not act as {OWNER}, or not log in: {reason}") from error
    except (OSError, TimeoutError) as error:
        raise RebuildError(f"The database does not answer ({type(error).__name__}).") from error
    try:
        await connection.begin()
        # Held by a transaction without a snapshot: it keeps nothing from being vacuumed.
        if not await connection.scalar(text("select pg_try_advisory_xact_lock(:key)"), {"key": REBUILDER}):
            raise RebuildError("Another rebuild is running.")
        yield
    finally:
        await connection.close()


@asynccontextmanager
async def as_of(engine: AsyncEngine, moment: str | None = None) -> AsyncIterator[AsyncConnection]:
    """A transaction that sees one moment: an exported one, or its beginning."""
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        async with connection.begin():
            if moment is not None:
                await connection.execute(text(f"set transaction snapshot '{moment}'"))
            else:
                await connection.execute(text("select 1"))
            yield connection


async def keep_everybody_away(raw: Raw) -> None:
    """Has the tables to itself, and lets those who wait behind it through again when it cannot at once."""
    for _ in range(TRIES):
        try:
            async with raw.transaction():
                await raw.execute(f"set local lock_timeout = '{PATIENCE}'")
                await lock_tables(raw)
                await raw.execute("set local lock_timeout = 0")
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(PAUSE_S)
        else:
            return
    raise RebuildError("A verification or a run of the scorer did not come to its end. Nothing has changed; try later.")
