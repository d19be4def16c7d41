"""The HTTP edge of consistency tokens: writes hand one out, reads wait for it or say how far the workers are."""

import re
import time
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response

from services.api_gateway import consistency_token
from services.api_gateway.dependencies import Services, ServicesDep, caller_of
from services.api_gateway.errors import Problem
from services.api_gateway.freshness import Behind
from services.api_gateway.security.callers import Caller
from shared.observability import metrics

HEADER = "X-Consistency-Token"
WORKER = "rfm_worker"
DEFAULT_WAIT_S = 5.0
LONGEST_WAIT_S = 30.0
_WAIT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?")


def add_token(response: Response, ids: list[int]) -> None:
    """Adds the header for the outbox entries that a write of master data made."""
    response.headers[HEADER] = consistency_token.of_outbox(ids)


def parse_wait(prefer: str | None) -> float:
    """Seconds of `Prefer: wait=`, at most 30; 5 without it. Other preferences are ignored, as RFC 7240 wants.

    Raises:
        Problem: 400 for a wait that is not a number of seconds.
    """
    for preference in (prefer or "").split(","):
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() != "wait":
            continue
        seconds = value.strip().strip('"')
        if not _WAIT.fullmatch(seconds):
            raise Problem(
                400,
                "bad-preference",
                "Prefer cannot be read",
                "wait takes seconds, such as wait=10.",
                errors=[{"field": "Prefer", "reason": "wait must be a number of seconds, 0 or more"}],
            )
        return min(float(seconds), LONGEST_WAIT_S)
    return DEFAULT_WAIT_S


class Wait:
    """What a read knows about its token: waits for it, and may wait again for the scores that follow."""

    def __init__(self, caller: Caller, services: Services, token: str | None, seconds: float) -> None:
        self._caller, self._services = caller, services
        self._entries = None if token is None else consistency_token.parse(token)
        self._until = time.monotonic() + seconds

    @property
    def asked(self) -> bool:
        """Whether the request carries a token."""
        return self._entries is not None

    async def applied(self, *, scored: bool = False) -> None:
        """Waits until the write is applied; with `scored` also until the cut-offs have followed it.

        Raises:
            Problem: 425 when the time is over first; 400 for a token that was never issued.
        """
        if self._entries is None:
            return
        began = time.monotonic()
        behind = await self._services.consistency.wait(
            self._caller.tenant_id, self._entries, max(0.0, self._until - began), scored=scored
        )
        waited = time.monotonic() - began
        metrics.CONSISTENCY_WAIT_SECONDS.observe(waited)
        metrics.CONSISTENCY_WAITS.labels("late" if behind else "waited" if waited > 0.02 else "fresh").inc()
        if behind is not None:
            raise not_yet(behind)


def not_yet(behind: Behind) -> Problem:
    """425 that says how far the worker is."""
    parts = [
        f"{WORKER} has applied {applied} of {wanted} in {topic}/{partition}"
        for (topic, partition), (applied, wanted) in sorted(behind.places.items())
    ]
    if behind.unpublished:
        parts.append("the event log has not taken the write yet")
    if behind.scoring:
        parts.append(f"{WORKER} has not moved the scores yet")
    progress = [
        {"topic": topic, "partition": partition, "applied": applied, "wanted": wanted}
        for (topic, partition), (applied, wanted) in sorted(behind.places.items())
    ]
    return Problem(
        425,
        "not-yet-applied",
        "Not applied yet",
        "; ".join(parts) + ".",
        headers={"Retry-After": "1"},
        extra={"worker": WORKER, "progress": progress},
    )


TokenHeader = Annotated[
    str | None,
    Header(alias=HEADER, description="of an earlier write: the answer shows that write, or is 425", examples=[None]),
]
PreferHeader = Annotated[
    str | None,
    Header(alias="Prefer", description="wait=<seconds> to wait for the token, at most 30", examples=["wait=5"]),
]


async def read_token(
    request: Request, services: ServicesDep, token: TokenHeader = None, prefer: PreferHeader = None
) -> Wait:
    """The token of a request; nothing is waited for yet."""
    return Wait(caller_of(request), services, token, parse_wait(prefer))


WaitDep = Annotated[Wait, Depends(read_token)]


async def await_consistency(wait: WaitDep) -> None:
    """Lets a read begin once the write that it names is applied."""
    await wait.applied()


async def await_scores(wait: WaitDep) -> None:
    """Lets a read begin once the write that it names is applied and the cut-offs have followed it."""
    await wait.applied(scored=True)


FRESH: list[Any] = [Depends(await_consistency)]
FRESH_SCORES: list[Any] = [Depends(await_scores)]
