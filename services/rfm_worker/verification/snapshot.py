"""Several connections that see the database at one and the same moment, so that tables are read side by side."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
import polars as pl
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.rfm_worker.repository.locks import share_tables
from services.rfm_worker.repository.raw import Raw
from shared.db.engine import driver_connection

CONNECTIONS = 2
"""More would only wait for processors: the servers that this runs on beside its database have few."""
WORK_MEM = "64MB"
"""Of each of them: rows of a page of profiles are grouped without a file."""
Types = Mapping[str, pl.DataType | type[pl.DataType]]
_CODES = ("customer_code", "product_key", "family")
"""Columns that many rows share the texts of."""


class Snapshot:
    """One moment of the database."""

    def __init__(self, connections: list[Raw]) -> None:
        self.first = connections[0]
        """For small questions; use it only while no `frame` or `rows` is under way."""
        self.code = pl.Categorical(pl.Categories.random())
        """What codes are in all frames of this moment: numbers to join and sort by, which show and order as texts."""
        self._free, self._turn = list(connections), asyncio.Semaphore(len(connections))

    async def frame(self, query: str, types: Types, *parameters: object) -> pl.DataFrame:
        """The rows of a query, read through COPY by the next connection that is free; first come, first served.

        Args:
            types: of the columns that are no text. A text that is empty is read as null.
        """
        parts: list[bytes] = []

        async def take(part: bytes) -> None:
            parts.append(part)

        async with self._connection() as raw:
            # To a file object the driver would write each of thousands of parts from another thread.
            await raw.copy_from_query(query, *parameters, output=take, format="csv", header=True)
        return await asyncio.to_thread(self._read, parts, types)

    async def rows(self, query: str, *parameters: object) -> list[asyncpg.Record]:
        """The few rows of a query, from the next connection that is free."""
        async with self._connection() as raw:
            return list(await raw.fetch(query, *parameters))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Raw]:
        async with self._turn:
            raw = self._free.pop()
            try:
                yield raw
            finally:
                self._free.append(raw)

    def _read(self, parts: list[bytes], types: Types) -> pl.DataFrame:
        frame = pl.read_csv(b"".join(parts), schema_overrides=types, infer_schema=False)
        return frame.with_columns(
            pl.col(name).cast(self.code) for name in _CODES if frame.schema.get(name) == pl.String
        )


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
        await raw.execute(f"set local work_mem = '{WORK_MEM}'")
        await raw.execute("set local idle_in_transaction_session_timeout = 0")
        yield raw
