"""Tables of the schema `gateway`: accounts and master data, which the gateway alone writes."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from shared.db.common_tables import outbox_table

SCHEMA = "gateway"
metadata = MetaData(schema=SCHEMA)

KEY = Text(collation="C")
TIME = DateTime(timezone=True)
NOW = func.now()

outbox = outbox_table(metadata)

tenant = Table(
    "tenant",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("name", Text, nullable=False),
    Column("status", Text, CheckConstraint("status in ('active', 'closed', 'erased')"), nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", TIME, nullable=False, server_default=NOW),
    Column("updated_at", TIME, nullable=False, server_default=NOW),
    Column("updated_by", Text, nullable=False),
    Column("closed_at", TIME),
)

tenant_settings_history = Table(
    "tenant_settings_history",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("settings", JSONB, nullable=False),
    Column("changed_at", TIME, nullable=False, server_default=NOW),
    Column("changed_by", Text, nullable=False),
)

user_account = Table(
    "user_account",
    metadata,
    Column("user_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, comment="null for a platform operator"),
    Column("username", KEY, nullable=False, unique=True, comment="lower case, unique over all tenants"),
    Column("email", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column(
        "role", Text, CheckConstraint("role in ('owner', 'admin', 'marketer', 'analyst', 'operator')"), nullable=False
    ),
    Column("active", Boolean, nullable=False, server_default="true"),
    Column("created_at", TIME, nullable=False, server_default=NOW),
    Column("updated_at", TIME, nullable=False, server_default=NOW),
    CheckConstraint("(role = 'operator') = (tenant_id is null)", name="operator_has_no_tenant"),
    Index("user_account_of_tenant", "tenant_id", "username"),
)

refresh_token = Table(
    "refresh_token",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("family_id", Uuid, nullable=False),
    Column("user_id", Uuid, ForeignKey("user_account.user_id", ondelete="CASCADE"), nullable=False),
    Column("tenant_id", Uuid),
    Column("issued_at", TIME, nullable=False, server_default=NOW),
    Column("expires_at", TIME, nullable=False),
    Column("used_at", TIME),
    Column("revoked_at", TIME),
    Index("refresh_token_family", "family_id"),
    Index("refresh_token_of_user", "user_id"),
)

api_key = Table(
    "api_key",
    metadata,
    Column("key_id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False, comment="first characters, shown so that people can tell keys apart"),
    Column("key_hash", LargeBinary, nullable=False, unique=True),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", TIME, nullable=False, server_default=NOW),
    Column("expires_at", TIME),
    Column("last_used_at", TIME),
    Column("revoked_at", TIME),
    Index("api_key_of_tenant", "tenant_id", "created_at", "key_id"),
)

customer = Table(
    "customer",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("customer_code", KEY, primary_key=True),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("email", Text),
    Column("phone", Text),
    Column("language", Text),
    Column("timezone", Text),
    Column("birth_date", Date),
    Column("tags", ARRAY(Text), nullable=False, server_default="{}"),
    Column("attributes", JSONB, nullable=False, server_default="{}"),
    Column("consents", JSONB, nullable=False, server_default="{}"),
    Column("version", Integer, nullable=False),
    Column("created_at", TIME, nullable=False),
    Column("updated_at", TIME, nullable=False),
)

product = Table(
    "product",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("product_key", KEY, primary_key=True),
    Column("name", Text),
    Column("family", Text),
    Column("sub_family", Text),
    Column("price", Numeric(18, 4)),
    Column("margin", Numeric(18, 4)),
    Column("stock", Numeric(18, 3)),
    Column("active", Boolean, nullable=False, server_default="true"),
    Column("tags", ARRAY(Text), nullable=False, server_default="{}"),
    Column("attributes", JSONB, nullable=False, server_default="{}"),
    Column("version", Integer, nullable=False),
    Column("created_at", TIME, nullable=False),
    Column("updated_at", TIME, nullable=False),
)

product_alias = Table(
    "product_alias",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("alias", KEY, primary_key=True),
    Column("product_key", KEY, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", TIME, nullable=False),
    Column("updated_at", TIME, nullable=False),
    Index("product_alias_of_product", "tenant_id", "product_key", "alias"),
)

idempotency_key = Table(
    "idempotency_key",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),  # the nil UUID for operators, who have none
    Column("caller", Text, primary_key=True, comment="user or key that sent it"),
    Column("key", KEY, primary_key=True),
    Column("request_hash", LargeBinary, nullable=False, comment="of method, path and body"),
    Column("status", SmallInteger, comment="null while the first request is still running"),
    Column("headers", JSONB),
    Column("body", LargeBinary),
    Column("created_at", TIME, nullable=False, server_default=NOW),
    Index("idempotency_key_age", "created_at"),
)

import_job = Table(
    "import_job",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("import_id", Uuid, primary_key=True),
    Column("kind", Text, CheckConstraint("kind in ('sales', 'returns', 'customers', 'products')"), nullable=False),
    Column(
        "state",
        Text,
        CheckConstraint("state in ('uploading', 'queued', 'running', 'paused', 'completed', 'failed', 'cancelled')"),
        nullable=False,
    ),
    Column("options", JSONB, nullable=False),
    Column("file_name", Text),
    Column("format", Text),
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    Column("sha256", Text),
    Column("request_id", Text),
    Column("created_at", TIME, nullable=False, server_default=NOW),
    Column("created_by", Text, nullable=False),
    Column("accepted_at", TIME, comment="when the file was complete: the time of every event made of it"),
    Column("started_at", TIME),
    Column("finished_at", TIME),
    Column("expires_at", TIME, comment="when its stored files are due to be deleted; null once they are gone"),
    Column("claimed_by", Uuid),
    Column("lease_until", TIME),
    Column("attempts", Integer, nullable=False, server_default="0", comment="claims since the last finished part"),
    Column("understood", JSONB),
    Column("plan", Text, comment="what the division into parts depends on; another one begins anew"),
    Column("parts", Integer),
    Column("parts_done", Integer, nullable=False, server_default="0"),
    Column("counts", JSONB, nullable=False, server_default="{}"),
    Column("errors", JSONB, nullable=False, server_default="[]"),
    Column("sample", JSONB),
    Column("positions", JSONB, nullable=False, server_default="[]"),
    Column("reason", Text),
    Column(
        "held_at",
        TIME,
        comment="when its importer last showed itself while it held the lock of its name; null for one that holds none",
    ),
    Index("import_job_newest", "tenant_id", "created_at", "import_id"),
    Index("import_job_open", "created_at", postgresql_where=text("state in ('queued', 'running')")),
    Index("import_job_expiry", "expires_at", postgresql_where=text("expires_at is not null")),
)

TENANT_TABLES = tuple(table.name for table in metadata.sorted_tables if "tenant_id" in table.c)
