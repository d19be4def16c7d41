"""Turns: lanes apply one after another while their batches are small, and side by side once they are full.

A batch costs a fixed part and a part per record. Two small batches at once cost the fixed part twice and share the
processor; one that waits for the other's end grows meanwhile, and both are seen sooner.
"""

import asyncio
import time
from dataclasses import dataclass

PATIENCE_S = 0.1
"""Seconds that a lane waits for another one's batch. One that is stuck keeps nobody back for longer."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A lane that waits for its turn."""

    until: float
    """Of the monotonic clock: then it goes without one."""
    turn: "asyncio.Future[None]"


class Turns:
    """Whose turn it is, first come first served. Lanes are told apart by identity."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._holder: object | None = None
        self._waits: dict[object, Wait] = {}

    def take(self, lane: object) -> bool:
        """Whether the lane may apply now; if not, it waits from now on, or still."""
        wait = self._waits.get(lane)
        first = next(iter(self._waits), lane)
        if self._holder is None and first is lane:
            self._holder = lane
        elif wait is None:
            turn = asyncio.get_running_loop().create_future()
            self._waits[lane] = Wait(time.monotonic() + self._patience_s, turn)
            return False
        elif time.monotonic() < wait.until:
            return False
        self.leave(lane)
        return True

    def wait_of(self, lane: object) -> Wait | None:
        """What the lane waits for, if it does."""
        return self._waits.get(lane)

    def leave(self, lane: object) -> None:
        """The lane waits no longer: its batch is full, or it has none any more."""
        self._waits.pop(lane, None)
        self._call_first()

    def release(self, lane: object) -> None:
        """The lane's batch is done."""
        if self._holder is lane:
            self._holder = None
            self._call_first()

    def _call_first(self) -> None:
        if self._holder is None and self._waits:
            first = next(iter(self._waits.values()))
            if not first.turn.done():
                first.turn.set_result(None)
