"""A bounded cache whose entries are trusted for a while: the oldest entry leaves when it is full."""

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Expiring(Generic[K, V]):
    """At most `entries` values, each with the moment (in the clock's seconds) until which it is trusted."""

    def __init__(self, entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries = entries
        self._clock = clock
        self._kept: dict[K, tuple[float, V]] = {}

    def get(self, key: K) -> V | None:
        """The value, or None where there is none that is still trusted."""
        found = self._kept.get(key)
        if found is None or found[0] <= self._clock():
            return None
        return found[1]

    def stale(self, key: K) -> V | None:
        """The value even when it is no longer trusted."""
        found = self._kept.get(key)
        return None if found is None else found[1]

    def put(self, key: K, value: V, lifetime_s: float) -> None:
        """Keeps a value for `lifetime_s` seconds."""
        self._kept.pop(key, None)
        while len(self._kept) >= self._entries:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = (self._clock() + lifetime_s, value)

    def drop(self, key: K) -> None:
        """Forgets a value."""
        self._kept.pop(key, None)

    def __len__(self) -> int:
        return len(self._kept)
