"""What a rebuild is told: the administrator's address of the database, Kafka, and the erasure secret."""

from pydantic import Field, SecretStr

from shared.settings import CommonSettings


class RebuildSettings(CommonSettings):
    """Environment variables `IACRM_*` of `./iacrm rebuild`; `IACRM_DATABASE_URL` is not used."""

    admin_database_url: SecretStr = Field(
        description="SQLAlchemy URL (asyncpg) of a role that may create schemas and act as iacrm_owner"
    )
