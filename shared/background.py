"""A loop of steps beside the work: it waits longer after each failure in a row, and can be woken."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from shared.messaging.errors import IsTransient, classify
from shared.observability.health import Progress

MOST_DOUBLINGS = 20
"""Beyond any longest pause in use; an outage of hours must not end in an overflow."""
Log = structlog.stdlib.BoundLogger


class Backoff:
    """Says what a failure means, in the log, and how long to wait: twice as long after each in a row.

    Args:
        log: of the module whose work it is.
        waits: event where something is away and comes back by itself: a warning with its cause.
        failed: event of any other failure: an error with its traceback.
        first_s: doubled for each failure in a row.
        longest_s: seconds that are never exceeded.
        fields: more fields of these events.
    """

    def __init__(self, log: Log, *, waits: str, failed: str, first_s: float, longest_s: float, **fields: Any) -> None:
        self._log, self._waits, self._failed, self._fields = log, waits, failed, fields
        self._first_s, self._longest_s = first_s, longest_s
        self._failures = 0

    def succeeded(self) -> None:
        """The next failure is a first one."""
        self._failures = 0

    def failed(self, error: Exception) -> float:
        """Seconds to wait."""
        self._failures += 1
        outcome = classify(error)
        if isinstance(outcome, IsTransient):
            self._log.warning(self._waits, cause=outcome.cause, **self._fields)
        else:
            self._log.error(self._failed, error=type(error).__name__, exc_info=error, **self._fields)
        return min(self._longest_s, self._first_s * 2.0 ** min(self._failures, MOST_DOUBLINGS))


class BackgroundLoop:
    """Takes steps until it is stopped. It needs nothing to be up when it starts, and no failure ends it.

    Args:
        name: of its task.
        step: one round of work. It answers the seconds until the next one, or None for `pause_s`.
        backoff: for steps that fail.
        pause_s: seconds between two steps.
        least_pause_s: seconds that a wake does not cut short: whoever wakes often must not keep it busy.
        progress: told before each step, where others tell it too.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], Awaitable[float | None]],
        backoff: Backoff,
        *,
        pause_s: float,
        least_pause_s: float = 0.0,
        progress: Progress | None = None,
    ) -> None:
        self._name, self._step, self._backoff = name, step, backoff
        self._pause_s, self._least_pause_s = pause_s, least_pause_s
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.progress = progress or Progress()
        """Beats before each step; a long step beats it too."""

    def start(self) -> None:
        """Begins with a step at once."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Ends at once, a step under way too: what a step leaves undone must be found by the next one."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self.progress.rest()

    def wake(self) -> None:
        """Ends the pause, or lets none follow the step under way."""
        self._woken.set()

    async def _run(self) -> None:
        while True:
            self.progress.beat()
            self._woken.clear()
            await self._pause(await self._take_step())

    async def _take_step(self) -> float:
        try:
            wanted_s = await self._step()
        except Exception as error:
            return self._backoff.failed(error)
        self._backoff.succeeded()
        return self._pause_s if wanted_s is None else wanted_s

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(self._least_pause_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
