"""The gateway's knobs."""

import json
from typing import ClassVar, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from shared.settings import DEVELOPMENT_SECRET, CommonSettings, refuse_weak


class ImportStorageSettings(CommonSettings):
    """Where uploaded files are kept: the gateway writes them there, and the importer reads them."""

    import_storage: str = Field(
        ".data/imports",
        min_length=1,
        description="where uploaded files are kept: a folder that gateway and importer share, or s3://bucket/prefix",
    )
    import_storage_options: SecretStr = Field(
        SecretStr(""),
        description='JSON of options for it, for S3: {"key": "...", "secret": "...", "endpoint_url": "..."}',
    )
    import_retention_days: int = Field(
        30, ge=0, le=3650, description="days after its end that the stored files of an import are kept"
    )

    @field_validator("import_storage_options")
    @classmethod
    def _object(cls, value: SecretStr) -> SecretStr:
        try:
            good = isinstance(json.loads(value.get_secret_value() or "{}"), dict)
        except ValueError:
            good = False
        if not good:
            raise ValueError("IACRM_IMPORT_STORAGE_OPTIONS must be a JSON object")
        return value


class GatewaySettings(ImportStorageSettings):
    """Environment variables `IACRM_*` of the gateway.

    Raises:
        pydantic.ValidationError: a value is missing or wrong, or a default or short secret meets production.
    """

    secret_fields: ClassVar[tuple[str, ...]] = ("erasure_secret",)

    database_pool_size: int = Field(10, ge=1, le=100, description="connections kept open by this process")
    registration_open: bool = Field(True, description="whether anybody may register a tenant; operators always can")

    jwt_secrets: dict[str, SecretStr] = Field(
        {"development": SecretStr(DEVELOPMENT_SECRET)},
        min_length=1,
        description='JSON of key id -> secret, all of which are accepted: {"2026-11": "..."}',
    )
    jwt_active_kid: str = Field("development", description="id of the key that signs new access tokens")
    jwt_issuer: str = Field("ia-crm", description="`iss` of access tokens")
    jwt_audience: str = Field("ia-crm-api", description="`aud` of access tokens")
    access_token_s: int = Field(900, ge=60, le=3600, description="seconds an access token lives")
    refresh_token_s: int = Field(30 * 86400, ge=3600, description="seconds a refresh token lives")

    password_time_cost: int = Field(2, ge=1, le=10, description="argon2id passes")
    password_memory_kib: int = Field(19_456, ge=8_192, le=1_048_576, description="argon2id memory per hash, KiB")
    password_concurrency: int = Field(2, ge=1, le=64, description="passwords hashed at once (one thread each)")
    password_queue: int = Field(32, ge=0, description="callers that may wait for that; more are answered 503")

    login_limit_storage: str = Field(
        "memory://", description="where log-in attempts are counted; a Redis URI shares them between processes"
    )
    login_attempts_per_account: int = Field(10, ge=1, description="attempts on one account within the window")
    login_failures_per_address: int = Field(100, ge=1, description="failures from one address within the window")
    registrations_per_address: int = Field(100, ge=1, description="registrations from one address within the window")
    login_window_s: int = Field(300, ge=1, description="seconds of that (moving) window")

    rate_limit_requests: int = Field(
        120_000, ge=1, description="requests per window of one caller (user or key) to one process"
    )
    rate_limit_window_s: int = Field(60, ge=1, le=3600, description="seconds of that (fixed) window")
    rate_limit_refused: int = Field(600, ge=1, description="requests with a bad credential per window and address")

    cache_s: int = Field(60, ge=1, le=60, description="seconds that API keys, tenant status and settings are trusted")
    cache_entries: int = Field(10_000, ge=100, description="most entries of each such cache")
    as_of_cache_s: float = Field(
        10, ge=0, le=60, description="seconds that a tenant's cut-offs and distribution of an earlier day are trusted"
    )
    large_reads: int = Field(
        2, ge=1, le=100, description="answers at once that read all customers of a tenant (what-if, as_of)"
    )
    large_reads_queue: int = Field(
        32, ge=0, description="callers of one tenant that may wait for that; more are answered 503"
    )
    last_used_s: float = Field(60, gt=0, description="seconds between writes of when API keys were last used")

    body_limit: int = Field(5_000_000, ge=1_000, description="largest body in bytes")
    import_limit: int = Field(1_073_741_824, ge=1_000, description="largest body of an import in bytes")
    idempotency_lock_s: int = Field(
        60, ge=5, description="seconds after which a request that never answered may be tried again"
    )
    export_concurrency: int = Field(
        4, ge=1, le=100, description="exports that run at once; each keeps one connection to the database meanwhile"
    )
    export_concurrency_per_tenant: int = Field(2, ge=1, le=100, description="of these, how many may be one tenant's")
    proxy_ips: str = Field(
        "", description="addresses of proxies (comma separated, or *) whose X-Forwarded-For names the caller"
    )
    stop_timeout_s: int = Field(8, ge=1, description="seconds that running requests get after SIGTERM")

    janitor_s: float = Field(3600, gt=0, description="seconds between two rounds of the janitor")
    grace_days: int = Field(30, ge=0, description="days a closed tenant is kept before its data is erased")

    @model_validator(mode="after")
    def _keys(self) -> Self:
        if self.jwt_active_kid not in self.jwt_secrets:
            raise ValueError("IACRM_JWT_ACTIVE_KID must name one of IACRM_JWT_SECRETS")
        if self.env == "production":
            if DEVELOPMENT_SECRET in self.database_url.get_secret_value():
                raise ValueError("IACRM_DATABASE_URL must not hold the development password in production")
            for secret in self.jwt_secrets.values():
                refuse_weak("jwt_secrets", secret)
        return self
