"""Settings of the migration job: the only process that holds an administrator's credentials."""

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.settings import DEVELOPMENT_SECRET, refuse_weak


class MigrationSettings(BaseSettings):
    """Environment variables `IACRM_*` that the migration job reads."""

    model_config = SettingsConfigDict(env_prefix="IACRM_", extra="ignore", frozen=True, hide_input_in_errors=True)

    env: Literal["development", "production"] = "development"
    admin_database_url: SecretStr = Field(
        description="SQLAlchemy URL (asyncpg) of a role that may create roles and schemas"
    )
    gateway_db_password: SecretStr = Field(SecretStr(DEVELOPMENT_SECRET), description="password given to iacrm_gateway")
    rfm_db_password: SecretStr = Field(SecretStr(DEVELOPMENT_SECRET), description="password given to iacrm_rfm")

    @model_validator(mode="after")
    def _refuse_weak_secrets(self) -> Self:
        if self.env == "production":
            refuse_weak("gateway_db_password", self.gateway_db_password)
            refuse_weak("rfm_db_password", self.rfm_db_password)
        return self

    def url(self) -> str:
        """The administrator's URL in the clear."""
        return self.admin_database_url.get_secret_value()

    def passwords(self) -> dict[str, str]:
        """Login role -> password."""
        return {
            "iacrm_gateway": self.gateway_db_password.get_secret_value(),
            "iacrm_rfm": self.rfm_db_password.get_secret_value(),
        }
