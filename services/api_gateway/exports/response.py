"""How an export leaves: while it is being made, at the pace of who takes it, and no longer than somebody does."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from uuid import UUID

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from services.api_gateway.errors import unavailable
from services.api_gateway.exports.texts import Csv, FileFormat, Ndjson
from services.api_gateway.repository.exports import Column, Rows

ROWS_AT_ONCE = 2_000
STALLED_AFTER_S = 60.0
"""A client that takes nothing for so long is cut off: a connection to the database waits behind it."""
RETRY_AFTER_S = 15
MEDIA_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8; header=present",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}


def _parquet(columns: Sequence[Column]) -> FileFormat:
    from services.api_gateway.exports.parquet import Parquet

    return Parquet(columns)


FORMATS: dict[str, Callable[[Sequence[Column]], FileFormat]] = {"csv": Csv, "ndjson": Ndjson, "parquet": _parquet}


class ExportSlots:
    """How many exports run at once: each keeps a connection to the database for as long as it takes."""

    def __init__(self, most: int, most_of_a_tenant: int) -> None:
        self._most, self._most_of_a_tenant = most, most_of_a_tenant
        self._running: Counter[UUID] = Counter()

    @contextlib.contextmanager
    def one(self, tenant_id: UUID) -> Iterator[None]:
        """Takes a place until the end of the block.

        Raises:
            Problem: 503 when all are taken.
        """
        if self._running.total() >= self._most or self._running[tenant_id] >= self._most_of_a_tenant:
            raise unavailable("As many exports as are allowed are running; wait for one to end.", RETRY_AFTER_S)
        self._running[tenant_id] += 1
        try:
            yield
        finally:
            self._running[tenant_id] -= 1
            self._running += Counter()  # forgets those that have none


async def file_of(
    rows: AsyncGenerator[Rows], columns: Sequence[Column], format_: str, place: contextlib.AbstractContextManager[None]
) -> AsyncGenerator[bytes]:
    """The bytes of a file, part by part; closes `rows` and leaves `place` at its end, whichever that is.

    Making bytes takes a thread, so that other requests are not held up by it.
    """
    with place:
        async with contextlib.aclosing(rows):
            file = await asyncio.to_thread(FORMATS[format_], columns)
            yield file.begin()
            async for part in rows:
                yield await asyncio.to_thread(file.add, part)
            yield await asyncio.to_thread(file.end)


class ExportResponse(StreamingResponse):
    """Sends a file while it is made. Until its first rows are found nothing is sent, and a failure is still a problem.

    When the client goes away, or stalls, the file is closed at once, and with it what it holds.
    """

    def __init__(self, chunks: AsyncGenerator[bytes], name: str, format_: str) -> None:
        super().__init__(chunks, headers=headers_of(name, format_))
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def in_time(message: Message) -> None:
            async with asyncio.timeout(STALLED_AFTER_S):
                await send(message)

        async with contextlib.aclosing(self._chunks):
            first = [await anext(self._chunks), await anext(self._chunks)]
            self.body_iterator = _all(first, self._chunks)
            await super().__call__(scope, receive, in_time)


async def _all(first: Sequence[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield b"".join(first)
    async for chunk in rest:
        if chunk:
            yield chunk


def headers_of(name: str, format_: str) -> dict[str, str]:
    """Headers of an export: its type, and the name under which a browser keeps it."""
    return {
        "Content-Type": MEDIA_TYPES[format_],
        "Content-Disposition": f'attachment; filename="{name}.{format_}"',
    }
