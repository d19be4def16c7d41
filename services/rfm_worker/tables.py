"""Tables of the schema `rfm`, which this worker alone writes.

Text keys collate "C": one byte order for the database and Python, so that both sort locks alike.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    Double,
    Identity,
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

from shared.db.common_tables import applied_offset_table, outbox_table

SCHEMA = "rfm"
metadata = MetaData(schema=SCHEMA)

MONEY = Numeric(18, 4)
QUANTITY = Numeric(18, 3)
SUM = Numeric(24, 4)
"""Sums of many amounts: wider than one amount, so that no tenant's total can overflow and stop a batch."""
UNITS = Numeric(24, 3)
WEIGHT = Numeric()
"""Decayed sums are exact decimals of any length: adding and taking away leave no rounding dust."""
POPULARITY_CLASS = (
    "case when units_weight > 0 then floor(log(units_weight::float8) * 1.66)::smallint else (-32768)::smallint end"
)
"""The largest weight of a tenant is found among the few products of its highest class."""
FIRST_REVISION = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"
"""In microseconds, so that a day's row that was deleted and made again has grown all the same."""
KEY = Text(collation="C")
TIME = DateTime(timezone=True)

outbox = outbox_table(metadata)
applied_offset = applied_offset_table(metadata)

tenant = Table(
    "tenant",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("status", Text, nullable=False, server_default="active"),
    Column("timezone", Text, nullable=False, server_default="Europe/Paris"),
    Column("currency", Text),
    Column("reference_date", Text, nullable=False, server_default="now"),
    Column("rfm_method", Text, nullable=False, server_default="quintile"),
    Column("rfm_bounds", JSONB),
    Column("active_days", Integer, nullable=False, server_default="90"),
    Column("version", Integer, nullable=False, server_default="0"),
    comment="What this worker needs of each tenant; version 0 stands for one whose event has not arrived.",
)

sale = Table(
    "sale",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("sale_id", KEY, primary_key=True),
    Column("recorded", Boolean, nullable=False),
    Column("customer_code", KEY),
    Column("sold_at", TIME),
    Column("day", Date),
    Column("channel", Text),
    Column("currency", Text),
    Column("gross", MONEY, nullable=False, server_default="0"),
    Column("net", MONEY, nullable=False, server_default="0"),
    Column("cancelled", Boolean, nullable=False, server_default="false"),
    Column("returned", Boolean, nullable=False, server_default="false"),
    Column("event_time", TIME),
    Column("event_id", Text),
    Column("product_keys", ARRAY(KEY), comment="as they were sent"),
    Column("effective_keys", ARRAY(KEY), comment="the products that these stand for; null: themselves"),
    Column("labels", ARRAY(Text)),
    Column("quantities", ARRAY(QUANTITY)),
    Column("unit_prices", ARRAY(MONEY)),
    Column("discounts", ARRAY(MONEY)),
    Column("amounts", ARRAY(MONEY)),
    Column("metadata", JSONB),
    Index("sale_of_customer", "tenant_id", "customer_code", "sold_at", "sale_id"),
    Index("sale_by_time", "tenant_id", "sold_at", "sale_id"),
    Index("sale_by_day", "tenant_id", "day", postgresql_include=["customer_code", "net"]),
    comment="The ledger: one row a sale with its lines as parallel arrays; recorded = false waits for its sale.",
)

sale_return = Table(
    "sale_return",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("return_id", KEY, primary_key=True),
    Column("sale_id", KEY, nullable=False),
    Column("returned_at", TIME, nullable=False),
    Column("event_time", TIME, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("product_keys", ARRAY(KEY), nullable=False),
    Column("quantities", ARRAY(QUANTITY), nullable=False),
    Column("amounts", ARRAY(MONEY), nullable=False),
    Index("sale_return_of_sale", "tenant_id", "sale_id"),
    Index("sale_return_by_time", "tenant_id", "returned_at"),
)

sale_cancellation = Table(
    "sale_cancellation",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("sale_id", KEY, primary_key=True),
    Column("cancelled_at", TIME, nullable=False),
    Column("reason", Text),
    Column("event_time", TIME, nullable=False),
    Column("event_id", Text, nullable=False),
    Index("sale_cancellation_by_time", "tenant_id", "cancelled_at"),
)

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

product = Table(
    "product",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("product_key", KEY, primary_key=True),
    Column("master_version", Integer),
    Column("name", Text),
    Column("family", Text),
    Column("orders", Integer, nullable=False, server_default="0"),
    Column("units", UNITS, nullable=False, server_default="0"),
    Column("revenue", SUM, nullable=False, server_default="0"),
    Column("units_weight", WEIGHT, nullable=False, server_default="0"),
    Column("customers", Integer, nullable=False, server_default="0"),
    Column("popularity_class", SmallInteger, Computed(POPULARITY_CLASS, persisted=True), nullable=False),
    Index("product_by_popularity", "tenant_id", "popularity_class"),
    comment="Net contributions per product; units_weight decays with a half-life of 90 days.",
)

product_alias = Table(
    "product_alias",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("alias", KEY, primary_key=True),
    Column("product_key", KEY, nullable=False),
    Column("version", Integer, nullable=False),
    comment="Keys that tills and shops send, and the products that they stand for.",
)

alias_move = Table(
    "alias_move",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("alias", KEY, primary_key=True),
    Column("position", KEY, nullable=False, server_default=""),
    comment="Aliases whose history has not moved yet; orders up to the sale_id in position have.",
)

day = Table(
    "day",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("orders", Integer, nullable=False),
    Column("units", UNITS, nullable=False),
    Column("revenue", SUM, nullable=False),
    Column("revision", BigInteger, nullable=False, server_default=text(FIRST_REVISION)),
)

period = Table(
    "period",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("grain", Text, CheckConstraint("grain in ('day', 'week', 'month', 'quarter')"), primary_key=True),
    Column("start", Date, primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("customers", Integer, nullable=False),
    comment=(
        "Distinct customers of a day, ISO week, month or quarter; holds as long as the revisions of its days add up to "
        "revision."
    ),
)

product_period = Table(
    "product_period",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("grain", Text, CheckConstraint("grain in ('day', 'week', 'month', 'quarter')"), primary_key=True),
    Column("start", Date, primary_key=True),
    Column("product_key", KEY, primary_key=True),
    Column("orders", Integer, nullable=False),
    Column("units", UNITS, nullable=False),
    Column("revenue", SUM, nullable=False),
    comment="What was sold of a product in a period; holds as long as its period.",
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

cutoffs = Table(
    "cutoffs",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("method", Text, nullable=False),
    Column("reference_date", Date, nullable=False),
    Column("customers", Integer, nullable=False),
    Column("recency_days", ARRAY(Numeric), nullable=False),
    Column("frequency", ARRAY(Numeric), nullable=False),
    Column("monetary", ARRAY(Numeric), nullable=False),
    Column("average_basket", ARRAY(Numeric), nullable=False),
    Column("computed_at", TIME, nullable=False),
    Column("moving_low", ARRAY(Numeric)),
    Column("moving_high", ARRAY(Numeric)),
    comment="Current bounds: four per axis, two terciles of the average basket; empty without a counting order.",
)

quantile_mark = Table(
    "quantile_mark",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("axis", Text, primary_key=True),
    Column("k", SmallInteger, primary_key=True),
    Column("rank", Integer, nullable=False),
    Column("value", Numeric, nullable=False),
    Column("customer_code", KEY, nullable=False),
    comment="Per quantile a place in the order of the customers, and how many stand before it; days count from 1970.",
)

score_request = Table(
    "score_request",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_id", Uuid, nullable=False),
    Column("folded", Boolean, nullable=False, server_default="false"),
    Column("codes", ARRAY(KEY), nullable=False, server_default="{}"),
    Column("was_frequency", ARRAY(Integer), nullable=False, server_default="{}"),
    Column("was_monetary", ARRAY(Numeric), nullable=False, server_default="{}"),
    Column("was_day", ARRAY(Date), nullable=False, server_default="{}"),
    Column("now_frequency", ARRAY(Integer), nullable=False, server_default="{}"),
    Column("now_monetary", ARRAY(Numeric), nullable=False, server_default="{}"),
    Column("now_day", ARRAY(Date), nullable=False, server_default="{}"),
    Index("score_request_of_tenant", "tenant_id", "id"),
    comment="Appended by each batch that changed a tenant: whose values, from what to what. Removed by the scorer.",
)

recompute = Table(
    "recompute",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("requested_at", TIME, nullable=False),
    Column("cause", Text, CheckConstraint("cause in ('settings', 'repair')"), nullable=False),
    Column("step", Text, CheckConstraint("step in ('days', 'customers', 'scores')"), nullable=False),
    Column("after", KEY, nullable=False, server_default=""),
    Column("done", Integer, nullable=False, server_default="0"),
    Column("total", Integer, nullable=False, server_default="0"),
    Column("updated_at", TIME, nullable=False),
    comment="Tenants that are looked at as a whole: why, which step is at work, and how far it is.",
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

erasure = Table(
    "erasure",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("code_hash", LargeBinary, primary_key=True),
    Column("erased_at", TIME, primary_key=True),
    Column("pseudonym", KEY, nullable=False),
    Index("erasure_pseudonym", "tenant_id", "pseudonym", unique=True),
    comment="Sales made up to erased_at by the code with this hash stand in the ledger under the pseudonym.",
)

job_run = Table(
    "job_run",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("job", Text, primary_key=True),
    Column("finished_at", TIME, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("orders", BigInteger, nullable=False),
    Column("figures", JSONB, nullable=False),
    comment="The last run of a job for a tenant, the counting orders it met, and figures without personal data.",
)

lifetime_model = Table(
    "lifetime_model",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("fitted_at", TIME, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("reference_date", Date, nullable=False),
    Column("history_days", Integer, nullable=False),
    Column("horizon_days", Integer, nullable=False),
    Column("customers", Integer, nullable=False),
    Column("expected_orders", SUM),
    Column("expected_value", SUM),
    Column("dependence", Double),
    Column("parameters", JSONB),
    Column("holdout", JSONB),
    Column("deciles", JSONB),
    comment="The last fit: parameters and holdout errors, or the reason why no values are given.",
)

lifetime_value = Table(
    "lifetime_value",
    metadata,
    Column("tenant_id", Uuid, primary_key=True),
    Column("customer_code", KEY, primary_key=True),
    Column("probability_alive", Numeric(5, 4), nullable=False),
    Column("expected_orders", Numeric(12, 4), nullable=False),
    Column("expected_value", SUM, nullable=False),
    Column("low", SUM, nullable=False),
    Column("high", SUM, nullable=False),
    Column("computed_at", TIME, nullable=False),
    comment="What each customer is expected to bring within the horizon of the model, with an 80 % interval.",
)

TENANT_TABLES = tuple(table.name for table in metadata.sorted_tables if "tenant_id" in table.c)

REBUILT_TABLES = (
    "tenant", "sale", "sale_return", "sale_cancellation", "erasure", "customer", "customer_product", "product", "day",
    "cutoffs", "quantile_mark", "recompute", "product_alias", "alias_move",
)  # fmt: skip
"""What follows from the events alone: a rebuild fills them anew and puts them in the place of the old ones."""
EMPTIED_TABLES = ("score_request",)
"""What a rebuild has done with: everybody is scored by it."""
KEPT_TABLES = (
    "segment_change", "segment_path", "outbox", "applied_offset", "job_run", "lifetime_model", "lifetime_value",
    "customer_queue", "customer_search", "rhythm", "period", "product_period",
)  # fmt: skip
"""What a rebuild leaves as it is: what was told and is to be told, how far the worker has come, what jobs made, and
what the refresher derives anew once everybody is queued."""
