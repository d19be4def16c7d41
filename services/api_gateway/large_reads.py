"""Turns for answers that read all customers of a tenant, so that the small ones find a connection."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

from services.api_gateway.errors import unavailable


class LargeReads:
    """Lets so many of them run at once; the others wait, but not too many of one tenant.

    Args:
        at_once: turns that can be taken at the same time.
        queue: callers of one tenant that may wait for theirs.
    """

    def __init__(self, at_once: int, queue: int) -> None:
        self._turns = asyncio.Semaphore(at_once)
        self._most = at_once + queue
        self._inside: Counter[UUID] = Counter()

    @contextlib.asynccontextmanager
    async def turn(self, tenant_id: UUID) -> AsyncIterator[None]:
        """A turn, as long as the context is open.

        Raises:
            Problem: 503 when too many callers of the tenant wait already.
        """
        if self._inside[tenant_id] >= self._most:
            raise unavailable("Too many answers over all customers are asked for at this moment.")
        self._inside[tenant_id] += 1
        try:
            async with self._turns:
                yield
        finally:
            self._inside[tenant_id] -= 1
            if not self._inside[tenant_id]:
                del self._inside[tenant_id]
