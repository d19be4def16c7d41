"""The importer's sign of life: a lock of its name that ends with its connection. Others see its death at once."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

QUERY_TIMEOUT_S = 5.0
# Shared, so that a session of ours that the server has not given up yet is no obstacle to a new one.
_LOCK = "select pg_advisory_lock_shared(hashtextextended('importer ' || $1::uuid, 0))"
if TYPE_CHECKING:
    RawConnection = asyncpg.Connection[Any]


class Presence:
    """Holds the lock of one importer on a connection of its own.

    Args:
        engine: the importer's.
        me: its name, as the imports that it works on say it.
    """

    def __init__(self, engine: AsyncEngine, me: UUID) -> None:
        self._engine, self._me = engine, me
        self._held: tuple[AsyncConnection, RawConnection] | None = None
        self._lost = asyncio.Event()

    async def show(self) -> None:
        """Makes sure that the lock is held, on the same connection or on a new one.

        Raises:
            Exception: what the database raises while it is away; the lock is then not held.
        """
        if not await self._answers():
            await self.end()
            self._held = await self._take()
            self._lost.clear()

    async def lost(self, within_s: float) -> None:
        """Returns when the connection is lost, at the latest after these seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._lost.wait()

    async def end(self) -> None:
        """Lets the lock go."""
        held, self._held = self._held, None
        if held is not None:
            connection, raw = held
            raw.terminate()
            await connection.invalidate()
            await connection.close()

    async def _answers(self) -> bool:
        if self._held is None:
            return False
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await self._held[1].execute("select 1", timeout=QUERY_TIMEOUT_S)
            return True
        return False

    async def _take(self) -> "tuple[AsyncConnection, RawConnection]":
        connection = await self._engine.connect()
        try:
            raw = cast("RawConnection", (await connection.get_raw_connection()).driver_connection)
            raw.add_termination_listener(self._terminated)
            await raw.execute(_LOCK, self._me, timeout=QUERY_TIMEOUT_S)
        except BaseException:
            await connection.invalidate()
            await connection.close()
            raise
        return connection, raw

    def _terminated(self, raw: Any) -> None:
        if self._held is not None and self._held[1] is raw:
            self._lost.set()
