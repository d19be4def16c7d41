"""Customers: values and scores, what they bought, how they moved between segments, what they are found by."""

from sqlalchemy import (
    BigInteger,
    Column,
    Computed,
    Date,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY

from services.rfm_worker.tables.common import KEY, SUM, TIME, UNITS, WEIGHT, metadata

customer = Table(
    "customer",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("customer_code", KEY, primary_key=True),
    Column("code_hash", LargeBinary, nullable=False),
    Column("master_version", Integer),
    Column("created_at", TIME),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("email", Text),
    Column("phone", Text),
    Column("language", Text),
    Column("tags", ARRAY(Text), nullable=False, server_default="{}"),
    Column("frequency", Integer, nullable=False, server_default="0"),
    Column("monetary", SUM, nullable=False, server_default="0"),
    Column("first_order_at", TIME),
    Column("last_order_at", TIME),
    Column("last_order_day", Date),
    Column("r", SmallInteger),
    Column("f", SmallInteger),
    Column("m", SmallInteger),
    Column("segment", Text, nullable=False, server_default="prospect"),
    Column("segment_since", TIME, nullable=False, server_default=func.now()),
    Column("average_basket", SUM, Computed("rfm.average_basket(monetary, frequency)", persisted=True)),
    Index("customer_by_hash", "tenant_id", "code_hash"),
    Index(
        "customer_by_segment",
        "tenant_id",
        "segment",
        "customer_code",
        postgresql_include=["monetary", "created_at", "first_order_at"],
    ),
    Index("customer_by_spend", "tenant_id", "monetary", "customer_code"),
    Index("customer_by_last_order", "tenant_id", "last_order_at", "customer_code"),
    Index("customer_by_last_day", "tenant_id", "last_order_day", "customer_code"),
    Index("customer_by_frequency", "tenant_id", "frequency", "customer_code"),
    Index("customer_by_basket", "tenant_id", "average_basket", "customer_code"),
    comment="One row per customer that exists: identity for search, values, scores. Erased people have none.",
)

customer_product = Table(
    "customer_product",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("customer_code", KEY, primary_key=True),
    Column("product_key", KEY, primary_key=True),
    Column("orders", Integer, nullable=False),
    Column("units", UNITS, nullable=False),
    Column("amount", SUM, nullable=False),
    Column("spend_weight", WEIGHT, nullable=False),
    comment="Net contributions per customer and product; spend_weight decays with a half-life of 180 days.",
)

segment_change = Table(
    "segment_change",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("customer_code", KEY, nullable=False),
    Column("previous", Text),
    Column("segment", Text, nullable=False),
    Column("rfm_code", Text),
    Column("changed_at", TIME, nullable=False),
    Column("cause", Text, nullable=False),
    Column("cause_id", Text),
    Index("segment_change_of_customer", "tenant_id", "customer_code", "id"),
)

customer_queue = Table(
    "customer_queue",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("customer_codes", ARRAY(KEY), nullable=False),
    Column("product_keys", ARRAY(KEY), nullable=False),
    Index("customer_queue_of_tenant", "tenant_id", "id"),
    comment="Customers that a batch changed, products whose family it changed; until search and rhythm follow.",
)

customer_search = Table(
    "customer_search",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("customer_code", KEY, primary_key=True),
    Column("words", Text, nullable=False),
    Column("tags", ARRAY(Text), nullable=False),
    Column("families", ARRAY(Text), nullable=False),
    comment="What customers are found by, apart from their row, which every sale updates.",
)
"""Its GIN index stands in the migration: an operator class of an extension is no business of this module."""

rhythm = Table(
    "rhythm",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("customer_code", KEY, primary_key=True),
    Column("usual_interval_days", Numeric(12, 1)),
    Column("next_order_expected_at", Date),
    Index("rhythm_by_date", "tenant_id", "next_order_expected_at", "customer_code"),
    comment="The expected next order of every customer, for lists in its order.",
)

segment_path = Table(
    "segment_path",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("customer_code", KEY, primary_key=True),
    Column("known_at", TIME),
    Column("moments", ARRAY(Double), nullable=False),
    Column("states", LargeBinary, nullable=False),
    comment=(
        "The history of segments of each customer who has one: microseconds since 1970, never falling, and segments; "
        "known_at is when his master data came to be."
    ),
)
