"""Bodies and answers about people, tokens and keys."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, EmailStr, Field, SecretStr, StringConstraints

from services.api_gateway.security.callers import Scope, TenantRole
from services.api_gateway.security.passwords import LONGEST, SHORTEST
from shared.events.fields import Moment, Name
from shared.events.tenant_settings import TenantSettings

Username = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, to_lower=True, min_length=3, max_length=64, pattern=r"^[A-Za-z0-9._@+-]+$"
    ),
    Field(description="3 to 64 letters, digits and . _ @ + -; case does not matter; unique over all tenants"),
]
Email = Annotated[EmailStr, StringConstraints(max_length=254)]


Password = Annotated[
    SecretStr,
    Field(min_length=SHORTEST, max_length=LONGEST, description=f"{SHORTEST} to {LONGEST} characters"),
]
AnyPassword = Annotated[SecretStr, Field(max_length=LONGEST)]


class Body(BaseModel):
    """A request body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


def example(value: dict[str, Any]) -> ConfigDict:
    """Model configuration with one example."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [value]})


class Registration(Body):
    """A new tenant with its owner."""

    tenant_name: Name
    username: Username
    email: Email
    password: Password
    settings: TenantSettings | None = Field(None, description="defaults where absent")
    model_config = example(
        {
            "tenant_name": "Maison Ruiz",
            "username": "ana",
            "email": "ana@example.org",
            "password": "a long pass phrase",
            "settings": {"timezone": "Europe/Paris", "currency": "EUR"},
        }
    )


class UserView(BaseModel):
    """A person of a tenant."""

    user_id: UUID
    username: str
    email: str
    role: str
    active: bool
    created_at: datetime
    updated_at: datetime
    model_config = ConfigDict(from_attributes=True)


class NewUser(Body):
    """A person to add."""

    username: Username
    email: Email
    password: Password
    role: TenantRole
    model_config = example(
        {"username": "ben", "email": "ben@example.org", "password": "a long pass phrase", "role": "analyst"}
    )


class UserChange(Body):
    """What changes; absent fields stay."""

    email: Email | None = None
    role: TenantRole | None = None
    active: bool | None = Field(None, description="false ends the person's refresh tokens at once")
    password: Password | None = Field(None, description="sets a new password and ends the refresh tokens")
    model_config = example({"role": "marketer"})


class Tokens(BaseModel):
    """What a log-in gives."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 - the name of a scheme
    expires_in: int = Field(description="seconds that the access token lives")
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "access_token": "eyJhbGciOiJIUzI1NiIs...",
                    "refresh_token": "iar_x1V...",
                    "token_type": "bearer",
                    "expires_in": 900,
                }
            ]
        }
    )


class RefreshBody(Body):
    """A refresh token."""

    refresh_token: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    model_config = example({"refresh_token": "iar_x1V..."})


class PasswordChange(Body):
    """The old password and the new one."""

    current_password: AnyPassword
    new_password: Password
    model_config = example({"current_password": "a long pass phrase", "new_password": "a longer pass phrase"})


class Me(BaseModel):
    """Who is asking. A key has no user, no role and no e-mail; an operator has no tenant."""

    subject: str
    tenant_id: UUID | None
    role: str | None
    scopes: list[str]
    user: UserView | None


class NewApiKey(Body):
    """A key for an upstream system."""

    name: Name
    scopes: list[Scope] = Field(min_length=1, max_length=5)
    expires_at: Moment | None = Field(None, description="never when absent")
    model_config = example(
        {"name": "till 7", "scopes": ["sales:write", "read"], "expires_at": "2027-12-31T23:59:59+01:00"}
    )


class ApiKeyView(BaseModel):
    """A key without its secret."""

    key_id: UUID
    name: str
    prefix: str = Field(description="begins the key, so that people can tell keys apart")
    scopes: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="exact to about a minute")
    revoked_at: datetime | None
    model_config = ConfigDict(from_attributes=True)


class CreatedApiKey(ApiKeyView):
    """A new key: the only answer that holds the secret."""

    api_key: str = Field(description="send it as X-API-Key; it is not shown again")
