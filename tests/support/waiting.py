"""Waiting for something that another process does: asked again and again, with a deadline and a reason."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

ASK_EVERY_S = 0.03


async def until(question: Callable[[], Any], *, seconds: float, what: str) -> None:
    """Asks until the answer is truthy; it may be awaitable.

    Raises:
        AssertionError: it was not within `seconds`; names `what` and the last answer.
    """
    deadline = time.monotonic() + seconds
    while True:
        asked = question()
        answer = await asked if inspect.isawaitable(asked) else asked
        if answer:
            return
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s (last answer: {answer!r})"
        await asyncio.sleep(ASK_EVERY_S)
