"""Waiting for something that another process does: asked again and again, with a deadline and a reason."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
ASK_EVERY_S = 0.03


async def until(question: Callable[[], T | Awaitable[T]], *, seconds: float, what: str) -> T:
    """Asks until the answer is truthy and returns it.

    Raises:
        AssertionError: it was not within `seconds`; names `what` and the last answer.
    """
    deadline = time.monotonic() + seconds
    while True:
        asked = question()
        answer: T = await asked if inspect.isawaitable(asked) else asked
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s (last answer: {answer!r})"
        await asyncio.sleep(ASK_EVERY_S)
