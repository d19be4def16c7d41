"""Passwords: argon2id in threads, a few at a time, and the same work whether the account exists or not."""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_thread
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from services.api_gateway.errors import unavailable
from services.api_gateway.settings import GatewaySettings

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
SHORTEST, LONGEST = 10, 200


class Passwords:
    """Hashes and verifies. Memory is bounded by `password_concurrency` x `password_memory_kib`."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._hasher = PasswordHash(
            (Argon2Hasher(settings.password_time_cost, settings.password_memory_kib, parallelism=1),)
        )
        self._threads = anyio.CapacityLimiter(settings.password_concurrency)
        self._most = settings.password_concurrency + settings.password_queue
        self._inside = 0
        self._dummy: str | None = None

    async def hash(self, password: str) -> str:
        """A salted hash with its parameters in it.

        Raises:
            Problem: 503 when too many callers wait already.
        """
        return await self._in_thread(self._hasher.hash, password)

    async def verify(self, password: str, stored: str | None) -> tuple[bool, str | None]:
        """Whether the password fits, and a new hash where the parameters have changed since.

        Args:
            password: as sent.
            stored: the account's hash, or None for an account that does not exist: the same work is then done on
                a hash that fits nothing, so that the time tells nothing.

        Raises:
            Problem: 503 when too many callers wait already.
        """
        against = stored if stored is not None else await self._nobody()
        fits, renewed = await self._in_thread(self._verify, password, against)
        return (fits, renewed) if stored is not None else (False, None)

    async def warm_up(self) -> None:
        """Makes the hash that stands in for unknown accounts, so that not even the first answer differs."""
        await self._nobody()

    def _verify(self, password: str, stored: str) -> tuple[bool, str | None]:
        return self._hasher.verify_and_update(password, stored)

    async def _nobody(self) -> str:
        if self._dummy is None:
            self._dummy = await self.hash("an account that does not exist")
        return self._dummy

    async def _in_thread(self, work: Callable[[*Ts], T], *arguments: *Ts) -> T:
        if self._inside >= self._most:
            raise unavailable("Too many people are logging in at this moment.")
        self._inside += 1
        try:
            return await anyio.to_thread.run_sync(work, *arguments, limiter=self._threads)
        finally:
            self._inside -= 1
