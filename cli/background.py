"""A coroutine beside the main thread, which has to look after the processes meanwhile."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any


class Background:
    """Runs one coroutine in a thread of its own."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(work)
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)
        self._thread.start()

    def finished(self) -> bool:
        """Whether it has ended, well or not."""
        return not self._thread.is_alive()

    def result(self) -> None:
        """Raises what it raised."""
        if self._problem is not None:
            raise self._problem

    def cancel(self) -> None:
        """Ends it early and waits for that; harmless when it has ended."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(timeout=5)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._task)
        except BaseException as problem:  # the main thread gets it from `result`
            self._problem = problem
        finally:
            self._loop.close()
