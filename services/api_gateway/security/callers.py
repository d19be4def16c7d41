"""Who a request speaks for, and what that allows."""

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

Scope = Literal["read", "sales:write", "customers:write", "products:write", "campaigns:write"]
SCOPES: frozenset[str] = frozenset(["read", "sales:write", "customers:write", "products:write", "campaigns:write"])
TenantRole = Literal["owner", "admin", "marketer", "analyst"]
ROLE_SCOPES: dict[str, frozenset[str]] = {
    "owner": SCOPES,
    "admin": SCOPES,
    "marketer": SCOPES - {"sales:write"},
    "analyst": frozenset({"read"}),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """A person or a key of one tenant. `subject` is "user:<uuid>" or "key:<uuid>"; a key has no role."""

    tenant_id: UUID
    subject: str
    role: str | None
    scopes: frozenset[str]
    rate_key: str

    @property
    def user_id(self) -> UUID | None:
        """The person, or None for a key."""
        kind, _, value = self.subject.partition(":")
        return UUID(value) if kind == "user" else None


@dataclass(frozen=True, slots=True)
class Operator:
    """A platform operator: administers tenants and reads no tenant's data."""

    user_id: UUID
    subject: str
    rate_key: str


Principal = Caller | Operator


def user_caller(user_id: UUID, tenant_id: UUID, role: str) -> Caller:
    """The caller for a person with a role."""
    subject = f"user:{user_id}"
    return Caller(tenant_id, subject, role, ROLE_SCOPES.get(role, frozenset()), f"{tenant_id}/{subject}")


def key_caller(key_id: UUID, tenant_id: UUID, scopes: frozenset[str]) -> Caller:
    """The caller for an API key."""
    subject = f"key:{key_id}"
    return Caller(tenant_id, subject, None, scopes & SCOPES, f"{tenant_id}/{subject}")
