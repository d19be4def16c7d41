"""How long requests to move cut-offs stay open: from when a batch's commit is seen to when its scores have followed."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

POLL_S = 0.02


class Requests:
    """What is seen of `rfm.score_request` from outside, every 20 milliseconds."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[str, float]] = {}
        self.served: dict[str, list[float]] = {}
        """Tenant -> seconds that its requests were open."""

    async def watch(self, connection: Any) -> None:
        """Looks until it is cancelled."""
        statement = await connection.prepare("select id, tenant_id::text as tenant from rfm.score_request")
        while True:
            now, seen = time.perf_counter(), {row["id"]: row["tenant"] for row in await statement.fetch()}
            for request in self._open.keys() - seen.keys():
                tenant, began = self._open.pop(request)
                self.served.setdefault(tenant, []).append(now - began)
            for request in seen.keys() - self._open.keys():
                self._open[request] = (seen[request], now)
            await asyncio.sleep(POLL_S)

    async def rest(self) -> None:
        """Waits until none is open."""
        deadline = time.monotonic() + 60
        while self._open and time.monotonic() < deadline:
            await asyncio.sleep(POLL_S)


@contextlib.asynccontextmanager
async def watched(admin_url: str) -> AsyncIterator[Requests]:
    """Watches the requests of a database meanwhile."""
    connection = await asyncpg.connect(admin_url)
    requests = Requests()
    watching = asyncio.create_task(requests.watch(connection))
    try:
        yield requests
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await connection.close()
