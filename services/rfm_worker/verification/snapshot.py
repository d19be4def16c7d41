"""Several connections that see the database at one and the same moment, so that tables are read side by side."""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import polars as pl
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.repository.locks import share_tables
from services.rfm_worker.repository.raw import Raw
from shared.db.engine import driver_connection

CONNECTIONS = 2
"""More would only wait for processors: the servers that this runs on beside its database have few."""
Types = Mapping[str, pl.DataType | type[pl.DataType]]


class Snapshot:
    """One moment of the database."""

    def __init__(self, connections: list[Raw]) -> None:
        self.first = connections[0]
        """For small questions; use it only while no `frame` is under way."""
        self._free: asyncio.Queue[Raw] = asyncio.Queue()
        for raw in connections:
            self._free.put_nowait(raw)

    async def frame(self, query: str, types: Types, *parameters: object) -> pl.DataFrame:
        """The rows of a query, read through COPY by the next connection that is free.

        Args:
            types: of the columns that are no text. A text that is empty is read as null.
        """
        buffer = io.BytesIO()
        raw = await self._free.get()
        try:
            await raw.copy_from_query(query, *parameters, output=buffer, format="csv", header=True)
        finally:
            self._free.put_nowait(raw)
        buffer.seek(0)
        return await asyncio.to_thread(pl.read_csv, buffer, schema_overrides=types, infer_schema=False)


@asynccontextmanager
async def snapshot(engine: AsyncEngine, connections: int = CONNECTIONS) -> AsyncIterator[Snapshot]:
    """Opens transactions that share the snapshot of the first one, and one more that keeps a rebuild from swapping."""
    async with AsyncExitStack() as opened:
        # Before the first snapshot is taken: one that is older than a swap would see half of the new tables.
        await share_tables(await opened.enter_async_context(_transaction(engine, "read committed")))
        first = await opened.enter_async_context(_transaction(engine))
        shared = await first.fetchval("select pg_export_snapshot()")
        others = [await opened.enter_async_context(_transaction(engine, shared=shared)) for _ in range(connections - 1)]
        yield Snapshot([first, *others])


@asynccontextmanager
async def _transaction(
    engine: AsyncEngine, isolation: str = "repeatable read", *, shared: str | None = None
) -> AsyncIterator[Raw]:
    async with engine.connect() as connection, connection.begin():
        await connection.execute(text(f"set transaction isolation level {isolation} read only"))
        raw = await driver_connection(connection)
        if shared is not None:
            await raw.execute(f"set transaction snapshot '{shared}'")
        # Nothing here is a query of many rows of the same plan; and a connection waits while the frames are computed.
        await raw.execute("set local jit = off")
        await raw.execute("set local idle_in_transaction_session_timeout = 0")
        yield raw
