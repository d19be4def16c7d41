"""Health by progress: alive means that work goes on, ready means that this process may be given work."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Check = Callable[[], Awaitable[str | None]]
"""Answers None when all is well, else one sentence that says what is not (no secrets: it is served)."""
CHECK_TIMEOUT_S = 2.0

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Report:
    """The answer to one health question: a sentence per check, "ok" where there is nothing to say."""

    ok: bool
    checks: dict[str, str]

    @property
    def status_code(self) -> int:
        """HTTP status: 200, or 503 so that a balancer or supervisor understands it too."""
        return 200 if self.ok else 503

    def to_dict(self) -> dict[str, Any]:
        """The JSON body."""
        return {"status": "ok" if self.ok else "failing", "checks": self.checks}


class Progress:
    """When something last went forward; `idle_for` is in seconds on a clock that never jumps.

    A liveness check on it catches what a ping cannot: a loop that is stuck while its process answers.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: float | None = None

    def beat(self) -> None:
        """Something went forward."""
        self._last = self._clock()

    def rest(self) -> None:
        """From now on nothing is expected (stopped, or not leading)."""
        self._last = None

    @property
    def idle_for(self) -> float | None:
        """Seconds since the last beat; None while nothing is expected."""
        return None if self._last is None else self._clock() - self._last

    def stuck(self, after_s: float, what: str) -> Check:
        """A check that fails when nothing happened for `after_s` seconds although it should have."""

        async def check() -> str | None:
            idle = self.idle_for
            return f"{what}: no progress for {idle:.0f} s" if idle is not None and idle > after_s else None

        return check


class Health:
    """The checks of one process, registered by its composition root."""

    def __init__(self, *, check_timeout_s: float = CHECK_TIMEOUT_S) -> None:
        self._live: dict[str, Check] = {}
        self._ready: dict[str, Check] = {}
        self._timeout_s = check_timeout_s

    def add_live(self, name: str, check: Check) -> None:
        """Failing means: only a restart helps."""
        self._live[name] = check

    def add_ready(self, name: str, check: Check) -> None:
        """Failing means: send no work here now; it may pass by itself."""
        self._ready[name] = check

    async def live(self) -> Report:
        """Runs the liveness checks."""
        return await self._run(self._live)

    async def ready(self) -> Report:
        """Runs the readiness checks, and the liveness checks with them."""
        return await self._run(self._live | self._ready)

    async def _run(self, checks: dict[str, Check]) -> Report:
        answers = await asyncio.gather(*(self._ask(check) for check in checks.values()))
        return Report(all(a is None for a in answers), {n: a or "ok" for n, a in zip(checks, answers, strict=True)})

    async def _ask(self, check: Check) -> str | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await check()
        except TimeoutError:
            return f"no answer within {self._timeout_s:g} s"
        except Exception as error:
            return f"check failed: {type(error).__name__}"

    def asgi_live(self) -> AsgiApp:
        """ASGI application for GET /health/live."""
        return _asgi(self.live)

    def asgi_ready(self) -> AsgiApp:
        """ASGI application for GET /health/ready."""
        return _asgi(self.ready)


def _asgi(question: Callable[[], Awaitable[Report]]) -> AsgiApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        report = await question()
        body = json.dumps(report.to_dict()).encode()
        headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": report.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app
