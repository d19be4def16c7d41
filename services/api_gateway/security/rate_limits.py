"""Requests per caller in a fixed window, counted in this process: a dictionary access, nothing that waits."""

import time
from collections.abc import Callable
from dataclasses import dataclass

MOST_KEYS = 100_000


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a caller stands after a request. `reset_s`: whole seconds until the window ends, at least 1."""

    allowed: bool
    remaining: int
    reset_s: int


class RateLimiter:
    """At most `requests` per window of `window_s` seconds for each key. Windows start on the clock for all alike."""

    def __init__(self, requests: int, window_s: int, clock: Callable[[], float] = time.time) -> None:
        self.requests, self.window_s = requests, window_s
        self._clock = clock
        self._window = -1
        self._counts: dict[str, int] = {}
        self.policy = f'"default";q={requests};w={window_s}'.encode()

    def hit(self, key: str) -> Standing:
        """Counts one request."""
        now = self._clock()
        counts = self._current(now)
        count = counts.get(key, 0) + 1
        if count <= self.requests and (count > 1 or len(counts) < MOST_KEYS):
            counts[key] = count
        reset = max(1, int((self._window + 1) * self.window_s - now + 0.999))
        return Standing(count <= self.requests, max(0, self.requests - count), reset)

    def full(self, key: str) -> bool:
        """Whether the next request of this key would be refused; counts nothing."""
        return self._current(self._clock()).get(key, 0) >= self.requests

    def _current(self, now: float) -> dict[str, int]:
        window = int(now // self.window_s)
        if window != self._window:
            # Everybody's window ends at once, so forgetting the old counts is one assignment.
            self._window = window
            self._counts = {}
        return self._counts
