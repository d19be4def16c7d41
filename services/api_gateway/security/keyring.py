"""API keys: `iak_<prefix>_<secret>`, shown once, stored as a hash, trusted from a cache for at most a minute."""

import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from services.api_gateway.expiring import Expiring
from services.api_gateway.security.callers import Caller, key_caller

_FORM = re.compile(r"iak_[0-9a-f]{8}_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class NewKey:
    """A fresh key: `secret` is told once, only `prefix` and `key_hash` are kept."""

    secret: str
    prefix: str
    key_hash: bytes


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What decides about a key."""

    key_id: UUID
    tenant_id: UUID
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked_at: datetime | None

    def usable(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def new_key() -> NewKey:
    """A key with 256 random bits: too many to guess, so that a plain fast hash of it is enough."""
    prefix = f"iak_{secrets.token_hex(4)}"
    secret = f"{prefix}_{secrets.token_urlsafe(32)}"
    return NewKey(secret, prefix, hash_key(secret))


def hash_key(secret: str) -> bytes:
    """SHA-256 of a key."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


class ApiKeyring:
    """Finds the caller behind a key, and remembers which keys were used.

    Unknown keys are remembered too, in a cache of their own, so that guesses cannot push real keys out.
    """

    def __init__(
        self, load: Callable[[bytes], Awaitable[StoredKey | None]], *, lifetime_s: float, entries: int
    ) -> None:
        self._load = load
        self._lifetime_s = lifetime_s
        self._known: Expiring[bytes, tuple[StoredKey, Caller]] = Expiring(entries)
        self._unknown: Expiring[bytes, bool] = Expiring(entries)
        self._used: dict[tuple[UUID, UUID], datetime] = {}

    async def find(self, secret: str) -> Caller | None:
        """The caller of a usable key, or None.

        Raises:
            sqlalchemy.exc.SQLAlchemyError, OSError: it is not cached and the database is away.
        """
        if not _FORM.fullmatch(secret):
            return None
        key_hash = hash_key(secret)
        found = self._known.get(key_hash) or await self._look_up(key_hash)
        now = datetime.now(UTC)
        if found is None or not found[0].usable(now):
            return None
        stored, caller = found
        self._used[stored.tenant_id, stored.key_id] = now
        return caller

    def remembers(self, secret: str) -> bool:
        """Whether `find` can answer without the database."""
        key_hash = hash_key(secret)
        return self._known.get(key_hash) is not None or bool(self._unknown.get(key_hash))

    def take_used(self) -> dict[tuple[UUID, UUID], datetime]:
        """(tenant, key) -> last use since the last call; whoever takes it writes it down."""
        used, self._used = self._used, {}
        return used

    def forget(self, key_hash: bytes) -> None:
        """Makes a revocation count at once in this process; others learn it when their cache entry ends."""
        self._known.drop(key_hash)

    async def _look_up(self, key_hash: bytes) -> tuple[StoredKey, Caller] | None:
        if self._unknown.get(key_hash):
            return None
        stored = await self._load(key_hash)
        if stored is None:
            self._unknown.put(key_hash, True, self._lifetime_s)
            return None
        found = (stored, key_caller(stored.key_id, stored.tenant_id, stored.scopes))
        self._known.put(key_hash, found, self._lifetime_s)
        return found
