"""Settings that every process shares. Each service extends this class with its own knobs."""

from typing import ClassVar, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DEVELOPMENT_SECRET = "development-only-secret-do-not-use-in-production"  # noqa: S105 - refused in production
SHORTEST_SECRET = 32
"""Characters a production secret must have: HMAC-SHA-256 keys shorter than their digest can be guessed."""


class CommonSettings(BaseSettings):
    """Environment variables `IACRM_*` that all processes read.

    Raises:
        pydantic.ValidationError: a value is missing or wrong, or a default or short secret meets production.
    """

    model_config = SettingsConfigDict(env_prefix="IACRM_", extra="ignore", frozen=True, hide_input_in_errors=True)
    secret_fields: ClassVar[tuple[str, ...]] = ("erasure_secret",)

    env: Literal["development", "production"] = Field(
        "development", description="production makes logs JSON and refuses default or short secrets"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severe level logged")
    kafka_bootstrap: str = Field("127.0.0.1:9092", description="host:port list of the Kafka brokers")
    topic_prefix: str = Field(
        "",
        max_length=64,
        pattern=r"^[a-zA-Z0-9._-]*$",
        description="put before every topic and consumer group, to share one cluster between installations",
    )
    database_url: SecretStr = Field(
        SecretStr("postgresql+asyncpg://127.0.0.1:5432/iacrm"),
        description="SQLAlchemy URL (asyncpg) with this service's own role",
    )
    database_pool_size: int = Field(5, ge=1, le=100, description="connections kept open by this process")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on (workers: health and metrics only)")
    erasure_secret: SecretStr = Field(
        SecretStr(DEVELOPMENT_SECRET),
        description="HMAC key of customer codes in erasure events; must be the same everywhere and never change",
    )

    @model_validator(mode="after")
    def _refuse_weak_secrets(self) -> Self:
        if self.env == "production":
            for name in self.secret_fields:
                refuse_weak(name, getattr(self, name))
        return self


def refuse_weak(name: str, secret: SecretStr) -> None:
    """Raises ValueError, naming only the setting, when a secret is the default or too short for production."""
    value = secret.get_secret_value()
    if value == DEVELOPMENT_SECRET or len(value) < SHORTEST_SECRET:
        raise ValueError(
            f"IACRM_{name.upper()} must be set to a secret of at least {SHORTEST_SECRET} characters in production"
        )
