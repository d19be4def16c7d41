"""Bodies and answers about tenants and their settings."""

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from services.api_gateway.repository.tenants import TenantRow
from services.api_gateway.views.accounts import Body, Email, Password, Username, UserView, example
from shared.events.fields import Name
from shared.events.tenant_settings import TenantSettings

SETTINGS_EXAMPLE = {"timezone": "America/New_York", "rfm": {"method": "quintile"}, "active_days": 60}


class TenantView(BaseModel):
    """A tenant. `closed` tenants are erased after their grace period."""

    tenant_id: UUID
    name: str
    status: Literal["active", "closed", "erased"]
    settings: TenantSettings
    version: int
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def of(cls, row: TenantRow) -> Self:
        """The answer for a stored tenant."""
        return cls.model_validate(row)


class TenantWithOwner(TenantView):
    """A new tenant with its owner."""

    owner: UserView | None


class OwnerBody(Body):
    """The first person of a tenant."""

    username: Username
    email: Email
    password: Password


class NewTenant(Body):
    """A tenant to add, with or without its first owner."""

    name: Name
    settings: TenantSettings | None = None
    owner: OwnerBody | None = None
    model_config = example(
        {
            "name": "Maison Ruiz",
            "owner": {"username": "ana", "email": "ana@example.org", "password": "a long pass phrase"},
        }
    )


class TenantChange(Body):
    """What changes; absent fields stay."""

    name: Name | None = None
    status: Literal["active"] | None = Field(None, description="opens a closed tenant again, before it is erased")
    model_config = example({"name": "Maison Ruiz & Filles"})

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.name is None and self.status is None:
            raise PydanticCustomError("nothing", "must change something: name or status")
        return self


class SettingsView(BaseModel):
    """All settings, with who changed them last and when."""

    settings: TenantSettings
    version: int = Field(description="of the tenant; grows by one with every change")
    changed_at: datetime
    changed_by: str = Field(description="user:<id> or system:<part>")


def merge_patch(stored: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """`stored` with `patch` laid over it (RFC 7396): objects merge, null takes a value away, all else replaces."""
    merged = dict(stored)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            below = merged.get(name)
            merged[name] = merge_patch(below if isinstance(below, dict) else {}, value)
        else:
            merged[name] = value
    return merged
