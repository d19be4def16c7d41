"""Engine and transaction edge. Repositories receive a connection and never commit."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 120
BEGIN_TIMEOUT_S = 5
"""Seconds for the first answer of a connection from the pool, which a server that is well gives in milliseconds.

The timeouts of statements are the server's own: one that went silent (a machine that stands still, a network cut in
two) keeps none of them, and whoever asked it would wait for ever."""

_BEGIN = text("select set_config('app.tenant', :tenant, true), set_config('app.operator', :operator, true)")


def create_engine(
    url: str,
    *,
    application_name: str,
    schema: str = "public",
    pool_size: int = 5,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
    options: Mapping[str, str] | None = None,
) -> AsyncEngine:
    """An engine for one process, made in its composition root.

    Args:
        url: SQLAlchemy URL with the asyncpg driver and the service's own role.
        application_name: shown in pg_stat_activity.
        schema: where names without one are looked up; a worker names its own, and a rebuild a shadow of it.
        pool_size: connections kept open; as many again may be opened for a moment.
        statement_timeout_s: seconds after which the server cancels a statement.
        options: further settings of each session, `role` for instance.
    """
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_recycle=1800,
        pool_pre_ping=False,
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "server_settings": {
                "application_name": application_name,
                "statement_timeout": str(int(statement_timeout_s * 1000)),
                "idle_in_transaction_session_timeout": "60000",
                "timezone": "UTC",
                # The longest statement of a service takes milliseconds; compiling it took a hundred.
                "jit": "off",
                "search_path": schema,
                **(options or {}),
            },
        },
    )


@asynccontextmanager
async def transaction(
    engine: AsyncEngine, *, tenant_id: uuid.UUID | None = None, operator: bool = False, snapshot: bool = False
) -> AsyncIterator[AsyncConnection]:
    """One transaction, seen by row-level security as `tenant_id` (or as no tenant at all).

    The setting is made by the first statement, which also makes SQLAlchemy's lazy BEGIN real: a COPY through the
    driver's connection before it would commit by itself. With `snapshot` all its statements see one moment.

    Raises:
        TimeoutError: the server is silent; it counts as away.
    """
    seen_as = {"tenant": str(tenant_id) if tenant_id else "", "operator": "on" if operator else ""}
    if snapshot:
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    async with engine.begin() as connection:
        async with asyncio.timeout(BEGIN_TIMEOUT_S):
            await connection.execute(_BEGIN, seen_as)
        yield connection


async def driver_connection(connection: AsyncConnection) -> "asyncpg.Connection[Any]":
    """The asyncpg connection under `connection`, inside the same transaction: for COPY and prepared bulk statements."""
    raw = await connection.get_raw_connection()
    return cast("asyncpg.Connection[Any]", raw.driver_connection)
