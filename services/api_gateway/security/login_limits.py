"""How often somebody may try to log in: attempts per account, failures per address, in a sliding window."""

from limits import RateLimitItemPerSecond
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.storage import storage_from_string

from services.api_gateway.errors import Problem
from services.api_gateway.settings import GatewaySettings
from shared.observability import metrics


class LoginLimits:
    """Counts whether the account exists or not, so that a refusal tells nothing about it."""

    def __init__(self, settings: GatewaySettings) -> None:
        storage = storage_from_string(f"async+{settings.login_limit_storage}")
        # Not the moving window: in memory, its expiry task fails when an entry is cleared while it runs.
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        window = settings.login_window_s
        self._account = RateLimitItemPerSecond(settings.login_attempts_per_account, window, namespace="account")
        self._address = RateLimitItemPerSecond(settings.login_failures_per_address, window, namespace="address")
        self._register = RateLimitItemPerSecond(settings.registrations_per_address, window, namespace="register")
        self._retry_after = str(window)

    async def attempt(self, username: str, address: str) -> None:
        """Counts an attempt before its password is looked at.

        Raises:
            Problem: 429 when the account or the address has had its share.
        """
        await self.check_address(address)
        if not await self._limiter.hit(self._account, username):
            raise self._refuse()

    async def check_address(self, address: str) -> None:
        """Looks at the failures of an address and counts nothing.

        Raises:
            Problem: 429 when the address has had its share.
        """
        if not await self._limiter.test(self._address, address):
            raise self._refuse()

    async def registering(self, address: str) -> None:
        """Counts a registration.

        Raises:
            Problem: 429 when the address has had its share.
        """
        if not await self._limiter.hit(self._register, address):
            raise self._refuse()

    async def failed(self, address: str) -> None:
        """Counts a wrong name, password or refresh token against the address it came from."""
        await self._limiter.hit(self._address, address)

    async def succeeded(self, username: str) -> None:
        """A right password: the account's earlier attempts no longer count."""
        await self._limiter.clear(self._account, username)

    def _refuse(self) -> Problem:
        metrics.RATE_LIMITED.labels("login").inc()
        return Problem(
            429,
            "too-many-logins",
            "Too many attempts to log in",
            "Wait as long as Retry-After says.",
            headers={"Retry-After": self._retry_after},
        )
